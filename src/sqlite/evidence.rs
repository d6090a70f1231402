//! What the store can say of the events of an outbox.

use std::collections::HashMap;

use async_trait::async_trait;
use factline_pipeline::outage::Error;
use sqlx::{Row as _, sqlite::SqliteRow};
use uuid::Uuid;

use super::{failed, json, parsed_in, store::Store, time_in};
use crate::evidence::{Effect, Evidence, Messages};

#[async_trait]
impl Evidence for Store {
    async fn effects(&self, group: &str, event_ids: &[Uuid]) -> Result<Vec<Effect>, Error> {
        let rows = sqlx::query(
            "SELECT l.event_id, l.outcome, l.facts, l.processed_at, \
             l.outcome = 'discarded' OR EXISTS (SELECT 1 FROM dead_letters AS d \
             WHERE d.event_id = l.event_id AND d.consumer_group = ?1 AND d.status <> 'open') AS reworked \
             FROM json_each(?2) AS asked CROSS JOIN event_ledger AS l \
             ON l.consumer_group = ?1 AND l.event_id = asked.value",
        )
        .bind(group)
        .bind(json(event_ids)?)
        .fetch_all(self.database.reader())
        .await
        .map_err(failed)?;
        rows.iter().map(effect).collect::<Result<_, _>>().map_err(failed)
    }

    async fn facts_of(&self, event_ids: &[Uuid]) -> Result<HashMap<Uuid, i64>, Error> {
        let rows = sqlx::query(
            "SELECT event_id, count(*) AS facts FROM facts \
             WHERE event_id IN (SELECT value FROM json_each(?1)) GROUP BY event_id",
        )
        .bind(json(event_ids)?)
        .fetch_all(self.database.reader())
        .await
        .map_err(failed)?;
        let count = |row: &SqliteRow| Ok((parsed_in(row, "event_id")?, row.try_get("facts")?));
        rows.iter().map(count).collect::<Result<_, _>>().map_err(failed)
    }

    async fn messages(&self, event_type: &str) -> Result<Messages, Error> {
        // One statement sees one moment.
        let select = sqlx::query_as(
            "SELECT (SELECT coalesce(sum(message_count), 0) FROM conversations), \
             (SELECT count(*) FROM event_ledger WHERE outcome = 'processed' AND event_type = ?1)",
        );
        let (counted, recorded) =
            select.bind(event_type).fetch_one(self.database.reader()).await.map_err(failed)?;
        Ok(Messages { counted, recorded })
    }
}

fn effect(row: &SqliteRow) -> Result<Effect, sqlx::Error> {
    Ok(Effect {
        event_id: parsed_in(row, "event_id")?,
        outcome: row.try_get("outcome")?,
        facts: row.try_get("facts")?,
        processed_at: time_in(row, "processed_at")?,
        reworked: row.try_get("reworked")?,
    })
}
