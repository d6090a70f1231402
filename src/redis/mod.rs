//! The Redis adapter: event streams on Redis Streams. All Redis commands live in this folder.
//!
//! A partition is the stream `{prefix}:{topic}:{partition}`; `{prefix}:topics` is the set of topics, `{prefix}:meta`
//! says how many partitions they have. Redis 6.2 or later.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use chrono::DateTime;
use factline_pipeline::{
    cloudevent::{self, RawEntry},
    event::Event,
    outage::Error,
    stream::{AtCap, Delivered, EventStream, GroupLag, Partition, Position, Reader, partition_of},
};
use redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline, RedisError, Value,
    aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection},
};
use tokio::sync::Mutex;

mod reply;

/// How long an answer may take, a batch of a thousand large events included.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(2);

/// Event streams on Redis.
pub struct Stream {
    client: Client,
    /// For everything that is answered at once.
    shared: ConnectionManager,
    /// One for each group: a blocking read holds up whatever shares its connection.
    readers: Mutex<HashMap<String, MultiplexedConnection>>,
    settings: Settings,
}

/// Where the streams are, and how large they may be.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What all keys begin with.
    pub prefix: String,
    /// Partitions of every topic.
    pub partitions: u16,
    /// Entries that a partition may hold before the relay pauses.
    pub max_length: u64,
}

impl Stream {
    /// Nothing is connected until it is used. An unreadable URL is an error, which does not repeat it.
    pub fn new(url: &str, settings: Settings) -> Result<Self, RedisError> {
        let client = Client::open(url)?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0) // the stages wait outages out themselves, and say so
            .set_connection_timeout(Some(CONNECTION_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        let shared = ConnectionManager::new_lazy_with_config(client.clone(), config)?;
        Ok(Self { client, shared, readers: Mutex::default(), settings })
    }

    /// Whether the server answers.
    pub async fn ping(&self) -> Result<(), Error> {
        let _: Value = self.ask(&redis::cmd("PING")).await?;
        Ok(())
    }

    /// How many partitions the streams have: what was recorded by whoever came first, which may be us.
    pub async fn recorded_partitions(&self) -> Result<u16, Error> {
        let meta = format!("{}:meta", self.settings.prefix);
        let partitions = self.settings.partitions;
        let _: i64 = self.ask(redis::cmd("HSETNX").arg(&meta).arg("partitions").arg(partitions)).await?;
        self.ask(redis::cmd("HGET").arg(&meta).arg("partitions")).await
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        command.query_async(&mut self.shared.clone()).await.map_err(failed)
    }

    fn key(&self, partition: &Partition) -> String {
        format!("{}:{}:{}", self.settings.prefix, partition.topic, partition.number)
    }

    fn topics_key(&self) -> String {
        format!("{}:topics", self.settings.prefix)
    }

    async fn reader(&self, group: &str) -> Result<MultiplexedConnection, Error> {
        let mut readers = self.readers.lock().await;
        if let Some(connection) = readers.get(group) {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECTION_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        let connection =
            self.client.get_multiplexed_async_connection_with_config(&config).await.map_err(failed)?;
        readers.insert(group.to_owned(), connection.clone());
        Ok(connection)
    }

    /// The streams are gone, a FLUSHALL say: what comes next is read from the beginning.
    async fn remake_groups(&self, group: &str, partitions: &[Partition]) -> Result<(), Error> {
        tracing::warn!(group, "the consumer group was lost with its streams, making it again");
        self.ensure_group(group, partitions).await
    }

    async fn pending_page(
        &self,
        reader: &Reader,
        key: &str,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<(Position, u32)>, Error> {
        let start = after.map_or_else(|| "-".to_owned(), |after| format!("({after}"));
        let page = redis::cmd("XPENDING").arg(key).arg(&reader.group).arg(start).arg("+").arg(limit).take();
        reply::pending(self.ask(&page).await?)
    }
}

#[async_trait]
impl EventStream for Stream {
    async fn append(&self, events: &[Event]) -> Result<Option<AtCap>, Error> {
        let mut places: HashMap<&str, Arc<str>> = HashMap::new();
        let mut partitions: BTreeMap<Partition, String> = BTreeMap::new();
        // One transaction: were a later event of a key to get in without an earlier one, order would be lost.
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        for event in events {
            let topic = places.entry(&event.topic).or_insert_with(|| event.topic.as_str().into());
            let number = partition_of(&event.key, self.settings.partitions);
            let partition = Partition { topic: topic.clone(), number };
            let key = partitions.entry(partition).or_insert_with_key(|partition| self.key(partition));
            add_entry(&mut pipeline, key, event);
        }
        for topic in places.keys() {
            pipeline.cmd("SADD").arg(self.topics_key()).arg(*topic).ignore();
        }
        for key in partitions.values() {
            pipeline.cmd("XLEN").arg(key);
        }
        let lengths: Vec<u64> = pipeline.query_async(&mut self.shared.clone()).await.map_err(failed)?;
        let fullest = partitions.into_keys().zip(lengths).max_by_key(|(_, length)| *length);
        Ok(fullest
            .filter(|(_, length)| *length >= self.settings.max_length)
            .map(|(partition, length)| AtCap { partition, length }))
    }

    async fn at_cap(&self, partition: &Partition) -> Result<Option<AtCap>, Error> {
        let length: u64 = self.ask(redis::cmd("XLEN").arg(self.key(partition))).await?;
        Ok((length >= self.settings.max_length).then(|| AtCap { partition: partition.clone(), length }))
    }

    async fn ensure_group(&self, group: &str, partitions: &[Partition]) -> Result<(), Error> {
        for partition in partitions {
            let key = self.key(partition);
            let create =
                redis::cmd("XGROUP").arg("CREATE").arg(&key).arg(group).arg("0").arg("MKSTREAM").take();
            match create.query_async::<()>(&mut self.shared.clone()).await {
                Ok(()) => {}
                Err(error) if error.code() == Some("BUSYGROUP") => {}
                Err(error) => return Err(failed(error)),
            }
            // Names of processes that are gone would pile up. One that still reads is made anew by reading.
            let consumers = self.ask(redis::cmd("XINFO").arg("CONSUMERS").arg(&key).arg(group)).await?;
            for consumer in reply::idle_consumers(consumers)? {
                let delete =
                    redis::cmd("XGROUP").arg("DELCONSUMER").arg(&key).arg(group).arg(consumer).take();
                let _: Value = self.ask(&delete).await?;
            }
        }
        Ok(())
    }

    async fn take_over_pending(
        &self,
        reader: &Reader,
        partition: &Partition,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Delivered>, Error> {
        let key = self.key(partition);
        let mut after = after;
        loop {
            let page = self.pending_page(reader, &key, after, limit).await?;
            let Some((last, _)) = page.last() else { return Ok(Vec::new()) };
            after = Some(*last);
            let mut claim = redis::cmd("XCLAIM");
            claim.arg(&key).arg(&reader.group).arg(&reader.consumer).arg(0);
            claim.arg(page.iter().map(|(position, _)| position.to_string()).collect::<Vec<_>>());
            let counts: HashMap<Position, u32> = page.into_iter().collect();
            let mut entries = delivered(partition, reply::entries(self.ask(&claim).await?)?);
            for entry in &mut entries {
                entry.deliveries = counts.get(&entry.position).map_or(1, |count| count + 1);
            }
            // A page of entries that were deleted is no end: Redis drops them from the pending list.
            if !entries.is_empty() {
                return Ok(entries);
            }
        }
    }

    async fn read_new(
        &self,
        reader: &Reader,
        partitions: &[Partition],
        limit: usize,
        wait: Duration,
    ) -> Result<Vec<Delivered>, Error> {
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP").arg(&reader.group).arg(&reader.consumer).arg("COUNT").arg(limit);
        read.arg("BLOCK").arg(u64::try_from(wait.as_millis()).unwrap_or(1).max(1)).arg("STREAMS");
        let keys: Vec<String> = partitions.iter().map(|partition| self.key(partition)).collect();
        read.arg(&keys).arg(vec![">"; keys.len()]);
        let mut connection = self.reader(&reader.group).await?;
        let streams: Value = match read.query_async(&mut connection).await {
            Ok(streams) => streams,
            Err(error) if error.code() == Some("NOGROUP") => {
                self.remake_groups(&reader.group, partitions).await?;
                return Ok(Vec::new());
            }
            Err(error) => {
                self.readers.lock().await.remove(&reader.group);
                return Err(failed(error));
            }
        };
        let mut all = Vec::new();
        for (key, entries) in reply::streams(streams)? {
            let partition = keys.iter().position(|known| known.as_bytes() == key);
            let partition = partition.and_then(|index| partitions.get(index));
            all.extend(partition.map(|partition| delivered(partition, entries)).unwrap_or_default());
        }
        Ok(all)
    }

    async fn acknowledge(
        &self,
        group: &str,
        partition: &Partition,
        positions: &[Position],
    ) -> Result<(), Error> {
        let mut acknowledge = redis::cmd("XACK");
        acknowledge.arg(self.key(partition)).arg(group);
        acknowledge.arg(positions.iter().map(ToString::to_string).collect::<Vec<_>>());
        let _: i64 = self.ask(&acknowledge).await?;
        Ok(())
    }

    async fn trim(&self, partition: &Partition) -> Result<u64, Error> {
        let key = self.key(partition);
        let mut needed_from: Option<Position> = None;
        for group in self.groups(&key).await? {
            let mut oldest = group.last_delivered.successor();
            if group.pending > 0 {
                let summary: Value = self.ask(redis::cmd("XPENDING").arg(&key).arg(&group.name)).await?;
                oldest = reply::oldest_pending(summary)?.map_or(oldest, |pending| pending.min(oldest));
            }
            needed_from = Some(needed_from.map_or(oldest, |needed: Position| needed.min(oldest)));
        }
        let Some(needed_from) = needed_from else { return Ok(0) };
        self.ask(redis::cmd("XTRIM").arg(&key).arg("MINID").arg(needed_from.to_string())).await
    }

    async fn lag(&self, topics: &[String]) -> Result<Vec<GroupLag>, Error> {
        let mut lag = Vec::new();
        for partition in topics.iter().flat_map(|topic| self.partitions(topic)) {
            let key = self.key(&partition);
            let length: u64 = self.ask(redis::cmd("XLEN").arg(&key)).await?;
            lag.extend(self.groups(&key).await?.into_iter().map(|group| GroupLag {
                group: group.name,
                partition: partition.clone(),
                length,
                undelivered: group.lag,
                pending: group.pending,
            }));
        }
        Ok(lag)
    }

    async fn topics(&self) -> Result<Vec<String>, Error> {
        let topics: BTreeSet<String> = self.ask(redis::cmd("SMEMBERS").arg(self.topics_key())).await?;
        Ok(topics.into_iter().collect())
    }

    fn partitions(&self, topic: &str) -> Vec<Partition> {
        let topic: Arc<str> = topic.into();
        (0..self.settings.partitions).map(|number| Partition { topic: topic.clone(), number }).collect()
    }
}

impl Stream {
    /// The groups of one stream; none where there is no stream.
    async fn groups(&self, key: &str) -> Result<Vec<reply::Group>, Error> {
        let info = redis::cmd("XINFO").arg("GROUPS").arg(key).take();
        match info.query_async::<Value>(&mut self.shared.clone()).await {
            Ok(groups) => reply::groups(groups),
            Err(error) if error.detail().is_some_and(|detail| detail.contains("no such key")) => {
                Ok(Vec::new())
            }
            Err(error) => Err(failed(error)),
        }
    }
}

fn add_entry(pipeline: &mut Pipeline, key: &str, event: &Event) {
    let add = pipeline.cmd("XADD").arg(key).arg("*");
    cloudevent::encode(event, |name, value| {
        add.arg(name).arg(value);
    });
    pipeline.ignore();
}

fn delivered(partition: &Partition, entries: Vec<(Position, RawEntry)>) -> Vec<Delivered> {
    let entry = |(position, raw): (Position, RawEntry)| {
        let milliseconds = i64::try_from(position.major).unwrap_or(i64::MAX);
        let appended_at = DateTime::from_timestamp_millis(milliseconds).unwrap_or_default();
        let event = cloudevent::parse(&partition.topic, raw, appended_at);
        Delivered { partition: partition.clone(), position, deliveries: 1, event }
    };
    entries.into_iter().map(entry).collect()
}

/// All errors are outages but one: an entry that is larger than the server takes.
fn failed(error: RedisError) -> Error {
    let service = "redis";
    if error.detail().is_some_and(|detail| detail.contains("exceeds maximum allowed size")) {
        Error::Data { service, source: Box::new(error) }
    } else {
        Error::Unavailable { service, source: Box::new(error) }
    }
}
