//! The stream loses entries, and nothing else does: neither an event nor the order of its key.

use std::process::Output;

use super::stage::{Daemon, Stage, text, until};
use crate::servers;

/// Redis of the test's own, that keeps nothing over a restart.
fn forgetful_redis() -> servers::Redis {
    servers::Redis::start_own_with(&["--appendonly", "no"])
}

async fn stage_on(redis: &servers::Redis) -> Stage {
    let database = servers::Postgres::shared().database();
    let stage = Stage::on(&database, &redis.url(), "reconcile").await;
    assert!(stage.run(&["migrate", "up"]).status.success());
    stage
}

async fn started(stage: &Stage) -> Daemon {
    let daemon = stage.start(&["run"]);
    daemon.until_logged("partitions taken on").await;
    daemon
}

async fn flushall(stage: &Stage) {
    let client = ::redis::Client::open(stage.redis.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let () = ::redis::cmd("FLUSHALL").query_async(&mut connection).await.unwrap();
}

/// A command of ours, beside the test.
async fn run(stage: &Stage, arguments: &[&str]) -> Output {
    let mut command = stage.command(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn report(stage: &Stage, arguments: &[&str]) -> serde_json::Value {
    let output = run(stage, &[arguments, &["--json"]].concat()).await;
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

#[tokio::test]
async fn flushall_under_load_costs_neither_events_nor_order() {
    let redis = forgetful_redis();
    let stage = stage_on(&redis).await;
    let daemon = started(&stage).await;
    let mut inserted = 0;
    for _ in 0..5 {
        let recorded = stage.recorded().await;
        for _ in 0..5 {
            stage.insert_messages(2_000, 50).await;
            inserted += 2_000;
        }
        stage.until_recorded(recorded + 1).await;
        flushall(&stage).await;
        stage.insert_messages(1_000, 50).await;
        inserted += 1_000;
    }
    stage.until_recorded(inserted).await;
    stage.assert_exactly_once_in_order().await;
    assert_eq!(stage.recorded().await, inserted);
    assert!(daemon.log().contains("the stream lost entries"), "{}", daemon.log());
    until("nothing is pending", || async { stage.undrained().await == 0 }).await;
    assert!(daemon.stop().await.success());
}
