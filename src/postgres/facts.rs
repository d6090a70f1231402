//! What a batch changes in the facts that are known.

use factline_pipeline::{
    ledger::Recording,
    merge::{self, Closed, Current, NewFact},
    outage::Error,
};
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use super::{copy::CopyRows, failed};

/// Merges what the events state into what is known.
pub(super) async fn record(connection: &mut PgConnection, new: &[&Recording]) -> Result<(), Error> {
    let stated = merge::stated(new.iter().copied());
    if stated.is_empty() {
        return Ok(());
    }
    let mut identities: Vec<Uuid> = stated.iter().map(|fact| fact.identity).collect();
    identities.sort_unstable();
    identities.dedup();
    let current = select_current(connection, &identities).await?;
    let mut changes = merge::merge(stated, current);
    // In one order for all: of two that state the same new facts, one waits for the other, and never both.
    changes.insert.sort_by_key(|fact| fact.identity);
    close(connection, &changes.close).await?;
    strengthen(connection, &changes.strengthen).await?;
    insert(connection, &changes.insert).await
}

async fn select_current(connection: &mut PgConnection, identities: &[Uuid]) -> Result<Vec<Current>, Error> {
    let rows = sqlx::query(
        "SELECT id, identity, object, confidence, valid_from FROM factline.facts \
         WHERE identity = ANY ($1) AND superseded_by IS NULL ORDER BY identity FOR UPDATE",
    )
    .bind(identities)
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.iter()
        .map(|row| {
            Ok(Current {
                id: row.try_get("id")?,
                identity: row.try_get("identity")?,
                object: row.try_get("object")?,
                confidence: row.try_get("confidence")?,
                valid_from: row.try_get("valid_from")?,
            })
        })
        .collect::<Result<_, _>>()
        .map_err(failed)
}

async fn close(connection: &mut PgConnection, closed: &[Closed]) -> Result<(), Error> {
    if closed.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE factline.facts AS f SET valid_to = coalesce(f.valid_to, c.valid_to), superseded_by = c.superseded_by \
         FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[]) AS c(id, valid_to, superseded_by) WHERE f.id = c.id",
    )
    .bind(closed.iter().map(|fact| fact.id).collect::<Vec<_>>())
    .bind(closed.iter().map(|fact| fact.valid_to).collect::<Vec<_>>())
    .bind(closed.iter().map(|fact| fact.superseded_by).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

async fn strengthen(connection: &mut PgConnection, strengthened: &[(Uuid, f32)]) -> Result<(), Error> {
    if strengthened.is_empty() {
        return Ok(());
    }
    let (ids, confidences): (Vec<Uuid>, Vec<f32>) = strengthened.iter().copied().unzip();
    sqlx::query(
        "UPDATE factline.facts AS f SET confidence = s.confidence \
         FROM unnest($1::uuid[], $2::real[]) AS s(id, confidence) WHERE f.id = s.id",
    )
    .bind(ids)
    .bind(confidences)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

async fn insert(connection: &mut PgConnection, facts: &[NewFact<'_>]) -> Result<(), Error> {
    if facts.is_empty() {
        return Ok(());
    }
    let mut rows = CopyRows::of(17);
    for fact in facts {
        encode(fact, &mut rows).map_err(failed)?;
    }
    rows.send(
        connection,
        "COPY factline.facts (id, identity, subject, predicate, object, confidence, valid_from, valid_to, \
         superseded_by, event_id, conversation_id, message_id, quote, span_start, span_end, extractor, \
         extractor_version) FROM STDIN (FORMAT binary)",
    )
    .await
    .map_err(failed)
}

fn encode(new: &NewFact<'_>, rows: &mut CopyRows) -> Result<(), sqlx::Error> {
    let place = |at: u32| i32::try_from(at).unwrap_or(i32::MAX);
    let fact = new.fact;
    rows.begin_row();
    rows.value(new.id)?;
    rows.value(new.identity)?;
    rows.value(fact.subject.as_str())?;
    rows.value(fact.predicate.as_str())?;
    rows.value(fact.object.as_str())?;
    rows.value(new.confidence)?;
    rows.value(fact.valid_from)?;
    rows.value(new.valid_to)?;
    rows.value(new.superseded_by)?;
    rows.value(new.event_id)?;
    rows.value(new.conversation_id)?;
    rows.value(new.message_id)?;
    rows.value(fact.quote.as_str())?;
    rows.value(place(fact.span_start))?;
    rows.value(place(fact.span_end))?;
    rows.value(fact.extractor)?;
    rows.value(fact.extractor_version.cast_signed())
}
