//! What an operator does to the tree.

use serde_json::Value;

use super::{Site, reply, token};
use crate::daemon::stage::{Stage, text, until};

async fn state(site: &Site, path: &str) -> Value {
    site.read(&format!("/api/v1/tree/{path}")).await["state"].clone()
}

async fn until_state(site: &Site, path: &str, wanted: &str) {
    until(&format!("{path} is {wanted}"), || async { state(site, path).await == wanted }).await;
}

#[actix_web::test]
async fn whoever_is_paused_stopped_or_restarted_is_seen_to_be_so() {
    let site = Site::embedded(Vec::new()).await;
    let ask =
        async |path: &str, action: &str| reply(site.post(&format!("/api/v1/tree/{path}/{action}"))).await;
    let poller = "root/relay/outbox_poller";

    let paused = ask(poller, "pause").await;
    assert_eq!((paused.status, &paused.body["path"]), (202, &poller.into()), "{paused:?}");
    until_state(&site, poller, "paused").await;
    let resumed = ask("root/relay/stream_publisher", "resume").await;
    resumed.assert_problem(409);
    assert!(
        resumed.detail().contains("root/relay/stream_publisher is running: resume is not possible"),
        "{resumed:?}"
    );
    assert_eq!(ask(poller, "resume").await.status, 202);
    until_state(&site, poller, "running").await;

    let before = site.read(&format!("/api/v1/tree/{poller}")).await["generation"].as_u64().unwrap();
    assert_eq!(ask(poller, "restart").await.status, 202);
    until("it is another one", || async {
        let node = site.read(&format!("/api/v1/tree/{poller}")).await;
        node["state"] == "running" && node["generation"].as_u64().unwrap() == before + 1
    })
    .await;

    assert_eq!(ask("root/consumers", "stop").await.status, 202);
    until_state(&site, "root/consumers", "stopped").await;
    let below = ask("root/consumers/facts/consumer_group", "restart").await;
    below.assert_problem(409);
    ask("root/consumers", "pause").await.assert_problem(409);
    assert_eq!(ask("root/consumers", "restart").await.status, 202);
    until_state(&site, "root/consumers/facts/consumer_group", "running").await;
    ask("root/nobody", "stop").await.assert_problem(404);
}

#[actix_web::test]
async fn whoever_did_it_is_in_the_operator_log() {
    let stage = Stage::new().await;
    let (operator, environment) = token("kim", "operator");
    let site = Site::on(&stage, environment).await;
    let path = "/api/v1/tree/root/janitor/restart";
    let done = reply(site.post(path).bearer_auth(&operator).insert_header(("x-request-id", "drill-7"))).await;
    assert_eq!(done.status, 202, "{done:?}");
    let nobody = reply(site.post("/api/v1/tree/root/nobody/restart").bearer_auth(&operator)).await;
    nobody.assert_problem(404);
    let entries = "SELECT count(*) FROM factline.operator_log WHERE who = 'kim' AND action = 'restart'";
    let entry = " AND target = 'root/janitor' AND detail ->> 'request_id' = 'drill-7'";
    assert_eq!((stage.count(entries).await, stage.count(format!("{entries}{entry}")).await), (1, 1));
}

#[actix_web::test]
async fn what_answers_is_restarted_after_it_has_answered() {
    let site = Site::embedded(Vec::new()).await;
    for action in ["pause", "stop"] {
        let refused = reply(site.post(&format!("/api/v1/tree/root/admin/{action}"))).await;
        refused.assert_problem(409);
        assert!(refused.detail().contains("nobody could be asked to undo it"), "{refused:?}");
    }
    reply(site.post("/api/v1/tree/root/pause")).await.assert_problem(409);
    assert_eq!(reply(site.post("/api/v1/tree/root/admin/restart")).await.status, 202);
    until("another one answers", || async {
        let Ok(mut response) = site.get("/api/v1/tree/root/admin").send().await else { return false };
        response.json::<Value>().await.is_ok_and(|node| node["generation"] == 2 && node["state"] == "running")
    })
    .await;
}

#[actix_web::test]
async fn the_whole_is_restarted_and_then_stopped() {
    let mut site = Site::embedded(Vec::new()).await;
    assert_eq!(reply(site.post("/api/v1/tree/root/restart")).await.status, 202);
    until("all of it is another one", || async {
        let Ok(mut response) = site.get("/api/v1/tree").send().await else { return false };
        let tree = response.json::<Value>().limit(1 << 20).await;
        tree.is_ok_and(|tree| tree["generation"] == 2 && tree["state"] == "running")
    })
    .await;
    assert_eq!(reply(site.post("/api/v1/tree/root/stop")).await.status, 202);
    assert!(site.daemon.ended().await.success(), "{}", site.daemon.log());
    assert!(site.daemon.log().contains("stopped by an operator"), "{}", site.daemon.log());
}

#[actix_web::test]
async fn an_operator_at_a_prompt_finds_out_what_is_paused_and_resumes_it() {
    let (operator, environment) = token("kim", "operator");
    let site = Site::embedded(environment).await;
    let poller = "root/relay/outbox_poller";
    let factline = |arguments: &[&str], token: &str| {
        let output = site.command(arguments).env("FACTLINE_TOKEN", token).output().unwrap();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let (code, told) = factline(&["tree", "pause", poller], "");
    assert!(code == Some(1) && told.contains("set FACTLINE_TOKEN"), "{told}");
    let (code, told) = factline(&["tree", "pause", poller], &operator);
    assert_eq!(code, Some(0), "{told}");
    until("the tree says so", || async {
        factline(&["tree"], &operator).1.contains("outbox_poller  paused")
    })
    .await;
    let (code, told) = factline(&["doctor", "--watch", "1ms"], &operator);
    let words = format!("{poller} was paused by an operator, until it is resumed");
    assert!(code == Some(3) && told.contains(&words), "{told}");
    let remedy = format!("next: factline tree resume {poller}");
    assert!(told.contains(&remedy), "{told}");
    assert_eq!(factline(&["tree", "resume", poller], &operator).0, Some(0));
    until("it runs", || async { factline(&["tree"], &operator).1.contains("outbox_poller  running") }).await;
    let (code, told) = factline(&["tree", "stop", "root/nobody", "--yes"], &operator);
    assert!(code == Some(1) && told.contains("root/nobody"), "{told}");
    let (code, _) = factline(&["tree", "stop", poller], &operator);
    assert_eq!(code, Some(1), "nobody is there to ask");
}
