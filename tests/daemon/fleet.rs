//! Daemons that share the partitions of a group: each has its part, and each key keeps its order, whoever joins, dies,
//! or sleeps through its lease.

use std::process::Command;

use super::stage::{Daemon, Stage, unique, until};

fn start(stage: &Stage, name: &str) -> Daemon {
    let mut command: Command = stage.command(&["run"]);
    command.env("FACTLINE__INSTANCE", name);
    command.env("FACTLINE__STORE__LEASE_TTL", "1s").env("FACTLINE__GROUPS__FACTS__BATCH_SIZE", "100");
    Daemon::start(command, stage.folder.path().join(unique("log")))
}

/// How many partitions each daemon holds, the most first.
async fn shares(stage: &Stage) -> Vec<i64> {
    let held = "SELECT count(*) AS held FROM factline.leases WHERE name LIKE 'partition:%' \
                AND expires_at > clock_timestamp() GROUP BY holder ORDER BY held DESC";
    sqlx::query_scalar(held).fetch_all(&stage.pool).await.unwrap()
}

async fn until_shares_are(stage: &Stage, wanted: &[i64]) {
    until(&format!("shares of {wanted:?}"), || async { shares(stage).await == wanted }).await;
}

#[tokio::test]
async fn partitions_are_shared_evenly_and_again_when_a_daemon_joins_dies_or_stops() {
    let stage = Stage::new().await;
    let first = start(&stage, "first");
    until_shares_are(&stage, &[8]).await;
    let second = start(&stage, "second");
    until_shares_are(&stage, &[4, 4]).await;
    let third = start(&stage, "third");
    until_shares_are(&stage, &[3, 3, 2]).await;
    stage.insert_messages(2000, 100).await;
    stage.until_recorded(2000).await;
    second.kill().await;
    until_shares_are(&stage, &[4, 4]).await;
    assert!(third.stop().await.success());
    until_shares_are(&stage, &[8]).await;
    stage.assert_exactly_once_in_order().await;
    assert!(first.stop().await.success());
    assert_eq!(
        stage
            .count(
                "SELECT count(*) FROM factline.leases WHERE name LIKE 'member:group:%' \
                            AND expires_at > clock_timestamp()"
            )
            .await,
        0
    );
}

#[tokio::test]
async fn of_three_daemons_one_is_killed_and_one_sleeps_past_its_lease_and_every_key_keeps_its_order() {
    let stage = Stage::new().await;
    let first = start(&stage, "first");
    let second = start(&stage, "second");
    let third = start(&stage, "third");
    until_shares_are(&stage, &[3, 3, 2]).await;
    for round in 1..=4 {
        stage.insert_messages(3000, 150).await;
        stage.until_recorded(3000 * round - 2500).await;
        second.signal("STOP");
        stage.insert_messages(500, 150).await;
        until("its leases are over, and others have its partitions", || async {
            let asleep = "SELECT count(*) FROM factline.leases WHERE holder LIKE 'second-%' \
                          AND expires_at > clock_timestamp()";
            stage.count(asleep).await == 0 && shares(&stage).await == [4, 4]
        })
        .await;
        stage.until_recorded(3500 * round - 1000).await;
        second.signal("CONT");
        until_shares_are(&stage, &[3, 3, 2]).await;
    }
    first.kill().await;
    stage.insert_messages(3000, 150).await;
    stage.until_recorded(17_000).await;
    stage.assert_exactly_once_in_order().await;
    assert_eq!(stage.recorded().await, 17_000);
    until_shares_are(&stage, &[4, 4]).await;
    until("everything is acknowledged", || async { stage.undrained().await == 0 }).await;
    assert!(second.stop().await.success() && third.stop().await.success());
}
