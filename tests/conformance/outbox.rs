//! What the `Outbox` port promises.

use chrono::{DateTime, TimeDelta, Utc};
use factline_pipeline::{
    cloudevent,
    outage::Error,
    outbox::{Backlog, Claim, NewEvent, Outbox, Row, RowId},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    adapters::{OutboxFixture, SOURCE},
    samples::{TOPIC, day, trace},
};

for_every_outbox! {
    [
        rows_are_claimed_in_publication_order_with_all_that_they_say,
        a_row_of_plain_sql_gets_its_id_and_times_by_itself,
        rows_in_flight_are_not_claimed_again,
        a_sweep_finds_a_row_that_became_visible_behind_the_cursor,
        processed_rows_are_gone_for_good,
        failed_rows_keep_their_reason_and_are_gone_for_good,
        a_malformed_id_costs_only_its_own_row,
        events_are_inserted_all_or_none,
        an_event_keeps_the_id_that_it_was_given,
        many_events_are_found_at_once,
        the_backlog_counts_what_waits_and_what_failed,
        a_large_backlog_is_estimated,
        processed_rows_are_deleted_in_helpings_after_their_time,
        processed_rows_of_unknown_time_do_not_keep_others_from_being_deleted,
        a_time_that_no_event_can_have_costs_nothing_but_itself,
        nothing_to_do_is_done,
    ]
}

fn new_event(number: i64) -> NewEvent {
    NewEvent {
        event_id: None,
        topic: TOPIC.into(),
        key: format!("key-{}", number % 2),
        event_type: "chat.message".into(),
        payload: json!({"content": format!("message {number}: \u{1f980} \"quoted\"\n")}).to_string(),
        occurred_at: Some(day(number)),
        trace: (number % 2 == 0).then(trace),
    }
}

async fn insert(outbox: &dyn Outbox, count: i64) -> Vec<Uuid> {
    let events: Vec<NewEvent> = (0..count).map(new_event).collect();
    outbox.insert(&events).await.unwrap()
}

async fn claim(outbox: &dyn Outbox, after: Option<i64>, in_flight: &[RowId], limit: usize) -> Vec<Row> {
    outbox.claim_pending(Claim { after, in_flight, limit }).await.unwrap()
}

async fn claim_all(outbox: &dyn Outbox) -> Vec<Row> {
    claim(outbox, None, &[], 100).await
}

fn ids(rows: &[Row]) -> Vec<RowId> {
    rows.iter().map(|row| row.id.clone()).collect()
}

fn number(id: &RowId) -> i64 {
    match id {
        RowId::Number(number) => *number,
        RowId::Text(text) => panic!("{text:?} is no number"),
    }
}

async fn rows_are_claimed_in_publication_order_with_all_that_they_say(fixture: &OutboxFixture) {
    let outbox = &*fixture.outbox;
    let inserted = insert(outbox, 5).await;
    let first = claim(outbox, None, &[], 3).await;
    let rest = claim(outbox, Some(number(&first[2].id)), &[], 100).await;
    assert_eq!((first.len(), rest.len()), (3, 2));
    let rows: Vec<Row> = first.into_iter().chain(rest).collect();
    assert_eq!(claim_all(outbox).await, rows, "a claim changes nothing");
    for (index, row) in rows.iter().enumerate() {
        let expected = new_event(index.try_into().unwrap());
        let event = row.event.as_ref().unwrap();
        assert_eq!((event.id, event.sequence), (inserted[index], Some(number(&row.id))));
        assert_eq!((&event.topic, &row.topic, &event.key), (&expected.topic, &expected.topic, &expected.key));
        assert_eq!((event.event_type.as_str(), event.source.as_str()), ("chat.message", SOURCE));
        assert_eq!((Some(event.occurred_at), &event.trace), (expected.occurred_at, &expected.trace));
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(json(&event.data), json(&expected.payload));
    }
    assert!(rows.windows(2).all(|pair| number(&pair[0].id) < number(&pair[1].id)));
}

async fn a_row_of_plain_sql_gets_its_id_and_times_by_itself(fixture: &OutboxFixture) {
    let insert = "INSERT INTO outbox_events(topic, key, event_type, payload) \
                  VALUES ('chat', 'c', 'chat.message', '{\"content\":\"a\"}'), ('chat', 'c', 'x', '[]')";
    let before = Utc::now() - TimeDelta::seconds(1);
    fixture.sql.run(insert, insert).await;
    let rows = claim_all(&*fixture.outbox).await;
    let events: Vec<_> = rows.iter().map(|row| row.event.as_ref().unwrap()).collect();
    assert_eq!(events.len(), 2);
    assert_ne!(events[0].id, events[1].id);
    for event in events {
        let (seconds, nanoseconds) = event.id.get_timestamp().expect("it is time-ordered").to_unix();
        let made_at = DateTime::from_timestamp(seconds.try_into().unwrap(), nanoseconds).unwrap();
        let now = Utc::now() + TimeDelta::seconds(1);
        assert_eq!((event.id.get_version_num(), event.id.get_variant()), (7, uuid::Variant::RFC4122));
        assert!(before < made_at && made_at < now, "{made_at}");
        assert!(before < event.occurred_at && event.occurred_at < now, "{}", event.occurred_at);
        assert_eq!(event.trace, None);
    }
}

async fn rows_in_flight_are_not_claimed_again(fixture: &OutboxFixture) {
    let outbox = &*fixture.outbox;
    insert(outbox, 6).await;
    let all = ids(&claim_all(outbox).await);
    let in_flight = [all[1].clone(), all[2].clone(), all[4].clone()];
    let expected = [all[0].clone(), all[3].clone(), all[5].clone()];
    assert_eq!(ids(&claim(outbox, None, &in_flight, 100).await), expected);
    assert_eq!(ids(&claim(outbox, None, &in_flight, 2).await), expected[..2], "they do not use up the limit");
}

/// A row under an id of our choice; `how` is what PostgreSQL wants to hear for that.
macro_rules! insert_with_id {
    ($id:literal, $how:literal) => {
        concat!(
            "INSERT INTO outbox_events (id, topic, key, event_type, payload) ",
            $how,
            " VALUES (",
            $id,
            ", 'chat', 'c', 't', '{}')",
        )
    };
}

async fn a_sweep_finds_a_row_that_became_visible_behind_the_cursor(fixture: &OutboxFixture) {
    fixture.sql.run(insert_with_id!("9", ""), insert_with_id!("9", "OVERRIDING SYSTEM VALUE")).await;
    let outbox = &*fixture.outbox;
    let first = claim_all(outbox).await;
    assert_eq!(ids(&first), [RowId::Number(9)]);
    // A transaction that began earlier, and so has the lower id, commits only now.
    fixture.sql.run(insert_with_id!("5", ""), insert_with_id!("5", "OVERRIDING SYSTEM VALUE")).await;
    assert_eq!(claim(outbox, Some(9), &ids(&first), 100).await, []);
    assert_eq!(ids(&claim(outbox, None, &ids(&first), 100).await), [RowId::Number(5)]);
    outbox.mark_processed(&ids(&first)).await.unwrap();
    assert_eq!(ids(&claim_all(outbox).await), [RowId::Number(5)], "marking one says nothing about the other");
}

async fn processed_rows_are_gone_for_good(fixture: &OutboxFixture) {
    let outbox = &*fixture.outbox;
    let inserted = insert(outbox, 3).await;
    let all = ids(&claim_all(outbox).await);
    for _ in 0..2 {
        outbox.mark_processed(&all[..2]).await.unwrap();
        assert_eq!(ids(&claim_all(outbox).await), all[2..]);
    }
    let record = outbox.find(inserted[0]).await.unwrap().unwrap();
    assert_eq!((record.status.as_str(), record.id), ("processed", all[0].to_string()));
    assert!(record.processed_at.unwrap() >= record.created_at.unwrap());
    assert_eq!(record.error, None);
}

async fn failed_rows_keep_their_reason_and_are_gone_for_good(fixture: &OutboxFixture) {
    let outbox = &*fixture.outbox;
    let inserted = insert(outbox, 3).await;
    let all = ids(&claim_all(outbox).await);
    let failures =
        [(all[0].clone(), "id is not a UUID: \"x\"".to_owned()), (all[1].clone(), "a NUL: \0".to_owned())];
    for _ in 0..2 {
        outbox.mark_failed(&failures).await.unwrap();
        outbox.mark_processed(&all[..2]).await.unwrap(); // too late, from a relay that was paused
        assert_eq!(ids(&claim_all(outbox).await), all[2..]);
    }
    let record = outbox.find(inserted[0]).await.unwrap().unwrap();
    assert_eq!(
        (record.status.as_str(), record.error.as_deref()),
        ("failed", Some("id is not a UUID: \"x\""))
    );
    assert!(record.processed_at.is_some() && record.traceparent == Some(trace().traceparent));
    let record = outbox.find(inserted[1]).await.unwrap().unwrap();
    assert_eq!((record.error.as_deref(), record.traceparent), (Some("a NUL: \u{fffd}"), None));
    assert_eq!(outbox.find(Uuid::now_v7()).await.unwrap(), None);
}

async fn a_malformed_id_costs_only_its_own_row(fixture: &OutboxFixture) {
    let insert = "INSERT INTO outbox_events(topic, key, event_type, payload) VALUES ('chat', 'c', 't', '{\"n\": 1}'); \
                  INSERT INTO outbox_events(event_id, topic, key, event_type, payload) \
                  VALUES ('chat-1769035355992', 'chat', 'c', 't', '{\"n\": 2}'); \
                  INSERT INTO outbox_events(topic, key, event_type, payload) VALUES ('chat', 'c', 't', '{\"n\": 3}')";
    let any_text = "ALTER TABLE outbox_events ALTER event_id DROP DEFAULT, ALTER event_id TYPE text; \
                    ALTER TABLE outbox_events ALTER event_id SET DEFAULT outbox_uuid_v7()::text";
    fixture.sql.run("SELECT 1", any_text).await;
    fixture.sql.run(insert, insert).await;
    let rows = claim_all(&*fixture.outbox).await;
    assert!(rows.len() == 3 && rows[0].event.is_ok() && rows[2].event.is_ok(), "{rows:?}");
    let malformed = rows[1].event.as_ref().unwrap_err();
    assert_eq!(malformed.reason, cloudevent::Error::Id("chat-1769035355992".into()));
    assert_eq!((malformed.event_id.as_str(), rows[1].topic.as_str()), ("chat-1769035355992", "chat"));
    assert_eq!((malformed.key.as_deref(), malformed.event_type.as_deref()), (Some("c"), Some("t")));
    assert_eq!(String::from_utf8_lossy(&malformed.data), "{\"n\": 2}");
}

async fn events_are_inserted_all_or_none(fixture: &OutboxFixture) {
    let outbox = &*fixture.outbox;
    let no_json = NewEvent { payload: "not JSON".into(), ..new_event(1) };
    let refused = outbox.insert(&[new_event(0), no_json, new_event(2)]).await.unwrap_err();
    assert!(matches!(refused, Error::Data { .. }), "{refused:?}");
    assert_eq!(claim_all(outbox).await, []);
}

async fn an_event_keeps_the_id_that_it_was_given(fixture: &OutboxFixture) {
    let outbox = &*fixture.outbox;
    let id = Uuid::new_v4();
    let event = NewEvent { event_id: Some(id), occurred_at: None, ..new_event(0) };
    let before = Utc::now() - TimeDelta::seconds(1);
    assert_eq!(outbox.insert(std::slice::from_ref(&event)).await.unwrap(), [id]);
    let claimed = claim_all(outbox).await;
    let claimed = claimed[0].event.as_ref().unwrap();
    assert!(claimed.id == id && claimed.occurred_at > before);
    let record = outbox.find(id).await.unwrap().unwrap();
    assert_eq!((record.status.as_str(), record.key.as_str()), ("pending", "key-0"));
    assert!(record.created_at.unwrap() > before && record.processed_at.is_none());
    assert!(matches!(outbox.insert(&[event]).await, Err(Error::Data { .. })), "an id is unique for ever");
}

async fn many_events_are_found_at_once(fixture: &OutboxFixture) {
    let outbox = &*fixture.outbox;
    let there = insert(outbox, 3).await;
    let found = outbox.find_many(&[there[2], Uuid::new_v4(), there[0]]).await.unwrap();
    let mut found: Vec<_> = found.into_iter().map(|row| (row.event_id, row.key)).collect();
    let mut expected = [(there[0].to_string(), "key-0".into()), (there[2].to_string(), "key-0".into())];
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(outbox.find_many(&[]).await.unwrap(), []);
}

async fn the_backlog_counts_what_waits_and_what_failed(fixture: &OutboxFixture) {
    let outbox = &*fixture.outbox;
    assert_eq!(outbox.backlog().await.unwrap(), Backlog::default());
    let inserted = insert(outbox, 5).await;
    let all = ids(&claim_all(outbox).await);
    outbox.mark_processed(&all[..1]).await.unwrap();
    outbox.mark_failed(&[(all[1].clone(), "why".into())]).await.unwrap();
    let oldest_pending = outbox.find(inserted[2]).await.unwrap().unwrap().created_at;
    assert!(oldest_pending.is_some());
    assert_eq!(
        outbox.backlog().await.unwrap(),
        Backlog { pending: 3, estimated: false, failed: 1, oldest_pending }
    );
}

/// However much waits, so many rows are looked at; the others are taken to be as close to each other.
async fn a_large_backlog_is_estimated(fixture: &OutboxFixture) {
    let sql = |rows: &str| {
        format!(
            "INSERT INTO outbox_events (topic, key, event_type, payload) SELECT 'chat', 'c', 't', '{{}}' FROM {rows}"
        )
    };
    let (sqlite, postgres) = (
        sql(
            "(WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 25000) SELECT n FROM n)",
        ),
        sql("generate_series(1, 25000)"),
    );
    fixture.sql.run(sqlite.leak(), postgres.leak()).await;
    let thin_out = "DELETE FROM outbox_events WHERE id % 5 = 0";
    fixture.sql.run(thin_out, thin_out).await;
    let fail = "UPDATE outbox_events SET status = 'failed' WHERE id % 5 = 1 AND id < 100";
    fixture.sql.run(fail, fail).await;
    let backlog = fixture.outbox.backlog().await.unwrap();
    assert!(backlog.estimated && backlog.pending.abs_diff(19_980) < 100, "{backlog:?}");
    assert!(backlog.failed == 20 && backlog.oldest_pending.is_some(), "{backlog:?}");
}

async fn processed_rows_are_deleted_in_helpings_after_their_time(fixture: &OutboxFixture) {
    let outbox = &*fixture.outbox;
    let inserted = insert(outbox, 7).await;
    let all = ids(&claim_all(outbox).await);
    outbox.mark_failed(&[(all[0].clone(), "why".into())]).await.unwrap();
    outbox.mark_processed(&all[1..6]).await.unwrap();
    let (before, after) = (Utc::now() - TimeDelta::hours(1), Utc::now() + TimeDelta::hours(1));
    assert_eq!(outbox.delete_processed(before, 100).await.unwrap(), 0);
    let mut helpings = Vec::new();
    while helpings.last() != Some(&0) {
        helpings.push(outbox.delete_processed(after, 2).await.unwrap());
    }
    assert_eq!(helpings, [2, 2, 1, 0]);
    assert_eq!(ids(&claim_all(outbox).await), all[6..]);
    assert_eq!(outbox.find(inserted[0]).await.unwrap().unwrap().status, "failed");
    assert_eq!(outbox.find(inserted[1]).await.unwrap(), None);
}

async fn processed_rows_of_unknown_time_do_not_keep_others_from_being_deleted(fixture: &OutboxFixture) {
    let outbox = &*fixture.outbox;
    insert(outbox, 5).await;
    let all = ids(&claim_all(outbox).await);
    outbox.mark_processed(&all).await.unwrap();
    let forget = "UPDATE outbox_events SET processed_at = NULL WHERE id IN (SELECT id FROM outbox_events ORDER BY id LIMIT 3)";
    fixture.sql.run(forget, forget).await;
    let after = Utc::now() + TimeDelta::hours(1);
    assert_eq!(outbox.delete_processed(after, 2).await.unwrap(), 2);
    assert_eq!(outbox.delete_processed(after, 2).await.unwrap(), 0);
}

/// Both databases know times that RFC 3339 does not.
async fn a_time_that_no_event_can_have_costs_nothing_but_itself(fixture: &OutboxFixture) {
    let outbox = &*fixture.outbox;
    let inserted = insert(outbox, 4).await;
    fixture
        .sql
        .run(
            "UPDATE outbox_events SET created_at = '+12345-01-01T00:00:00Z'",
            "UPDATE outbox_events SET created_at = '-infinity', occurred_at = (ARRAY['infinity', '-infinity', \
             '12345-01-01', '0044-03-15 BC'])[id]::timestamptz",
        )
        .await;
    let before = Utc::now() - TimeDelta::minutes(1);
    let rows = claim_all(outbox).await;
    assert_eq!(rows.len(), 4);
    for (row, id) in rows.iter().zip(&inserted) {
        let event = row.event.as_ref().unwrap();
        let now = before..Utc::now();
        assert!(
            event.id == *id && (now.contains(&event.occurred_at) || event.occurred_at >= day(0)),
            "{event:?}"
        );
    }
    outbox.backlog().await.unwrap();
    assert!(outbox.find(inserted[0]).await.unwrap().is_some());
}

async fn nothing_to_do_is_done(fixture: &OutboxFixture) {
    let outbox = &*fixture.outbox;
    assert!(outbox.insert(&[]).await.unwrap().is_empty());
    outbox.mark_processed(&[]).await.unwrap();
    outbox.mark_failed(&[]).await.unwrap();
    outbox.mark_processed(&[RowId::Number(404)]).await.unwrap();
    outbox.mark_failed(&[(RowId::Number(404), "why".into())]).await.unwrap();
    assert_eq!(claim_all(outbox).await, []);
}
