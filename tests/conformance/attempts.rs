//! What the `Ledger` port promises of tries that failed: they are counted durably, and forgotten when the event has
//! taken effect or become a dead letter.

use std::time::Duration;

use factline::records::DeadLetterFilter;
use factline_pipeline::{
    attempts::{FailedTry, History, Past},
    dead_letter::{Cause, DeadLetter, ErrorKind, Stage},
    ledger::{Outcome, Recording},
};
use uuid::Uuid;

use super::{
    adapters::StoreFixture,
    ledger::record,
    samples::{malformed, said},
};

for_every_store! {
    [
        failures_are_counted_once_each_and_say_when_the_next_try_is_due,
        deaths_are_counted_all_together_and_once_each,
        what_is_troubled_is_known_and_what_took_effect_in_another_way_is_forgotten,
        what_takes_effect_is_forgotten,
        a_dead_letter_says_when_it_failed_first,
        a_group_does_not_count_for_another,
    ]
}

async fn history(fixture: &StoreFixture, group: &str, ids: &[Uuid]) -> History {
    fixture.ledger.history(group, ids).await.unwrap()
}

async fn fail(fixture: &StoreFixture, event_id: Uuid, attempt: u32, retry_in: Duration) {
    let failed = FailedTry { event_id, attempt, error: "no \0 luck", retry_in };
    fixture.ledger.count_failure("facts", failed).await.unwrap();
}

async fn failures_are_counted_once_each_and_say_when_the_next_try_is_due(fixture: &StoreFixture) {
    let (id, other) = (Uuid::now_v7(), Uuid::now_v7());
    assert_eq!(history(fixture, "facts", &[id, other]).await, History::default());
    fail(fixture, id, 1, Duration::ZERO).await;
    for _ in 0..2 {
        fail(fixture, id, 2, Duration::from_hours(1)).await;
    }
    let history = history(fixture, "facts", &[id, other]).await;
    assert_eq!((history.tried.len(), history.recorded.len()), (1, 0));
    let past = history.tried[&id];
    assert_eq!((past.attempts, past.suspected), (2, 0));
    assert!(past.due_in > Duration::from_mins(50) && past.due_in <= Duration::from_secs(3601));
    fail(fixture, id, 3, Duration::ZERO).await;
    let past = self::history(fixture, "facts", &[id]).await.tried[&id];
    assert_eq!(past, Past { attempts: 3, suspected: 0, due_in: Duration::ZERO });
}

async fn deaths_are_counted_all_together_and_once_each(fixture: &StoreFixture) {
    let ids = [Uuid::now_v7(), Uuid::now_v7()];
    let deaths = [(ids[0], 1), (ids[1], 1), (ids[0], 2)];
    for _ in 0..2 {
        fixture.ledger.count_suspects("facts", &deaths).await.unwrap();
    }
    let history = history(fixture, "facts", &ids).await;
    assert_eq!(ids.map(|id| history.tried[&id].suspected), [2, 1]);
    assert_eq!(ids.map(|id| history.tried[&id].due_in), [Duration::ZERO; 2]);
}

async fn what_is_troubled_is_known_and_what_took_effect_in_another_way_is_forgotten(fixture: &StoreFixture) {
    let (waits, settled) = (Uuid::now_v7(), said(1, vec![]));
    fail(fixture, waits, 1, Duration::ZERO).await;
    fail(fixture, settled.event_id, 1, Duration::ZERO).await;
    record(fixture, &[settled.clone(), crashed(2), malformed(3, b"x")]).await;
    let troubled = fixture.ledger.troubled("facts", 100).await.unwrap();
    let crashed =
        fixture.records.dead_letters(&DeadLetterFilter { limit: 9, ..Default::default() }).await.unwrap();
    let crashed = crashed.iter().find(|letter| letter.error_kind == "crashed").unwrap();
    let mut expected = vec![waits, settled.event_id, crashed.event_id.parse().unwrap()];
    let mut troubled_ids = troubled.clone();
    expected.sort();
    troubled_ids.sort();
    assert_eq!(troubled_ids, expected);
    assert_eq!(fixture.ledger.forget_settled_attempts().await.unwrap(), 1);
    assert_eq!(fixture.ledger.forget_settled_attempts().await.unwrap(), 0);
    let tried = history(fixture, "facts", &troubled).await.tried;
    assert_eq!(tried.into_keys().collect::<Vec<_>>(), [waits]);
}

/// An event that processes died of.
fn crashed(number: i64) -> Recording {
    let recording = said(number, vec![]);
    let cause = Cause { stage: Stage::Extract, kind: ErrorKind::Crashed, error: "died".into(), attempts: 5 };
    let letter = DeadLetter::of_entry(&recording.entry, cause);
    Recording { outcome: Outcome::DeadLettered(Box::new(letter)), ..recording }
}

async fn what_takes_effect_is_forgotten(fixture: &StoreFixture) {
    let (traced, plain) = (said(1, vec![]), said(2, vec![]));
    fail(fixture, traced.event_id, 1, Duration::ZERO).await;
    fixture.ledger.count_suspects("facts", &[(plain.event_id, 1)]).await.unwrap();
    let ids = [traced.event_id, plain.event_id];
    let traced = Recording { attempts: 2, leaves_traces: true, ..traced };
    record(fixture, &[traced.clone(), plain]).await;
    let history = history(fixture, "facts", &ids).await;
    assert_eq!(history.recorded.len(), 2);
    assert!(history.tried.contains_key(&ids[1]) && history.tried.len() == 1, "as the recordings say");
    assert_eq!(fixture.records.ledger(ids[0]).await.unwrap()[0].attempts, 2);
    // Recorded twice is once, and leaves nothing either.
    fail(fixture, ids[0], 2, Duration::ZERO).await;
    record(fixture, &[traced]).await;
    assert!(!self::history(fixture, "facts", &ids[..1]).await.tried.contains_key(&ids[0]));
}

async fn a_dead_letter_says_when_it_failed_first(fixture: &StoreFixture) {
    let letter = Recording { leaves_traces: true, ..malformed(1, b"x") };
    fail(fixture, letter.event_id, 1, Duration::ZERO).await;
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
    fail(fixture, id, 1, Duration::ZERO).await;
    assert_eq!(history(fixture, "audit", &[id]).await, History::default());
}
