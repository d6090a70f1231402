//! What a batch changes in the facts that the embedded database knows.

use factline_pipeline::{
    ledger::Recording,
    merge::{self, Closed, Current, NewFact},
    outage::Error,
};
use serde::Serialize;
use sqlx::{Row as _, SqliteConnection, error::BoxDynError, sqlite::SqliteRow};
use uuid::Uuid;

use super::{
    failed, json, parsed_in,
    rows::{Insert, Parameters},
    text_of, time_in,
};

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

static INSERT: Insert = Insert::new(
    "INSERT INTO facts (id, identity, subject, predicate, object, confidence, valid_from, valid_to, superseded_by, \
     event_id, conversation_id, message_id, quote, span_start, span_end, extractor, extractor_version, recorded_at)",
    17,
    concat!("*, ", now_once!()),
    "",
);

async fn insert(connection: &mut SqliteConnection, facts: &[NewFact<'_>]) -> Result<(), Error> {
    INSERT.execute(connection, facts, bind).await?;
    Ok(())
}

/// In the order of the columns of [`INSERT`].
fn bind(new: &NewFact<'_>, parameters: &mut Parameters) -> Result<(), BoxDynError> {
    parameters.add(new.id.to_string())?;
    parameters.add(new.identity.to_string())?;
    parameters.add(&*new.fact.subject)?;
    parameters.add(&*new.fact.predicate)?;
    parameters.add(&*new.fact.object)?;
    // As it is written, 0.9, not as the nearest number of half the width.
    parameters.add(new.confidence.to_string().parse::<f64>()?)?;
    parameters.add(text_of(new.fact.valid_from))?;
    parameters.add(new.valid_to.map(text_of))?;
    parameters.add(new.superseded_by.map(|id| id.to_string()))?;
    parameters.add(new.event_id.to_string())?;
    parameters.add(new.conversation_id)?;
    parameters.add(new.message_id)?;
    parameters.add(&*new.fact.quote)?;
    parameters.add(new.fact.span_start)?;
    parameters.add(new.fact.span_end)?;
    parameters.add(new.fact.extractor)?;
    parameters.add(new.fact.extractor_version)
}
