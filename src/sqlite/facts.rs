//! What a batch changes in the facts that the embedded database knows.

use factline_pipeline::{
    ledger::Recording,
    merge::{self, Closed, Current, NewFact},
    outage::Error,
};
use serde::Serialize;
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};
use uuid::Uuid;

use super::{failed, json, parsed_in, text_of, time_in};

/// Merges what the events state into what is known.
pub(super) async fn record(connection: &mut SqliteConnection, new: &[&Recording]) -> Result<(), Error> {
    let stated = merge::stated(new.iter().copied());
    if stated.is_empty() {
        return Ok(());
    }
    let identities: Vec<Uuid> = stated.iter().map(|fact| fact.identity).collect();
    let current = select_current(connection, &identities).await?;
    let changes = merge::merge(stated, current);
    close(connection, &changes.close).await?;
    strengthen(connection, &changes.strengthen).await?;
    insert(connection, &changes.insert).await
}

async fn select_current(
    connection: &mut SqliteConnection,
    identities: &[Uuid],
) -> Result<Vec<Current>, Error> {
    let rows = sqlx::query(
        "SELECT id, identity, object, confidence, valid_from FROM facts \
         WHERE superseded_by IS NULL AND identity IN (SELECT value FROM json_each(?1))",
    )
    .bind(json(identities)?)
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let current = |row: &SqliteRow| {
        Ok(Current {
            id: parsed_in(row, "id")?,
            identity: parsed_in(row, "identity")?,
            object: row.try_get("object")?,
            confidence: row.try_get("confidence")?,
            valid_from: time_in(row, "valid_from")?,
        })
    };
    rows.iter().map(current).collect::<Result<_, _>>().map_err(failed)
}

#[derive(Serialize)]
struct ClosedRow {
    id: Uuid,
    valid_to: String,
    superseded_by: Uuid,
}

async fn close(connection: &mut SqliteConnection, closed: &[Closed]) -> Result<(), Error> {
    if closed.is_empty() {
        return Ok(());
    }
    let rows = closed.iter().map(|fact| ClosedRow {
        id: fact.id,
        valid_to: text_of(fact.valid_to),
        superseded_by: fact.superseded_by,
    });
    sqlx::query(
        "UPDATE facts SET valid_to = coalesce(valid_to, c.value ->> 'valid_to'), \
         superseded_by = c.value ->> 'superseded_by' \
         FROM json_each(?1) AS c WHERE facts.id = c.value ->> 'id'",
    )
    .bind(json(&rows.collect::<Vec<_>>())?)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

async fn strengthen(connection: &mut SqliteConnection, strengthened: &[(Uuid, f32)]) -> Result<(), Error> {
    if strengthened.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE facts SET confidence = s.value ->> 1 FROM json_each(?1) AS s WHERE facts.id = s.value ->> 0",
    )
    .bind(json(strengthened)?)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

#[derive(Serialize)]
struct FactRow<'a> {
    id: Uuid,
    identity: Uuid,
    subject: &'a str,
    predicate: &'a str,
    object: &'a str,
    confidence: f32,
    valid_from: String,
    valid_to: Option<String>,
    superseded_by: Option<Uuid>,
    event_id: Uuid,
    conversation_id: &'a str,
    message_id: &'a str,
    quote: &'a str,
    span_start: u32,
    span_end: u32,
    extractor: &'a str,
    extractor_version: u16,
}

impl<'a> FactRow<'a> {
    fn of(new: &NewFact<'a>) -> Self {
        Self {
            id: new.id,
            identity: new.identity,
            subject: &new.fact.subject,
            predicate: &new.fact.predicate,
            object: &new.fact.object,
            confidence: new.confidence,
            valid_from: text_of(new.fact.valid_from),
            valid_to: new.valid_to.map(text_of),
            superseded_by: new.superseded_by,
            event_id: new.event_id,
            conversation_id: new.conversation_id,
            message_id: new.message_id,
            quote: &new.fact.quote,
            span_start: new.fact.span_start,
            span_end: new.fact.span_end,
            extractor: new.fact.extractor,
            extractor_version: new.fact.extractor_version,
        }
    }
}

async fn insert(connection: &mut SqliteConnection, facts: &[NewFact<'_>]) -> Result<(), Error> {
    if facts.is_empty() {
        return Ok(());
    }
    let rows: Vec<FactRow<'_>> = facts.iter().map(FactRow::of).collect();
    sqlx::query(
        "INSERT INTO facts (id, identity, subject, predicate, object, confidence, valid_from, valid_to, \
         superseded_by, event_id, conversation_id, message_id, quote, span_start, span_end, extractor, \
         extractor_version) \
         SELECT value ->> 'id', value ->> 'identity', value ->> 'subject', value ->> 'predicate', \
         value ->> 'object', value ->> 'confidence', value ->> 'valid_from', value ->> 'valid_to', \
         value ->> 'superseded_by', value ->> 'event_id', value ->> 'conversation_id', value ->> 'message_id', \
         value ->> 'quote', value ->> 'span_start', value ->> 'span_end', value ->> 'extractor', \
         value ->> 'extractor_version' FROM json_each(?1) ORDER BY key",
    )
    .bind(json(&rows)?)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
