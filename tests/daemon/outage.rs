//! An outage is not a failure: stages wait it out, and nothing is restarted for it.

use super::stage::{Daemon, Stage, free_address, text, unique, until};
use crate::servers;

#[tokio::test]
async fn redis_and_postgres_may_go_away_and_come_back_under_load() {
    let (postgres, redis) = (servers::Postgres::start_own(), servers::Redis::start_own());
    let stage = Stage::on(&postgres.database(), &redis.url(), "outage").await;
    assert!(stage.run(&["migrate", "up"]).status.success());
    let address = free_address();
    let mut command = stage.command(&["run"]);
    command.env("FACTLINE__ADMIN__BIND", &address);
    let daemon = Daemon::start(command, stage.folder.path().join("log"));
    daemon.until_logged("partitions taken on").await;

    stage.insert_messages(3000, 100).await;
    stage.until_recorded(1).await;
    redis.stop();
    stage.insert_messages(1000, 100).await;
    daemon.until_logged("degraded").await;
    redis.start();
    stage.until_recorded(4000).await;

    stage.insert_messages(3000, 100).await;
    postgres.stop();
    until("the store is missed", || async { daemon.log().contains("postgres is unavailable") }).await;
    postgres.start();
    until("the store is back", || async { stage.try_recorded().await >= Some(7000) }).await;
    stage.assert_exactly_once_in_order().await;
    assert_eq!(stage.recorded().await, 7000);

    let tree = stage.command(&["status", "--json"]).env("FACTLINE__ADMIN__BIND", &address).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&tree.stdout).unwrap();
    assert_eq!(restarts(&status["tree"]), 0, "{}", daemon.log());
    assert!(daemon.stop().await.success());
}

/// A role that may not log in any more ends a start, and a running daemon waits for it.
#[tokio::test]
async fn a_daemon_whose_role_is_locked_out_goes_on_when_it_is_let_in_again() {
    let mut stage = Stage::new().await;
    let role = unique("worker").replace('-', "_");
    stage.execute(format!("CREATE ROLE {role} LOGIN SUPERUSER")).await;
    stage.database = stage.direct.replace("postgres@", &format!("{role}@"));
    let daemon = stage.start(&["run"]);
    daemon.until_logged("partitions taken on").await;
    stage.execute(format!("ALTER ROLE {role} NOLOGIN")).await;
    let end =
        format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = '{role}'");
    assert!(stage.count(end).await > 0);
    daemon.until_logged("is not permitted to log in").await;
    stage.insert_messages(10, 1).await;
    let refused = stage.run(&["run"]);
    assert!(text(&refused.stderr).contains("source.url is unusable"), "{refused:?}");
    stage.execute(format!("ALTER ROLE {role} LOGIN")).await;
    stage.until_recorded(10).await;
    assert!(daemon.stop().await.success());
    stage.execute(format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

fn restarts(node: &serde_json::Value) -> u64 {
    let children = node["children"].as_array().into_iter().flatten();
    node["restarts"].as_u64().unwrap() + children.map(restarts).sum::<u64>()
}

#[tokio::test]
async fn a_shutdown_during_an_outage_waits_for_nothing() {
    let (postgres, redis) = (servers::Postgres::start_own(), servers::Redis::start_own());
    let stage = Stage::on(&postgres.database(), &redis.url(), "outage").await;
    assert!(stage.run(&["migrate", "up"]).status.success());

    let daemon = stage.start(&["run"]);
    daemon.until_logged("partitions taken on").await;
    redis.stop();
    stage.insert_messages(3000, 100).await;
    until("Redis is missed", || async { daemon.log().contains("redis is unavailable") }).await;
    ends_cleanly(daemon).await;

    redis.start();
    let daemon = stage.start(&["run"]);
    stage.until_recorded(500).await;
    postgres.stop();
    until("the store is missed", || async { daemon.log().contains("postgres is unavailable") }).await;
    ends_cleanly(daemon).await;

    postgres.start();
    let daemon = stage.start(&["run"]);
    until("everything is recorded", || async { stage.try_recorded().await == Some(3000) }).await;
    stage.assert_exactly_once_in_order().await;
    assert!(daemon.stop().await.success());
}

/// Nobody had to be killed for it.
async fn ends_cleanly(mut daemon: Daemon) {
    daemon.signal("TERM");
    assert!(daemon.ended().await.success());
    let log = daemon.log();
    assert!(log.contains("\"drained\"") && !log.contains("killed"), "{log}");
}
