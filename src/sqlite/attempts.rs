//! What tries left behind that failed. Nothing is here of an event that went well at once.

use std::{collections::HashMap, time::Duration};

use factline_pipeline::{
    attempts::{FailedTry, Past},
    ledger::Recording,
    outage::Error,
};
use sqlx::{Row as _, SqliteConnection, SqlitePool, sqlite::SqliteRow};
use uuid::Uuid;

use super::{failed, json, parsed_in};
use crate::nul::without_nul;

pub(super) async fn select_past(
    readers: &SqlitePool,
    group: &str,
    event_ids: &[Uuid],
) -> Result<HashMap<Uuid, Past>, Error> {
    let rows = sqlx::query(
        "SELECT a.event_id, a.attempts, a.suspect_count, \
         (julianday(a.next_attempt_at) - julianday('now')) * 86400.0 AS due_in FROM json_each(?2) AS asked \
         CROSS JOIN event_attempts AS a ON a.consumer_group = ?1 AND a.event_id = asked.value",
    )
    .bind(group)
    .bind(json(event_ids)?)
    .fetch_all(readers)
    .await
    .map_err(failed)?;
    let past = |row: &SqliteRow| {
        let due_in: Option<f64> = row.try_get("due_in")?;
        let past = Past {
            attempts: row.try_get("attempts")?,
            suspected: row.try_get("suspect_count")?,
            due_in: Duration::try_from_secs_f64(due_in.unwrap_or_default()).unwrap_or_default(),
        };
        Ok((parsed_in(row, "event_id")?, past))
    };
    rows.iter().map(past).collect::<Result<_, _>>().map_err(failed)
}

pub(super) async fn count_failure(
    connection: &mut SqliteConnection,
    group: &str,
    FailedTry { event_id, error, retry_in }: FailedTry<'_>,
) -> Result<(), Error> {
    sqlx::query(concat!(
        "INSERT INTO event_attempts (consumer_group, event_id, attempts, last_error, next_attempt_at, first_failed_at) \
         VALUES (?1, ?2, 1, ?3, strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', ?4), ",
        now!(),
        ") ON CONFLICT (consumer_group, event_id) DO UPDATE SET attempts = attempts + 1, \
         last_error = excluded.last_error, next_attempt_at = excluded.next_attempt_at",
    ))
    .bind(group)
    .bind(event_id.to_string())
    .bind(&*without_nul(error))
    .bind(format!("+{:.3} seconds", retry_in.as_secs_f64()))
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

pub(super) async fn count_suspects(
    connection: &mut SqliteConnection,
    group: &str,
    event_ids: &[Uuid],
) -> Result<(), Error> {
    sqlx::query(concat!(
        "INSERT INTO event_attempts (consumer_group, event_id, suspect_count, first_failed_at) \
         SELECT DISTINCT ?1, value, 1, ",
        now!(),
        " FROM json_each(?2) WHERE true \
         ON CONFLICT (consumer_group, event_id) DO UPDATE SET suspect_count = suspect_count + 1",
    ))
    .bind(group)
    .bind(json(event_ids)?)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

/// What has taken effect, or become a dead letter, needs no counts any more.
pub(super) async fn forget_recorded(
    connection: &mut SqliteConnection,
    group: &str,
    batch: &[Recording],
) -> Result<(), Error> {
    let traced = batch.iter().filter(|recording| recording.leaves_traces);
    let traced: Vec<Uuid> = traced.map(|recording| recording.event_id).collect();
    if traced.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "DELETE FROM event_attempts WHERE consumer_group = ?1 AND event_id IN (SELECT value FROM json_each(?2))",
    )
    .bind(group)
    .bind(json(&traced)?)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
