//! One look at a deployment: what health, metrics, `status` and `doctor` all speak of, asked for once.
//!
//! Every question is cheap whatever the tables hold: a scrape must not count a million rows. A part that cannot be
//! asked says why, and the others are told nevertheless.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use factline_pipeline::{
    lease::{Lease, Leases},
    outage::{self, Error},
    outbox::{Backlog, Outbox},
    stream::{EventStream, GroupLag, Identity},
};
use serde::Serialize;
use tokio::sync::watch;
use uuid::Uuid;

use crate::{app::Adapters, records::Records, stream_users::StreamUser};

/// What was found, or why nothing could be.
pub type Look<T> = Result<T, String>;

/// A deployment at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct Observation {
    /// When it was looked at.
    pub at: DateTime<Utc>,
    /// The application's outbox.
    pub outbox: Look<OutboxView>,
    /// Factline's own tables.
    pub store: Look<StoreView>,
    /// The streams.
    pub streams: Look<StreamView>,
}

/// The outbox and its server.
#[derive(Debug, Clone, Serialize)]
pub struct OutboxView {
    /// What waits there.
    pub backlog: Backlog,
    /// Its server; none for a file.
    pub server: Option<PostgresServer>,
    /// Our connections to it; none for a file.
    pub pool: Option<PoolUse>,
}

/// The store and its server.
#[derive(Debug, Clone, Serialize)]
pub struct StoreView {
    /// Which deployment it belongs to.
    pub deployment: Uuid,
    /// Who relays, who reads which partition.
    pub leases: Vec<Lease>,
    /// Dead letters that nobody has dealt with.
    pub dead_letters: OpenLetters,
    /// Events whose next try is to come; their keys wait with them. The first hundred.
    pub retrying: Vec<Retrying>,
    /// Its server; none for a file.
    pub server: Option<PostgresServer>,
    /// Our connections to it; none for a file.
    pub pool: Option<PoolUse>,
}

/// The streams and their server.
#[derive(Debug, Clone, Serialize)]
pub struct StreamView {
    /// Which streams these are.
    pub identity: Identity,
    /// All topics that were ever written to or read.
    pub topics: Vec<String>,
    /// Those of them that no group reads although something is in them: it is never trimmed.
    pub unread: Vec<String>,
    /// How the groups stand.
    pub lag: Vec<GroupLag>,
    /// Their server; none for a file.
    pub server: Option<RedisServer>,
}

/// Dead letters that are open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct OpenLetters {
    /// How many are open.
    pub open: u64,
    /// When the oldest of them was set aside.
    pub oldest: Option<DateTime<Utc>>,
    /// How many were set aside in the last ten minutes, whatever became of them.
    pub recent: u64,
}

/// An event that was tried and has not taken effect yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Retrying {
    /// The consumer group.
    pub consumer_group: String,
    /// The event.
    pub event_id: String,
    /// Tries that failed for now.
    pub attempts: i32,
    /// When it failed first.
    pub since: Option<DateTime<Utc>>,
    /// Before this time it is not tried again.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// Why the last try failed.
    pub last_error: Option<String>,
}

/// What PostgreSQL says of itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PostgresServer {
    /// Its version: `15.8`.
    pub version: String,
    /// Its clock less ours, in milliseconds.
    pub clock_ahead_ms: i64,
    /// Connections in use, of everybody.
    pub connections: i64,
    /// Connections that it takes from anybody but superusers.
    pub max_connections: i64,
    /// What keeps the oldest dead rows from being cleared away just now, if anything does.
    pub oldest_transaction: Option<OldTransaction>,
}

/// What keeps dead rows from being cleared away. PostgreSQL tells a user without the role `pg_read_all_stats` nothing
/// of other users' transactions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OldTransaction {
    /// What it is.
    pub kind: Holder,
    /// Whose process it is; none for what has no process.
    pub pid: Option<i32>,
    /// What the client calls itself; the name of a prepared transaction or a slot.
    pub application: String,
    /// `idle in transaction` and the like.
    pub state: String,
    /// Since when, by the server's clock; a slot does not say.
    pub since: Option<DateTime<Utc>>,
    /// For how long, in seconds; a slot does not say.
    pub age_seconds: Option<f64>,
    /// How many transactions have begun since.
    pub transactions: i64,
}

/// What may keep dead rows from being cleared away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// A client's transaction.
    Transaction,
    /// A transaction that was prepared and neither committed nor rolled back.
    Prepared,
    /// A replication slot.
    Slot,
}

/// What Redis says of itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RedisServer {
    /// Its version: `7.2.4`.
    pub version: String,
    /// Its clock less ours, in milliseconds.
    pub clock_ahead_ms: i64,
    /// Bytes in use.
    pub used_memory: u64,
    /// Bytes that it may use; 0: no limit.
    pub max_memory: u64,
    /// What it does at the limit; only `noeviction` loses nothing.
    pub eviction_policy: String,
    /// Keys that it has thrown away since it started.
    pub evicted_keys: u64,
    /// Whether it appends every write to a file.
    pub append_only: bool,
    /// Whether it saves snapshots; who hosts Redis seldom lets its users ask.
    pub snapshots: Option<bool>,
    /// Clients connected.
    pub clients: u64,
    /// Clients that it takes.
    pub max_clients: u64,
}

/// How many connections of a pool are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PoolUse {
    /// In use.
    pub used: u32,
    /// Open and idle.
    pub idle: u32,
    /// At most.
    pub max: u32,
}

/// A database's server, as seen from a pool of connections.
#[async_trait]
pub trait DatabaseServer: Send + Sync {
    /// What the server says of itself; none for a file.
    async fn examine(&self) -> Result<Option<PostgresServer>, Error>;

    /// Our connections to it; none for a file. Asks nobody.
    fn pool_use(&self) -> Option<PoolUse>;
}

/// A streams' server.
#[async_trait]
pub trait StreamServer: Send + Sync {
    /// What the server says of itself; none for a file.
    async fn examine(&self) -> Result<Option<RedisServer>, Error>;
}

/// What the server's clock is ahead of ours, in milliseconds, if it said `server` to a question that took from `asked`
/// until now: it said so half-way.
#[must_use]
pub fn clock_ahead(asked: DateTime<Utc>, server: DateTime<Utc>) -> i64 {
    let half_way = asked + (Utc::now() - asked) / 2;
    (server - half_way).num_milliseconds()
}

/// Looks, and keeps what it saw last.
pub struct Observer {
    adapters: Adapters,
    latest: watch::Sender<Option<Arc<Observation>>>,
    user: OnceLock<StreamUser>,
}

impl Observer {
    /// Has seen nothing yet.
    #[must_use]
    pub fn new(adapters: Adapters) -> Self {
        Self { adapters, latest: watch::Sender::new(None), user: OnceLock::new() }
    }

    /// Looks on behalf of a daemon: each look also tells the others which streams this one uses.
    pub fn introduce(&self, user: StreamUser) {
        self.user.get_or_init(|| user);
    }

    /// The daemon that it looks for.
    pub fn user(&self) -> Option<&StreamUser> {
        self.user.get()
    }

    /// What was seen last.
    #[must_use]
    pub fn latest(&self) -> Option<Arc<Observation>> {
        self.latest.borrow().clone()
    }

    /// Looks anew, at all parts at once.
    pub async fn look(&self) -> Arc<Observation> {
        let Adapters { databases, stream, stream_server } = &self.adapters;
        let (outbox, store, streams) = tokio::join!(
            look_at_outbox(&*databases.outbox, &*databases.source_server),
            look_at_store(&*databases.leases, &*databases.records, &*databases.store_server),
            look_at_streams(&**stream, &**stream_server),
        );
        if let (Some(user), Ok(streams)) = (self.user.get(), &streams)
            && let Err(error) = user.uses(&streams.identity).await
        {
            tracing::debug!(error = outage::chain(&error), "the store was not told which streams are used");
        }
        let told = |error: Error| outage::chain(&error);
        let seen = Arc::new(Observation {
            at: Utc::now(),
            outbox: outbox.map_err(told),
            store: store.map_err(told),
            streams: streams.map_err(told),
        });
        self.latest.send_replace(Some(seen.clone()));
        seen
    }
}

/// Looks at the outbox alone.
pub async fn look_at_outbox(outbox: &dyn Outbox, server: &dyn DatabaseServer) -> Result<OutboxView, Error> {
    let server_now = server.examine().await?;
    Ok(OutboxView { backlog: outbox.backlog().await?, server: server_now, pool: server.pool_use() })
}

/// Looks at the store alone.
pub async fn look_at_store(
    leases: &dyn Leases,
    records: &dyn Records,
    server: &dyn DatabaseServer,
) -> Result<StoreView, Error> {
    Ok(StoreView {
        deployment: records.deployment().await?,
        leases: leases.list().await?,
        dead_letters: records.open_letters().await?,
        retrying: records.retrying(RETRYING_SHOWN).await?,
        server: server.examine().await?,
        pool: server.pool_use(),
    })
}

/// Looks at the streams alone.
pub async fn look_at_streams(
    stream: &dyn EventStream,
    server: &dyn StreamServer,
) -> Result<StreamView, Error> {
    let topics = stream.topics().await?;
    let lag = stream.lag(&topics).await?;
    let unread = unread_topics(stream, &topics, &lag).await?;
    Ok(StreamView {
        identity: stream.identity().await?,
        topics,
        unread,
        lag,
        server: server.examine().await?,
    })
}

/// The topics that no group reads although something is in them.
pub async fn unread_topics(
    stream: &dyn EventStream,
    topics: &[String],
    lag: &[GroupLag],
) -> Result<Vec<String>, Error> {
    let mut unread = Vec::new();
    for topic in topics.iter().filter(|topic| !lag.iter().any(|lag| *lag.partition.topic == **topic)) {
        for partition in stream.partitions(topic) {
            if stream.length(&partition).await? > 0 {
                unread.push(topic.clone());
                break;
            }
        }
    }
    Ok(unread)
}

/// Waiting events that are told by name.
pub const RETRYING_SHOWN: u32 = 100;
