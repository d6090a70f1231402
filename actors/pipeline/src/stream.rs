//! The `EventStream` port: durable, ordered, partitioned streams read by consumer groups.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use crate::{cloudevent::Malformed, event::Event, outage::Error, trace::Trail};

/// One partition of one topic: a stream of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Partition {
    /// The topic.
    pub topic: Arc<str>,
    /// From 0 to the number of partitions less one.
    pub number: u16,
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.topic, self.number)
    }
}

/// The partition of a key: XXH3-64 of its UTF-8 bytes modulo the number of partitions.
///
/// Stable for ever: changing it, or the number of partitions, would split the order of a key in two.
#[must_use]
pub fn partition_of(key: &str, partitions: u16) -> u16 {
    let partition = xxh3_64(key.as_bytes()) % u64::from(partitions.max(1));
    u16::try_from(partition).unwrap_or_default()
}

/// Where an entry stands in its partition. Redis' `milliseconds-sequence`; an embedded stream counts in the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Redis: milliseconds since 1970. Embedded: the entry's number.
    pub major: u64,
    /// Redis: counts within the millisecond. Embedded: 0.
    pub minor: u64,
}

impl Position {
    /// The least position after this one.
    #[must_use]
    pub fn successor(self) -> Self {
        match self.minor.checked_add(1) {
            Some(minor) => Self { minor, ..self },
            None => Self { major: self.major.saturating_add(1), minor: 0 },
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.major, self.minor)
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The text is not a position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a stream position: {0:?}")]
pub struct NotAPosition(String);

impl FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let (major, minor) = text.split_once('-').unwrap_or((text, "0"));
        match (major.parse(), minor.parse()) {
            (Ok(major), Ok(minor)) => Ok(Self { major, minor }),
            _ => Err(NotAPosition(text.to_owned())),
        }
    }
}

/// One entry as it was delivered to a group.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivered {
    /// Where it was read.
    pub partition: Partition,
    /// Its position there.
    pub position: Position,
    /// How often it has been delivered, this time included.
    pub deliveries: u32,
    /// The consumer for which it was pending before; none for a new entry.
    pub taken_from: Option<Arc<str>>,
    /// The event, or why it is none.
    pub event: Result<Event, Box<Malformed>>,
    /// What is traced of its being processed.
    pub trail: Trail,
}

/// How one group stands in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupLag {
    /// The group.
    pub group: String,
    /// The partition.
    pub partition: Partition,
    /// Entries in the partition.
    pub length: u64,
    /// Entries that were not yet delivered to the group, where the server can tell.
    pub undelivered: Option<u64>,
    /// Entries delivered and not acknowledged.
    pub pending: u64,
    /// For whom they are pending.
    pub pending_for: Vec<PendingFor>,
    /// When the oldest entry was appended that the group is not done with, by the stream's clock.
    pub oldest: Option<DateTime<Utc>>,
}

impl GroupLag {
    /// Entries that the group is not done with, as far as the server can tell.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.pending + self.undelivered.unwrap_or_default()
    }
}

/// What one consumer has pending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingFor {
    /// The consumer.
    pub consumer: String,
    /// How many entries.
    pub entries: u64,
}

/// What tells streams from all others: whoever reads it knows whether two daemons use the same ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// Made with the streams, and lost with them.
    pub id: String,
    /// Partitions of every topic.
    pub partitions: u16,
    /// Where they are, as people call it, without secrets.
    pub place: String,
}

/// A partition that holds as many entries as it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtCap {
    /// The fullest partition.
    pub partition: Partition,
    /// Its entries.
    pub length: u64,
}

/// One entry that a partition carries, whoever has read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// Its position.
    pub position: Position,
    /// The event's id; `None` if it is no UUID.
    pub event_id: Option<Uuid>,
}

/// What reading needs to know of its reader.
#[derive(Debug, Clone)]
pub struct Reader {
    /// The consumer group.
    pub group: String,
    /// This process within the group.
    pub consumer: String,
}

/// The consumer for which entries are pending that their reader left behind on purpose.
pub const RETURNED: &str = "returned";

/// Durable, ordered streams.
///
/// A partition has one reader within a group, which holds its lease. Every method may run twice.
#[async_trait]
pub trait EventStream: Send + Sync {
    /// Appends all events or none, each to the partition of its key, in their order.
    ///
    /// If entries that were appended before are gone, without having been trimmed, that is [`Error::Lost`], once, and
    /// nothing is appended: events of the same keys may have to come first.
    ///
    /// Says which of the partitions it wrote to is at its cap now, the fullest one.
    async fn append(&self, events: &[Event]) -> Result<Option<AtCap>, Error>;

    /// The partition as it is, if it is still at its cap.
    async fn at_cap(&self, partition: &Partition) -> Result<Option<AtCap>, Error>;

    /// Makes the group known to the partitions, from their very beginning. Nothing changes where it is known.
    async fn ensure_group(&self, group: &str, partitions: &[Partition]) -> Result<(), Error>;

    /// Makes this reader the owner of entries that are pending in one partition, after `after`, whoever had them;
    /// at most `limit`, in order. Only the holder of the partition's lease may ask.
    async fn take_over_pending(
        &self,
        reader: &Reader,
        partition: &Partition,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Delivered>, Error>;

    /// Makes what is pending for this reader in one partition pending for [`RETURNED`] instead: whoever takes it over
    /// knows that it was left on purpose.
    async fn return_pending(&self, reader: &Reader, partition: &Partition) -> Result<(), Error>;

    /// New entries of these partitions, each partition's in order; at most `limit` a partition.
    ///
    /// Waits at most `wait` for the first one. A caller that stops waiting half-way loses nothing: what was
    /// delivered is pending.
    async fn read_new(
        &self,
        reader: &Reader,
        partitions: &[Partition],
        limit: usize,
        wait: Duration,
    ) -> Result<Vec<Delivered>, Error>;

    /// Those of these partitions in which entries are pending for another consumer of the group.
    ///
    /// A former holder's read may have outlived its lease, in the server or on the way there: what it got is stranded
    /// until the present holder takes it over.
    async fn stranded(&self, reader: &Reader, partitions: &[Partition]) -> Result<Vec<Partition>, Error>;

    /// Ends the entries' being pending. Comes after the ledger's commit.
    async fn acknowledge(
        &self,
        group: &str,
        partition: &Partition,
        positions: &[Position],
    ) -> Result<(), Error>;

    /// Deletes the entries that no group needs any more; says how many. A partition that no group reads keeps all.
    async fn trim(&self, partition: &Partition) -> Result<u64, Error>;

    /// The entries of a partition before a position, or its last ones, newest first; at most `limit`, fewer when they
    /// are large, and none only if there are none.
    async fn carried_before(
        &self,
        partition: &Partition,
        before: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Carried>, Error>;

    /// How every known group stands in every partition of these topics. In a fixed number of round trips.
    async fn lag(&self, topics: &[String]) -> Result<Vec<GroupLag>, Error>;

    /// All topics that anything was appended to, or that a group was made known to.
    async fn topics(&self) -> Result<Vec<String>, Error>;

    /// Entries of a partition, whoever has read them.
    async fn length(&self, partition: &Partition) -> Result<u64, Error>;

    /// Deletes all entries of a partition that no group reads, and none of one that any reads; says how many.
    async fn discard_unread(&self, partition: &Partition) -> Result<u64, Error>;

    /// Which streams these are.
    async fn identity(&self) -> Result<Identity, Error>;

    /// All partitions of a topic.
    fn partitions(&self, topic: &str) -> Vec<Partition>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_of_a_key_never_changes() {
        let partitions: Vec<u16> =
            ["c-1", "c-2", "conversation-7", "", "日本"].iter().map(|key| partition_of(key, 8)).collect();
        assert_eq!(partitions, PINNED);
    }

    const PINNED: [u16; 5] = [4, 7, 2, 2, 0];

    #[test]
    fn positions_order_by_number_and_read_back() {
        let parse = |text: &str| text.parse::<Position>().unwrap();
        assert!(parse("9-10") > parse("9-9") && parse("10-0") > parse("9-99"));
        assert_eq!(parse("1769035355992-3").to_string(), "1769035355992-3");
        assert!("chat-1".parse::<Position>().is_err());
    }
}
