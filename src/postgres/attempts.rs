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
    FailedTry { event_id, attempt, error, retry_in }: FailedTry<'_>,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO factline.event_attempts AS a (consumer_group, event_id, attempts, last_error, next_attempt_at) \
         VALUES ($1, $2::uuid::text, $5, $3, clock_timestamp() + make_interval(secs => $4)) \
         ON CONFLICT (consumer_group, event_id) DO UPDATE \
         SET attempts = greatest(a.attempts, excluded.attempts), \
         last_error = excluded.last_error, next_attempt_at = excluded.next_attempt_at",
    )
    .bind(group)
    .bind(event_id)
    .bind(without_nul(error))
    .bind(retry_in.as_secs_f64())
    .bind(i32::try_from(attempt).unwrap_or(i32::MAX))
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

pub(super) async fn count_suspects(
    connection: &mut PgConnection,
    group: &str,
    deaths: &[(Uuid, u32)],
) -> Result<(), Error> {
    let (events, deaths): (Vec<Uuid>, Vec<i32>) =
        deaths.iter().map(|(event, deaths)| (*event, i32::try_from(*deaths).unwrap_or(i32::MAX))).unzip();
    sqlx::query(
        "INSERT INTO factline.event_attempts AS a (consumer_group, event_id, suspect_count) \
         SELECT $1, id::text, max(deaths) FROM unnest($2::uuid[], $3::int[]) AS s(id, deaths) GROUP BY id ORDER BY 2 \
         ON CONFLICT (consumer_group, event_id) DO UPDATE \
         SET suspect_count = greatest(a.suspect_count, excluded.suspect_count)",
    )
    .bind(group)
    .bind(events)
    .bind(deaths)
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

/// The events at which tries left something behind, and those that a thread or a process was lost to.
pub(super) async fn select_troubled(
    connection: &mut PgConnection,
    group: &str,
    limit: usize,
) -> Result<Vec<Uuid>, Error> {
    sqlx::query_scalar(
        "(SELECT event_id::uuid FROM factline.event_attempts WHERE consumer_group = $1) UNION \
         (SELECT event_id::uuid FROM factline.dead_letters WHERE consumer_group = $1 AND stage = 'extract' \
          AND error_kind IN ('panic', 'timed_out', 'crashed') ORDER BY id DESC LIMIT $2)",
    )
    .bind(group)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await
    .map_err(failed)
}

/// Those of events that have taken effect in another way than by the try that was counted.
pub(super) async fn forget_settled(connection: &mut PgConnection) -> Result<u64, Error> {
    let deleted = sqlx::query(
        "DELETE FROM factline.event_attempts AS a USING factline.event_ledger AS l \
         WHERE l.consumer_group = a.consumer_group AND l.event_id = a.event_id::uuid",
    );
    Ok(deleted.execute(connection).await.map_err(failed)?.rows_affected())
}

/// Sets the counts of deaths to what they are to be.
pub(super) async fn absolve(
    connection: &mut PgConnection,
    group: &str,
    deaths: &[(Uuid, u32)],
) -> Result<(), Error> {
    let (events, deaths): (Vec<Uuid>, Vec<i32>) =
        deaths.iter().map(|(event, deaths)| (*event, i32::try_from(*deaths).unwrap_or(i32::MAX))).unzip();
    sqlx::query(
        "UPDATE factline.event_attempts AS a SET suspect_count = s.deaths \
         FROM unnest($2::uuid[], $3::int[]) AS s(id, deaths) WHERE a.consumer_group = $1 AND a.event_id = s.id::text",
    )
    .bind(group)
    .bind(events)
    .bind(deaths)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
