//! Two daemons on the same databases: one relay active, the other takes over when it dies.

use std::time::Duration;

use tokio::time::Instant;

use super::stage::{Stage, until};

#[tokio::test]
async fn one_relay_is_active_and_the_standby_takes_over_within_five_seconds_of_a_kill() {
    let stage = Stage::new().await;
    let first = stage.start(&["run"]);
    first.until_logged("this relay is active").await;
    let second = stage.start(&["run"]);
    second.until_logged("factline is running").await;
    stage.insert_messages(4000, 100).await;
    stage.until_recorded(1000).await;
    assert!(!second.log().contains("this relay is active"));
    let holders = "SELECT count(DISTINCT holder) FROM factline.leases WHERE name = 'relay:outbox'";
    assert_eq!(stage.count(holders).await, 1);

    first.kill().await;
    let killed = Instant::now();
    until("the standby is active", || async {
        stage.count("SELECT count(*) FROM factline.leases WHERE name = 'relay:outbox' AND token = 2").await
            == 1
    })
    .await;
    // Not a matter of the machine's speed: leases last three seconds and are asked for every second.
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
    stage.insert_messages(2000, 100).await;
    stage.until_recorded(6000).await;
    stage.assert_exactly_once_in_order().await;
    assert_eq!(stage.recorded().await, 6000);
    assert!(second.stop().await.success());
}

#[tokio::test]
async fn a_clean_stop_hands_the_leases_over_at_once() {
    let stage = Stage::new().await;
    let first = stage.start(&["run"]);
    first.until_logged("partitions taken on").await;
    assert!(first.stop().await.success());
    assert_eq!(
        stage.count("SELECT count(*) FROM factline.leases WHERE expires_at > clock_timestamp()").await,
        0
    );
    assert_eq!(stage.count("SELECT count(*) FROM factline.leases").await, 9);
}
