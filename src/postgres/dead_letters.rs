//! Dead letters.
//!
//! They are rare, and their payload is binary: a statement each. Nothing in them makes the insert fail.
//!
//! `listing` is what there is to read of them; `work` what people do with them, with the steps of `reprocessing` and
//! the `report`.

use factline_pipeline::{dead_letter::DeadLetter, outage::Error};
use sqlx::PgConnection;

use super::failed;
use crate::nul::{json_without_nul, without_nul};

pub(super) mod listing;
mod report;
mod reprocessing;
mod work;

/// Inserts the letters.
pub(super) async fn insert(
    connection: &mut PgConnection,
    group: &str,
    letters: &[&DeadLetter],
) -> Result<(), Error> {
    for letter in letters {
        insert_one(connection, group, letter).await?;
    }
    Ok(())
}

async fn insert_one(connection: &mut PgConnection, group: &str, letter: &DeadLetter) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO factline.dead_letters (id, consumer_group, stage, event_id, topic, partition, position, key, \
         event_type, payload, headers, error_kind, error, fingerprint, attempts, first_failed_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::text::jsonb, $12, $13, $14, $15, \
         coalesce((SELECT first_failed_at FROM factline.event_attempts \
           WHERE consumer_group = $2 AND event_id = $16::uuid::text), clock_timestamp()))",
    )
    .bind(letter.id)
    .bind(group)
    .bind(letter.cause.stage.as_str())
    .bind(without_nul(&letter.event_id))
    .bind(without_nul(&letter.topic))
    .bind(letter.partition.map(i32::from))
    .bind(letter.position.as_deref().map(without_nul))
    .bind(letter.key.as_deref().map(without_nul))
    .bind(letter.event_type.as_deref().map(without_nul))
    .bind(&letter.payload)
    .bind(json_without_nul(&letter.headers).to_string())
    .bind(letter.cause.kind.as_str())
    .bind(without_nul(&letter.cause.error))
    .bind(letter.fingerprint())
    .bind(i32::try_from(letter.cause.attempts).unwrap_or(i32::MAX))
    .bind(letter.ledger_id)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
