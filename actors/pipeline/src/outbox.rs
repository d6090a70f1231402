//! The `Outbox` port: the application's outbox table.

use std::fmt;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{cloudevent::Malformed, event::Event, event::TraceContext, outage::Error};

/// What identifies a row of the outbox table: its `id` column.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RowId {
    /// An integer, which is the publication order as well.
    Number(i64),
    /// Anything else, as text: an existing outbox may be keyed by a UUID or a string.
    Text(String),
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(id) => id.fmt(f),
            Self::Text(id) => id.fmt(f),
        }
    }
}

/// One pending row.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The row.
    pub id: RowId,
    /// Its topic.
    pub topic: String,
    /// Its event, or why it is none.
    pub event: Result<Event, Box<Malformed>>,
}

/// Which rows to claim.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Only rows with a greater number; `None` looks at every pending row.
    ///
    /// It only speeds up the scan. Identity values become visible out of commit order, so a claim without it
    /// follows at least every second.
    pub after: Option<i64>,
    /// Rows that are already on their way, and not to be claimed again. Those behind `after` go without saying.
    pub in_flight: &'a [RowId],
    /// How many rows at most.
    pub limit: usize,
}

/// Rows that the relay has done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The stream has had their events.
    Processed,
    /// They can never be published.
    Failed,
}

/// The state of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It waits to be published.
    Pending,
    /// The stream has had its event.
    Processed,
    /// It can never be published.
    Failed,
}

/// One row that the relay, this one or another program, has done with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettledRow {
    /// The row.
    pub id: RowId,
    /// Its event; `None` if the id is no UUID.
    pub event_id: Option<Uuid>,
    /// Its topic.
    pub topic: String,
    /// What order is kept for: the same that a claim gives the row's event.
    pub key: String,
    /// When it was inserted, where that can be read.
    pub created_at: Option<DateTime<Utc>>,
    /// When it was processed or failed, where that can be read.
    pub processed_at: Option<DateTime<Utc>>,
}

/// So many rows are counted: asking how much waits must not take longer the more waits.
pub const COUNTED: u64 = 10_000;

/// How much waits in the outbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Backlog {
    /// Pending rows: counted, up to [`COUNTED`]; estimated beyond, or where that is not possible, [`COUNTED`].
    pub pending: u64,
    /// Whether there are more pending rows than are counted.
    pub estimated: bool,
    /// Failed rows; not counted beyond [`COUNTED`].
    pub failed: u64,
    /// When the oldest pending row was created.
    pub oldest_pending: Option<DateTime<Utc>>,
}

impl Backlog {
    /// How many pending rows there are up to the number `newest`, if the first `counted` have the numbers from `first`
    /// to `last`, and the others lie as close to each other.
    #[must_use]
    pub fn estimate(counted: u64, (first, last): (i64, i64), newest: i64) -> u64 {
        let span = |to: i64| (i128::from(to) - i128::from(first) + 1).max(1);
        let estimate = i128::from(counted) * span(newest) / span(last);
        u64::try_from(estimate).unwrap_or(u64::MAX).max(counted)
    }
}

/// An event that is to be written to the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// Its id; the outbox gives it one otherwise.
    pub event_id: Option<Uuid>,
    /// The topic.
    pub topic: String,
    /// What order is kept for.
    pub key: String,
    /// The event type.
    pub event_type: String,
    /// The payload: JSON text.
    pub payload: String,
    /// When it happened; now otherwise.
    pub occurred_at: Option<DateTime<Utc>>,
    /// The producer's trace.
    pub trace: Option<TraceContext>,
}

/// What the outbox knows of one event.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Record {
    /// The row's id.
    pub id: String,
    /// The event's id, as it is in the row: it may be no UUID.
    pub event_id: String,
    /// The topic.
    pub topic: String,
    /// The key.
    pub key: String,
    /// The event type.
    pub event_type: String,
    /// `pending`, `processed` or `failed`.
    pub status: String,
    /// When the row was inserted.
    pub created_at: Option<DateTime<Utc>>,
    /// When it was published or failed.
    pub processed_at: Option<DateTime<Utc>>,
    /// Why it failed.
    pub error: Option<String>,
    /// The producer's trace.
    pub traceparent: Option<String>,
}

/// The application's outbox.
///
/// One relay at a time works on it, elected by a lease, so a claim takes no row locks. Every method may run twice.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Pending rows in publication order.
    async fn claim_pending(&self, claim: Claim<'_>) -> Result<Vec<Row>, Error>;

    /// Marks rows whose events the stream has.
    async fn mark_processed(&self, rows: &[RowId]) -> Result<(), Error>;

    /// Marks rows that can never be published, each with its reason.
    async fn mark_failed(&self, rows: &[(RowId, String)]) -> Result<(), Error>;

    /// Settled rows, newest first in publication order: those before `cursor`, or the newest ones. A row whose place in
    /// that order is not known is not among them.
    async fn settled_before(
        &self,
        status: Settled,
        cursor: Option<&RowId>,
        limit: usize,
    ) -> Result<Vec<SettledRow>, Error>;

    /// Makes those of these rows pending again that are processed, so that they are published once more; says how
    /// many.
    async fn mark_pending(&self, rows: &[RowId]) -> Result<u64, Error>;

    /// How much waits. Looks at pending and failed rows only, and at no more than [`COUNTED`] of each.
    async fn backlog(&self) -> Result<Backlog, Error>;

    /// Writes events, all or none, and gives their ids.
    async fn insert(&self, events: &[NewEvent]) -> Result<Vec<Uuid>, Error>;

    /// The row of one event.
    async fn find(&self, event_id: Uuid) -> Result<Option<Record>, Error>;

    /// The rows of those of these events that are there, in any order.
    async fn find_many(&self, event_ids: &[Uuid]) -> Result<Vec<Record>, Error>;

    /// What is known of the rows in a state, newest first in publication order: those before the row with the id
    /// `before`, or the newest ones. A row whose place in that order is not known is not among them.
    async fn list(&self, status: Status, before: Option<&str>, limit: u32) -> Result<Vec<Record>, Error>;

    /// Deletes at most `limit` rows that were processed before `before`; says how many.
    async fn delete_processed(&self, before: DateTime<Utc>, limit: usize) -> Result<u64, Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_counted_is_taken_to_lie_as_close_as_what_is() {
        assert_eq!(Backlog::estimate(100, (1, 100), 1_000), 1_000);
        assert_eq!(Backlog::estimate(100, (1, 200), 1_000), 500);
        assert_eq!(Backlog::estimate(100, (i64::MIN, i64::MIN + 99), i64::MAX), u64::MAX);
        assert_eq!(Backlog::estimate(100, (7, 7), 7), 100, "never less than was counted");
    }
}
