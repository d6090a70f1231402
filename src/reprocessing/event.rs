//! The event that a dead letter was set aside for, read from the letter as it is now. What is in the way of that is
//! told in words, with what to do.

use chrono::{DateTime, Utc};
use factline_pipeline::{
    event::{Event, TraceContext},
    outbox::NewEvent,
    stream::{Delivered, Partition, Position},
    time,
    trace::Trail,
};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::dead_letters::Letter;

/// The event of an entry that was read from a stream, where it stood, and its id.
pub(super) fn of_entry(
    letter: &Letter,
    occurred_at: Option<DateTime<Utc>>,
) -> Result<(Delivered, Uuid), String> {
    let record = &letter.record;
    let number = record.partition.and_then(|partition| u16::try_from(partition).ok());
    let position = record.position.as_deref().and_then(|position| position.parse::<Position>().ok());
    let (Some(number), Some(position)) = (number, position) else {
        return Err("it does not say where it stood in the stream; discard it".to_owned());
    };
    let id = ledger_id(letter)?;
    let event = Event {
        id,
        source: record.header("source").unwrap_or_default().to_owned(),
        event_type: event_type(letter)?,
        topic: record.topic.clone(),
        key: record.key.clone().unwrap_or_else(|| id.to_string()),
        occurred_at: happened(letter, occurred_at),
        created_at: None,
        sequence: record.header("sequence").and_then(|sequence| sequence.parse().ok()),
        trace: trace(letter),
        data: text(letter)?.to_owned(),
    };
    let entry = Delivered {
        partition: Partition { topic: record.topic.as_str().into(), number },
        position,
        deliveries: 1,
        taken_from: None,
        event: Ok(event),
        trail: Trail::default(),
    };
    Ok((entry, id))
}

/// The event of an outbox row that was never published, and the id under which its ledger row stands.
pub(super) fn of_row(
    letter: &Letter,
    occurred_at: Option<DateTime<Utc>>,
) -> Result<(Uuid, NewEvent), String> {
    let id = ledger_id(letter)?;
    let payload = text(letter)?;
    serde_json::from_str::<&RawValue>(payload)
        .map_err(|error| format!("payload is not JSON: {error}; edit it first"))?;
    if letter.record.topic.is_empty() {
        return Err("it has no topic; write its event anew with `factline emit`, and resolve it".to_owned());
    }
    let event = NewEvent {
        event_id: Some(id),
        topic: letter.record.topic.clone(),
        key: letter.record.key.clone().unwrap_or_else(|| id.to_string()),
        event_type: event_type(letter)?,
        payload: payload.to_owned(),
        occurred_at: Some(happened(letter, occurred_at)),
        trace: trace(letter),
    };
    Ok((id, event))
}

fn ledger_id(letter: &Letter) -> Result<Uuid, String> {
    let lost = || "it does not say which event it was; discard it".to_owned();
    letter.record.ledger_id().ok_or_else(lost)
}

fn event_type(letter: &Letter) -> Result<String, String> {
    let missing =
        || "it has no event type; write its event anew with `factline emit`, and resolve it".to_owned();
    letter.record.event_type.clone().filter(|name| !name.is_empty()).ok_or_else(missing)
}

fn text(letter: &Letter) -> Result<&str, String> {
    std::str::from_utf8(&letter.payload).map_err(|_| "payload is not UTF-8; edit it first".to_owned())
}

/// As the ledger knows it, or as the letter says; a time that cannot be read is when it failed first.
fn happened(letter: &Letter, known: Option<DateTime<Utc>>) -> DateTime<Utc> {
    let said = || letter.record.header("time").and_then(|text| time::parse(text).ok());
    known.or_else(said).unwrap_or(letter.record.first_failed_at)
}

fn trace(letter: &Letter) -> Option<TraceContext> {
    Some(TraceContext {
        traceparent: letter.record.header("traceparent")?.to_owned(),
        tracestate: letter.record.header("tracestate").map(str::to_owned),
    })
}
