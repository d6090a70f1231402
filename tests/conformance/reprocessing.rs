//! What the `DeadLetters` port promises of reprocessing: a letter's event takes effect once and all of it, however
//! often, and by however many at once, it is tried.

use factline::{
    dead_letters::{Effect, End, Failed, Selected, Success},
    records::{DeadLetterFilter, FactFilter, Totals},
};
use factline_pipeline::{
    ledger::{Outcome, Recording},
    outage::Error,
};
use uuid::Uuid;

use super::{
    adapters::StoreFixture,
    dead_letters::{actions, by, letter, letters, status},
    ledger::record,
    samples::{likes, malformed, said, set_aside},
};

for_every_store! {
    [
        a_run_selects_open_letters_and_no_two_runs_share_one,
        a_try_is_counted_before_it_is_made,
        a_failure_leaves_the_letter_open,
        what_was_not_tried_is_put_back,
        a_success_is_recorded_with_all_its_effects,
        a_success_takes_effect_once_however_many_are_at_it,
        a_row_that_the_ledger_has_deleted_comes_back,
        an_event_that_was_processed_before_has_no_second_effect,
        an_unreadable_entry_takes_effect_under_the_id_of_its_place,
        a_letter_that_ended_in_the_meantime_stays_as_it_is,
        data_that_the_store_refuses_leaves_the_letter_open,
    ]
}

fn all() -> DeadLetterFilter {
    DeadLetterFilter { limit: 100, ..Default::default() }
}

async fn select(fixture: &StoreFixture) -> Vec<Selected> {
    let run = Uuid::now_v7();
    fixture.dead_letters.select(&by(), run, &all()).await.unwrap();
    fixture.dead_letters.selected(Some(run)).await.unwrap()
}

/// A message that was set aside and would say that somebody likes something; and its selected letter.
async fn selected(fixture: &StoreFixture) -> (Recording, Selected) {
    let recording = said(1, vec![likes("tea", 1)]);
    letters(fixture, &[set_aside(recording.clone(), "x")]).await;
    (recording, select(fixture).await[0])
}

async fn succeed(fixture: &StoreFixture, selected: Selected, recording: &Recording) -> Result<Effect, Error> {
    let success = Success { group: "facts", recording, attempts: 4 };
    fixture.dead_letters.record_success(&by(), selected, success).await
}

async fn assert_took_effect_once(fixture: &StoreFixture, recording: &Recording) {
    let totals = fixture.records.totals().await.unwrap();
    assert_eq!(totals, Totals { processed: 1, facts: 1, ..Totals::default() });
    let facts = fixture.records.facts(&FactFilter { limit: 9, ..Default::default() }).await.unwrap();
    assert!((facts[0].confidence - 0.8).abs() < 1e-6, "it was not stated again");
    assert_eq!(facts[0].event_id, recording.event_id);
    let conversations = fixture.records.conversations(9).await.unwrap();
    assert_eq!((conversations.len(), conversations[0].message_count), (1, 1));
}

async fn a_run_selects_open_letters_and_no_two_runs_share_one(fixture: &StoreFixture) {
    let batch: Vec<_> = (0..6).map(|number| malformed(number, b"x")).collect();
    let ids = letters(fixture, &batch).await;
    fixture.dead_letters.end(&by(), &ids[..1], End::Resolved, "").await.unwrap();
    let runs = [Uuid::now_v7(), Uuid::now_v7()];
    let selecting = runs.map(|run| {
        let port = fixture.dead_letters.clone();
        tokio::spawn(async move { port.select(&by(), run, &all()).await.unwrap() })
    });
    let mut selected = 0;
    for one in selecting {
        selected += one.await.unwrap();
    }
    assert_eq!(selected, 5);
    let waiting = fixture.dead_letters.selected(None).await.unwrap();
    assert_eq!(waiting.iter().map(|one| one.letter).collect::<Vec<_>>(), ids[1..]);
    assert_eq!(status(fixture, ids[1]).await, "reprocessing");
    assert_eq!(letter(fixture, ids[1]).await.record.reprocess_run, Some(waiting[0].run));
    assert_eq!(select(fixture).await, []);
    assert!(actions(fixture).await.ends_with("ada@desk reprocess, ada@desk reprocess, ada@desk reprocess"));
}

async fn a_try_is_counted_before_it_is_made(fixture: &StoreFixture) {
    let (_, selected) = selected(fixture).await;
    assert_eq!(fixture.dead_letters.begin_try(&by(), selected).await.unwrap(), Some(4));
    let found = letter(fixture, selected.letter).await.record;
    assert_eq!((found.status.as_str(), found.attempts), ("open", 4));
    assert_eq!(fixture.dead_letters.begin_try(&by(), selected).await.unwrap(), None, "its turn is over");
    assert_eq!(fixture.dead_letters.selected(None).await.unwrap(), []);
    assert_eq!(actions(fixture).await, "ada@desk reprocess, ada@desk try");
}

async fn a_failure_leaves_the_letter_open(fixture: &StoreFixture) {
    let (_, selected) = selected(fixture).await;
    fixture.dead_letters.begin_try(&by(), selected).await.unwrap();
    let failed = Failed { kind: "panic".into(), error: "no:\0".into(), fingerprint: "f".into() };
    for _ in 0..2 {
        fixture.dead_letters.record_failure(&by(), selected, &failed).await.unwrap();
    }
    let found = letter(fixture, selected.letter).await.record;
    assert_eq!((found.status.as_str(), found.stage.as_str()), ("open", "extract"));
    assert_eq!((found.error_kind.as_str(), found.error.as_str()), ("panic", "no:\u{fffd}"));
    assert_eq!((found.fingerprint.as_str(), found.attempts), ("f", 4));
}

async fn what_was_not_tried_is_put_back(fixture: &StoreFixture) {
    let ids = letters(fixture, &[malformed(1, b"x"), malformed(2, b"x")]).await;
    let run = select(fixture).await;
    fixture.dead_letters.begin_try(&by(), run[0]).await.unwrap();
    assert_eq!(fixture.dead_letters.put_back(&by(), run[0].run).await.unwrap(), 1);
    assert_eq!(fixture.dead_letters.put_back(&by(), run[0].run).await.unwrap(), 0);
    let found = letter(fixture, ids[1]).await.record;
    assert_eq!((found.status.as_str(), found.attempts), ("open", 3));
    assert_eq!(actions(fixture).await, "ada@desk reprocess, ada@desk try, ada@desk put_back");
}

async fn a_success_is_recorded_with_all_its_effects(fixture: &StoreFixture) {
    let (recording, selected) = selected(fixture).await;
    assert_eq!(succeed(fixture, selected, &recording).await.unwrap(), Effect::Took);
    assert_took_effect_once(fixture, &recording).await;
    let row = &fixture.records.ledger(recording.event_id).await.unwrap()[0];
    assert_eq!((row.outcome.as_str(), row.facts, row.attempts), ("processed", 1, 4));
    assert_eq!((row.event_type.as_str(), row.position.as_deref()), ("chat.message", Some("1-0")));
    let found = letter(fixture, selected.letter).await.record;
    assert_eq!((found.status.as_str(), found.resolved_by.as_deref()), ("resolved", Some("ada@desk")));
    assert!(found.resolved_at.is_some());
    assert_eq!(actions(fixture).await, "ada@desk reprocess, ada@desk reprocessed");
    // The entry may come out of the stream once more.
    assert_eq!(record(fixture, std::slice::from_ref(&recording)).await.duplicates, 1);
    assert_took_effect_once(fixture, &recording).await;
}

async fn a_success_takes_effect_once_however_many_are_at_it(fixture: &StoreFixture) {
    let (recording, selected) = selected(fixture).await;
    let tries = (0..4).map(|_| {
        let (port, recording) = (fixture.dead_letters.clone(), recording.clone());
        tokio::spawn(async move {
            let success = Success { group: "facts", recording: &recording, attempts: 4 };
            port.record_success(&by(), selected, success).await.unwrap()
        })
    });
    let mut took = 0;
    for one in tries.collect::<Vec<_>>() {
        match one.await.unwrap() {
            Effect::Took => took += 1,
            other => assert_eq!(other, Effect::Settled("resolved".into())),
        }
    }
    assert_eq!(took, 1);
    assert_took_effect_once(fixture, &recording).await;
}

async fn a_row_that_the_ledger_has_deleted_comes_back(fixture: &StoreFixture) {
    let (recording, selected) = selected(fixture).await;
    fixture.sql.run("DELETE FROM event_ledger", "DELETE FROM factline.event_ledger").await;
    assert_eq!(succeed(fixture, selected, &recording).await.unwrap(), Effect::Took);
    assert_took_effect_once(fixture, &recording).await;
    let row = &fixture.records.ledger(recording.event_id).await.unwrap()[0];
    assert_eq!((row.outcome.as_str(), row.facts, row.attempts), ("processed", 1, 4));
}

async fn an_event_that_was_processed_before_has_no_second_effect(fixture: &StoreFixture) {
    let (recording, selected) = selected(fixture).await;
    fixture.sql.run("DELETE FROM event_ledger", "DELETE FROM factline.event_ledger").await;
    record(fixture, std::slice::from_ref(&recording)).await;
    assert_eq!(succeed(fixture, selected, &recording).await.unwrap(), Effect::KnownBefore);
    assert_took_effect_once(fixture, &recording).await;
    assert_eq!(status(fixture, selected.letter).await, "resolved");
}

async fn an_unreadable_entry_takes_effect_under_the_id_of_its_place(fixture: &StoreFixture) {
    let unreadable = malformed(1, b"x");
    letters(fixture, std::slice::from_ref(&unreadable)).await;
    let selected = select(fixture).await[0];
    let id = letter(fixture, selected.letter).await.record.ledger_id().unwrap();
    let mended = Recording { event_id: id, ..said(1, vec![likes("tea", 1)]) };
    assert_eq!(succeed(fixture, selected, &mended).await.unwrap(), Effect::Took);
    assert_took_effect_once(fixture, &mended).await;
    assert_eq!(id, unreadable.event_id);
}

async fn a_letter_that_ended_in_the_meantime_stays_as_it_is(fixture: &StoreFixture) {
    let (recording, selected) = selected(fixture).await;
    fixture.dead_letters.end(&by(), &[selected.letter], End::Discarded, "spam").await.unwrap();
    assert_eq!(fixture.dead_letters.begin_try(&by(), selected).await.unwrap(), None);
    let effect = succeed(fixture, selected, &recording).await.unwrap();
    assert_eq!(effect, Effect::Settled("discarded".into()));
    assert_eq!(fixture.records.totals().await.unwrap(), Totals::default());
    let failed = Failed { kind: "panic".into(), error: "late".into(), fingerprint: "f".into() };
    fixture.dead_letters.record_failure(&by(), selected, &failed).await.unwrap();
    assert_eq!(letter(fixture, selected.letter).await.record.error, "x");
    let gone = Selected { letter: Uuid::now_v7(), ..selected };
    assert_eq!(succeed(fixture, gone, &recording).await.unwrap(), Effect::Settled("deleted".into()));
}

async fn data_that_the_store_refuses_leaves_the_letter_open(fixture: &StoreFixture) {
    let recording = said(1, vec![likes("a NUL: \0", 1)]);
    letters(fixture, &[set_aside(recording.clone(), "x")]).await;
    let selected = select(fixture).await[0];
    fixture.dead_letters.begin_try(&by(), selected).await.unwrap();
    let refused = succeed(fixture, selected, &recording).await;
    assert!(matches!(refused, Err(Error::Data { .. })), "{refused:?}");
    assert_eq!(status(fixture, selected.letter).await, "open");
    let row = &fixture.records.ledger(recording.event_id).await.unwrap()[0];
    assert_eq!(row.outcome, "dead_lettered");
    let nothing = Recording { outcome: Outcome::Processed(None), ..recording };
    assert_eq!(succeed(fixture, selected, &nothing).await.unwrap(), Effect::Took);
}
