//! The Redis adapter: event streams on Redis Streams. All Redis commands live in this folder.
//!
//! A partition is the stream `{prefix}:{topic}:{partition}`; `{prefix}:topics` is the set of topics, `{prefix}:meta`
//! says how many partitions they have, and whether they are still the same. Redis 6.2 or later.

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
    stream::{
        AtCap, Carried, Delivered, EventStream, GroupLag, Identity, Partition, Position, Reader, partition_of,
    },
    trace::Trail,
};
use redis::{Client, Cmd, FromRedisValue, Pipeline, RedisError, RedisResult, ServerError, Value};

mod appender;
pub mod bare;
mod carried;
mod groups;
pub mod handwritten;
mod lag;
mod preflight;
mod readers;
mod reply;
mod server;
mod shared;
pub mod trial;

use self::{appender::Appenders, preflight::Preflight, readers::Readers, shared::Shared};
use crate::failpoints::{self, Step};

/// How long an answer may take, a batch of a thousand large events included.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(2);

/// In one step: of a group that is made between a look and the deed, nothing may be deleted.
const DISCARD_UNREAD: &str = "\
if redis.call('EXISTS', KEYS[1]) == 0 or #redis.call('XINFO', 'GROUPS', KEYS[1]) > 0 then return 0 end
return redis.call('XTRIM', KEYS[1], 'MAXLEN', 0)";

/// Event streams on Redis.
pub struct Stream {
    client: Client,
    /// For everything that is answered at once.
    shared: Shared,
    readers: Readers,
    preflight: Preflight,
    appenders: Appenders,
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
        let client = shared::client(url)?;
        let shared = Shared::new(client.clone());
        let (readers, preflight) = (Readers::default(), Preflight::default());
        Ok(Self { client, shared, readers, preflight, appenders: Appenders::default(), settings })
    }

    /// Whether the server answers.
    pub async fn ping(&self) -> Result<(), Error> {
        let _: Value = self.ask(&redis::cmd("PING")).await?;
        Ok(())
    }

    /// How many partitions the streams have: what was recorded by whoever came first, which may be us.
    pub async fn recorded_partitions(&self) -> Result<u16, Error> {
        let (partitions, identity) = self.record_meta().await?;
        self.appenders.expect_identity(identity);
        Ok(partitions)
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

    /// Appends all or nothing, unless a key changes its type, or the server its limits, at this very moment.
    async fn append_checked(&self, events: &[Event]) -> Result<Option<AtCap>, Error> {
        let mut topics: HashMap<&str, Arc<str>> = HashMap::new();
        let mut places: BTreeMap<Partition, Place> = BTreeMap::new();
        // One transaction: were a later event of a key to get in without an earlier one, order would be lost.
        let mut transaction = appender::begin();
        for (index, event) in events.iter().enumerate() {
            let topic = topics.entry(&event.topic).or_insert_with(|| event.topic.as_str().into());
            let number = partition_of(&event.key, self.settings.partitions);
            let partition = Partition { topic: topic.clone(), number };
            let place =
                places.entry(partition).or_insert_with_key(|partition| Place::new(self.key(partition)));
            place.last = index;
            add_entry(&mut transaction, &place.key, event);
        }
        let keys = places.values().map(|place| &place.key);
        self.preflight.check(&mut self.shared.clone(), events, keys, &self.topics_key()).await?;
        for topic in topics.keys() {
            transaction.cmd("SADD").arg(self.topics_key()).arg(*topic).ignore();
        }
        for place in places.values() {
            transaction.cmd("XLEN").arg(&place.key).ignore();
        }
        failpoints::pass(Step::BeforeAppend)?;
        let answers = self.run_unless_lost(transaction).await?;
        failpoints::pass(Step::AfterAppend)?;
        let lengths = answers.get(events.len() + topics.len()..).unwrap_or_default();
        let lengths: Vec<u64> = reply::lengths(lengths)?;
        let appended = reply::positions(places.values().filter_map(|place| answers.get(place.last)))?;
        let appended = places.values().map(|place| place.key.clone()).zip(appended);
        self.appenders.expect_entries(appended);
        let fullest = places.into_keys().zip(lengths).max_by_key(|(_, length)| *length);
        Ok(fullest
            .filter(|(_, length)| *length >= self.settings.max_length)
            .map(|(partition, length)| AtCap { partition, length }))
    }
}

#[async_trait]
impl EventStream for Stream {
    async fn append(&self, events: &[Event]) -> Result<Option<AtCap>, Error> {
        let appended = self.append_checked(events).await;
        if appended.is_err() {
            self.preflight.forget();
        }
        appended
    }

    async fn at_cap(&self, partition: &Partition) -> Result<Option<AtCap>, Error> {
        let length: u64 = self.ask(redis::cmd("XLEN").arg(self.key(partition))).await?;
        Ok((length >= self.settings.max_length).then(|| AtCap { partition: partition.clone(), length }))
    }

    async fn ensure_group(&self, group: &str, partitions: &[Partition]) -> Result<(), Error> {
        for partition in partitions {
            self.make_group(group, partition).await?;
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
            let Some(page) = self.pending_page(&reader.group, &key, after, limit).await? else { break };
            let Some(last) = page.last() else { return Ok(Vec::new()) };
            after = Some(last.position);
            let positions = page.iter().map(|pending| pending.position);
            let Some(claimed) = self.claim(reader, &key, positions).await? else { break };
            let mut entries = delivered(partition, reply::entries(claimed)?);
            let mut before: HashMap<Position, reply::Pending> =
                page.into_iter().map(|pending| (pending.position, pending)).collect();
            for entry in &mut entries {
                if let Some(pending) = before.remove(&entry.position) {
                    entry.deliveries = pending.deliveries + 1;
                    entry.taken_from = Some(pending.consumer);
                }
            }
            // A page of entries that were deleted is no end: Redis drops them from the pending list.
            if !entries.is_empty() {
                failpoints::pass(Step::AfterTakeOver)?;
                return Ok(entries);
            }
        }
        self.remake_groups(&reader.group, std::slice::from_ref(partition)).await?;
        Ok(Vec::new())
    }

    async fn return_pending(&self, reader: &Reader, partition: &Partition) -> Result<(), Error> {
        self.return_entries(reader, &self.key(partition)).await
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
        let mut connection = self.readers.take(&self.client, &reader.group).await?;
        let streams: RedisResult<Value> = read.query_async(&mut connection).await;
        if streams.as_ref().map_or_else(is_unknown_group, |_| true) {
            self.readers.put_back(&reader.group, connection);
        }
        let streams = match streams {
            Err(error) if is_unknown_group(&error) => {
                self.remake_groups(&reader.group, partitions).await?;
                return Ok(Vec::new());
            }
            streams => streams.map_err(failed)?,
        };
        let mut all = Vec::new();
        for (key, entries) in reply::streams(streams)? {
            let partition = keys.iter().position(|known| known.as_bytes() == key);
            let partition = partition.and_then(|index| partitions.get(index));
            all.extend(partition.map(|partition| delivered(partition, entries)).unwrap_or_default());
        }
        if !all.is_empty() {
            failpoints::pass(Step::AfterRead)?;
        }
        Ok(all)
    }

    async fn stranded(&self, reader: &Reader, partitions: &[Partition]) -> Result<Vec<Partition>, Error> {
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors(); // one stream that is gone says nothing about the others
        for partition in partitions {
            pipeline.cmd("XPENDING").arg(self.key(partition)).arg(&reader.group);
        }
        let summaries: Vec<RedisResult<Value>> =
            pipeline.query_async(&mut self.shared.clone()).await.map_err(failed)?;
        let mut stranded = Vec::new();
        for (partition, summary) in partitions.iter().zip(summaries) {
            let consumers = match summary {
                Ok(summary) => reply::pending_consumers(summary)?,
                Err(error) if is_unknown_group(&error) => continue,
                Err(error) => return Err(failed(error)),
            };
            if consumers.iter().any(|consumer| consumer != reader.consumer.as_bytes()) {
                stranded.push(partition.clone());
            }
        }
        Ok(stranded)
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
        failpoints::pass(Step::BeforeAcknowledge)?;
        let _: i64 = self.ask(&acknowledge).await?;
        failpoints::pass(Step::AfterAcknowledge)
    }

    async fn trim(&self, partition: &Partition) -> Result<u64, Error> {
        let key = self.key(partition);
        let mut needed_from: Option<Position> = None;
        for group in self.groups(&key).await? {
            let mut oldest = group.last_delivered.successor();
            if group.pending > 0 {
                let summary = redis::cmd("XPENDING").arg(&key).arg(&group.name).take();
                // Lost at this very moment, and so nothing is left to trim.
                let Some(summary) = self.ask_group(&summary).await? else { return Ok(0) };
                oldest = reply::oldest_pending(summary)?.map_or(oldest, |pending| pending.min(oldest));
            }
            needed_from = Some(needed_from.map_or(oldest, |needed: Position| needed.min(oldest)));
        }
        let Some(needed_from) = needed_from else { return Ok(0) };
        failpoints::pass(Step::BeforeTrim)?;
        let trimmed =
            self.ask(redis::cmd("XTRIM").arg(&key).arg("MINID").arg(needed_from.to_string())).await?;
        failpoints::pass(Step::AfterTrim)?;
        Ok(trimmed)
    }

    async fn carried_before(
        &self,
        partition: &Partition,
        before: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Carried>, Error> {
        self.last_entries_before(partition, before, limit).await
    }

    async fn lag(&self, topics: &[String]) -> Result<Vec<GroupLag>, Error> {
        self.lag_of(topics.iter().flat_map(|topic| self.partitions(topic)).collect()).await
    }

    async fn length(&self, partition: &Partition) -> Result<u64, Error> {
        self.ask(redis::cmd("XLEN").arg(self.key(partition))).await
    }

    /// Trimmed, not deleted: a stream that is gone would count as lost.
    async fn discard_unread(&self, partition: &Partition) -> Result<u64, Error> {
        self.ask(redis::cmd("EVAL").arg(DISCARD_UNREAD).arg(1).arg(self.key(partition))).await
    }

    async fn identity(&self) -> Result<Identity, Error> {
        let (partitions, id) = self.record_meta().await?;
        let info = self.client.get_connection_info();
        let (server, number) = (info.addr(), info.redis_settings().db());
        let place = format!("redis {server}, database {number}, prefix {}", self.settings.prefix);
        Ok(Identity { id, partitions, place })
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

/// A stream that is appended to.
struct Place {
    key: String,
    /// Which of the events is its last one.
    last: usize,
}

impl Place {
    fn new(key: String) -> Self {
        Self { key, last: 0 }
    }
}

fn add_entry(transaction: &mut Pipeline, key: &str, event: &Event) {
    let add = transaction.cmd("XADD").arg(key).arg("*");
    cloudevent::encode(event, |name, value| {
        add.arg(name).arg(value);
    });
    transaction.ignore();
}

fn delivered(partition: &Partition, entries: Vec<(Position, RawEntry)>) -> Vec<Delivered> {
    let entry = |(position, raw): (Position, RawEntry)| {
        let milliseconds = i64::try_from(position.major).unwrap_or(i64::MAX);
        let appended_at = DateTime::from_timestamp_millis(milliseconds).unwrap_or_default();
        let event = cloudevent::parse(&partition.topic, raw, appended_at);
        Delivered {
            partition: partition.clone(),
            position,
            deliveries: 1,
            taken_from: None,
            event,
            trail: Trail::default(),
        }
    };
    entries.into_iter().map(entry).collect()
}

/// The stream or its group is not there: somebody deleted it, before or during a read, or nobody has made it yet.
fn is_unknown_group(error: &RedisError) -> bool {
    matches!(error.code(), Some("NOGROUP" | "UNBLOCKED"))
}

/// All errors are outages: what the server would refuse for its data is found before it is sent.
fn failed(error: RedisError) -> Error {
    let source: Box<dyn std::error::Error + Send + Sync> = match first_of_many(&error) {
        Some(first) => Box::new(first),
        None => Box::new(error),
    };
    Error::Unavailable { service: "redis", source }
}

/// A server that is out of memory refuses each command of a batch by itself: a thousand times the same words.
#[derive(Debug, thiserror::Error)]
#[error("{first} (so were {others} more commands of the same batch)")]
struct Refused {
    first: ServerError,
    others: usize,
}

fn first_of_many(error: &RedisError) -> Option<Refused> {
    let refused = error.clone().into_server_errors()?;
    match &*refused {
        [(_, first), others @ ..] if !others.is_empty() => {
            Some(Refused { first: first.clone(), others: others.len() })
        }
        _ => None,
    }
}
