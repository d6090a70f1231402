//! The main job on PostgreSQL and Redis: rows by plain SQL become facts, poison among them changes nothing.

use super::stage::{Stage, until};

const ROWS: u32 = 20_000;
const POISON_ROWS: i64 = 3;
const POISON_ENTRIES: usize = 4;

#[tokio::test]
async fn twenty_thousand_rows_by_plain_sql_are_recorded_once_in_order() {
    let stage = Stage::new().await;
    let daemon = stage.start(&["run"]);
    stage.insert_messages(ROWS / 2, 500).await;
    poison_the_outbox(&stage).await;
    poison_the_stream(&stage).await;
    stage.insert_messages(ROWS / 2, 500).await;

    let events = i64::from(ROWS) + POISON_ROWS + i64::try_from(POISON_ENTRIES).unwrap();
    stage.until_recorded(events).await;
    assert_eq!(stage.recorded().await, events);
    stage.assert_exactly_once_in_order().await;
    until("all streams are drained", || async { stage.undrained().await == 0 }).await;

    let homes = stage.count("SELECT count(*) FROM factline.facts WHERE predicate = 'lives_in'").await;
    assert!(homes >= 500, "{homes} facts");
    let current = "SELECT count(*) FROM factline.facts WHERE predicate = 'lives_in' AND superseded_by IS NULL \
                   AND subject = 'user'";
    assert_eq!(stage.count(current).await, 500, "one home for each conversation");
    let titled = "SELECT count(*) FROM factline.conversations WHERE title IS NOT NULL";
    assert!(stage.count(titled).await >= 500);

    what_could_be_read_was_recorded_the_rest_set_aside(&stage).await;
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    assert!(
        !daemon.log().contains("restarting it"),
        "poison is no reason to restart anything: {}",
        daemon.log()
    );
    assert!(daemon.stop().await.success());
}

async fn poison_the_outbox(stage: &Stage) {
    stage
        .execute(
            r#"INSERT INTO outbox_events(topic, key, event_type, payload) VALUES
               ('chat', 'c1', 'chat.message', '{"conversation_id": "c1", "message_id": "no-content", "role": "user"}'),
               ('chat', 'c2', 'chat.message', '{"conversation_id": "c2", "message_id": "float", "role": "user",
                 "speaker": "Robin", "content": "My name is Robin.", "sent_at": 1769067099.568}'),
               ('chat', 'c3', 'chat.message', '["no", "object"]')"#,
        )
        .await;
}

/// What another producer, or somebody with a prompt, may append.
async fn poison_the_stream(stage: &Stage) {
    let client = redis::Client::open(stage.redis.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let key = format!("{}:chat:5", stage.prefix);
    let id = || uuid::Uuid::now_v7().to_string().into_bytes();
    let nul = br#"{"conversation_id": "n\u0000l", "content": "I live in Cork.", "message_id": "1"}"#;
    let entries: [(Vec<u8>, &[u8]); POISON_ENTRIES] = [
        (b"chat-1769035355992".to_vec(), b"not { json"),
        (id(), b"not { json"),
        // Only the store finds out that it cannot hold this.
        (id(), nul),
        (id(), b"{\"content\": \"\xff\xfe\"}"),
    ];
    for (id, data) in entries {
        let mut append = redis::cmd("XADD");
        append.arg(&key).arg("*").arg("id").arg(id).arg("type").arg("chat.message").arg("data").arg(data);
        let _: String = append.query_async(&mut connection).await.unwrap();
    }
}

async fn what_could_be_read_was_recorded_the_rest_set_aside(stage: &Stage) {
    let letters: Vec<(String, String, String, Vec<u8>)> = sqlx::query_as(
        "SELECT stage, event_id, error, payload FROM factline.dead_letters ORDER BY stage, error, event_id",
    )
    .fetch_all(&stage.pool)
    .await
    .unwrap();
    let told: Vec<String> = letters
        .iter()
        .map(|(stage, id, error, payload)| {
            let id = if uuid::Uuid::try_parse(id).is_ok() { "UUID" } else { id };
            let payload: String = String::from_utf8_lossy(payload).chars().take(24).collect();
            // PostgreSQL names a line of its own source, which is another one in every version.
            let error = error.split_inclusive("0x00").next().unwrap();
            format!("{stage} | {id} | {error} | {payload}")
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"));
    // A float time is a time.
    let float: i64 = stage
        .count(
            "SELECT (extract(epoch FROM valid_from) * 1000)::bigint FROM factline.facts \
             WHERE subject = 'Robin' AND predicate = 'name'",
        )
        .await;
    assert_eq!(float, 1_769_067_099_568);
    let outcome = "SELECT count(*) FROM factline.event_ledger WHERE outcome = 'dead_lettered'";
    assert_eq!(stage.count(outcome).await, POISON_ROWS - 1 + i64::try_from(POISON_ENTRIES).unwrap());
}

#[tokio::test]
async fn a_row_of_a_transaction_that_commits_late_is_found_behind_the_cursor() {
    let stage = Stage::new().await;
    let daemon = stage.start(&["run"]);
    let mut late = stage.pool.begin().await.unwrap();
    sqlx::query(
        "INSERT INTO outbox_events(topic, key, event_type, payload) VALUES ('chat', 'late', 'other', '{}')",
    )
    .execute(&mut *late)
    .await
    .unwrap();
    stage.insert_messages(10, 2).await;
    stage.until_recorded(10).await;
    late.commit().await.unwrap();
    stage.until_recorded(11).await;
    stage.assert_exactly_once_in_order().await;
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn the_trace_is_carried_from_the_outbox_row_to_the_ledger() {
    let stage = Stage::new().await;
    let daemon = stage.start(&["run"]);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    stage
        .execute(format!(
            r#"INSERT INTO outbox_events(topic, key, event_type, payload, headers) VALUES
               ('chat', 'c', 'chat.message', '{{"content": "I like tea."}}', '{{"traceparent": "{trace}"}}')"#
        ))
        .await;
    stage.until_recorded(1).await;
    let carried: String = sqlx::query_scalar(
        "SELECT traceparent FROM factline.event_ledger JOIN factline.facts USING (event_id)",
    )
    .fetch_one(&stage.pool)
    .await
    .unwrap();
    assert_eq!(carried, trace);
    assert!(daemon.stop().await.success());
}
