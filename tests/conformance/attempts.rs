//! What the `Ledger` port promises of tries that failed: they are counted durably, and forgotten when the event has
//! taken effect or become a dead letter.

use std::time::Duration;

use factline_pipeline::{
    attempts::{FailedTry, History, Past},
    ledger::Recording,
};
use uuid::Uuid;

use super::{
    adapters::StoreFixture,
    ledger::record,
    samples::{malformed, said},
};

for_every_store! {
    [
        failures_are_counted_and_say_when_the_next_try_is_due,
        suspects_are_counted_all_together,
        what_takes_effect_is_forgotten,
        a_dead_letter_says_when_it_failed_first,
        a_group_does_not_count_for_another,
    ]
}

async fn history(fixture: &StoreFixture, group: &str, ids: &[Uuid]) -> History {
    fixture.ledger.history(group, ids).await.unwrap()
}

async fn fail(fixture: &StoreFixture, event_id: Uuid, retry_in: Duration) {
    let failed = FailedTry { event_id, error: "no \0 luck", retry_in };
    fixture.ledger.count_failure("facts", failed).await.unwrap();
}

async fn failures_are_counted_and_say_when_the_next_try_is_due(fixture: &StoreFixture) {
    let (id, other) = (Uuid::now_v7(), Uuid::now_v7());
    assert_eq!(history(fixture, "facts", &[id, other]).await, History::default());
    fail(fixture, id, Duration::ZERO).await;
    fail(fixture, id, Duration::from_hours(1)).await;
    let history = history(fixture, "facts", &[id, other]).await;
    assert_eq!((history.tried.len(), history.recorded.len()), (1, 0));
    let past = history.tried[&id];
    assert_eq!((past.attempts, past.suspected), (2, 0));
    assert!(past.due_in > Duration::from_mins(50) && past.due_in <= Duration::from_hours(1));
    fail(fixture, id, Duration::ZERO).await;
    let past = self::history(fixture, "facts", &[id]).await.tried[&id];
    assert_eq!(past, Past { attempts: 3, suspected: 0, due_in: Duration::ZERO });
}

async fn suspects_are_counted_all_together(fixture: &StoreFixture) {
    let ids = [Uuid::now_v7(), Uuid::now_v7()];
    let twice = [ids[0], ids[1], ids[0]];
    fixture.ledger.count_suspects("facts", &twice).await.unwrap();
    fixture.ledger.count_suspects("facts", &ids[..1]).await.unwrap();
    let history = history(fixture, "facts", &ids).await;
    assert_eq!(ids.map(|id| history.tried[&id].suspected), [2, 1]);
    assert_eq!(ids.map(|id| history.tried[&id].due_in), [Duration::ZERO; 2]);
}

async fn what_takes_effect_is_forgotten(fixture: &StoreFixture) {
    let (traced, plain) = (said(1, vec![]), said(2, vec![]));
    fail(fixture, traced.event_id, Duration::ZERO).await;
    fixture.ledger.count_suspects("facts", &[plain.event_id]).await.unwrap();
    let ids = [traced.event_id, plain.event_id];
    let traced = Recording { attempts: 2, leaves_traces: true, ..traced };
    record(fixture, &[traced.clone(), plain]).await;
    let history = history(fixture, "facts", &ids).await;
    assert_eq!(history.recorded.len(), 2);
    assert!(history.tried.contains_key(&ids[1]) && history.tried.len() == 1, "as the recordings say");
    assert_eq!(fixture.records.ledger(ids[0]).await.unwrap()[0].attempts, 2);
    // Recorded twice is once, and leaves nothing either.
    fail(fixture, ids[0], Duration::ZERO).await;
    record(fixture, &[traced]).await;
    assert!(!self::history(fixture, "facts", &ids[..1]).await.tried.contains_key(&ids[0]));
}

async fn a_dead_letter_says_when_it_failed_first(fixture: &StoreFixture) {
    let letter = Recording { leaves_traces: true, ..malformed(1, b"x") };
    fail(fixture, letter.event_id, Duration::ZERO).await;
    let age = "UPDATE event_attempts SET first_failed_at = '2026-01-01T00:00:00.000000Z'";
    fixture.sql.run(age, "UPDATE factline.event_attempts SET first_failed_at = '2026-01-01T00:00:00Z'").await;
    record(fixture, &[letter, malformed(2, b"y")]).await;
    let count =
        "SELECT count(*) || '' FROM dead_letters WHERE first_failed_at = '2026-01-01T00:00:00.000000Z'";
    let first = fixture
        .sql
        .bytes(
            count,
            "SELECT (count(*) || '')::bytea FROM factline.dead_letters WHERE first_failed_at = '2026-01-01'",
        )
        .await;
    assert_eq!(first, b"1");
}

async fn a_group_does_not_count_for_another(fixture: &StoreFixture) {
    let id = Uuid::now_v7();
    fail(fixture, id, Duration::ZERO).await;
    assert_eq!(history(fixture, "audit", &[id]).await, History::default());
}
