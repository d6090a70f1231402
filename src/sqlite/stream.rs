//! The stream in the embedded database: all partitions in one table, numbered through.
//!
//! SQLite has one writer at a time, so entries become visible in the order of their numbers, and "after the last one
//! delivered" misses none. Readers of this process are woken by an append; what other processes append is found by
//! looking, every few milliseconds.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use factline_pipeline::{
    event::Event,
    outage::Error,
    stream::{
        AtCap, Carried, Delivered, EventStream, GroupLag, Identity, Partition, Position, Reader, partition_of,
    },
};
use tokio::time::{Instant, sleep_until};

use super::{
    Database, deployment,
    entries::{self, Entry, Place, Stretch},
    failed, groups, json,
};
use crate::failpoints::{self, Step};

/// How often to look for what other processes appended.
const POLL: Duration = Duration::from_millis(50);

/// Entries deleted in one transaction at most, so that none holds the write lock for long.
const TRIM_BATCH: usize = 5_000;

/// The stream.
#[derive(Debug, Clone)]
pub struct Stream {
    database: Database,
    partitions: u16,
    max_length: u64,
}

impl Stream {
    /// A stream with so many partitions a topic, each of which may hold so many entries.
    #[must_use]
    pub fn new(database: Database, partitions: u16, max_length: u64) -> Self {
        Self { database, partitions: partitions.max(1), max_length }
    }

    /// For how many partitions the database was made; the first one to ask decides.
    ///
    /// With another number this stream must not be used: it would split the order of a key in two.
    pub async fn recorded_partitions(&self) -> Result<u16, Error> {
        let mut transaction = self.database.write().await?;
        let recorded = entries::record_partitions_once(&mut transaction, self.partitions).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(recorded)
    }

    /// Gives the group what is new, and makes it pending.
    async fn deliver_new(
        &self,
        reader: &Reader,
        places: &str,
        limit: usize,
    ) -> Result<Vec<Delivered>, Error> {
        let mut transaction = self.database.write().await?;
        let delivered = groups::select_undelivered(&mut transaction, &reader.group, places, limit).await?;
        let stretches = json(&Stretch::all_of(&delivered))?;
        groups::make_pending(&mut transaction, reader, &stretches).await?;
        groups::advance_group(&mut transaction, &reader.group, &stretches).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(delivered)
    }
}

#[async_trait]
impl EventStream for Stream {
    async fn append(&self, events: &[Event]) -> Result<Option<AtCap>, Error> {
        let partition = |event: &Event| partition_of(&event.key, self.partitions);
        let entries: Vec<Entry<'_>> =
            events.iter().map(|event| Entry { event, partition: partition(event) }).collect();
        let written: BTreeSet<Place<'_>> = entries.iter().map(Place::of_new).collect();
        failpoints::pass(Step::BeforeAppend)?;
        let mut transaction = self.database.write().await?;
        entries::append(&mut transaction, &entries).await?;
        let fullest = entries::fullest_at_cap(&mut transaction, &json(&written)?, self.max_length).await?;
        transaction.commit().await.map_err(failed)?;
        self.database.appended().notify_waiters();
        failpoints::pass(Step::AfterAppend)?;
        Ok(fullest)
    }

    async fn at_cap(&self, partition: &Partition) -> Result<Option<AtCap>, Error> {
        let mut connection = self.database.reader().acquire().await.map_err(failed)?;
        let places = json(&[Place::of_partition(partition)])?;
        entries::fullest_at_cap(&mut connection, &places, self.max_length).await
    }

    async fn ensure_group(&self, group: &str, partitions: &[Partition]) -> Result<(), Error> {
        let places: Vec<Place<'_>> = partitions.iter().map(Place::of_partition).collect();
        let mut transaction = self.database.write().await?;
        groups::insert_group(&mut transaction, group, &json(&places)?).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn take_over_pending(
        &self,
        reader: &Reader,
        partition: &Partition,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Delivered>, Error> {
        let after = after.map_or(0, entries::number_of);
        let mut transaction = self.database.write().await?;
        groups::forget_pending_without_entry(&mut transaction, &reader.group, partition).await?;
        let taken =
            groups::take_over_pending_after(&mut transaction, reader, partition, after, limit).await?;
        transaction.commit().await.map_err(failed)?;
        if !taken.is_empty() {
            failpoints::pass(Step::AfterTakeOver)?;
        }
        Ok(taken)
    }

    async fn return_pending(&self, reader: &Reader, partition: &Partition) -> Result<(), Error> {
        let mut transaction = self.database.write().await?;
        groups::return_pending(&mut transaction, reader, partition).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn read_new(
        &self,
        reader: &Reader,
        partitions: &[Partition],
        limit: usize,
        wait: Duration,
    ) -> Result<Vec<Delivered>, Error> {
        let deadline = Instant::now() + wait;
        let places: Vec<Place<'_>> = partitions.iter().map(Place::of_partition).collect();
        let places = json(&places)?;
        loop {
            let mut appended = std::pin::pin!(self.database.appended().notified());
            appended.as_mut().enable(); // before looking: an append in between is not missed
            if groups::any_undelivered(self.database.reader(), &reader.group, &places).await? {
                let delivered = self.deliver_new(reader, &places, limit).await?;
                if !delivered.is_empty() {
                    failpoints::pass(Step::AfterRead)?;
                    return Ok(delivered);
                }
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(Vec::new());
            }
            tokio::select! {
                () = appended => {}
                () = sleep_until(deadline.min(now + POLL)) => {}
            }
        }
    }

    async fn stranded(&self, reader: &Reader, partitions: &[Partition]) -> Result<Vec<Partition>, Error> {
        let places: Vec<Place<'_>> = partitions.iter().map(Place::of_partition).collect();
        groups::select_stranded(self.database.reader(), reader, &json(&places)?).await
    }

    async fn acknowledge(
        &self,
        group: &str,
        partition: &Partition,
        positions: &[Position],
    ) -> Result<(), Error> {
        let numbers: Vec<i64> = positions.iter().copied().map(entries::number_of).collect();
        failpoints::pass(Step::BeforeAcknowledge)?;
        groups::delete_pending(self.database.writer(), group, partition, &json(&numbers)?).await?;
        failpoints::pass(Step::AfterAcknowledge)
    }

    async fn trim(&self, partition: &Partition) -> Result<u64, Error> {
        let mut trimmed = 0;
        loop {
            let mut transaction = self.database.write().await?;
            let batch = entries::delete_unneeded(&mut transaction, partition, TRIM_BATCH).await?;
            failpoints::pass(Step::BeforeTrim)?;
            transaction.commit().await.map_err(failed)?;
            failpoints::pass(Step::AfterTrim)?;
            trimmed += batch;
            if batch < TRIM_BATCH as u64 {
                return Ok(trimmed);
            }
        }
    }

    async fn carried_before(
        &self,
        partition: &Partition,
        before: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Carried>, Error> {
        let before = before.map_or(i64::MAX, entries::number_of);
        entries::select_carried_before(self.database.reader(), partition, before, limit).await
    }

    async fn lag(&self, topics: &[String]) -> Result<Vec<GroupLag>, Error> {
        entries::select_lag(self.database.reader(), &json(topics)?).await
    }

    async fn topics(&self) -> Result<Vec<String>, Error> {
        entries::select_topics(self.database.reader()).await
    }

    async fn length(&self, partition: &Partition) -> Result<u64, Error> {
        entries::select_length(self.database.reader(), partition).await
    }

    async fn discard_unread(&self, partition: &Partition) -> Result<u64, Error> {
        let mut discarded = 0;
        loop {
            let mut transaction = self.database.write().await?;
            let batch = entries::delete_unread(&mut transaction, partition, TRIM_BATCH).await?;
            transaction.commit().await.map_err(failed)?;
            discarded += batch;
            if batch < TRIM_BATCH as u64 {
                return Ok(discarded);
            }
        }
    }

    async fn identity(&self) -> Result<Identity, Error> {
        Ok(Identity {
            id: deployment::select(self.database.reader()).await?.to_string(),
            partitions: self.partitions,
            place: format!("file {}", self.database.path().display()),
        })
    }

    fn partitions(&self, topic: &str) -> Vec<Partition> {
        let topic: Arc<str> = topic.into();
        (0..self.partitions).map(|number| Partition { topic: topic.clone(), number }).collect()
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use uuid::Uuid;

    use super::*;

    fn event(key: &str) -> Event {
        Event {
            id: Uuid::now_v7(),
            source: "shop".into(),
            event_type: "t".into(),
            topic: "chat".into(),
            key: key.into(),
            occurred_at: Utc::now(),
            created_at: None,
            sequence: None,
            trace: None,
            data: "{}".into(),
        }
    }

    #[tokio::test]
    async fn a_batch_that_is_cut_short_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path().join("factline.db").to_str().unwrap()).await.unwrap();
        database.migrate_up().await.unwrap();
        let mut transaction = database.write().await.unwrap();
        sqlx::query(
            "CREATE TRIGGER full BEFORE INSERT ON stream_entries WHEN new.partitionkey = 'full' \
             BEGIN SELECT raise(FAIL, 'database or disk is full'); END",
        )
        .execute(&mut *transaction)
        .await
        .unwrap();
        transaction.commit().await.unwrap();
        let stream = Stream::new(database, 4, 2);
        // FAIL, unlike any other error, would keep the rows before it if the transaction did not roll back.
        stream.append(&[event("a"), event("b"), event("full")]).await.unwrap_err();
        assert!(stream.topics().await.unwrap().is_empty());
        assert_eq!(stream.append(&[event("a")]).await.unwrap(), None);
        let partition = &stream.partitions("chat")[usize::from(partition_of("a", 4))];
        let reader = Reader { group: "g".into(), consumer: "a".into() };
        let read =
            stream.read_new(&reader, std::slice::from_ref(partition), 9, Duration::ZERO).await.unwrap();
        assert_eq!(read.len(), 1);
    }
}
