//! What the `DeadLetters` port promises: letters are found, edited and ended, and every change says who made it.

use chrono::{TimeDelta, Utc};
use factline::{
    dead_letters::{Edit, End, Letter},
    operator_log::Actor,
    records::DeadLetterFilter,
};
use factline_pipeline::ledger::{Outcome, Recording};
use uuid::Uuid;

use super::{
    adapters::StoreFixture,
    ledger::record,
    samples::{letter_of, malformed, said, set_aside, trace},
};

for_every_store! {
    [
        a_letter_is_read_in_full,
        letters_are_found_by_what_they_say,
        equal_causes_count_together,
        an_edit_keeps_the_first_payload,
        a_letter_ends_once,
        the_open_letters_that_came_last_are_told_without_their_payloads,
        a_discarded_letter_is_discarded_in_the_ledger,
        what_ended_long_ago_is_purged,
        a_report_tells_what_came_and_went,
    ]
}

pub(super) fn by() -> Actor {
    Actor { who: "ada@desk".to_owned(), origin: Some("192.0.2.7".to_owned()) }
}

/// Sets these aside; gives the letters' ids.
pub(super) async fn letters(fixture: &StoreFixture, recordings: &[Recording]) -> Vec<Uuid> {
    record(fixture, recordings).await;
    recordings.iter().map(|one| letter_of(one).id).collect()
}

pub(super) async fn letter(fixture: &StoreFixture, id: Uuid) -> Letter {
    fixture.dead_letters.letter(id).await.unwrap().unwrap()
}

pub(super) async fn status(fixture: &StoreFixture, id: Uuid) -> String {
    letter(fixture, id).await.record.status
}

/// What the operator log says was done, in its order.
pub(super) async fn actions(fixture: &StoreFixture) -> String {
    let actions = fixture.sql.bytes(
        "SELECT CAST(coalesce(group_concat(who || ' ' || action, ', '), '') AS BLOB) \
         FROM (SELECT who, action FROM operator_log ORDER BY id)",
        "SELECT convert_to(coalesce(string_agg(who || ' ' || action, ', ' ORDER BY id), ''), 'UTF8') \
         FROM factline.operator_log",
    );
    String::from_utf8(actions.await).unwrap()
}

async fn a_letter_is_read_in_full(fixture: &StoreFixture) {
    let recording = set_aside(said(2, vec![]), "no model answers");
    let id = letters(fixture, std::slice::from_ref(&recording)).await[0];
    let Letter { record, payload, original_payload } = letter(fixture, id).await;
    assert_eq!((payload.as_slice(), original_payload), (letter_of(&recording).payload.as_slice(), None));
    assert_eq!(record.header("traceparent"), Some(trace().traceparent.as_str()));
    assert_eq!(record.ledger_id(), Some(recording.event_id));
    assert_eq!((record.resolved_by, record.resolved_at, record.note), (None, None, None));
    assert_eq!((record.status.as_str(), record.reprocess_run), ("open", None));
    assert!(Utc::now() - record.first_failed_at < TimeDelta::minutes(5));
    assert_eq!(fixture.dead_letters.letter(Uuid::now_v7()).await.unwrap(), None);
    // What was no event has its place for an id.
    let unreadable = malformed(3, &[0, 0xff]);
    let id = letters(fixture, std::slice::from_ref(&unreadable)).await[0];
    let found = letter(fixture, id).await;
    assert_eq!(found.payload, [0, 0xff]);
    assert_eq!(found.record.ledger_id(), Some(unreadable.event_id));
}

async fn letters_are_found_by_what_they_say(fixture: &StoreFixture) {
    let other = set_aside(said(3, vec![]), "100% of \"it\" failed");
    let mut batch = [set_aside(said(1, vec![]), "too hot"), set_aside(said(2, vec![]), "too cold"), other];
    if let Outcome::DeadLettered(letter) = &mut batch[2].outcome {
        letter.id = Uuid::now_v7();
        letter.topic = "mail".into();
        letter.event_type = Some("mail.sent".into());
        letter.key = Some("inbox".into());
        letter.payload = b"\xffgr\xc3\xbc\xc3\x9fe".to_vec();
    }
    let ids = letters(fixture, &batch).await;
    let found = async |filter: DeadLetterFilter| {
        let limit = if filter.limit == 0 { 9 } else { filter.limit };
        let found = fixture.records.dead_letters(&DeadLetterFilter { limit, ..filter }).await.unwrap();
        let place = |id| ids.iter().position(|one| *one == id).unwrap();
        found.iter().map(|letter| place(letter.id)).collect::<Vec<_>>()
    };
    let all = DeadLetterFilter::default;
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(found(all()).await, [2, 1, 0]);
    assert_eq!(found(DeadLetterFilter { limit: 2, ..all() }).await, [2, 1]);
    assert_eq!(found(DeadLetterFilter { before: Some(ids[1]), ..all() }).await, [0]);
    assert_eq!(found(DeadLetterFilter { ids: Some(vec![ids[2], ids[0]]), ..all() }).await, [2, 0]);
    assert_eq!(found(DeadLetterFilter { between: Some((ids[0], ids[1])), ..all() }).await, [1, 0]);
    assert_eq!(found(DeadLetterFilter { topic: some("mail"), ..all() }).await, [2]);
    assert_eq!(found(DeadLetterFilter { event_type: some("chat.message"), ..all() }).await, [1, 0]);
    let fingerprint = Some(letter_of(&batch[1]).fingerprint());
    assert_eq!(found(DeadLetterFilter { fingerprint, ..all() }).await, [1]);
    assert_eq!(found(DeadLetterFilter { consumer_group: some("facts"), ..all() }).await, [2, 1, 0]);
    assert_eq!(found(DeadLetterFilter { consumer_group: some("relay"), ..all() }).await, [0; 0]);
    let at = |minutes| Some(Utc::now() + TimeDelta::minutes(minutes));
    assert_eq!(found(DeadLetterFilter { since: at(-5), ..all() }).await, [2, 1, 0]);
    assert_eq!(found(DeadLetterFilter { since: at(5), ..all() }).await, [0; 0]);
    for (text, expected) in [
        ("too", &[1, 0][..]),
        ("100% of \"", &[2]),
        ("message 2 of", &[1]),
        ("inbox", &[2]),
        ("grüße", &[2]),
        ("%", &[2]),
        ("nobody said so", &[]),
    ] {
        assert_eq!(found(DeadLetterFilter { text: some(text), ..all() }).await, expected, "{text}");
    }
    let text = Some(batch[0].event_id.to_string());
    assert_eq!(found(DeadLetterFilter { text, ..all() }).await, [0]);
}

async fn equal_causes_count_together(fixture: &StoreFixture) {
    let batch = [
        set_aside(said(1, vec![]), "row 1 is bad"),
        malformed(2, b"x"),
        set_aside(said(3, vec![]), "row 2 is bad"),
    ];
    letters(fixture, &batch).await;
    let filter = DeadLetterFilter { limit: 9, ..Default::default() };
    let causes = fixture.dead_letters.causes(&filter).await.unwrap();
    let told: Vec<_> =
        causes.iter().map(|cause| (cause.letters, cause.stage.as_str(), cause.error.as_str())).collect();
    assert_eq!(
        told,
        [(2, "extract", "row 2 is bad"), (1, "consume", "id is not a UUID: \"chat-1\u{fffd}\"")]
    );
    assert_eq!(causes[0].fingerprint, letter_of(&batch[0]).fingerprint());
    assert_eq!((causes[0].error_kind.as_str(), causes[0].topic.as_str()), ("permanent", "chat"));
    assert!(causes[0].first_seen <= causes[0].last_seen);
    let resolved = DeadLetterFilter { status: Some("resolved".into()), ..filter.clone() };
    assert_eq!(fixture.dead_letters.causes(&resolved).await.unwrap(), []);
    let first = DeadLetterFilter { limit: 1, ..filter };
    assert_eq!(fixture.dead_letters.causes(&first).await.unwrap(), causes[..1]);
}

async fn an_edit_keeps_the_first_payload(fixture: &StoreFixture) {
    let id = letters(fixture, &[malformed(1, &[0, 1])]).await[0];
    let edit =
        async |from: &[u8], to: &[u8]| fixture.dead_letters.edit(&by(), id, Edit { from, to }).await.unwrap();
    assert!(edit(&[0, 1], b"{}").await);
    assert!(!edit(&[0, 1], b"[]").await, "somebody was quicker");
    assert!(edit(b"{}", b"{\"a\":1}").await);
    let found = letter(fixture, id).await;
    assert_eq!(found.payload, b"{\"a\":1}");
    assert_eq!(found.original_payload.as_deref(), Some(&[0, 1][..]));
    fixture.dead_letters.end(&by(), &[id], End::Resolved, "").await.unwrap();
    assert!(!edit(b"{\"a\":1}", b"{}").await, "it is over");
    assert_eq!(actions(fixture).await, "ada@desk edit, ada@desk edit, ada@desk resolved");
}

async fn a_letter_ends_once(fixture: &StoreFixture) {
    let ids = letters(fixture, &[malformed(1, b"x"), malformed(2, b"x")]).await;
    let end = async |ids: &[Uuid], end, note| fixture.dead_letters.end(&by(), ids, end, note).await.unwrap();
    assert_eq!(end(&[ids[0], Uuid::now_v7()], End::Resolved, "told the customer\0").await, [ids[0]]);
    assert_eq!(end(&[ids[0]], End::Discarded, "too late").await, [] as [Uuid; 0]);
    let found = letter(fixture, ids[0]).await.record;
    assert_eq!((found.status.as_str(), found.resolved_by.as_deref()), ("resolved", Some("ada@desk")));
    assert_eq!(found.note.as_deref(), Some("told the customer\u{fffd}"));
    assert!(found.resolved_at.is_some());
    assert_eq!(status(fixture, ids[1]).await, "open");
    assert_eq!(actions(fixture).await, "ada@desk resolved");
}

async fn the_open_letters_that_came_last_are_told_without_their_payloads(fixture: &StoreFixture) {
    let mut ids = Vec::new();
    for number in 1..=4 {
        ids.extend(letters(fixture, &[malformed(number, b"x")]).await);
    }
    fixture.dead_letters.end(&by(), &ids[3..], End::Resolved, "").await.unwrap();
    let newest = fixture.records.newest_open_letters(2).await.unwrap();
    assert_eq!(newest.iter().map(|letter| letter.id).collect::<Vec<_>>(), [ids[2], ids[1]]);
    assert!(newest.iter().all(|letter| letter.payload.is_none() && letter.status == "open"), "{newest:?}");
}

async fn a_discarded_letter_is_discarded_in_the_ledger(fixture: &StoreFixture) {
    let batch = [malformed(1, b"x"), set_aside(said(2, vec![]), "x"), malformed(3, b"x")];
    let ids = letters(fixture, &batch).await;
    fixture.dead_letters.end(&by(), &ids[..2], End::Discarded, "spam").await.unwrap();
    for (recording, outcome) in batch.iter().zip(["discarded", "discarded", "dead_lettered"]) {
        assert_eq!(fixture.records.ledger(recording.event_id).await.unwrap()[0].outcome, outcome);
    }
    assert_eq!(actions(fixture).await, "ada@desk discarded, ada@desk discarded");
}

async fn what_ended_long_ago_is_purged(fixture: &StoreFixture) {
    let batch: Vec<_> = (0..5).map(|number| malformed(number, b"x")).collect();
    let ids = letters(fixture, &batch).await;
    fixture.dead_letters.end(&by(), &ids[..4], End::Resolved, "").await.unwrap();
    let (past, future) = (Utc::now() - TimeDelta::days(1), Utc::now() + TimeDelta::days(1));
    assert_eq!(fixture.dead_letters.ended_before(past).await.unwrap(), 0);
    assert_eq!(fixture.dead_letters.purge(&by(), past, 9).await.unwrap(), 0);
    assert_eq!(fixture.dead_letters.ended_before(future).await.unwrap(), 4);
    let mut deleted = Vec::new();
    for _ in 0..3 {
        deleted.push(fixture.dead_letters.purge(&by(), future, 3).await.unwrap());
    }
    assert_eq!(deleted, [3, 1, 0]);
    assert_eq!(status(fixture, ids[4]).await, "open");
    assert_eq!(fixture.dead_letters.letter(ids[0]).await.unwrap(), None);
    assert!(actions(fixture).await.ends_with("ada@desk resolved, ada@desk purge, ada@desk purge"));
}

async fn a_report_tells_what_came_and_went(fixture: &StoreFixture) {
    let past = Utc::now() - TimeDelta::hours(1);
    let empty = fixture.dead_letters.report(past).await.unwrap();
    assert_eq!((empty.arrived, empty.open, empty.oldest_open), (0, 0, None));
    let batch = [malformed(1, b"x"), malformed(2, b"x"), set_aside(said(3, vec![]), "y"), malformed(4, b"x")];
    let ids = letters(fixture, &batch).await;
    fixture.dead_letters.end(&by(), &ids[..1], End::Resolved, "").await.unwrap();
    fixture.dead_letters.end(&by(), &ids[1..2], End::Discarded, "").await.unwrap();
    let report = fixture.dead_letters.report(past).await.unwrap();
    assert_eq!((report.arrived, report.resolved, report.discarded), (4, 1, 1));
    assert_eq!((report.open, report.reprocessing), (2, 0));
    assert!(report.oldest_open.is_some_and(|oldest| oldest > past));
    let topics: Vec<_> = report.topics.iter().map(|one| (one.event_type.as_deref(), one.letters)).collect();
    assert_eq!(topics, [(Some("t\u{fffd}"), 3), (Some("chat.message"), 1)]);
    assert_eq!(report.causes.iter().map(|cause| cause.letters).collect::<Vec<_>>(), [3, 1]);
    let actions: Vec<_> = report.actions.iter().map(|one| (one.action.as_str(), one.times)).collect();
    assert_eq!(actions, [("discarded", 1), ("resolved", 1)]);
    let later = fixture.dead_letters.report(Utc::now() + TimeDelta::hours(1)).await.unwrap();
    assert_eq!((later.arrived, later.resolved, later.open), (0, 0, 2));
}
