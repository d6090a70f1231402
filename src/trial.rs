//! What `factline bench` asks of the databases that it has to itself, beside what the pipeline does there.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use factline_pipeline::{event::Event, ledger::Recording, outage::Error, stream::Position};
use uuid::Uuid;

/// How many rows were settled, and from when to when, by the database's own clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// Rows.
    pub rows: u64,
    /// The first one's time.
    pub first: Option<DateTime<Utc>>,
    /// The last one's time.
    pub last: Option<DateTime<Utc>>,
}

/// Where the ledger says that an event was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The event.
    pub event_id: Uuid,
    /// The partition.
    pub partition: i32,
    /// The position there.
    pub position: String,
}

/// What a database server says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct About {
    /// Name and version.
    pub version: String,
    /// What matters for how fast it is, by name.
    pub settings: Vec<(String, String)>,
    /// A process of the server that serves us, as its own host numbers it.
    #[serde(skip)]
    pub process: Option<u32>,
}

/// A database with an outbox or a store, or both, that nobody else uses.
#[async_trait]
pub trait Trial: History + Laden + Send + Sync {
    /// Forgets all events and what became of them.
    async fn empty(&self) -> Result<(), Error>;

    /// After rows were inserted: what a server would have done by itself in time.
    async fn settle(&self) -> Result<(), Error>;

    /// The processed rows of the outbox.
    async fn marked(&self) -> Result<Window, Error>;

    /// The rows of the ledger that say `processed`.
    async fn recorded(&self) -> Result<Window, Error>;

    /// Where each event was read that the ledger has.
    async fn places(&self) -> Result<Vec<Place>, Error>;

    /// What the server says of itself; an embedded database is no server, and has no process.
    async fn about(&self) -> Result<About, Error>;

    /// How many bytes were ever written to the server's log of changes, where there is one.
    async fn log_position(&self) -> Result<Option<u64>, Error>;
}

/// A moment between two measurements in the same tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// By the database's own clock.
    pub at: DateTime<Utc>,
    /// The number of the last row in the outbox.
    pub row: i64,
}

/// So many rows in the tenth of a second of this number, counted from 1970.
pub type Tenth = (i64, u64);

/// What was done when.
#[async_trait]
pub trait History {
    /// Now. Of a database without an outbox the row's number is 0.
    async fn mark_now(&self) -> Result<Mark, Error>;

    /// The processed rows of the outbox that were inserted since then.
    async fn marked_since(&self, mark: Mark) -> Result<Window, Error>;

    /// The rows of the ledger since then.
    async fn recorded_since(&self, mark: Mark) -> Result<Window, Error>;

    /// Where each event was read that the ledger has since then.
    async fn places_since(&self, mark: Mark) -> Result<Vec<Place>, Error>;

    /// The processed rows of the outbox.
    async fn marked_over_time(&self) -> Result<Vec<Tenth>, Error>;

    /// The rows of the ledger.
    async fn recorded_over_time(&self) -> Result<Vec<Tenth>, Error>;

    /// The bytes that the database takes on its disk.
    async fn size(&self) -> Result<u64, Error>;
}

/// What a database is laden with, so that it is not the one of an empty table that is measured. All of it is an hour
/// old: too old to be missed by whoever reconciles, too young for whoever deletes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ballast {
    /// Processed rows of the outbox.
    Processed(Sample),
    /// Processed rows of the outbox that were pending before, as somebody else still sees them.
    Marked(Sample),
    /// Rows of this group's ledger.
    Recorded(String),
    /// Facts about one subject.
    Facts(Subject),
}

/// What all rows of the outbox have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The topic.
    pub topic: String,
    /// The event type.
    pub event_type: String,
    /// The payload.
    pub payload: String,
}

/// What facts are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Who.
    pub subject: String,
    /// In which respect.
    pub predicate: String,
}

/// A transaction that sees the database as it was when it began. Dropped, it ends.
pub type Snapshot = Box<dyn Send>;

/// A database that can be laden.
#[async_trait]
pub trait Laden {
    /// Adds so many rows, numbered from `from` on.
    async fn add(&self, ballast: &Ballast, from: i64, rows: i64) -> Result<(), Error>;

    /// What the most facts are about.
    async fn most_stated(&self) -> Result<Option<Subject>, Error>;

    /// Holds a snapshot, so that nothing that is deleted from now on goes away. `None` where readers do not hinder.
    async fn hold_snapshot(&self) -> Result<Option<Snapshot>, Error>;
}

/// Somebody who looks at the ledger again and again, on a connection of their own.
#[async_trait]
pub trait Sight: Send {
    /// Those of these events that the ledger of this group has.
    async fn recorded_among(&mut self, group: &str, events: &[Uuid]) -> Result<Vec<Uuid>, Error>;
}

/// An entry of a stream, as far as a bare loop looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// The number of its partition.
    pub partition: u16,
    /// Its position there.
    pub position: Position,
    /// The event.
    pub event_id: Uuid,
}

/// The adapter's statements for the outbox on one connection, without anything around them.
#[async_trait]
pub trait BareOutbox: Send {
    /// The numbers of the next pending rows, all of whose columns are fetched.
    async fn claim(&mut self, limit: usize) -> Result<Vec<i64>, Error>;

    /// Marks rows as processed.
    async fn mark(&mut self, rows: &[i64]) -> Result<(), Error>;
}

/// The adapter's commands for one topic's streams on one connection.
#[async_trait]
pub trait BareStream: Send {
    /// Appends these events.
    async fn append(&mut self, events: &[Event]) -> Result<(), Error>;

    /// At most `limit` new entries of each partition. Waits a moment for the first one.
    async fn read(&mut self, group: &str, limit: usize) -> Result<Vec<Read>, Error>;

    /// Acknowledges entries.
    async fn acknowledge(&mut self, group: &str, entries: &[Read]) -> Result<(), Error>;
}

/// The adapter's statements for the store on one connection.
#[async_trait]
pub trait BareStore: Send {
    /// Ledger, facts and conversations in one transaction.
    async fn record(&mut self, group: &str, batch: &[Recording]) -> Result<(), Error>;
}

/// The entries by partition, each one's in their order.
pub(crate) fn by_partition(entries: &[Read]) -> BTreeMap<u16, Vec<Position>> {
    let mut partitions: BTreeMap<u16, Vec<Position>> = BTreeMap::new();
    for entry in entries {
        partitions.entry(entry.partition).or_default().push(entry.position);
    }
    partitions
}
