//! The facts that are known, and what a batch changes in them.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use factline_pipeline::{
    merge::{Changes, Closed, Current, NewFact},
    outage::Error,
};
use sqlx::{PgConnection, Postgres, Row as _, postgres::PgArguments, query::Query};
use uuid::Uuid;

use super::failed;

/// The known facts that these statements meet.
pub(super) async fn select_known(
    connection: &mut PgConnection,
    stated: &[NewFact<'_>],
) -> Result<Vec<Current>, Error> {
    if stated.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(
        "SELECT id, identity, object, confidence, valid_from FROM factline.facts \
         WHERE identity = ANY ($1) AND superseded_by IS NULL",
    )
    .bind(stated.iter().map(|fact| fact.identity).collect::<Vec<_>>())
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

/// The known facts that change, each with what it becomes.
#[derive(Default)]
pub(super) struct Touched {
    ids: Vec<Uuid>,
    /// Their confidences as they were seen.
    seen: Vec<f32>,
    confidences: Vec<f32>,
    valid_to: Vec<Option<DateTime<Utc>>>,
    superseded_by: Vec<Option<Uuid>>,
}

impl Touched {
    /// `seen` has all known facts, each with its confidence.
    pub(super) fn by(changes: &Changes<'_>, seen: Vec<(Uuid, f32)>) -> Self {
        let closed: HashMap<Uuid, &Closed> = changes.close.iter().map(|closed| (closed.id, closed)).collect();
        let strengthened: HashMap<Uuid, f32> = changes.strengthen.iter().copied().collect();
        let mut touched = Self::default();
        for (id, seen) in seen {
            let (closed, strengthened) = (closed.get(&id), strengthened.get(&id));
            if closed.is_some() || strengthened.is_some() {
                touched.ids.push(id);
                touched.seen.push(seen);
                touched.confidences.push(strengthened.copied().unwrap_or(seen));
                touched.valid_to.push(closed.map(|closed| closed.valid_to));
                touched.superseded_by.push(closed.map(|closed| closed.superseded_by));
            }
        }
        touched
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Five arrays.
    pub(super) fn bind<'q>(
        &'q self,
        query: Query<'q, Postgres, PgArguments>,
    ) -> Query<'q, Postgres, PgArguments> {
        query
            .bind(&self.ids)
            .bind(&self.seen)
            .bind(&self.confidences)
            .bind(&self.valid_to)
            .bind(&self.superseded_by)
    }
}

/// Seventeen arrays, a column each.
pub(super) fn bind<'q>(
    query: Query<'q, Postgres, PgArguments>,
    facts: &'q [NewFact<'q>],
) -> Query<'q, Postgres, PgArguments> {
    let spans = |of: fn(&NewFact<'_>) -> u32| {
        facts.iter().map(|fact| i32::try_from(of(fact)).unwrap_or(i32::MAX)).collect::<Vec<_>>()
    };
    query
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
}
