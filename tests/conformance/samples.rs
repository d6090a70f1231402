//! What the suites write: events, facts and recordings, all different from each other.

use chrono::{DateTime, TimeDelta, Utc};
use factline_pipeline::{
    cloudevent,
    dead_letter::{Cause, DeadLetter, ErrorKind, Stage},
    event::{Event, TraceContext},
    fact::{Cardinality, Fact, Scope, Title},
    ledger::{Outcome, Recording, Said},
    stream::{Delivered, Partition, Position, partition_of},
};
use uuid::Uuid;

use super::adapters::{PARTITIONS, SOURCE};

pub(super) const TOPIC: &str = "chat";

/// A time with all the microseconds that a database keeps.
pub(super) fn day(number: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_769_067_099, 568_123_000).unwrap() + TimeDelta::days(number)
}

pub(super) fn trace() -> TraceContext {
    TraceContext {
        traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into(),
        tracestate: Some("vendor=1".into()),
    }
}

/// An event of a key; `sequence` tells it from the others.
pub(super) fn event(key: &str, sequence: i64) -> Event {
    Event {
        id: Uuid::now_v7(),
        source: SOURCE.into(),
        event_type: "chat.message".into(),
        topic: TOPIC.into(),
        key: key.into(),
        occurred_at: day(sequence),
        created_at: None,
        sequence: Some(sequence),
        trace: (sequence % 2 == 0).then(trace),
        data: format!(r#"{{"content":"message {sequence} of {key}"}}"#),
    }
}

pub(super) fn partition(number: u16) -> Partition {
    Partition { topic: TOPIC.into(), number }
}

/// A key whose events go to this partition.
pub(super) fn key_in(number: u16) -> String {
    let mut keys = (0..).map(|attempt| format!("key-{attempt}"));
    keys.find(|key| partition_of(key, PARTITIONS) == number).unwrap()
}

/// So many events of one key in this partition.
pub(super) fn events_in(number: u16, count: i64) -> Vec<Event> {
    (0..count).map(|sequence| event(&key_in(number), sequence)).collect()
}

/// The sequences of delivered events.
pub(super) fn sequences(entries: &[Delivered]) -> Vec<i64> {
    entries.iter().map(|entry| entry.event.as_ref().unwrap().sequence.unwrap()).collect()
}

/// Somebody has one value of a single-valued predicate.
pub(super) fn home(place: &str, since: i64) -> Fact {
    Fact { cardinality: Cardinality::Single, predicate: "lives_in".into(), ..likes(place, since) }
}

/// Somebody has one of many values.
pub(super) fn likes(object: &str, since: i64) -> Fact {
    Fact {
        subject: "Ada".into(),
        scope: Scope::Everywhere,
        predicate: "likes".into(),
        object: object.into(),
        cardinality: Cardinality::Many,
        confidence: 0.8,
        valid_from: day(since),
        valid_to: None,
        quote: format!("about {object}"),
        span_start: 3,
        span_end: 9,
        extractor: "patterns",
        extractor_version: 2,
    }
}

/// A message of conversation `c` that states these facts, as it was read from partition 1.
pub(super) fn said(number: i64, facts: Vec<Fact>) -> Recording {
    let event = event("c", number);
    let said = Said {
        conversation_id: "c".into(),
        message_id: format!("m-{number}"),
        sent_at: day(number),
        title: None,
        facts,
    };
    Recording {
        event_id: event.id,
        entry: delivered(number, Ok(event)),
        outcome: Outcome::Processed(Some(Box::new(said))),
        attempts: 1,
        leaves_traces: false,
    }
}

/// The same message, which gives its conversation a title.
pub(super) fn titled(mut recording: Recording, title: &str) -> Recording {
    if let Outcome::Processed(Some(said)) = &mut recording.outcome {
        said.title = Some(Title { text: title.into(), source: "title" });
    }
    recording
}

/// An entry that is no event, and the dead letter that it becomes.
pub(super) fn malformed(number: i64, data: &[u8]) -> Recording {
    let malformed = cloudevent::Malformed {
        reason: cloudevent::Error::Id("chat-1\0".into()),
        event_id: "chat-1\0".into(),
        key: Some("k\0".into()),
        event_type: Some("t\0".into()),
        data: data.into(),
        attributes: vec![("source".into(), "nul\0".into())],
    };
    let entry = delivered(number, Err(Box::new(malformed)));
    let letter = DeadLetter::of_entry(&entry, cause("id is not a UUID: \"chat-1\0\""));
    let (event_id, attempts) = (letter.ledger_id, letter.cause.attempts);
    let outcome = Outcome::DeadLettered(Box::new(letter));
    Recording { event_id, entry, outcome, attempts, leaves_traces: false }
}

/// The same message, from which nobody could extract anything.
pub(super) fn set_aside(mut recording: Recording, error: &str) -> Recording {
    let cause = Cause { stage: Stage::Extract, kind: ErrorKind::Permanent, ..cause(error) };
    recording.outcome = Outcome::DeadLettered(Box::new(DeadLetter::of_entry(&recording.entry, cause)));
    recording
}

/// The letter of a recording that is one.
pub(super) fn letter_of(recording: &Recording) -> &DeadLetter {
    match &recording.outcome {
        Outcome::DeadLettered(letter) => letter,
        Outcome::Processed(_) => panic!("it was processed"),
    }
}

pub(super) fn cause(error: &str) -> Cause {
    Cause { stage: Stage::Consume, kind: ErrorKind::Malformed, error: error.into(), attempts: 3 }
}

fn delivered(number: i64, event: Result<Event, Box<cloudevent::Malformed>>) -> Delivered {
    let position = Position { major: number.unsigned_abs(), minor: 0 };
    Delivered {
        partition: partition(1),
        position,
        deliveries: 1,
        taken_from: None,
        event,
        trail: factline_pipeline::trace::Trail::default(),
    }
}
