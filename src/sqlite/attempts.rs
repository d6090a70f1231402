//! What tries left behind that failed. Nothing is here of an event that went well at once.

use std::{collections::HashMap, time::Duration};

use factline_pipeline::{
    attempts::{FailedTry, Past},
    ledger::Recording,
    outage::Error,
};
use sqlx::{Row as _, SqliteConnection, SqlitePool, sqlite::SqliteRow};
use uuid::Uuid;

use super::{count, failed, json, parsed_in};
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
    FailedTry { event_id, attempt, error, retry_in }: FailedTry<'_>,
) -> Result<(), Error> {
    sqlx::query(concat!(
        "INSERT INTO event_attempts (consumer_group, event_id, attempts, last_error, next_attempt_at, first_failed_at) \
         VALUES (?1, ?2, ?5, ?3, strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', ?4), ",
        now!(),
        ") ON CONFLICT (consumer_group, event_id) DO UPDATE SET attempts = max(attempts, excluded.attempts), \
         last_error = excluded.last_error, next_attempt_at = excluded.next_attempt_at",
    ))
    .bind(group)
    .bind(event_id.to_string())
    .bind(&*without_nul(error))
    .bind(format!("+{:.3} seconds", retry_in.as_secs_f64()))
    .bind(attempt)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

pub(super) async fn count_suspects(
    connection: &mut SqliteConnection,
    group: &str,
    deaths: &[(Uuid, u32)],
) -> Result<(), Error> {
    sqlx::query(concat!(
        "INSERT INTO event_attempts (consumer_group, event_id, suspect_count, first_failed_at) \
         SELECT ?1, value ->> 0, value ->> 1, ",
        now!(),
        " FROM json_each(?2) WHERE true ON CONFLICT (consumer_group, event_id) \
         DO UPDATE SET suspect_count = max(suspect_count, excluded.suspect_count)",
    ))
    .bind(group)
    .bind(json(deaths)?)
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

/// The events at which tries left something behind, and those that a thread or a process was lost to.
pub(super) async fn select_troubled(
    readers: &SqlitePool,
    group: &str,
    limit: usize,
) -> Result<Vec<Uuid>, Error> {
    let rows = sqlx::query(
        "SELECT event_id FROM event_attempts WHERE consumer_group = ?1 UNION SELECT event_id FROM (\
           SELECT event_id FROM dead_letters WHERE consumer_group = ?1 AND stage = 'extract' \
           AND error_kind IN ('panic', 'timed_out', 'crashed') ORDER BY id DESC LIMIT ?2)",
    )
    .bind(group)
    .bind(count(limit))
    .fetch_all(readers)
    .await
    .map_err(failed)?;
    rows.iter().map(|row| parsed_in(row, "event_id")).collect::<Result<_, _>>().map_err(failed)
}

/// Those of events that have taken effect in another way than by the try that was counted.
pub(super) async fn forget_settled(connection: &mut SqliteConnection) -> Result<u64, Error> {
    let deleted = sqlx::query(
        "DELETE FROM event_attempts WHERE EXISTS (SELECT 1 FROM event_ledger AS l \
         WHERE l.consumer_group = event_attempts.consumer_group AND l.event_id = event_attempts.event_id)",
    );
    Ok(deleted.execute(connection).await.map_err(failed)?.rows_affected())
}

/// Sets the counts of deaths to what they are to be.
pub(super) async fn absolve(
    connection: &mut SqliteConnection,
    group: &str,
    deaths: &[(Uuid, u32)],
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE event_attempts SET suspect_count = s.value ->> 1 FROM json_each(?2) AS s \
         WHERE consumer_group = ?1 AND event_id = s.value ->> 0",
    )
    .bind(group)
    .bind(json(deaths)?)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
