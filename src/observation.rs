//! One look at a deployment: what health, metrics, `status` and `doctor` all speak of, asked for once.
//!
//! Every question is cheap whatever the tables hold: a scrape must not count a million rows. A part that cannot be
//! asked says why, and the others are told nevertheless.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use factline_pipeline::{
    lease::Lease,
    outage::{self, Error},
    outbox::Backlog,
    stream::GroupLag,
};
use serde::Serialize;
use tokio::sync::watch;

use crate::app::Adapters;

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
    /// All topics that were ever written to or read.
    pub topics: Vec<String>,
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
    /// Connections that it takes.
    pub max_connections: i64,
    /// The transaction that keeps the oldest dead rows from being cleared away, if one does so for long.
    pub oldest_transaction: Option<OldTransaction>,
}

/// A transaction that has been open for a while.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OldTransaction {
    /// Whose.
    pub pid: i32,
    /// What the client calls itself.
    pub application: String,
    /// `idle in transaction` and the like; a prepared transaction or a replication slot says so.
    pub state: String,
    /// For how long, in seconds.
    pub age_seconds: f64,
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
    /// Whether it saves snapshots.
    pub snapshots: bool,
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

/// Looks, and keeps what it saw last.
pub struct Observer {
    adapters: Adapters,
    latest: watch::Sender<Option<Arc<Observation>>>,
}

impl Observer {
    /// Has seen nothing yet.
    #[must_use]
    pub fn new(adapters: Adapters) -> Self {
        Self { adapters, latest: watch::Sender::new(None) }
    }

    /// What was seen last.
    #[must_use]
    pub fn latest(&self) -> Option<Arc<Observation>> {
        self.latest.borrow().clone()
    }

    /// Looks anew, at all parts at once.
    pub async fn look(&self) -> Arc<Observation> {
        let (outbox, store, streams) =
            tokio::join!(self.look_at_outbox(), self.look_at_store(), self.look_at_streams());
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

    async fn look_at_outbox(&self) -> Result<OutboxView, Error> {
        let databases = &self.adapters.databases;
        let server = databases.source_server.examine().await?;
        let backlog = databases.outbox.backlog().await?;
        Ok(OutboxView { backlog, server, pool: databases.source_server.pool_use() })
    }

    async fn look_at_store(&self) -> Result<StoreView, Error> {
        let databases = &self.adapters.databases;
        Ok(StoreView {
            leases: databases.leases.list().await?,
            dead_letters: databases.records.open_letters().await?,
            retrying: databases.records.retrying(RETRYING_SHOWN).await?,
            server: databases.store_server.examine().await?,
            pool: databases.store_server.pool_use(),
        })
    }

    async fn look_at_streams(&self) -> Result<StreamView, Error> {
        let stream = &self.adapters.stream;
        let topics = stream.topics().await?;
        let lag = stream.lag(&topics).await?;
        Ok(StreamView { topics, lag, server: self.adapters.stream_server.examine().await? })
    }
}

/// Waiting events that are told by name.
const RETRYING_SHOWN: u32 = 100;
