//! Consumers that do not get on: pressure travels back until the outbox holds the rows, and memory stays flat.

use sqlx::Connection as _;

use super::scene::BRISK;
use crate::daemon::stage::{Daemon, Stage, free_address, until};

/// So much may the daemon grow while rows come that would take twice as much of its memory, if it held them.
const BOUND_KIB: u64 = 20 << 10;

const ROWS: u32 = 8_000;

/// Payload of each of them.
const BYTES: u32 = 5_000;

/// Resident memory, as the kernel counts it.
fn resident_kib(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn while_the_store_is_held_up_the_outbox_holds_the_rows_and_memory_stays_flat() {
    let stage = Stage::new().await;
    let admin = free_address();
    let tight = [("FACTLINE__STREAM__MAX_LENGTH", "50"), ("FACTLINE__ADMIN__BIND", admin.as_str())];
    let daemon = stage.start_with(&["run"], &[BRISK, &tight].concat());
    stage.insert_messages(1000, 100).await;
    stage.until_recorded(1000).await;

    let mut other = sqlx::PgConnection::connect(&stage.direct).await.unwrap();
    let mut held_up = other.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE factline.event_ledger IN EXCLUSIVE MODE").execute(&mut *held_up).await.unwrap();
    stage.insert_messages(2000, 100).await;
    let paused = async || {
        let url = format!("http://{admin}/api/v1/tree");
        let tree = tokio::task::spawn_blocking(|| ureq::get(url).call()?.body_mut().read_to_string());
        tree.await.unwrap().unwrap().contains("at its cap")
    };
    until("the relay pauses", &paused).await;
    let before = resident_kib(&daemon);
    let published = "SELECT count(*) FROM outbox_events WHERE status = 'processed'";
    let published_before = stage.count(published).await;
    let large = format!(
        "INSERT INTO outbox_events(topic, key, event_type, payload) SELECT 'chat', 'c' || g % 100, 'chat.message', \
         jsonb_build_object('conversation_id', 'c' || g % 100, 'content', repeat('x', {BYTES})) \
         FROM generate_series(1, {ROWS}) AS g"
    );
    stage.execute(large).await;
    // The relay looks at its outbox all the time; so do we, a few times.
    for _ in 0..20 {
        assert!(stage.count(published).await < published_before + 1000);
    }
    until("the relay still pauses", &paused).await;
    let (after, published_after) = (resident_kib(&daemon), stage.count(published).await);
    assert!(after < before + BOUND_KIB, "from {before} to {after} KiB");
    assert!(published_after < published_before + 1000, "from {published_before} to {published_after}");

    held_up.rollback().await.unwrap();
    stage.until_recorded(3000 + i64::from(ROWS)).await;
    stage.assert_exactly_once_in_order().await;
    assert!(daemon.stop().await.success());
}
