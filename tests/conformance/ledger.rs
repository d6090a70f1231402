//! What the `Ledger` port promises: every event takes effect once and all of it, or not at all.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use factline::records::{ConversationRecord, DeadLetterFilter, DeadLetterRecord, FactFilter, Totals};
use factline_pipeline::{
    conversation,
    dead_letter::DeadLetter,
    event::Event,
    fact::Fact,
    lease::Fence,
    ledger::{Ledger, Outcome, Recorded, Recording},
    outage::Error,
};
use uuid::Uuid;

use super::{
    adapters::StoreFixture,
    samples::{cause, day, event, home, likes, malformed, said, titled, trace},
};

for_every_store! {
    [
        recording_twice_is_once,
        an_event_that_stands_in_a_batch_twice_takes_effect_where_it_stands_first,
        every_group_has_a_ledger_of_its_own,
        a_ledger_row_says_where_the_event_came_from_and_what_became_of_it,
        an_event_that_says_nothing_is_recorded_all_the_same,
        a_lost_lease_rolls_everything_back,
        data_that_the_store_refuses_leaves_nothing_behind,
        several_may_record_the_same_at_once,
        what_several_state_at_once_is_merged_as_if_one_after_the_other,
        a_conversation_comes_out_the_same_in_any_order,
        the_first_title_stays,
        a_tenure_does_not_vouch_for_another_of_the_same_lease,
        a_dead_letter_keeps_every_byte,
        a_dead_letter_is_never_refused,
        what_could_not_be_published_is_set_aside_once,
        totals_count_what_there_is,
        a_thousand_events_are_one_batch,
        a_large_batch_is_recorded_like_its_events_one_by_one,
        of_a_large_batch_only_what_is_new_takes_effect,
    ]
}

pub(super) async fn record(fixture: &StoreFixture, batch: &[Recording]) -> Recorded {
    fixture.ledger.record("facts", &[], batch).await.unwrap()
}

async fn totals(fixture: &StoreFixture) -> Totals {
    fixture.records.totals().await.unwrap()
}

async fn dead_letters(fixture: &StoreFixture) -> Vec<DeadLetterRecord> {
    fixture.records.dead_letters(&DeadLetterFilter { limit: 100, ..Default::default() }).await.unwrap()
}

async fn conversation_c(fixture: &StoreFixture) -> ConversationRecord {
    let conversations = fixture.records.conversations(100).await.unwrap();
    assert_eq!((conversations.len(), conversations[0].conversation_id.as_str()), (1, "c"));
    conversations.into_iter().next().unwrap()
}

fn new(events: u64) -> Recorded {
    Recorded { new: events, dead_lettered: 0, duplicates: 0 }
}

async fn recording_twice_is_once(fixture: &StoreFixture) {
    let batch = [said(1, vec![home("Berlin", 1)]), said(2, vec![likes("tea", 2)]), malformed(3, b"x")];
    assert_eq!(record(fixture, &batch).await, Recorded { new: 3, dead_lettered: 1, duplicates: 0 });
    let (then, conversation) = (totals(fixture).await, conversation_c(fixture).await);
    assert_eq!(then, Totals { processed: 2, dead_lettered: 1, facts: 2, open_dead_letters: 1, retrying: 0 });
    assert_eq!(record(fixture, &batch).await, Recorded { new: 0, dead_lettered: 0, duplicates: 3 });
    assert_eq!((totals(fixture).await, conversation_c(fixture).await), (then, conversation));
    let more = [batch[1].clone(), said(4, vec![])];
    assert_eq!(record(fixture, &more).await, Recorded { new: 1, dead_lettered: 0, duplicates: 1 });
    let facts = fixture.records.facts(&FactFilter { limit: 100, ..Default::default() }).await.unwrap();
    assert!(facts.iter().all(|fact| (fact.confidence - 0.8).abs() < 1e-6), "nothing was stated again");
}

async fn an_event_that_stands_in_a_batch_twice_takes_effect_where_it_stands_first(fixture: &StoreFixture) {
    let first = said(1, vec![likes("tea", 1)]);
    let second = Recording { event_id: first.event_id, ..said(2, vec![likes("cake", 2)]) };
    let recorded = record(fixture, &[first, second]).await;
    assert_eq!(recorded, Recorded { new: 1, dead_lettered: 0, duplicates: 1 });
    let facts = fixture.records.facts(&FactFilter { limit: 100, ..Default::default() }).await.unwrap();
    assert_eq!((facts.len(), facts[0].object.as_str()), (1, "tea"));
    assert_eq!(conversation_c(fixture).await.message_count, 1);
}

/// So many events that a store may have a faster way for them.
fn many() -> Vec<Recording> {
    let one = |number: i64| match number % 4 {
        0 => malformed(number, b"\0x"),
        1 => said(number, vec![]),
        2 => said(number, vec![likes(&format!("\"\u{1F980}\", \\N {number}"), 1), home("Berlin", number)]),
        _ => Recording { outcome: Outcome::Processed(None), attempts: 2, ..said(number, vec![]) },
    };
    let mut many: Vec<Recording> = (1..=100).map(one).collect();
    if let Ok(event) = &mut many[0].entry.event {
        (event.trace, event.occurred_at) = (None, DateTime::<Utc>::MIN_UTC);
    }
    many
}

async fn a_large_batch_is_recorded_like_its_events_one_by_one(fixture: &StoreFixture) {
    let many = many();
    let whole = Recorded { new: 100, dead_lettered: 25, duplicates: 0 };
    assert_eq!(record(fixture, &many).await, whole);
    assert_eq!(totals(fixture).await.facts, 26, "one home is the present one");
    for mut one in many.clone() {
        if let Outcome::DeadLettered(letter) = &mut one.outcome {
            letter.id = Uuid::now_v7();
        }
        fixture.ledger.record("by itself", &[], &[one]).await.unwrap();
    }
    for recording in &many {
        let mut rows = fixture.records.ledger(recording.event_id).await.unwrap();
        let together = rows.pop().unwrap();
        assert_eq!(
            (rows[0].consumer_group.as_str(), together.consumer_group.as_str()),
            ("by itself", "facts")
        );
        rows[0].consumer_group.clone_from(&together.consumer_group);
        rows[0].processed_at = together.processed_at;
        assert_eq!(rows, [together]);
    }
}

async fn of_a_large_batch_only_what_is_new_takes_effect(fixture: &StoreFixture) {
    let many = many();
    record(fixture, &many[50..51]).await;
    let recorded = record(fixture, &many).await;
    assert_eq!(recorded, Recorded { new: 99, dead_lettered: 25, duplicates: 1 });
    assert_eq!(record(fixture, &many).await, Recorded { new: 0, dead_lettered: 0, duplicates: 100 });
    let then = totals(fixture).await;
    let others: Vec<Recording> = (201..=300).map(|number| said(number, vec![])).collect();
    let first_twice = [&others[..50], &others[..1], &others[50..]].concat();
    for _ in 0..2 {
        let bad = [&others[..], &[said(301, vec![likes("a NUL: \0", 3)])]].concat();
        let refused = fixture.ledger.record("facts", &[], &bad).await;
        assert!(matches!(refused, Err(Error::Data { .. })), "{refused:?}");
        assert_eq!(totals(fixture).await, then);
    }
    let recorded = record(fixture, &first_twice).await;
    assert_eq!(recorded, Recorded { new: 100, dead_lettered: 0, duplicates: 1 });
    assert_eq!(totals(fixture).await.processed, then.processed + 100);
}

async fn every_group_has_a_ledger_of_its_own(fixture: &StoreFixture) {
    let batch = [said(1, vec![])];
    for group in ["facts", "audit"] {
        assert_eq!(fixture.ledger.record(group, &[], &batch).await.unwrap(), new(1));
    }
    let rows = fixture.records.ledger(batch[0].event_id).await.unwrap();
    let groups: Vec<&str> = rows.iter().map(|row| row.consumer_group.as_str()).collect();
    assert_eq!(groups, ["audit", "facts"]);
    assert_eq!(fixture.records.ledger(Uuid::now_v7()).await.unwrap(), []);
}

async fn a_ledger_row_says_where_the_event_came_from_and_what_became_of_it(fixture: &StoreFixture) {
    let batch = [said(2, vec![likes("tea", 1), likes("cake", 1)]), malformed(7, b"x")];
    let before = Utc::now() - TimeDelta::seconds(1);
    record(fixture, &batch).await;
    let row = &fixture.records.ledger(batch[0].event_id).await.unwrap()[0];
    assert_eq!((row.topic.as_str(), row.partition, row.position.as_deref()), ("chat", Some(1), Some("2-0")));
    assert_eq!((row.event_type.as_str(), row.outcome.as_str()), ("chat.message", "processed"));
    assert_eq!((row.facts, row.attempts, row.occurred_at), (2, 1, Some(day(2))));
    assert_eq!(row.traceparent, Some(trace().traceparent));
    assert!(row.processed_at > before && row.processed_at < Utc::now() + TimeDelta::seconds(1));
    let row = &fixture.records.ledger(batch[1].event_id).await.unwrap()[0];
    assert_eq!((row.partition, row.position.as_deref()), (Some(1), Some("7-0")));
    assert_eq!((row.outcome.as_str(), row.facts, row.attempts), ("dead_lettered", 0, 3));
}

async fn an_event_that_says_nothing_is_recorded_all_the_same(fixture: &StoreFixture) {
    let recording = Recording { outcome: Outcome::Processed(None), ..said(1, vec![]) };
    assert_eq!(record(fixture, &[recording]).await, new(1));
    assert_eq!(fixture.records.conversations(100).await.unwrap(), []);
    assert_eq!(record(fixture, &[]).await, new(0));
}

async fn a_lost_lease_rolls_everything_back(fixture: &StoreFixture) {
    let names = ["one".to_owned(), "two".to_owned()];
    let minute = std::time::Duration::from_mins(1);
    let fences = fixture.leases.acquire(&names, "me", minute).await.unwrap();
    let batch = [said(1, vec![likes("tea", 1)]), malformed(2, b"x")];
    let refused = |fences: Vec<_>| {
        let batch = batch.clone();
        async move {
            let refused = fixture.ledger.record("facts", &fences, &batch).await;
            assert!(matches!(refused, Err(Error::Fenced { .. })), "{refused:?}");
            assert_eq!(totals(fixture).await, Totals::default());
            assert_eq!(fixture.records.conversations(100).await.unwrap(), []);
        }
    };
    let mut of_another_tenure = fences.clone();
    of_another_tenure[1].token += 1;
    refused(of_another_tenure).await;
    let mut of_an_unknown_lease = fences.clone();
    of_an_unknown_lease[0].name.push('!');
    refused(of_an_unknown_lease).await;
    fixture.leases.release(&names[..1], "me").await.unwrap();
    refused(fences.clone()).await;
    let still_held: Vec<_> = fences.iter().filter(|fence| fence.name == "two").cloned().collect();
    let recorded = fixture.ledger.record("facts", &still_held, &batch).await.unwrap();
    assert_eq!(recorded, Recorded { new: 2, dead_lettered: 1, duplicates: 0 });
    refused_by_name(fixture, fences).await;
}

async fn refused_by_name(fixture: &StoreFixture, fences: Vec<factline_pipeline::lease::Fence>) {
    let refused = fixture.ledger.record("facts", &fences, &[said(9, vec![])]).await.unwrap_err();
    assert!(matches!(&refused, Error::Fenced { lease } if lease == "one"), "{refused:?}");
}

async fn a_tenure_does_not_vouch_for_another_of_the_same_lease(fixture: &StoreFixture) {
    let minute = std::time::Duration::from_mins(1);
    let now = fixture.leases.acquire(&["one".to_owned()], "me", minute).await.unwrap().remove(0);
    let before = Fence { token: now.token - 1, ..now.clone() };
    for fences in [[now.clone(), before.clone()], [before, now]] {
        let refused = fixture.ledger.record("facts", &fences, &[said(1, vec![])]).await;
        assert!(matches!(&refused, Err(Error::Fenced { lease }) if lease == "one"), "{refused:?}");
    }
    assert_eq!(totals(fixture).await, Totals::default());
}

async fn data_that_the_store_refuses_leaves_nothing_behind(fixture: &StoreFixture) {
    let good = [said(1, vec![likes("tea", 1)]), malformed(2, b"x")];
    let bad = said(3, vec![likes("a NUL: \0", 3)]);
    let refused = fixture.ledger.record("facts", &[], &[&good[..], &[bad]].concat()).await;
    assert!(matches!(refused, Err(Error::Data { .. })), "{refused:?}");
    assert_eq!(totals(fixture).await, Totals::default());
    assert_eq!(fixture.records.conversations(100).await.unwrap(), []);
    assert_eq!(record(fixture, &good).await, Recorded { new: 2, dead_lettered: 1, duplicates: 0 });
}

/// Tries again where others were faster.
async fn record_in_the_end(ledger: Arc<dyn Ledger>, batch: Vec<Recording>) -> Recorded {
    loop {
        match ledger.record("facts", &[], &batch).await {
            Ok(recorded) => return recorded,
            Err(error) => assert!(error.is_outage(), "{error:?}"),
        }
    }
}

async fn what_several_state_at_once_is_merged_as_if_one_after_the_other(fixture: &StoreFixture) {
    let unsure = |since| Fact { confidence: 0.1, ..likes("tea", since) };
    let writers = (1..=4).map(|n| {
        let batch = vec![said(n, vec![home(&format!("place {n}"), n), unsure(n)])];
        tokio::spawn(record_in_the_end(fixture.ledger.clone(), batch))
    });
    for writer in writers.collect::<Vec<_>>() {
        assert_eq!(writer.await.unwrap().new, 1);
    }
    let all = FactFilter { superseded: true, limit: 100, ..FactFilter::default() };
    let facts = fixture.records.facts(&all).await.unwrap();
    let (tea, homes): (Vec<_>, Vec<_>) = facts.into_iter().partition(|fact| fact.predicate == "likes");
    let confidence = 1.0 - 0.9_f32.powi(4);
    assert!(tea.len() == 1 && (tea[0].confidence - confidence).abs() < 1e-4, "{tea:?}");
    let current: Vec<_> = homes.iter().filter(|fact| fact.superseded_by.is_none()).collect();
    assert_eq!((homes.len(), current.len(), current[0].object.as_str()), (4, 1, "place 4"), "{homes:?}");
}

async fn several_may_record_the_same_at_once(fixture: &StoreFixture) {
    let batch: Vec<Recording> =
        (0..50).map(|n| said(n, vec![likes(&format!("thing {}", n % 5), n)])).collect();
    let writers = (0..4).map(|_| tokio::spawn(record_in_the_end(fixture.ledger.clone(), batch.clone())));
    let mut all = Recorded::default();
    for writer in writers.collect::<Vec<_>>() {
        let recorded = writer.await.unwrap();
        all =
            Recorded { new: all.new + recorded.new, duplicates: all.duplicates + recorded.duplicates, ..all };
    }
    assert_eq!(all, Recorded { new: 50, dead_lettered: 0, duplicates: 150 });
    assert_eq!(totals(fixture).await, Totals { processed: 50, facts: 5, ..Totals::default() });
    assert_eq!(conversation_c(fixture).await.message_count, 50);
}

async fn a_conversation_comes_out_the_same_in_any_order(fixture: &StoreFixture) {
    let batch: Vec<Recording> = (0..6).map(|number| said(number, vec![])).collect();
    let at_once = conversation::changes(&batch).remove(0);
    for one in [5, 0, 3] {
        record(fixture, &batch[one..=one]).await;
    }
    let backwards: Vec<Recording> = batch.iter().rev().cloned().collect();
    record(fixture, &backwards).await;
    let conversation = conversation_c(fixture).await;
    assert_eq!((conversation.message_count, conversation.checksum), (at_once.messages, at_once.checksum));
    assert_eq!(conversation.watermark_ms, at_once.watermark_ms);
    assert_eq!(conversation.watermark_ms, day(5).timestamp_millis());
    assert_ne!(conversation.checksum, 0);
}

async fn the_first_title_stays(fixture: &StoreFixture) {
    record(fixture, &[said(0, vec![])]).await;
    assert_eq!(conversation_c(fixture).await.title, None);
    record(fixture, &[said(1, vec![]), titled(said(2, vec![]), "Tea"), titled(said(3, vec![]), "Cake")])
        .await;
    record(fixture, &[titled(said(4, vec![]), "Bread")]).await;
    let conversation = conversation_c(fixture).await;
    assert_eq!(
        (conversation.title.as_deref(), conversation.title_source.as_deref()),
        (Some("Tea"), Some("title"))
    );
    assert_eq!(conversation.message_count, 5);
}

async fn a_dead_letter_keeps_every_byte(fixture: &StoreFixture) {
    let bytes: Vec<u8> = (0..=255).chain([0, 0xc3, 0x28, 0]).collect();
    let recording = malformed(1, &bytes);
    let Outcome::DeadLettered(letter) = &recording.outcome else { unreachable!("it is malformed") };
    for _ in 0..2 {
        record(fixture, std::slice::from_ref(&recording)).await;
    }
    let (sqlite, postgres) =
        ("SELECT payload FROM dead_letters", "SELECT payload FROM factline.dead_letters");
    assert_eq!(fixture.sql.bytes(sqlite, postgres).await, bytes);
    let letters = dead_letters(fixture).await;
    assert_eq!((letters.len(), letters[0].id), (1, letter.id));
    let found = &letters[0];
    assert_eq!((found.event_id.as_str(), found.key.as_deref()), ("chat-1\u{fffd}", Some("k\u{fffd}")));
    assert_eq!(found.event_type.as_deref(), Some("t\u{fffd}"));
    assert_eq!(
        (found.stage.as_str(), found.error_kind.as_str(), found.attempts),
        ("consume", "malformed", 3)
    );
    assert_eq!((found.status.as_str(), &found.fingerprint), ("open", &letter.fingerprint()));
    assert_eq!(found.error, "id is not a UUID: \"chat-1\u{fffd}\"");
    assert_eq!((found.partition, found.position.as_deref()), (Some(1), Some("1-0")));
    assert_eq!(found.consumer_group, "facts");
}

/// Twelve thousand characters that no database can compress into an index entry.
fn long() -> String {
    (0..375).map(|_| Uuid::new_v4().simple().to_string()).collect()
}

/// An event that has whatever a server might refuse, everywhere.
fn monster(number: i64) -> Event {
    let mut event = event(&format!("{}\0", long()), number);
    event.occurred_at = DateTime::<Utc>::MIN_UTC;
    event.event_type = format!("{}\0", long());
    event.source = "\0 spelled \\u0000 \\\0".into();
    event.trace = Some(trace());
    for text in event.trace.iter_mut().map(|trace| &mut trace.traceparent) {
        text.push('\0');
    }
    event.data.push('\0');
    event
}

async fn a_dead_letter_is_never_refused(fixture: &StoreFixture) {
    let letter_of = |event: &Event| {
        let mut letter = DeadLetter::of_event(event, cause("refused: \0"));
        letter.event_id = format!("{}\0", long());
        letter.topic = format!("{}\0", long());
        letter.position = Some(format!("{}\0", long()));
        letter
    };
    let (published, read) = (monster(1), monster(2));
    let unpublishable = letter_of(&published);
    let mut recording = said(2, vec![]);
    recording.event_id = read.id;
    recording.outcome = Outcome::DeadLettered(Box::new(letter_of(&read)));
    recording.entry.event = Ok(read.clone());
    for _ in 0..2 {
        fixture.ledger.record_unpublishable(std::slice::from_ref(&unpublishable)).await.unwrap();
        record(fixture, std::slice::from_ref(&recording)).await;
    }
    let letters = dead_letters(fixture).await;
    assert_eq!((letters.len(), letters[0].payload.as_deref().unwrap().as_bytes()), (2, read.data.as_bytes()));
    assert_eq!(letters[0].event_type, Some(read.event_type.replace('\0', "\u{fffd}")));
    for event in [published, read] {
        assert_eq!(fixture.records.ledger(event.id).await.unwrap()[0].outcome, "dead_lettered");
    }
    let sources = "SELECT CAST(headers ->> 'source' AS BLOB) FROM dead_letters";
    let source = fixture
        .sql
        .bytes(sources, "SELECT convert_to(headers ->> 'source', 'UTF8') FROM factline.dead_letters");
    assert_eq!(String::from_utf8(source.await).unwrap(), "\u{fffd} spelled \\u0000 \\\u{fffd}");
    let by_id =
        DeadLetterFilter { event_id: Some(letters[0].event_id.clone()), limit: 9, ..Default::default() };
    assert_eq!(fixture.records.dead_letters(&by_id).await.unwrap(), letters[..1]);
}

async fn what_could_not_be_published_is_set_aside_once(fixture: &StoreFixture) {
    let mut event = event("c\0", 1);
    event.event_type.push('\0');
    let mut letter = DeadLetter::of_event(&event, cause("the stream refused it"));
    letter.position = Some("17".into());
    for _ in 0..2 {
        fixture.ledger.record_unpublishable(std::slice::from_ref(&letter)).await.unwrap();
    }
    fixture.ledger.record_unpublishable(&[]).await.unwrap();
    let letters = dead_letters(fixture).await;
    assert_eq!((letters.len(), letters[0].consumer_group.as_str()), (1, "relay"));
    assert_eq!((letters[0].position.as_deref(), letters[0].partition), (Some("17"), None));
    assert_eq!(letters[0].payload.as_ref(), Some(&event.data));
    let row = &fixture.records.ledger(event.id).await.unwrap()[0];
    assert_eq!((row.consumer_group.as_str(), row.outcome.as_str()), ("relay", "dead_lettered"));
    assert_eq!((row.event_type.as_str(), row.occurred_at), ("chat.message\u{fffd}", Some(day(1))));
}

async fn totals_count_what_there_is(fixture: &StoreFixture) {
    assert_eq!(totals(fixture).await, Totals::default());
    record(fixture, &[said(1, vec![home("Berlin", 1)]), said(2, vec![home("Paris", 2)]), malformed(3, b"")])
        .await;
    fixture
        .sql
        .run(
            "UPDATE dead_letters SET status = 'resolved'",
            "UPDATE factline.dead_letters SET status = 'resolved'",
        )
        .await;
    record(fixture, &[malformed(4, b"")]).await;
    let expected = Totals { processed: 2, dead_lettered: 2, facts: 1, open_dead_letters: 1, retrying: 0 };
    assert_eq!(totals(fixture).await, expected);
    let of_status =
        |status: &str| DeadLetterFilter { status: Some(status.into()), limit: 9, ..Default::default() };
    let resolved = fixture.records.dead_letters(&of_status("resolved")).await.unwrap();
    assert_eq!((resolved.len(), resolved[0].position.as_deref()), (1, Some("3-0")));
    let unknown = DeadLetterFilter { event_id: Some("nobody".into()), limit: 9, ..Default::default() };
    assert_eq!(fixture.records.dead_letters(&unknown).await.unwrap(), []);
}

async fn a_thousand_events_are_one_batch(fixture: &StoreFixture) {
    let batch: Vec<Recording> = (0..1000).map(|n| said(n, vec![likes(&format!("thing {n}"), n)])).collect();
    assert_eq!(record(fixture, &batch).await, new(1000));
    assert_eq!(totals(fixture).await, Totals { processed: 1000, facts: 1000, ..Totals::default() });
}
