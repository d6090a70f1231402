//! A dead letter: what could not be processed, with all that is needed to understand and to repeat it.

use std::fmt::Display;

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use crate::{cloudevent::Malformed, event::Event, stream::Delivered};

/// The namespace of ledger ids for what has no readable id of its own.
const UNIDENTIFIED: Uuid = Uuid::from_u128(0x6f1d_7a52_0c5e_4b7b_9a39_1f2e_84c6_d0b3);

/// Which stage gave the event up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The outbox row could not be published.
    Relay,
    /// The stream entry could not be read.
    Consume,
    /// No facts could be extracted.
    Extract,
    /// The store refused what was extracted.
    Record,
}

impl Stage {
    /// The name in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Consume => "consume",
            Self::Extract => "extract",
            Self::Record => "record",
        }
    }
}

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Not an event, or not the payload that its type promises.
    Malformed,
    /// The extractor said that trying again is no use.
    Permanent,
    /// The extractor failed at every attempt.
    Exhausted,
    /// The extraction panicked.
    Panic,
    /// The extraction did not end within its time.
    TimedOut,
    /// The process died again and again while the event was in its hands.
    Crashed,
    /// A server refused the data.
    Refused,
}

impl ErrorKind {
    /// Whether a thread or a process was, or may have been, lost to the event: it must not be tried again by itself.
    #[must_use]
    pub fn is_dangerous(self) -> bool {
        matches!(self, Self::Panic | Self::TimedOut | Self::Crashed)
    }

    /// The name in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Permanent => "permanent",
            Self::Exhausted => "exhausted",
            Self::Panic => "panic",
            Self::TimedOut => "timed_out",
            Self::Crashed => "crashed",
            Self::Refused => "refused",
        }
    }
}

/// Why an event was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Which stage.
    pub stage: Stage,
    /// What kind of failure.
    pub kind: ErrorKind,
    /// The whole chain of errors.
    pub error: String,
    /// How often it was tried.
    pub attempts: u32,
}

/// An event that was set aside.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// Its own id, time-ordered.
    pub id: Uuid,
    /// The key of its ledger row: the event's id, or one derived from where the entry stood.
    pub ledger_id: Uuid,
    /// The event's id as it came.
    pub event_id: String,
    /// The topic.
    pub topic: String,
    /// The partition, where it had reached one.
    pub partition: Option<u16>,
    /// The position there, or the outbox row's id.
    pub position: Option<String>,
    /// The key, where one could be read.
    pub key: Option<String>,
    /// The event type, where one could be read.
    pub event_type: Option<String>,
    /// The payload, byte for byte.
    pub payload: Vec<u8>,
    /// The other attributes: a JSON object.
    pub headers: serde_json::Value,
    /// When the event happened, where it says so.
    pub occurred_at: Option<DateTime<Utc>>,
    /// Why.
    pub cause: Cause,
}

impl DeadLetter {
    /// Of an entry that was read from a stream.
    #[must_use]
    pub fn of_entry(delivered: &Delivered, cause: Cause) -> Self {
        let place = entry_place(&delivered.partition, delivered.position);
        let mut letter = match &delivered.event {
            Ok(event) => Self::of_event(event, cause),
            Err(malformed) => Self::of_malformed(malformed, &delivered.partition.topic, &place, cause),
        };
        letter.partition = Some(delivered.partition.number);
        letter.position = Some(delivered.position.to_string());
        letter
    }

    /// Of an event.
    #[must_use]
    pub fn of_event(event: &Event, cause: Cause) -> Self {
        let mut headers = serde_json::Map::new();
        headers.insert("source".into(), event.source.clone().into());
        if let Some(trace) = &event.trace {
            headers.insert("traceparent".into(), trace.traceparent.clone().into());
            headers.extend(trace.tracestate.clone().map(|state| ("tracestate".to_owned(), state.into())));
        }
        Self {
            id: Uuid::now_v7(),
            ledger_id: event.id,
            event_id: event.id.to_string(),
            topic: event.topic.clone(),
            partition: None,
            position: None,
            key: Some(event.key.clone()),
            event_type: Some(event.event_type.clone()),
            payload: event.data.clone().into_bytes(),
            headers: headers.into(),
            occurred_at: Some(event.occurred_at),
            cause,
        }
    }

    /// Of something that is not an event; `place` names where it stands, once and for ever.
    #[must_use]
    pub fn of_malformed(malformed: &Malformed, topic: &str, place: &str, cause: Cause) -> Self {
        let headers = malformed.attributes.iter().map(|(name, value)| (name.clone(), value.clone().into()));
        Self {
            id: Uuid::now_v7(),
            ledger_id: id_of_place(place),
            event_id: malformed.event_id.clone(),
            topic: topic.to_owned(),
            partition: None,
            position: None,
            key: malformed.key.clone(),
            event_type: malformed.event_type.clone(),
            payload: malformed.data.clone(),
            headers: serde_json::Value::Object(headers.collect()),
            occurred_at: None,
            cause,
        }
    }

    /// Leaves out everything that a store might refuse; says whether there was anything.
    pub fn leave_out_all_but_payload(&mut self) -> bool {
        // No store refuses a UUID, and it may be all that leads back to the ledger.
        let is_uuid = Uuid::try_parse(&self.event_id).is_ok();
        let plain = Self {
            event_id: if is_uuid { self.event_id.clone() } else { String::new() },
            key: None,
            event_type: None,
            headers: serde_json::Value::Object(serde_json::Map::new()),
            occurred_at: None,
            ..self.clone()
        };
        let changed = plain != *self;
        *self = plain;
        changed
    }

    /// The same for equal causes: a hash of stage, kind and the error without its numbers and quoted values.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let Cause { stage, kind, error, .. } = &self.cause;
        fingerprint(stage.as_str(), kind.as_str(), error)
    }
}

/// The same for equal causes: a hash of stage, kind and the error without its numbers and quoted values.
#[must_use]
pub fn fingerprint(stage: &str, kind: &str, error: &str) -> String {
    let text = format!("{stage}/{kind}/{}", without_values(error));
    format!("{:016x}", xxh3_64(text.as_bytes()))
}

/// Where a stored letter came from. Its ledger row's key is not stored with it, but can be told from this.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The stage that gave it up first.
    pub stage: &'a str,
    /// What kind of failure it was.
    pub kind: &'a str,
    /// The event's id as it came.
    pub event_id: &'a str,
    /// The CloudEvents source, where the letter names one.
    pub source: Option<&'a str>,
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: Option<i32>,
    /// The position there, or the outbox row's id.
    pub position: Option<&'a str>,
}

impl Origin<'_> {
    /// The key of the letter's ledger row; nothing if the letter has lost what it is told from.
    ///
    /// What could not be read as an event has one derived from its place, even if its id is a UUID: it need not be
    /// the only one with that id.
    #[must_use]
    pub fn ledger_id(&self) -> Option<Uuid> {
        if self.stage == Stage::Consume.as_str() {
            let (partition, position) = (self.partition?, self.position?);
            return Some(id_of_place(&entry_place(format_args!("{}:{partition}", self.topic), position)));
        }
        if self.stage == Stage::Relay.as_str() && self.kind == ErrorKind::Malformed.as_str() {
            return Some(id_of_place(&format!("relay:{}@{}", self.source?, self.position?)));
        }
        Uuid::try_parse(self.event_id).ok()
    }
}

/// The id under which a refused row of the outbox is published again: its own is taken by that row.
#[must_use]
pub fn id_of_republished(ledger_id: Uuid) -> Uuid {
    id_of_place(&format!("republished@{ledger_id}"))
}

/// What has no readable id of its own is known by where it stands.
#[must_use]
pub fn id_of_place(place: &str) -> Uuid {
    Uuid::new_v5(&UNIDENTIFIED, place.as_bytes())
}

/// Names the place of an entry, once and for ever.
fn entry_place(partition: impl Display, position: impl Display) -> String {
    format!("{partition}@{position}")
}

/// The error's words alone: quoted values and everything with a digit in it say which, not what.
fn without_values(error: &str) -> String {
    let unquoted: String = error.split('"').step_by(2).collect::<Vec<_>>().join("#");
    let words = unquoted.split_whitespace();
    words.filter(|word| !word.contains(|c: char| c.is_ascii_digit())).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{Partition, Position};

    fn letter(error: &str) -> DeadLetter {
        let malformed = Malformed {
            reason: crate::cloudevent::Error::Missing("id"),
            event_id: String::new(),
            key: None,
            event_type: None,
            data: vec![0, 255],
            attributes: vec![],
        };
        let cause =
            Cause { stage: Stage::Consume, kind: ErrorKind::Malformed, error: error.into(), attempts: 1 };
        DeadLetter::of_malformed(&malformed, "chat", "chat:3@1-0", cause)
    }

    #[test]
    fn equal_causes_share_a_fingerprint_and_different_ones_do_not() {
        let fingerprint = |error| letter(error).fingerprint();
        assert_eq!(fingerprint("id is not a UUID: \"chat-1\""), fingerprint("id is not a UUID: \"x y\""));
        assert_eq!(
            fingerprint("expected value at line 1 column 9"),
            fingerprint("expected value at line 2 column 77")
        );
        assert_ne!(fingerprint("payload has no content"), fingerprint("time is unreadable"));
    }

    fn told_from(letter: &DeadLetter) -> Option<Uuid> {
        let origin = Origin {
            stage: letter.cause.stage.as_str(),
            kind: letter.cause.kind.as_str(),
            event_id: &letter.event_id,
            source: letter.headers["source"].as_str(),
            topic: &letter.topic,
            partition: letter.partition.map(i32::from),
            position: letter.position.as_deref(),
        };
        origin.ledger_id()
    }

    #[test]
    fn a_stored_letter_leads_back_to_its_ledger_row() {
        let cause = |stage, kind| Cause { stage, kind, error: "x".into(), attempts: 1 };
        let mut malformed = Malformed {
            reason: crate::cloudevent::Error::Missing("data"),
            event_id: Uuid::now_v7().to_string(),
            key: None,
            event_type: None,
            data: vec![],
            attributes: vec![("source".into(), "shop".into())],
        };
        let entry = |event| Delivered {
            partition: Partition { topic: "chat".into(), number: 3 },
            position: Position { major: 1, minor: 2 },
            deliveries: 1,
            taken_from: None,
            event,
            trail: crate::trace::Trail::default(),
        };
        let read = entry(Err(Box::new(malformed.clone())));
        let consumed = DeadLetter::of_entry(&read, cause(Stage::Consume, ErrorKind::Malformed));
        let mut extracted =
            DeadLetter::of_entry(&entry(Ok(Event::sample())), cause(Stage::Extract, ErrorKind::Malformed));
        extracted.leave_out_all_but_payload();
        malformed.event_id = "chat-1".into();
        let mut unpublishable = DeadLetter::of_malformed(
            &malformed,
            "chat",
            "relay:shop@17",
            cause(Stage::Relay, ErrorKind::Malformed),
        );
        unpublishable.position = Some("17".into());
        let mut refused = DeadLetter::of_event(&Event::sample(), cause(Stage::Relay, ErrorKind::Refused));
        refused.position = Some("18".into());
        for letter in [consumed, extracted, unpublishable, refused] {
            assert_eq!(told_from(&letter), Some(letter.ledger_id), "{letter:?}");
        }
    }

    #[test]
    fn the_same_place_has_the_same_ledger_id() {
        assert_eq!(letter("a").ledger_id, letter("b").ledger_id);
        assert_ne!(letter("a").id, letter("a").id);
    }
}
