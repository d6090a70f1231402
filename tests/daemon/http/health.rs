//! Whether it is ready, and how each part does.

use serde_json::Value;

use super::{Site, reply, variables};
use crate::{
    daemon::stage::{Stage, text, until},
    servers,
};

async fn part(site: &Site, name: &str) -> Value {
    let health = site.read("/health/detailed").await;
    let part = health["parts"].as_array().unwrap().iter().find(|part| part["part"] == name);
    part.cloned().unwrap_or_else(|| panic!("no {name} in {health:#}"))
}

async fn is_ready(site: &Site) -> bool {
    reply(site.get("/health/ready")).await.status == 200
}

#[actix_web::test]
async fn an_idle_daemon_is_ready_and_every_part_says_how_it_does() {
    let stage = Stage::new().await;
    let site = Site::on(&stage, Vec::new()).await;
    until("it is ready", || is_ready(&site)).await;
    until("the relay is active", || async { part(&site, "relay").await["state"] == "ok" }).await;
    assert!(part(&site, "relay").await["data"]["holder"].is_string());
    until("all is well", || async { site.read("/health/detailed").await["state"] == "ok" }).await;
    for name in [
        "outbox",
        "outbox_pool",
        "backlog",
        "store",
        "store_pool",
        "relay",
        "dead_letters",
        "retrying",
        "streams",
        "root/relay/outbox_poller",
        "root/consumers/facts/ledger_writer",
        "root/janitor",
        "root/admin",
    ] {
        let part = part(&site, name).await;
        assert!(part["since"].is_string() && part["sentence"].as_str().unwrap().len() > 3, "{part}");
    }
    stage.insert_messages(20, 5).await;
    stage.until_recorded(20).await;
    until("the group is known, and its readers", || async {
        let health = site.read("/health/detailed").await;
        let group = health["parts"].as_array().unwrap().iter().find(|part| part["part"] == "groups/facts");
        let partitions = group.and_then(|group| group["data"]["partitions"].as_array());
        partitions.is_some_and(|partitions| partitions.iter().any(|one| one["reader"].is_string()))
    })
    .await;
    assert!(is_ready(&site).await);
}

#[actix_web::test]
async fn a_backlog_that_nobody_works_on_is_a_reason() {
    let stage = Stage::new().await;
    let site = Site::on(&stage, variables(&[("FACTLINE__ADMIN__UNREADY_AFTER", "1s")])).await;
    until("it is ready", || is_ready(&site)).await;
    assert_eq!(reply(site.post("/api/v1/tree/root/relay/outbox_poller/pause")).await.status, 202);
    stage.insert_messages(5, 5).await;
    until("both are told", || async {
        let told = reply(site.get("/health/ready")).await;
        let reasons: Vec<Value> = told.body["reasons"].as_array().into_iter().flatten().cloned().collect();
        let named = |name: &str| reasons.iter().any(|reason| reason["part"] == name);
        told.status == 503 && named("backlog") && named("root/relay/outbox_poller")
    })
    .await;
    let asked = site.command(&["health", "--ready"]).output().unwrap();
    assert_eq!(asked.status.code(), Some(1));
    assert!(text(&asked.stdout).contains("was paused by an operator"), "{asked:?}");
    assert!(site.command(&["health"]).status().unwrap().success(), "it lives nevertheless");
    assert_eq!(reply(site.post("/api/v1/tree/root/relay/outbox_poller/resume")).await.status, 202);
    until("it is ready again", || is_ready(&site)).await;
    assert!(site.command(&["health", "--ready"]).status().unwrap().success());
}

#[actix_web::test]
async fn a_server_that_is_away_is_a_reason_without_details() {
    let redis = servers::Redis::start_own();
    let database = servers::Postgres::shared().database();
    let stage = Stage::on(&database, &redis.url(), "ready").await;
    assert!(stage.run(&["migrate", "up"]).status.success());
    let site = Site::on(&stage, variables(&[("FACTLINE__ADMIN__UNREADY_AFTER", "1s")])).await;
    until("it is ready", || is_ready(&site)).await;
    redis.stop();
    until("the streams are a reason", || async {
        let told = reply(site.get("/health/ready")).await;
        let reasons = told.body["reasons"].as_array().cloned().unwrap_or_default();
        reasons.iter().any(|reason| reason["part"] == "streams" && reason.get("reason").is_none())
    })
    .await;
    let streams = part(&site, "streams").await;
    assert_eq!(streams["state"], "failed");
    assert!(streams["reason"].as_str().unwrap().contains("redis"), "{streams}");
    redis.start();
    until("it is ready again", || is_ready(&site)).await;
}
