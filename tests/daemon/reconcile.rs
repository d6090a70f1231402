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

#[tokio::test]
async fn a_server_that_comes_back_without_its_data_is_noticed_before_anything_is_appended() {
    let redis = forgetful_redis();
    let stage = stage_on(&redis).await;
    let daemon = started(&stage).await;
    for _ in 0..2 {
        let recorded = stage.recorded().await;
        for _ in 0..5 {
            stage.insert_messages(2_000, 50).await;
        }
        stage.until_recorded(recorded + 1).await;
        redis.kill();
        stage.insert_messages(1_000, 50).await;
        redis.start();
    }
    stage.until_recorded(22_000).await;
    stage.assert_exactly_once_in_order().await;
    assert_eq!(stage.recorded().await, 22_000);
    assert!(daemon.log().contains("the stream lost entries"), "{}", daemon.log());
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn a_server_that_comes_back_with_older_data_is_noticed_by_where_its_streams_end() {
    let redis = servers::Redis::start_own_with(&["--appendonly", "no"]);
    let stage = stage_on(&redis).await;
    let relay = stage.start(&["run", "--only", "relay"]);
    relay.until_logged("this relay is active").await;
    stage.insert_messages(500, 50).await;
    until_published(&stage, 500).await;
    save(&stage).await;
    // Published, and in no file yet.
    stage.insert_messages(500, 50).await;
    until_published(&stage, 1_000).await;
    redis.kill();
    redis.start();
    stage.insert_messages(500, 50).await;
    until_published(&stage, 1_500).await;
    relay.until_logged("but").await;
    let log = relay.log();
    assert!(log.contains("ends at") && log.contains("was appended to it"), "{log}");
    let consumers = stage.start(&["run", "--only", "consumers"]);
    stage.until_recorded(1_500).await;
    stage.assert_exactly_once_in_order().await;
    assert!(relay.stop().await.success() && consumers.stop().await.success());
}

/// The data of now is what the server has after a restart.
async fn save(stage: &Stage) {
    let client = ::redis::Client::open(stage.redis.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let () = ::redis::cmd("SAVE").query_async(&mut connection).await.unwrap();
}

async fn until_published(stage: &Stage, rows: i64) {
    let published = "SELECT count(*) FROM outbox_events WHERE status = 'processed'";
    until(&format!("{rows} rows are processed"), || async { stage.count(published).await >= rows }).await;
}

#[tokio::test]
async fn a_relay_looks_for_what_was_lost_before_it_became_active() {
    let redis = forgetful_redis();
    let stage = stage_on(&redis).await;
    // The group begins, and is not there when it would matter.
    started(&stage).await.kill().await;
    let relay = stage.start(&["run", "--only", "relay"]);
    stage.insert_messages(3_000, 50).await;
    until_published(&stage, 3_000).await;
    relay.kill().await;
    flushall(&stage).await;
    stage.insert_messages(1_000, 50).await;
    let daemon = started(&stage).await;
    stage.until_recorded(4_000).await;
    stage.assert_exactly_once_in_order().await;
    assert!(daemon.log().contains("found when this relay became active"), "{}", daemon.log());
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn a_row_that_nobody_has_is_shown_by_a_dry_run_and_published_by_reconcile() {
    let stage = Stage::new().await;
    let daemon = started(&stage).await;
    stage.insert_messages(10, 2).await;
    stage.until_recorded(10).await;
    stage
        .execute(
            "INSERT INTO outbox_events(topic, key, event_type, payload, status, processed_at) \
             SELECT topic, key, event_type, payload, 'processed', clock_timestamp() \
             FROM outbox_events WHERE id = 1",
        )
        .await;
    for _ in 0..2 {
        let found = report(&stage, &["reconcile", "--dry-run"]).await;
        let counts =
            ["examined", "recorded", "carried", "lost", "republished"].map(|count| found[count].clone());
        assert_eq!(counts, [11, 10, 0, 1, 0]);
        assert_eq!(
            (&found["newest_lost"][0]["row"], &found["newest_lost"][0]["key"]),
            (&"11".into(), &"c0".into())
        );
    }
    let said = text(&run(&stage, &["reconcile", "--dry-run"]).await.stdout);
    assert!(said.contains("1  lost") && said.contains("nothing was changed"), "{said}");
    assert_eq!(stage.recorded().await, 10);

    assert_eq!(report(&stage, &["reconcile"]).await["republished"], 1);
    stage.until_recorded(11).await;
    assert_eq!(report(&stage, &["reconcile"]).await["republished"], 0);
    stage.assert_exactly_once_in_order().await;
    assert!(daemon.stop().await.success());
}

/// Years of rows that another relay has processed are there, and unknown to our ledger.
#[tokio::test]
async fn what_was_processed_before_the_group_began_is_never_published_again() {
    let stage = Stage::new().await;
    stage.insert_messages(3_000, 50).await;
    // Some by a clock that is ahead of ours, or in another time zone.
    stage
        .execute(
            "UPDATE outbox_events SET status = 'processed', processed_at = CASE WHEN id <= 1000 THEN NULL \
             WHEN id <= 2000 THEN clock_timestamp() - interval '1 year' \
             ELSE clock_timestamp() + interval '2 hours' END",
        )
        .await;
    let mut command = stage.command(&["run"]);
    command.env("FACTLINE__JANITOR__RECONCILE_EVERY", "10ms").env("FACTLINE__RELAY__RETENTION", "forever");
    let daemon = Daemon::start(command, stage.folder.path().join("log"));
    daemon.until_logged("partitions taken on").await;
    stage.insert_messages(100, 50).await;
    stage.until_recorded(100).await;
    let found = report(&stage, &["reconcile"]).await;
    let counts = ["examined", "recorded", "lost", "before_horizon", "unknown_time", "republished"];
    assert_eq!(counts.map(|count| found[count].clone()), [3_100, 100, 0, 2_000, 1_000, 0]);
    let pending = "SELECT count(*) FROM outbox_events WHERE status = 'pending'";
    assert_eq!((stage.count(pending).await, stage.recorded().await), (0, 100));
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn the_janitor_publishes_again_what_nobody_has_noticed() {
    let redis = forgetful_redis();
    let stage = stage_on(&redis).await;
    started(&stage).await.kill().await;
    let mut command = stage.command(&["run", "--only", "relay"]);
    command.env("FACTLINE__JANITOR__RECONCILE_EVERY", "50ms");
    let relay = Daemon::start(command, stage.folder.path().join("log"));
    stage.insert_messages(2_000, 50).await;
    until_published(&stage, 2_000).await;
    flushall(&stage).await;
    // Nothing is appended any more that would notice.
    relay.until_logged("neither in a stream nor recorded").await;
    let consumers = stage.start(&["run", "--only", "consumers"]);
    stage.until_recorded(2_000).await;
    stage.assert_exactly_once_in_order().await;
    assert!(relay.stop().await.success() && consumers.stop().await.success());
}
