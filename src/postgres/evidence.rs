//! What the store can say of the events of an outbox.

use std::collections::HashMap;

use async_trait::async_trait;
use factline_pipeline::outage::Error;
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use uuid::Uuid;

use super::{failed, store::Store};
use crate::evidence::{Effect, Evidence, Messages};

#[async_trait]
impl Evidence for Store {
    async fn effects(&self, group: &str, event_ids: &[Uuid]) -> Result<Vec<Effect>, Error> {
        let select = sqlx::query(
            "SELECT l.event_id, l.outcome, l.facts::bigint AS facts, l.processed_at, \
             l.outcome = 'discarded' OR EXISTS (SELECT FROM factline.dead_letters AS d \
             WHERE d.event_id = l.event_id::text AND d.consumer_group = $1 AND d.status <> 'open') AS reworked \
             FROM factline.event_ledger AS l WHERE l.consumer_group = $1 AND l.event_id = ANY ($2)",
        )
        .bind(group)
        .bind(event_ids);
        let select = async |connection: &mut PgConnection| select.fetch_all(connection).await.map_err(failed);
        let rows = self.database.timely(select).await?;
        rows.iter().map(effect).collect::<Result<_, _>>().map_err(failed)
    }

    async fn facts_of(&self, event_ids: &[Uuid]) -> Result<HashMap<Uuid, i64>, Error> {
        let select = sqlx::query_as(
            "SELECT event_id, count(*) FROM factline.facts WHERE event_id = ANY ($1) GROUP BY event_id",
        )
        .bind(event_ids);
        let select = async |connection: &mut PgConnection| select.fetch_all(connection).await.map_err(failed);
        let counts: Vec<(Uuid, i64)> = self.database.timely(select).await?;
        Ok(counts.into_iter().collect())
    }

    async fn messages(&self, event_type: &str) -> Result<Messages, Error> {
        // One statement sees one moment.
        let select = sqlx::query(
            "SELECT (SELECT coalesce(sum(message_count), 0)::bigint FROM factline.conversations) AS counted, \
             (SELECT count(*) FROM factline.event_ledger WHERE outcome = 'processed' AND event_type = $1) AS recorded",
        )
        .bind(event_type);
        let messages = |row: &PgRow| {
            Ok(Messages { counted: row.try_get("counted")?, recorded: row.try_get("recorded")? })
        };
        Ok(self.all(select, messages).await?.pop().unwrap_or_default())
    }
}

fn effect(row: &PgRow) -> Result<Effect, sqlx::Error> {
    Ok(Effect {
        event_id: row.try_get("event_id")?,
        outcome: row.try_get("outcome")?,
        facts: row.try_get("facts")?,
        processed_at: row.try_get("processed_at")?,
        reworked: row.try_get("reworked")?,
    })
}
