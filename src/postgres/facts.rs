//! What a batch changes in the facts that are known.

use factline_pipeline::{
    ledger::Recording,
    merge::{self, Closed, Current, NewFact},
    outage::Error,
};
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use super::failed;

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
    let spans = |of: fn(&NewFact<'_>) -> u32| {
        facts.iter().map(|fact| i32::try_from(of(fact)).unwrap_or(i32::MAX)).collect::<Vec<_>>()
    };
    sqlx::query(
        "INSERT INTO factline.facts (id, identity, subject, predicate, object, confidence, valid_from, valid_to, \
         superseded_by, event_id, conversation_id, message_id, quote, span_start, span_end, extractor, \
         extractor_version) \
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::real[], \
         $7::timestamptz[], $8::timestamptz[], $9::uuid[], $10::uuid[], $11::text[], $12::text[], $13::text[], \
         $14::int[], $15::int[], $16::text[], $17::smallint[])",
    )
    .bind(facts.iter().map(|new| new.id).collect::<Vec<_>>())
    .bind(facts.iter().map(|new| new.identity).collect::<Vec<_>>())
    .bind(facts.iter().map(|new| new.fact.subject.as_str()).collect::<Vec<_>>())
    .bind(facts.iter().map(|new| new.fact.predicate.as_str()).collect::<Vec<_>>())
    .bind(facts.iter().map(|new| new.fact.object.as_str()).collect::<Vec<_>>())
    .bind(facts.iter().map(|new| new.confidence).collect::<Vec<_>>())
    .bind(facts.iter().map(|new| new.fact.valid_from).collect::<Vec<_>>())
    .bind(facts.iter().map(|new| new.valid_to).collect::<Vec<_>>())
    .bind(facts.iter().map(|new| new.superseded_by).collect::<Vec<_>>())
    .bind(facts.iter().map(|new| new.event_id).collect::<Vec<_>>())
    .bind(facts.iter().map(|new| new.conversation_id).collect::<Vec<_>>())
    .bind(facts.iter().map(|new| new.message_id).collect::<Vec<_>>())
    .bind(facts.iter().map(|new| new.fact.quote.as_str()).collect::<Vec<_>>())
    .bind(spans(|new| new.fact.span_start))
    .bind(spans(|new| new.fact.span_end))
    .bind(facts.iter().map(|new| new.fact.extractor).collect::<Vec<_>>())
    .bind(facts.iter().map(|new| new.fact.extractor_version.cast_signed()).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
