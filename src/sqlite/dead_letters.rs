//! Dead letters in the embedded database.
//!
//! They are rare, and their payload is binary: a statement each. Their text never makes the insert fail.
//!
//! `listing` is what there is to read of them; `work` what people do with them, with the steps of `reprocessing` and
//! the `report`.

use factline_pipeline::{dead_letter::DeadLetter, outage::Error};
use sqlx::SqliteConnection;

use super::failed;
use crate::nul::{json_without_nul, without_nul};

pub(super) mod listing;
mod report;
mod reprocessing;
mod work;

/// Inserts the letters; says how many they were.
pub(super) async fn insert<'a>(
    connection: &mut SqliteConnection,
    group: &str,
    letters: impl Iterator<Item = &'a DeadLetter>,
) -> Result<u64, Error> {
    let mut inserted = 0;
    for letter in letters {
        insert_one(connection, group, letter).await?;
        inserted += 1;
    }
    Ok(inserted)
}

async fn insert_one(
    connection: &mut SqliteConnection,
    group: &str,
    letter: &DeadLetter,
) -> Result<(), Error> {
    sqlx::query(concat!(
        "INSERT INTO dead_letters (id, consumer_group, stage, event_id, topic, partition, position, key, \
         event_type, payload, headers, error_kind, error, fingerprint, attempts, first_failed_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, \
         coalesce((SELECT first_failed_at FROM event_attempts WHERE consumer_group = ?2 AND event_id = ?16), ",
        now!(),
        "))",
    ))
    .bind(letter.id.to_string())
    .bind(group)
    .bind(letter.cause.stage.as_str())
    .bind(&*without_nul(&letter.event_id))
    .bind(&*without_nul(&letter.topic))
    .bind(letter.partition)
    .bind(letter.position.as_deref().map(without_nul).as_deref())
    .bind(letter.key.as_deref().map(without_nul).as_deref())
    .bind(letter.event_type.as_deref().map(without_nul).as_deref())
    .bind(letter.payload.as_slice())
    .bind(json_without_nul(&letter.headers).to_string())
    .bind(letter.cause.kind.as_str())
    .bind(&*without_nul(&letter.cause.error))
    .bind(letter.fingerprint())
    .bind(letter.cause.attempts)
    .bind(letter.ledger_id.to_string())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
