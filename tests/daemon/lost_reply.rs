//! A reply that is lost on its way: the server has delivered entries, and nobody has them.

use super::stage::{Daemon, Stage, free_address, until};
use crate::servers::{self, Proxy};

/// Every entry begins with this attribute.
fn has_entries(reply: &[u8]) -> bool {
    let name = b"specversion";
    reply.windows(name.len()).any(|part| part == name)
}

#[tokio::test]
async fn entries_whose_delivery_was_lost_are_recorded_in_order_without_a_restart() {
    let redis = servers::Redis::shared();
    let proxy = Proxy::before_swallowing(&redis.url(), has_entries).await;
    let through = proxy.of(&redis.url());
    let stage = Stage::on(&servers::Postgres::shared().database(), &through, &redis.prefix()).await;
    assert!(stage.run(&["migrate", "up"]).status.success());
    let address = free_address();
    let mut command = stage.command(&["run"]);
    command.env("FACTLINE__ADMIN__BIND", &address);
    let daemon = Daemon::start(command, stage.folder.path().join("log"));
    daemon.until_logged("partitions taken on").await;
    stage.insert_messages(20, 1).await;
    stage.until_recorded(20).await;

    // A delivery, then another one, or what takes its entries over.
    for (round, replies) in [1, 2, 3].into_iter().enumerate() {
        proxy.swallow(replies);
        for _ in 0..10 {
            stage.insert_messages(10, 1).await;
        }
        until("answers are swallowed", || async { proxy.to_swallow() == 0 }).await;
        stage.insert_messages(20, 1).await;
        stage.until_recorded(20 + 120 * (i64::try_from(round).unwrap() + 1)).await;
    }
    stage.assert_exactly_once_in_order().await;
    until("nothing is pending", || async { stage.undrained().await == 0 }).await;

    let mut status = stage.command(&["status", "--json"]);
    status.env("FACTLINE__ADMIN__BIND", &address);
    let status = tokio::task::spawn_blocking(move || status.output().unwrap()).await.unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    let mut nodes = vec![&status["tree"]];
    while let Some(node) = nodes.pop() {
        assert_eq!(node["restarts"], 0, "{}", daemon.log());
        nodes.extend(node["children"].as_array().into_iter().flatten());
    }
    assert!(daemon.stop().await.success());
}
