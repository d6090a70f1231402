//! The statements of the [`stream`](super::stream) that are about its consumer groups and what they have pending.

use factline_pipeline::{
    outage::Error,
    stream::{Delivered, Partition, RETURNED, Reader},
};
use sqlx::{SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{
    count,
    entries::{all_delivered, partition_in},
    failed,
};

pub(super) async fn insert_group(
    connection: &mut SqliteConnection,
    group: &str,
    places: &str,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO stream_groups (group_name, topic, partition) \
         SELECT ?1, value ->> 'topic', value ->> 'partition' FROM json_each(?2) WHERE true \
         ON CONFLICT DO NOTHING",
    )
    .bind(group)
    .bind(places)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Whether there is anything new for the group; a group that is not known yet begins at the beginning.
pub(super) async fn any_undelivered(readers: &SqlitePool, group: &str, places: &str) -> Result<bool, Error> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM json_each(?2) AS p LEFT JOIN stream_groups AS g \
         ON g.group_name = ?1 AND g.topic = p.value ->> 'topic' AND g.partition = p.value ->> 'partition' \
         CROSS JOIN stream_entries AS e ON e.topic = p.value ->> 'topic' AND e.partition = p.value ->> 'partition' \
         AND e.entry > coalesce(g.last_delivered, 0))",
    )
    .bind(group)
    .bind(places)
    .fetch_one(readers)
    .await
    .map_err(failed)
}

/// At most `limit` new entries of each partition, each partition's in order.
pub(super) async fn select_undelivered(
    connection: &mut SqliteConnection,
    group: &str,
    places: &str,
    limit: usize,
) -> Result<Vec<Delivered>, Error> {
    all_delivered(&select_undelivered_rows(connection, group, places, limit).await?)
}

/// The same, as they stand there.
pub(super) async fn select_undelivered_rows(
    connection: &mut SqliteConnection,
    group: &str,
    places: &str,
    limit: usize,
) -> Result<Vec<SqliteRow>, Error> {
    sqlx::query(
        "WITH place AS MATERIALIZED (\
           SELECT p.value ->> 'topic' AS topic, p.value ->> 'partition' AS partition FROM json_each(?2) AS p), \
         due AS MATERIALIZED (\
           SELECT p.topic, p.partition, coalesce(g.last_delivered, 0) AS last, (\
             SELECT e.entry FROM stream_entries AS e WHERE e.topic = p.topic AND e.partition = p.partition \
             AND e.entry > coalesce(g.last_delivered, 0) ORDER BY e.entry LIMIT 1 OFFSET ?3 - 1) AS up_to \
           FROM place AS p LEFT JOIN stream_groups AS g \
           ON g.group_name = ?1 AND g.topic = p.topic AND g.partition = p.partition) \
         SELECT e.*, 1 AS deliveries, NULL AS consumer FROM due CROSS JOIN stream_entries AS e \
         ON e.topic = due.topic AND e.partition = due.partition AND e.entry > due.last \
         AND e.entry <= coalesce(due.up_to, 9223372036854775807) ORDER BY e.topic, e.partition, e.entry",
    )
    .bind(group)
    .bind(places)
    .bind(count(limit.max(1)))
    .fetch_all(connection)
    .await
    .map_err(failed)
}

pub(super) async fn make_pending(
    connection: &mut SqliteConnection,
    reader: &Reader,
    stretches: &str,
) -> Result<(), Error> {
    sqlx::query(concat!(
        "INSERT INTO stream_pending (group_name, topic, partition, entry, consumer, delivered_at) \
         SELECT ?1, e.topic, e.partition, e.entry, ?2, ",
        now_once!(),
        " FROM json_each(?3) AS s CROSS JOIN stream_entries AS e \
         ON e.topic = s.value ->> 'topic' AND e.partition = s.value ->> 'partition' \
         AND e.entry BETWEEN s.value ->> 'first' AND s.value ->> 'last' WHERE true ON CONFLICT DO NOTHING",
    ))
    .bind(&reader.group)
    .bind(&reader.consumer)
    .bind(stretches)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Remembers how far the group has come; makes it known where it was not.
pub(super) async fn advance_group(
    connection: &mut SqliteConnection,
    group: &str,
    stretches: &str,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO stream_groups (group_name, topic, partition, last_delivered) \
         SELECT ?1, value ->> 'topic', value ->> 'partition', value ->> 'last' FROM json_each(?2) WHERE true \
         ON CONFLICT DO UPDATE SET last_delivered = max(last_delivered, excluded.last_delivered)",
    )
    .bind(group)
    .bind(stretches)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Pending entries that somebody deleted would never be delivered nor acknowledged.
pub(super) async fn forget_pending_without_entry(
    connection: &mut SqliteConnection,
    group: &str,
    partition: &Partition,
) -> Result<(), Error> {
    sqlx::query(
        "DELETE FROM stream_pending WHERE group_name = ?1 AND topic = ?2 AND partition = ?3 \
         AND NOT EXISTS (SELECT 1 FROM stream_entries AS e WHERE e.entry = stream_pending.entry)",
    )
    .bind(group)
    .bind(&*partition.topic)
    .bind(partition.number)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

/// What is pending, and for whom; then it is pending for this reader.
pub(super) async fn take_over_pending_after(
    connection: &mut SqliteConnection,
    reader: &Reader,
    partition: &Partition,
    after: i64,
    limit: usize,
) -> Result<Vec<Delivered>, Error> {
    let rows = sqlx::query(
        "SELECT e.*, p.deliveries + 1 AS deliveries, p.consumer FROM stream_pending AS p \
         CROSS JOIN stream_entries AS e ON e.entry = p.entry \
         WHERE p.group_name = ?1 AND p.topic = ?2 AND p.partition = ?3 AND p.entry > ?4 ORDER BY p.entry LIMIT ?5",
    )
    .bind(&reader.group)
    .bind(&*partition.topic)
    .bind(partition.number)
    .bind(after)
    .bind(count(limit))
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    sqlx::query(concat!(
        "UPDATE stream_pending SET consumer = ?6, deliveries = deliveries + 1, delivered_at = ",
        now!(),
        " WHERE group_name = ?1 AND topic = ?2 AND partition = ?3 AND entry IN (\
           SELECT entry FROM stream_pending WHERE group_name = ?1 AND topic = ?2 AND partition = ?3 \
           AND entry > ?4 ORDER BY entry LIMIT ?5)",
    ))
    .bind(&reader.group)
    .bind(&*partition.topic)
    .bind(partition.number)
    .bind(after)
    .bind(count(limit))
    .bind(&reader.consumer)
    .execute(connection)
    .await
    .map_err(failed)?;
    all_delivered(&rows)
}

/// What is pending for this reader is pending for nobody in particular.
pub(super) async fn return_pending(
    connection: &mut SqliteConnection,
    reader: &Reader,
    partition: &Partition,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE stream_pending SET consumer = ?5 \
         WHERE group_name = ?1 AND topic = ?2 AND partition = ?3 AND consumer = ?4",
    )
    .bind(&reader.group)
    .bind(&*partition.topic)
    .bind(partition.number)
    .bind(&reader.consumer)
    .bind(RETURNED)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

/// The partitions in which anybody but this reader has entries of its group pending.
pub(super) async fn select_stranded(
    readers: &SqlitePool,
    reader: &Reader,
    places: &str,
) -> Result<Vec<Partition>, Error> {
    let rows = sqlx::query(
        "SELECT p.value ->> 'topic' AS topic, p.value ->> 'partition' AS partition FROM json_each(?3) AS p \
         WHERE EXISTS (SELECT 1 FROM stream_pending AS s WHERE s.group_name = ?1 \
           AND s.topic = p.value ->> 'topic' AND s.partition = p.value ->> 'partition' AND s.consumer <> ?2)",
    )
    .bind(&reader.group)
    .bind(&reader.consumer)
    .bind(places)
    .fetch_all(readers)
    .await
    .map_err(failed)?;
    rows.iter().map(partition_in).collect::<Result<_, _>>().map_err(failed)
}

pub(super) async fn delete_pending(
    writer: &SqlitePool,
    group: &str,
    partition: &Partition,
    numbers: &str,
) -> Result<(), Error> {
    sqlx::query(
        "DELETE FROM stream_pending WHERE group_name = ?1 AND topic = ?2 AND partition = ?3 \
         AND entry IN (SELECT value FROM json_each(?4))",
    )
    .bind(group)
    .bind(&*partition.topic)
    .bind(partition.number)
    .bind(numbers)
    .execute(writer)
    .await
    .map_err(failed)?;
    Ok(())
}
