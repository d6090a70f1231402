//! What tries left behind that failed. Nothing is here of an event that went well at once.

use std::{collections::HashMap, time::Duration};

use factline_pipeline::{
    attempts::{FailedTry, Past},
    ledger::Recording,
    outage::Error,
};
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use uuid::Uuid;

use super::failed;
use crate::nul::without_nul;

pub(super) async fn select_past(
    connection: &mut PgConnection,
    group: &str,
    event_ids: &[Uuid],
) -> Result<HashMap<Uuid, Past>, Error> {
    let rows = sqlx::query(
        "SELECT event_id::uuid AS event_id, attempts, suspect_count, \
         greatest(extract(epoch FROM next_attempt_at - clock_timestamp()), 0)::float8 AS due_in \
         FROM factline.event_attempts WHERE consumer_group = $1 AND event_id = ANY ($2::uuid[]::text[])",
    )
    .bind(group)
    .bind(event_ids)
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let past = |row: &PgRow| {
        let count =
            |column: &str| row.try_get::<i32, _>(column).map(|count| u32::try_from(count).unwrap_or(0));
        let due_in: Option<f64> = row.try_get("due_in")?;
        let past = Past {
            attempts: count("attempts")?,
            suspected: count("suspect_count")?,
            due_in: Duration::try_from_secs_f64(due_in.unwrap_or_default()).unwrap_or_default(),
        };
        Ok((row.try_get("event_id")?, past))
    };
    rows.iter().map(past).collect::<Result<_, _>>().map_err(failed)
}

pub(super) async fn count_failure(
    connection: &mut PgConnection,
    group: &str,
    FailedTry { event_id, error, retry_in }: FailedTry<'_>,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO factline.event_attempts AS a (consumer_group, event_id, attempts, last_error, next_attempt_at) \
         VALUES ($1, $2::uuid::text, 1, $3, clock_timestamp() + make_interval(secs => $4)) \
         ON CONFLICT (consumer_group, event_id) DO UPDATE SET attempts = a.attempts + 1, \
         last_error = excluded.last_error, next_attempt_at = excluded.next_attempt_at",
    )
    .bind(group)
    .bind(event_id)
    .bind(without_nul(error))
    .bind(retry_in.as_secs_f64())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

pub(super) async fn count_suspects(
    connection: &mut PgConnection,
    group: &str,
    event_ids: &[Uuid],
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO factline.event_attempts AS a (consumer_group, event_id, suspect_count) \
         SELECT DISTINCT $1, id::text, 1 FROM unnest($2::uuid[]) AS id ORDER BY 2 \
         ON CONFLICT (consumer_group, event_id) DO UPDATE SET suspect_count = a.suspect_count + 1",
    )
    .bind(group)
    .bind(event_ids)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

/// What has taken effect, or become a dead letter, needs no counts any more.
pub(super) async fn forget_recorded(
    connection: &mut PgConnection,
    group: &str,
    batch: &[Recording],
) -> Result<(), Error> {
    let traced = batch.iter().filter(|recording| recording.leaves_traces);
    let traced: Vec<Uuid> = traced.map(|recording| recording.event_id).collect();
    if traced.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "DELETE FROM factline.event_attempts WHERE consumer_group = $1 AND event_id = ANY ($2::uuid[]::text[])",
    )
    .bind(group)
    .bind(traced)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
