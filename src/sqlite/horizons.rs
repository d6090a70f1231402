//! Since when the ledger is known in full, and what moves that time: groups that begin, old rows that are deleted.

use chrono::{DateTime, Utc};
use factline_pipeline::{ledger::Horizons, outage::Error};
use sqlx::{Row as _, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{count, failed, text_of, time_in};

/// Ledger rows that were recorded before ?1 and are not needed: neither by their event's open dead letter, nor by one
/// of an entry without a readable id, which is known by its place.
macro_rules! forgettable {
    () => {
        "FROM event_ledger AS l WHERE l.processed_at < ?1 \
         AND NOT EXISTS (SELECT 1 FROM dead_letters AS d WHERE d.event_id = l.event_id \
         AND d.consumer_group = l.consumer_group AND d.status IN ('open', 'reprocessing')) \
         AND NOT (l.outcome = 'dead_lettered' AND EXISTS (SELECT 1 FROM dead_letters AS d \
         WHERE d.status IN ('open', 'reprocessing') AND d.consumer_group = l.consumer_group \
         AND d.topic = l.topic AND d.partition IS l.partition AND d.position IS l.position))"
    };
}

pub(super) async fn insert_group(
    connection: &mut SqliteConnection,
    group: &str,
    not_before: Option<DateTime<Utc>>,
) -> Result<(), Error> {
    sqlx::query(concat!(
        "INSERT INTO horizons (name, at) VALUES ('group:' || ?1, max(",
        now!(),
        ", coalesce(?2, ''))) ON CONFLICT DO NOTHING"
    ))
    .bind(group)
    .bind(not_before.map(text_of))
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

pub(super) async fn select(readers: &SqlitePool) -> Result<Horizons, Error> {
    let rows = sqlx::query("SELECT name, at FROM horizons").fetch_all(readers).await.map_err(failed)?;
    let horizon = |row: &SqliteRow| Ok((row.try_get("name")?, time_in(row, "at")?));
    let horizons: Vec<(String, DateTime<Utc>)> =
        rows.iter().map(horizon).collect::<Result<_, _>>().map_err(failed)?;
    Ok(Horizons::of_rows(horizons))
}

pub(super) async fn delete_ledger_rows_before(
    connection: &mut SqliteConnection,
    before: DateTime<Utc>,
    limit: usize,
) -> Result<u64, Error> {
    let deleted = sqlx::query(concat!(
        "DELETE FROM event_ledger WHERE rowid IN (SELECT l.rowid ",
        forgettable!(),
        " ORDER BY l.rowid LIMIT ?2)"
    ))
    .bind(text_of(before))
    .bind(count(limit))
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(deleted.rows_affected())
}

pub(super) async fn raise(connection: &mut SqliteConnection, to: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO horizons (name, at) VALUES ('ledger', ?1), ('forgotten', ?1) \
         ON CONFLICT (name) DO UPDATE SET at = max(at, excluded.at)",
    )
    .bind(text_of(to))
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

pub(super) async fn count_ledger_rows_before(
    readers: &SqlitePool,
    before: DateTime<Utc>,
) -> Result<u64, Error> {
    let count = sqlx::query_scalar(concat!("SELECT count(*) ", forgettable!())).bind(text_of(before));
    let count: i64 = count.fetch_one(readers).await.map_err(failed)?;
    Ok(u64::try_from(count).unwrap_or_default())
}
