//! Since when the ledger is known in full, and what moves that time: groups that begin, old rows that are deleted.

use chrono::{DateTime, Utc};
use factline_pipeline::{ledger::Horizons, outage::Error};
use sqlx::{
    PgConnection, Postgres, Row as _,
    postgres::{PgArguments, PgRow},
    query::Query,
};

use super::failed;

/// Ledger rows that were recorded before $1 and are not needed: neither by their event's open dead letter, nor by one
/// of an entry without a readable id, which is known by its place.
macro_rules! forgettable {
    () => {
        "FROM factline.event_ledger AS l WHERE l.processed_at < $1 \
         AND NOT EXISTS (SELECT FROM factline.dead_letters AS d WHERE d.event_id = l.event_id::text \
         AND d.consumer_group = l.consumer_group AND d.status IN ('open', 'reprocessing')) \
         AND NOT (l.outcome = 'dead_lettered' AND EXISTS (SELECT FROM factline.dead_letters AS d \
         WHERE d.status IN ('open', 'reprocessing') AND d.consumer_group = l.consumer_group \
         AND d.topic = l.topic AND d.partition IS NOT DISTINCT FROM l.partition \
         AND d.position IS NOT DISTINCT FROM l.position))"
    };
}

pub(super) async fn insert_group(
    connection: &mut PgConnection,
    group: &str,
    not_before: Option<DateTime<Utc>>,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO factline.horizons (name, at) VALUES ('group:' || $1, greatest(clock_timestamp(), $2)) \
         ON CONFLICT DO NOTHING",
    )
    .bind(group)
    .bind(not_before)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

pub(super) async fn select(connection: &mut PgConnection) -> Result<Horizons, Error> {
    let select = sqlx::query_as("SELECT name, at FROM factline.horizons");
    let horizons: Vec<(String, DateTime<Utc>)> = select.fetch_all(connection).await.map_err(failed)?;
    Ok(Horizons::of_rows(horizons))
}

pub(super) async fn delete_ledger_rows_before(
    connection: &mut PgConnection,
    before: DateTime<Utc>,
    limit: usize,
) -> Result<u64, Error> {
    let deleted = sqlx::query(concat!(
        "DELETE FROM factline.event_ledger WHERE ctid = ANY (ARRAY(SELECT l.ctid ",
        forgettable!(),
        " LIMIT $2 FOR UPDATE OF l SKIP LOCKED))"
    ))
    .bind(before)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(deleted.rows_affected())
}

pub(super) async fn raise(connection: &mut PgConnection, to: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO factline.horizons AS h (name, at) VALUES ('ledger', $1), ('forgotten', $1) \
         ON CONFLICT (name) DO UPDATE SET at = greatest(h.at, excluded.at)",
    )
    .bind(to)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

pub(super) fn count_ledger_rows_before<'q>(before: DateTime<Utc>) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(concat!("SELECT count(*) ", forgettable!())).bind(before)
}

/// The one number of a row.
pub(super) fn counted(row: &PgRow) -> Result<u64, sqlx::Error> {
    Ok(row.try_get::<i64, _>(0)?.unsigned_abs())
}
