//! The statements of the [`stream`](super::stream) that are about its entries, and what an entry looks like.

use chrono::Utc;
use factline_pipeline::{
    cloudevent,
    event::Event,
    outage::Error,
    stream::{AtCap, Carried, Delivered, GroupLag, Partition, Position},
    trace::Trail,
};
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row as _, SqliteConnection, SqlitePool, error::BoxDynError, sqlite::SqliteRow};
use uuid::Uuid;

use super::{
    attributes_in, bytes_in, count, failed,
    rows::{Insert, Parameters},
    text_in, time_of,
};

/// An event that is to be appended.
pub(super) struct Entry<'a> {
    pub(super) event: &'a Event,
    pub(super) partition: u16,
}

impl Entry<'_> {
    /// In the order of the columns of [`APPEND`].
    fn bind(&self, parameters: &mut Parameters) -> Result<(), BoxDynError> {
        parameters.add(&*self.event.topic)?;
        parameters.add(self.partition)?;
        let mut values: [Option<String>; cloudevent::ATTRIBUTES.len()] = Default::default();
        cloudevent::encode(self.event, |name, value| {
            if let Some(column) = cloudevent::ATTRIBUTES.iter().position(|attribute| *attribute == name) {
                values[column] = Some(value.to_owned());
            }
        });
        values.into_iter().try_for_each(|value| parameters.add(value))
    }
}

/// All [`ATTRIBUTES`](cloudevent::ATTRIBUTES) in their order.
static APPEND: Insert = Insert::new(
    "INSERT INTO stream_entries (topic, partition, specversion, id, source, type, subject, time, datacontenttype, \
     partitionkey, sequence, traceparent, tracestate, recordedtime, data, appended_at)",
    2 + cloudevent::ATTRIBUTES.len(),
    concat!("*, ", now_once!()),
    "",
);

/// A partition as a parameter.
#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place<'a> {
    topic: &'a str,
    partition: u16,
}

impl<'a> Place<'a> {
    pub(super) fn of_partition(partition: &'a Partition) -> Self {
        Self { topic: &partition.topic, partition: partition.number }
    }

    pub(super) fn of_new(entry: &Entry<'a>) -> Self {
        Self { topic: &entry.event.topic, partition: entry.partition }
    }
}

/// Entries of a partition that follow each other, as a parameter.
#[derive(Serialize)]
pub(super) struct Stretch<'a> {
    #[serde(flatten)]
    place: Place<'a>,
    first: i64,
    last: i64,
}

impl<'a> Stretch<'a> {
    pub(super) fn of(partition: &'a Partition, first: Position, last: Position) -> Self {
        Self { place: Place::of_partition(partition), first: number_of(first), last: number_of(last) }
    }

    /// Of entries in the order of their partitions and numbers, one for each partition.
    pub(super) fn all_of(delivered: &'a [Delivered]) -> Vec<Self> {
        let partitions = delivered.chunk_by(|one, next| one.partition == next.partition);
        let stretch = |entries: &'a [Delivered]| {
            let (first, last) = (entries.first()?, entries.last()?);
            Some(Self::of(&first.partition, first.position, last.position))
        };
        partitions.filter_map(stretch).collect()
    }
}

/// The number of the entry at a position; of a position that no entry can have, one that none has.
pub(super) fn number_of(position: Position) -> i64 {
    i64::try_from(position.major).unwrap_or(i64::MAX)
}

/// The first number of partitions that was ever given, and stays.
pub(super) async fn record_partitions_once(
    connection: &mut SqliteConnection,
    partitions: u16,
) -> Result<u16, Error> {
    sqlx::query("INSERT INTO stream_meta (name, value) VALUES ('partitions', ?1) ON CONFLICT DO NOTHING")
        .bind(partitions)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    sqlx::query_scalar("SELECT value FROM stream_meta WHERE name = 'partitions'")
        .fetch_one(connection)
        .await
        .map_err(failed)
}

pub(super) async fn append(connection: &mut SqliteConnection, entries: &[Entry<'_>]) -> Result<(), Error> {
    APPEND.execute(connection, entries, Entry::bind).await?;
    Ok(())
}

pub(super) async fn fullest_at_cap(
    connection: &mut SqliteConnection,
    places: &str,
    max_length: u64,
) -> Result<Option<AtCap>, Error> {
    let fullest = sqlx::query(
        "SELECT s.topic, s.partition, s.length FROM json_each(?1) AS p CROSS JOIN stream_partitions AS s \
         ON s.topic = p.value ->> 'topic' AND s.partition = p.value ->> 'partition' \
         WHERE s.length >= ?2 ORDER BY s.length DESC LIMIT 1",
    )
    .bind(places)
    .bind(i64::try_from(max_length).unwrap_or(i64::MAX))
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    let at_cap =
        |row: SqliteRow| Ok(AtCap { partition: partition_in(&row)?, length: counted_in(&row, "length")? });
    fullest.map(at_cap).transpose().map_err(failed)
}

/// Deletes the oldest entries that every group has been given and none has pending; none if there is no group.
pub(super) async fn delete_unneeded(
    connection: &mut SqliteConnection,
    partition: &Partition,
    limit: usize,
) -> Result<u64, Error> {
    let deleted = sqlx::query(
        "DELETE FROM stream_entries WHERE entry IN (\
           SELECT entry FROM stream_entries WHERE topic = ?1 AND partition = ?2 AND entry < (\
             SELECT min(coalesce((SELECT min(p.entry) FROM stream_pending AS p \
               WHERE p.group_name = g.group_name AND p.topic = ?1 AND p.partition = ?2), g.last_delivered + 1)) \
             FROM stream_groups AS g WHERE g.topic = ?1 AND g.partition = ?2) ORDER BY entry LIMIT ?3)",
    )
    .bind(&*partition.topic)
    .bind(partition.number)
    .bind(count(limit))
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(deleted.rows_affected())
}

/// Deletes the oldest entries of a partition that no group reads.
pub(super) async fn delete_unread(
    connection: &mut SqliteConnection,
    partition: &Partition,
    limit: usize,
) -> Result<u64, Error> {
    let deleted = sqlx::query(
        "DELETE FROM stream_entries WHERE NOT EXISTS (\
           SELECT 1 FROM stream_groups AS g WHERE g.topic = ?1 AND g.partition = ?2) AND entry IN (\
           SELECT entry FROM stream_entries WHERE topic = ?1 AND partition = ?2 ORDER BY entry LIMIT ?3)",
    )
    .bind(&*partition.topic)
    .bind(partition.number)
    .bind(count(limit))
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(deleted.rows_affected())
}

pub(super) async fn select_length(readers: &SqlitePool, partition: &Partition) -> Result<u64, Error> {
    let row = sqlx::query(
        "SELECT coalesce(max(length), 0) AS length FROM stream_partitions WHERE topic = ?1 AND partition = ?2",
    )
    .bind(&*partition.topic)
    .bind(partition.number)
    .fetch_one(readers)
    .await
    .map_err(failed)?;
    counted_in(&row, "length").map_err(failed)
}

pub(super) async fn select_carried_before(
    readers: &SqlitePool,
    partition: &Partition,
    before: i64,
    limit: usize,
) -> Result<Vec<Carried>, Error> {
    let rows = sqlx::query(
        "SELECT entry, id FROM stream_entries WHERE topic = ?1 AND partition = ?2 AND entry < ?3 \
         ORDER BY entry DESC LIMIT ?4",
    )
    .bind(&*partition.topic)
    .bind(partition.number)
    .bind(before)
    .bind(count(limit))
    .fetch_all(readers)
    .await
    .map_err(failed)?;
    let carried = |row: &SqliteRow| {
        let event_id = bytes_in(row, "id")?.and_then(|id| Uuid::try_parse_ascii(&id).ok());
        Ok(Carried { position: Position { major: counted_in(row, "entry")?, minor: 0 }, event_id })
    };
    rows.iter().map(carried).collect::<Result<_, _>>().map_err(failed)
}

pub(super) async fn select_lag(readers: &SqlitePool, topics: &str) -> Result<Vec<GroupLag>, Error> {
    let rows = sqlx::query(
        "SELECT g.group_name, g.topic, g.partition, coalesce(s.length, 0) AS length, \
         (SELECT count(*) FROM stream_entries AS e WHERE e.topic = g.topic AND e.partition = g.partition \
           AND e.entry > g.last_delivered) AS undelivered, \
         (SELECT count(*) FROM stream_pending AS p WHERE p.group_name = g.group_name AND p.topic = g.topic \
           AND p.partition = g.partition) AS pending, \
         (SELECT json_group_array(json_object('consumer', consumer, 'entries', entries)) FROM (\
           SELECT p.consumer, count(*) AS entries FROM stream_pending AS p WHERE p.group_name = g.group_name \
           AND p.topic = g.topic AND p.partition = g.partition GROUP BY p.consumer ORDER BY p.consumer)) AS pending_for, \
         (SELECT e.appended_at FROM stream_entries AS e WHERE e.entry = coalesce(\
           (SELECT min(p.entry) FROM stream_pending AS p WHERE p.group_name = g.group_name AND p.topic = g.topic \
             AND p.partition = g.partition), \
           (SELECT min(n.entry) FROM stream_entries AS n WHERE n.topic = g.topic AND n.partition = g.partition \
             AND n.entry > g.last_delivered))) AS oldest \
         FROM stream_groups AS g LEFT JOIN stream_partitions AS s \
         ON s.topic = g.topic AND s.partition = g.partition \
         WHERE g.topic IN (SELECT value FROM json_each(?1)) ORDER BY g.group_name, g.topic, g.partition",
    )
    .bind(topics)
    .fetch_all(readers)
    .await
    .map_err(failed)?;
    let lag = |row: &SqliteRow| {
        Ok(GroupLag {
            group: row.try_get("group_name")?,
            partition: partition_in(row)?,
            length: counted_in(row, "length")?,
            undelivered: Some(counted_in(row, "undelivered")?),
            pending: counted_in(row, "pending")?,
            pending_for: parse_json(row.try_get("pending_for")?)?,
            oldest: text_in(row, "oldest")?.and_then(|text| time_of(&text).ok()),
        })
    };
    rows.iter().map(lag).collect::<Result<_, _>>().map_err(failed)
}

pub(super) async fn select_topics(readers: &SqlitePool) -> Result<Vec<String>, Error> {
    let rows = sqlx::query("SELECT DISTINCT topic FROM stream_partitions ORDER BY topic")
        .fetch_all(readers)
        .await
        .map_err(failed)?;
    rows.iter().filter_map(|row| text_in(row, "topic").transpose()).collect::<Result<_, _>>().map_err(failed)
}

pub(super) fn all_delivered(rows: &[SqliteRow]) -> Result<Vec<Delivered>, Error> {
    rows.iter().map(delivered_of).collect::<Result<_, _>>().map_err(failed)
}

/// Whatever somebody wrote into the attributes: it is an event, or says why it is none.
fn delivered_of(row: &SqliteRow) -> Result<Delivered, sqlx::Error> {
    let partition = partition_in(row)?;
    let appended_at = text_in(row, "appended_at")?.and_then(|text| time_of(&text).ok());
    let attributes = attributes_in(row, &cloudevent::ATTRIBUTES)?;
    let taken_from: Option<&str> = row.try_get("consumer")?;
    Ok(Delivered {
        event: cloudevent::parse(&partition.topic, attributes, appended_at.unwrap_or_else(Utc::now)),
        partition,
        position: Position { major: counted_in(row, "entry")?, minor: 0 },
        deliveries: u32::try_from(counted_in(row, "deliveries")?).unwrap_or(u32::MAX),
        taken_from: taken_from.map(Into::into),
        trail: Trail::default(),
    })
}

fn parse_json<T: DeserializeOwned>(text: &str) -> Result<T, sqlx::Error> {
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(error.into()))
}

pub(super) fn partition_in(row: &SqliteRow) -> Result<Partition, sqlx::Error> {
    let topic: &str = row.try_get("topic")?;
    Ok(Partition { topic: topic.into(), number: row.try_get("partition")? })
}

fn counted_in(row: &SqliteRow, column: &str) -> Result<u64, sqlx::Error> {
    Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or_default())
}
