//! SIGTERM and SIGINT drain; a second one exits at once.

use super::stage::Stage;
use crate::servers;

#[tokio::test]
async fn sigterm_and_sigint_drain_and_exit_0() {
    for signal in ["TERM", "INT"] {
        let stage = Stage::new().await;
        let mut daemon = stage.start(&["run"]);
        stage.insert_messages(3000, 50).await;
        stage.until_recorded(1).await;
        daemon.signal(signal);
        assert!(daemon.ended().await.success());
        assert!(daemon.log().contains("drained"), "{}", daemon.log());
        // What was read is recorded and acknowledged; nothing hangs in between.
        let status = stage.status().await;
        assert!(status["lag"].as_array().unwrap().iter().all(|lag| lag["pending"] == 0), "{status}");

        let daemon = stage.start(&["run"]);
        stage.until_recorded(3000).await;
        stage.assert_exactly_once_in_order().await;
        assert!(daemon.stop().await.success());
    }
}

#[tokio::test]
async fn a_second_signal_exits_at_once_and_loses_nothing() {
    let redis = servers::Redis::start_own();
    let stage = Stage::on(&servers::Postgres::shared().database(), &redis.url(), "signals").await;
    assert!(stage.run(&["migrate", "up"]).status.success());
    let address = super::stage::free_address();
    let mut command = stage.command(&["run"]);
    command.env("FACTLINE__ADMIN__BIND", &address);
    let mut daemon = super::stage::Daemon::start(command, stage.folder.path().join("log"));
    daemon.until_logged("partitions taken on").await;
    redis.freeze(); // it hangs: nothing that is in flight can be drained
    stage.insert_messages(500, 50).await;
    super::stage::until("a batch is on its way", || async {
        let tree =
            ureq::get(format!("http://{address}/api/v1/tree")).call().unwrap().body_mut().read_to_string();
        let tree: serde_json::Value = serde_json::from_str(&tree.unwrap()).unwrap();
        tree["children"][0]["children"][0]["in_flight"].as_u64().unwrap() > 0
    })
    .await;
    daemon.signal("TERM");
    daemon.until_logged("draining").await;
    daemon.signal("TERM");
    assert!(!daemon.ended().await.success());
    assert!(daemon.log().contains("second signal"), "{}", daemon.log());

    redis.thaw();
    let daemon = stage.start(&["run"]);
    stage.until_recorded(500).await;
    stage.assert_exactly_once_in_order().await;
    assert!(daemon.stop().await.success());
}
