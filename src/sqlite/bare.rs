//! The transactions of an event's whole way through the embedded database on one connection, without anything around
//! them: what they cost by themselves.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use factline_pipeline::{
    event::Event,
    ledger::Recording,
    outage::Error,
    stream::{Partition, Position, Reader, partition_of},
};
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection, sqlite::SqliteRow};

use super::{
    Database, count,
    entries::{self, Entry, Place, Stretch},
    facts, failed, groups, json,
    outbox::Statements,
    parsed_in,
    store::{LedgerRow, insert_ledger_rows, update_conversations},
};
use crate::trial::{BareOutbox, BareStore, BareStream, Read, by_partition};

/// How long a read waits that has found nothing.
const WAIT: Duration = Duration::from_millis(1);

/// The database's one writing connection; clones share it.
#[derive(Clone)]
pub struct Bare {
    database: Database,
    statements: Arc<Statements>,
    partitions: Vec<Partition>,
    max_length: u64,
    after: i64,
}

impl Bare {
    /// Opens the database.
    pub async fn open(
        url: &str,
        table: &str,
        topic: &str,
        partitions: u16,
        max_length: u64,
    ) -> Result<Self, Error> {
        let database = Database::open(url).await.map_err(super::unavailable)?;
        let topic: Arc<str> = topic.into();
        Ok(Self {
            database,
            statements: Arc::new(Statements::new(table)),
            partitions: (0..partitions).map(|number| Partition { topic: topic.clone(), number }).collect(),
            max_length,
            after: i64::MIN,
        })
    }

    fn count(&self) -> u16 {
        u16::try_from(self.partitions.len()).unwrap_or(u16::MAX)
    }

    fn places(&self) -> Result<String, Error> {
        json(&self.partitions.iter().map(Place::of_partition).collect::<Vec<_>>())
    }
}

#[async_trait]
impl BareOutbox for Bare {
    async fn claim(&mut self, limit: usize) -> Result<Vec<i64>, Error> {
        let rows = sqlx::query(AssertSqlSafe(self.statements.claim_pending.clone()))
            .bind(self.after)
            .bind("[]")
            .bind(count(limit))
            .fetch_all(self.database.reader())
            .await
            .map_err(failed)?;
        let number = |row: &SqliteRow| row.try_get("number");
        let numbers: Vec<i64> = rows.iter().map(number).collect::<Result<_, _>>().map_err(failed)?;
        self.after = numbers.last().copied().unwrap_or(self.after);
        Ok(numbers)
    }

    async fn mark(&mut self, rows: &[i64]) -> Result<(), Error> {
        let mark = sqlx::query(AssertSqlSafe(self.statements.mark_processed.clone())).bind(json(rows)?);
        mark.execute(self.database.writer()).await.map_err(failed)?;
        Ok(())
    }
}

#[async_trait]
impl BareStream for Bare {
    async fn append(&mut self, events: &[Event]) -> Result<(), Error> {
        let partition = |event: &Event| partition_of(&event.key, self.count());
        let entries: Vec<Entry<'_>> =
            events.iter().map(|event| Entry { event, partition: partition(event) }).collect();
        let places = self.places()?;
        let mut transaction = self.database.write().await?;
        entries::append(&mut transaction, &entries).await?;
        entries::fullest_at_cap(&mut transaction, &places, self.max_length).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn read(&mut self, group: &str, limit: usize) -> Result<Vec<Read>, Error> {
        let places = self.places()?;
        let mut transaction = self.database.write().await?;
        let read = read(&mut transaction, group, &places, limit).await?;
        let reader = Reader { group: group.to_owned(), consumer: "bare".into() };
        let by_partition = by_partition(&read);
        let stretch = |(number, positions): (&u16, &Vec<Position>)| {
            let partition = self.partitions.get(usize::from(*number))?;
            Some(Stretch::of(partition, *positions.first()?, *positions.last()?))
        };
        let stretches = json(&by_partition.iter().filter_map(stretch).collect::<Vec<_>>())?;
        groups::make_pending(&mut transaction, &reader, &stretches).await?;
        groups::advance_group(&mut transaction, group, &stretches).await?;
        transaction.commit().await.map_err(failed)?;
        if read.is_empty() {
            tokio::time::sleep(WAIT).await;
        }
        Ok(read)
    }

    async fn acknowledge(&mut self, group: &str, entries: &[Read]) -> Result<(), Error> {
        for (number, positions) in by_partition(entries) {
            let Some(partition) = self.partitions.get(usize::from(number)) else { continue };
            let numbers: Vec<i64> = positions.into_iter().map(entries::number_of).collect();
            groups::delete_pending(self.database.writer(), group, partition, &json(&numbers)?).await?;
        }
        Ok(())
    }
}

async fn read(
    connection: &mut SqliteConnection,
    group: &str,
    places: &str,
    limit: usize,
) -> Result<Vec<Read>, Error> {
    let rows = groups::select_undelivered_rows(connection, group, places, limit).await?;
    let read = |row: &SqliteRow| {
        Ok(Read {
            partition: row.try_get("partition")?,
            position: Position { major: row.try_get::<i64, _>("entry")?.unsigned_abs(), minor: 0 },
            event_id: parsed_in(row, "id")?,
        })
    };
    rows.iter().map(read).collect::<Result<_, _>>().map_err(failed)
}

#[async_trait]
impl BareStore for Bare {
    async fn record(&mut self, group: &str, batch: &[Recording]) -> Result<(), Error> {
        let rows: Vec<LedgerRow<'_>> = batch.iter().map(LedgerRow::of_recording).collect();
        let mut transaction = self.database.write().await?;
        let mut new_ids = insert_ledger_rows(&mut transaction, group, &rows).await?;
        let new: Vec<&Recording> = batch.iter().filter(|one| new_ids.remove(&one.event_id)).collect();
        facts::record(&mut transaction, &new).await?;
        update_conversations(&mut transaction, &new).await?;
        transaction.commit().await.map_err(failed)
    }
}
