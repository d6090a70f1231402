//! `factline verify` finds what is lost, doubled or out of order, and `factline ledger cleanup` makes nothing of it.

use std::process::Output;

use super::stage::{Daemon, Stage, text, until};

async fn run(stage: &Stage, arguments: &[&str]) -> Output {
    let mut command = stage.command(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// The last line, and whether the command was content.
async fn verdict(stage: &Stage) -> (String, bool) {
    let output = run(stage, &["verify"]).await;
    let said = text(&output.stdout);
    (said.lines().last().unwrap_or_default().to_owned(), output.status.success())
}

async fn assert_verdict(stage: &Stage, line: &str, content: bool) {
    assert_eq!(verdict(stage).await, (line.to_owned(), content));
}

/// A hundred messages and a row that can't be published, all recorded.
async fn recorded_stage() -> (Stage, Daemon) {
    let stage = Stage::new().await;
    let daemon = stage.start(&["run"]);
    daemon.until_logged("partitions taken on").await;
    stage.insert_messages(100, 10).await;
    stage.execute("INSERT INTO outbox_events(topic, key, event_type, payload) VALUES ('chat', 'c0', 'chat.message', '[]')").await;
    stage.until_recorded(101).await;
    stage.assert_exactly_once_in_order().await;
    (stage, daemon)
}

#[tokio::test]
async fn all_is_well_until_somebody_breaks_it() {
    let (stage, daemon) = recorded_stage().await;
    assert_verdict(&stage, "lost=0 doubled=0 misordered=0 waiting=0", true).await;
    // What a stream still carries is not lost.
    until("the streams are trimmed", || async {
        let status = stage.status().await;
        status["lag"].as_array().unwrap().iter().all(|one| one["length"] == 0)
    })
    .await;
    assert!(daemon.stop().await.success());

    stage.execute("DELETE FROM factline.event_ledger WHERE event_id = (SELECT event_id FROM outbox_events WHERE id = 101)").await;
    assert_verdict(&stage, "lost=1 doubled=0 misordered=0 waiting=0", false).await;
    let json = run(&stage, &["verify", "--json"]).await;
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let partitions = json["partitions"].as_array().unwrap();
    let total = |field: &str| partitions.iter().map(|one| one[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!((json["lost"].as_u64(), total("events"), total("recorded")), (Some(1), 101, 100));
    assert_eq!(partitions.iter().filter(|one| one["outbox_hash"] != one["ledger_hash"]).count(), 1);
    // In hex: as numbers they would lose their last digits in most programs.
    assert!(partitions.iter().all(|one| one["ledger_hash"].as_str().unwrap().len() == 16), "{partitions:?}");

    stage.execute("UPDATE outbox_events SET status = 'pending' WHERE id = 101").await;
    assert_verdict(&stage, "lost=0 doubled=0 misordered=0 waiting=1", true).await;
    stage
        .execute(
            "UPDATE outbox_events SET status = 'failed', processed_at = clock_timestamp() WHERE id = 101",
        )
        .await;
    assert_verdict(&stage, "lost=1 doubled=0 misordered=0 waiting=0", false).await;
    stage.execute("DELETE FROM outbox_events WHERE id = 101").await;

    stage.execute("UPDATE factline.conversations SET message_count = message_count + 1 WHERE conversation_id = 'c1'").await;
    assert_verdict(&stage, "lost=0 doubled=1 misordered=0 waiting=0", false).await;
    stage.execute("UPDATE factline.conversations SET message_count = message_count - 1 WHERE conversation_id = 'c1'").await;
    stage
        .execute(
            "INSERT INTO factline.facts SELECT gen_random_uuid(), gen_random_uuid(), subject, predicate, object, confidence, \
             valid_from, valid_to, recorded_at, superseded_by, event_id, conversation_id, message_id, quote, span_start, \
             span_end, extractor, extractor_version FROM factline.facts LIMIT 1",
        )
        .await;
    assert_verdict(&stage, "lost=0 doubled=1 misordered=0 waiting=0", false).await;
    stage.execute("DELETE FROM factline.facts").await;

    stage
        .execute(
            "UPDATE factline.event_ledger SET processed_at = processed_at - interval '1 hour' \
             WHERE event_id = (SELECT event_id FROM outbox_events WHERE key = 'c3' ORDER BY id DESC LIMIT 1)",
        )
        .await;
    let (line, content) = verdict(&stage).await;
    assert!(line.starts_with("lost=0 doubled=0 misordered=1 ") && !content, "{line}");
}

#[tokio::test]
async fn a_row_that_cannot_be_published_is_not_lost() {
    let stage = Stage::new().await;
    stage
        .execute(
            "ALTER TABLE outbox_events ALTER event_id DROP DEFAULT, ALTER event_id TYPE text; \
             ALTER TABLE outbox_events ALTER event_id SET DEFAULT outbox_uuid_v7()::text; \
             INSERT INTO outbox_events(event_id, topic, key, event_type, payload) \
             VALUES ('chat-1769035355992', 'chat', 'c', 'chat.message', '{}')",
        )
        .await;
    let daemon = stage.start(&["run"]);
    stage.until_recorded(1).await;
    daemon.until_logged("set aside").await;
    stage.insert_messages(1, 1).await;
    stage.until_recorded(2).await;
    assert_verdict(&stage, "lost=0 doubled=0 misordered=0 waiting=0", true).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn what_the_ledger_has_forgotten_is_not_lost() {
    let (stage, daemon) = recorded_stage().await;
    let said = text(&run(&stage, &["ledger", "cleanup", "--older-than", "0s", "--dry-run"]).await.stdout);
    assert!(said.starts_with("100 rows recorded before") && said.contains("nothing was changed"), "{said}");
    assert_eq!(stage.recorded().await, 101);
    // The relay was slow to mark one of them, for its database was away.
    stage
        .execute("UPDATE outbox_events SET processed_at = processed_at + interval '1 hour' WHERE id = 7")
        .await;
    let said = text(&run(&stage, &["ledger", "cleanup", "--older-than", "0s"]).await.stdout);
    assert!(said.starts_with("deleted 100 rows"), "{said}");
    assert_eq!(stage.recorded().await, 1, "its dead letter is open");

    let output = run(&stage, &["reconcile", "--json"]).await;
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let counts = ["examined", "recorded", "lost", "before_horizon", "republished"];
    assert_eq!(counts.map(|count| found[count].clone()), [101, 1, 0, 100, 0]);
    assert_verdict(&stage, "lost=0 doubled=0 misordered=0 waiting=0", true).await;

    stage.insert_messages(100, 10).await;
    stage.until_recorded(101).await;
    assert_verdict(&stage, "lost=0 doubled=0 misordered=0 waiting=0", true).await;
    assert!(daemon.stop().await.success());
}
