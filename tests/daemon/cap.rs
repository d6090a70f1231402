//! A stream at its cap pauses the relay; nothing that a group needs is trimmed.

use super::stage::{Stage, until};

#[tokio::test]
async fn the_relay_pauses_at_the_cap_and_goes_on_when_entries_are_consumed() {
    let stage = Stage::new().await;
    stage.insert_messages(2000, 40).await;
    let mut relay = stage.command(&["run", "--only", "relay"]);
    relay.env("FACTLINE__STREAM__MAX_LENGTH", "30").env("FACTLINE__RELAY__BATCH_SIZE", "50");
    let address = super::stage::free_address();
    relay.env("FACTLINE__ADMIN__BIND", &address);
    let relay = super::stage::Daemon::start(relay, stage.folder.path().join("relay.log"));

    let status = || async {
        let output =
            stage.command(&["status", "--json"]).env("FACTLINE__ADMIN__BIND", &address).output().unwrap();
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    until("the relay says that it is paused", || async {
        status().await["wrong"].to_string().contains("at its cap")
    })
    .await;
    let published = "SELECT count(*) FROM outbox_events WHERE status = 'processed'";
    let paused_at = stage.count(published).await;
    assert!(paused_at < 8 * 30 + 50, "{paused_at} rows published");

    let consumers = stage.start(&["run", "--only", "consumers"]);
    stage.until_recorded(2000).await;
    stage.assert_exactly_once_in_order().await;
    until("streams are trimmed to nothing", || async {
        status().await["lag"].as_array().unwrap().iter().all(|lag| lag["length"] == 0)
    })
    .await;
    assert!(relay.stop().await.success() && consumers.stop().await.success());
}
