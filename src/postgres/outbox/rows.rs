//! Rows of the outbox as they were read. Nothing in a row is an error here: what is no event says why.

use chrono::{DateTime, Datelike, Utc};
use factline_pipeline::{
    cloudevent::{self, Malformed, RawEntry},
    event::Event,
    outbox::{Backlog, COUNTED, Record, Row, RowId, SettledRow},
    time,
};
use serde::{Deserialize, Serialize};
use sqlx::{Row as _, postgres::PgRow};
use uuid::Uuid;

use super::statements::IdKind;

/// The years that RFC 3339 can write, and so the only ones that an event can carry.
const YEARS: std::ops::RangeInclusive<i32> = 1..=9999;

/// What the `headers` column holds for us.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Headers {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) traceparent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tracestate: Option<String>,
}

/// A row that was claimed.
pub(super) fn claimed(row: &PgRow, id_kind: IdKind, source: &str) -> Result<Row, sqlx::Error> {
    let id = row_id(row, id_kind)?;
    let topic = text(row, "topic")?;
    let attributes = attributes(row, &id, source)?;
    // A row whose time is no text says here when it happened, or when it was inserted.
    let time = row.try_get::<Option<DateTime<Utc>>, _>("occurred_at")?;
    let created_at = readable_time(row, "created_at", "created_at_text")?;
    let event = cloudevent::parse(
        topic.as_deref().unwrap_or_default(),
        attributes,
        time.or(created_at).unwrap_or_else(Utc::now),
    );
    let event = event.and_then(|event| match topic {
        None => Err(malformed(event, cloudevent::Error::Missing("topic"))),
        Some(_) if !YEARS.contains(&event.occurred_at.year()) => {
            let reason = time::Error::OutOfRange(event.occurred_at.to_string());
            Err(malformed(event, cloudevent::Error::Time(reason)))
        }
        Some(_) => Ok(event.created_at(created_at)),
    });
    Ok(Row { id, topic: topic.unwrap_or_default(), event })
}

fn row_id(row: &PgRow, id_kind: IdKind) -> Result<RowId, sqlx::Error> {
    Ok(match id_kind {
        IdKind::Number => RowId::Number(row.try_get("row_id")?),
        IdKind::Text => RowId::Text(text(row, "row_id")?.unwrap_or_default()),
    })
}

/// A row that the relay has done with.
pub(super) fn settled(row: &PgRow, id_kind: IdKind) -> Result<SettledRow, sqlx::Error> {
    let event_id = bytes(row, "event_id")?.and_then(|id| Uuid::try_parse_ascii(&id).ok());
    let key = text(row, "key")?.or_else(|| event_id.map(|id| id.to_string()));
    Ok(SettledRow {
        id: row_id(row, id_kind)?,
        event_id,
        topic: text(row, "topic")?.unwrap_or_default(),
        key: key.unwrap_or_default(),
        created_at: readable_time(row, "created_at", "created_at_text")?,
        processed_at: readable_time(row, "processed_at", "processed_at_text")?,
    })
}

/// How much waits.
pub(super) fn backlog(row: &PgRow) -> Result<Backlog, sqlx::Error> {
    let count = |column: &str| Ok::<_, sqlx::Error>(row.try_get::<i64, _>(column)?.unsigned_abs());
    let number = |column: &str| row.try_get::<Option<i64>, _>(column);
    let (counted, first, last) = (count("pending")?, number("first")?, number("last")?);
    let estimated = counted > COUNTED;
    let pending = match (first, last, number("newest")?) {
        (Some(first), Some(last), Some(newest)) => Backlog::estimate(counted, (first, last), newest),
        _ => counted.min(COUNTED),
    };
    let oldest_pending = readable_time(row, "created_at", "created_at_text")?;
    Ok(Backlog { pending, estimated, failed: count("failed")?, oldest_pending })
}

/// The row as the attributes of an entry; what is NULL is not there.
fn attributes(row: &PgRow, id: &RowId, source: &str) -> Result<RawEntry, sqlx::Error> {
    let mut attributes = RawEntry::with_capacity(10);
    for (name, column) in [
        ("id", "event_id"),
        ("type", "event_type"),
        ("partitionkey", "key"),
        ("time", "occurred_at_text"),
        ("data", "payload"),
    ] {
        if let Some(value) = bytes(row, column)? {
            attributes.push((name.into(), value));
        }
    }
    let mut attribute = |name: &str, value: &str| attributes.push((name.into(), value.into()));
    attribute("source", source);
    if let RowId::Number(number) = id {
        attribute("sequence", &number.to_string());
    }
    let Headers { traceparent, tracestate } = headers(row)?;
    if let Some(traceparent) = traceparent {
        attribute("traceparent", &traceparent);
        if let Some(tracestate) = tracestate {
            attribute("tracestate", &tracestate);
        }
    }
    Ok(attributes)
}

/// What could be read as an event, and yet is none.
fn malformed(event: Event, reason: cloudevent::Error) -> Box<Malformed> {
    let trace = event.trace.map(|trace| ("traceparent".to_owned(), trace.traceparent));
    Box::new(Malformed {
        reason,
        event_id: event.id.to_string(),
        key: Some(event.key),
        event_type: Some(event.event_type),
        data: event.data.into(),
        attributes: [("source".to_owned(), event.source)].into_iter().chain(trace).collect(),
    })
}

/// A row that was found.
pub(super) fn found(row: &PgRow) -> Result<Record, sqlx::Error> {
    let or_empty = |column| text(row, column).map(Option::unwrap_or_default);
    Ok(Record {
        id: or_empty("row_id")?,
        event_id: or_empty("event_id")?,
        topic: or_empty("topic")?,
        key: or_empty("key")?,
        event_type: or_empty("event_type")?,
        status: or_empty("status")?,
        created_at: readable_time(row, "created_at", "created_at_text")?,
        processed_at: readable_time(row, "processed_at", "processed_at_text")?,
        error: text(row, "error")?,
        traceparent: headers(row)?.traceparent,
    })
}

/// A time for information only: what cannot be read is passed over.
pub(super) fn readable_time(
    row: &PgRow,
    column: &str,
    text_column: &str,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    let time = match row.try_get::<Option<DateTime<Utc>>, _>(column)? {
        None => text(row, text_column)?.and_then(|text| time::parse(&text).ok()),
        time => time,
    };
    Ok(time.filter(|time| YEARS.contains(&time.year())))
}

/// Headers that cannot be read lose the trace, not the event.
fn headers(row: &PgRow) -> Result<Headers, sqlx::Error> {
    let headers = bytes(row, "headers")?.unwrap_or_default();
    Ok(serde_json::from_slice(&headers).unwrap_or_default())
}

/// A column's text as it stands there, in whatever encoding: a database without one may hold anything.
fn bytes(row: &PgRow, column: &str) -> Result<Option<Vec<u8>>, sqlx::Error> {
    row.try_get_unchecked(column)
}

fn text(row: &PgRow, column: &str) -> Result<Option<String>, sqlx::Error> {
    let text = |bytes| match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    };
    Ok(bytes(row, column)?.map(text))
}
