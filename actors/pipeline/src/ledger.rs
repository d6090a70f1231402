//! The `Ledger` port: one transaction for the ledger rows, facts, conversations and dead letters of a batch.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    attempts::{FailedTry, History},
    dead_letter::DeadLetter,
    fact::{Fact, Title},
    lease::Fence,
    outage::Error,
    stream::Delivered,
};

/// What a processed event adds to its conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// The conversation.
    pub conversation_id: String,
    /// The message.
    pub message_id: String,
    /// When it was said; the latest one is the conversation's watermark.
    pub sent_at: DateTime<Utc>,
    /// A title, if this message gives one.
    pub title: Option<Title>,
    /// The facts it states.
    pub facts: Vec<Fact>,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It was processed; an event that is no chat message says nothing.
    Processed(Option<Box<Said>>),
    /// It was set aside.
    DeadLettered(Box<DeadLetter>),
}

/// One entry that is to be recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// The key of its ledger row.
    pub event_id: Uuid,
    /// What was read, and where.
    pub entry: Delivered,
    /// What became of it.
    pub outcome: Outcome,
    /// At which attempt, counted from 1.
    pub attempts: u32,
    /// Whether earlier tries left something behind that is to be forgotten now.
    pub leaves_traces: bool,
}

/// How many events took effect now, and how many had done so before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Recorded now.
    pub new: u64,
    /// Of those, dead letters.
    pub dead_lettered: u64,
    /// Recorded before: nothing was changed.
    pub duplicates: u64,
}

/// Since when the ledger is known in full. What was processed before may be missing there without being lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Horizons {
    /// Since the store was made; rises when old rows are deleted.
    pub ledger: Option<DateTime<Utc>>,
    /// Rows that were recorded before this time have been deleted, if any.
    pub forgotten: Option<DateTime<Utc>>,
    /// Since a group began, by its name.
    pub groups: HashMap<String, DateTime<Utc>>,
}

impl Horizons {
    /// The horizons by the names that they have in the store; unknown ones are passed over.
    #[must_use]
    pub fn of_rows(rows: impl IntoIterator<Item = (String, DateTime<Utc>)>) -> Self {
        let mut horizons = Self::default();
        for (name, at) in rows {
            match name.strip_prefix("group:") {
                Some(group) => drop(horizons.groups.insert(group.to_owned(), at)),
                None if name == "ledger" => horizons.ledger = Some(at),
                None if name == "forgotten" => horizons.forgotten = Some(at),
                None => {}
            }
        }
        horizons
    }
}

/// The idempotency ledger and what it guards.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Records events of one group in one transaction: those that the ledger does not have yet take effect, the
    /// others change nothing. Rolls back if one of the fences no longer holds.
    async fn record(&self, group: &str, fences: &[Fence], batch: &[Recording]) -> Result<Recorded, Error>;

    /// Sets rows of an outbox aside that can never be published, each once.
    async fn record_unpublishable(&self, letters: &[DeadLetter]) -> Result<(), Error>;

    /// What is known of these events: which of them took effect, and what tries left behind that did not.
    async fn history(&self, group: &str, event_ids: &[Uuid]) -> Result<History, Error>;

    /// Counts a try that failed for now, and keeps when the next one is due.
    async fn count_failure(&self, group: &str, failed: FailedTry<'_>) -> Result<(), Error>;

    /// Keeps for each of these events of how many deaths of processes it has been part.
    async fn count_suspects(&self, group: &str, deaths: &[(Uuid, u32)]) -> Result<(), Error>;

    /// Takes suspicion back: these events outlived their try, or were not tried. Each keeps so many deaths.
    async fn absolve(&self, group: &str, deaths: &[(Uuid, u32)]) -> Result<(), Error>;

    /// The events of which tries left something behind, and those of the latest `limit` dead letters that a thread or a
    /// process was lost to.
    async fn troubled(&self, group: &str, limit: usize) -> Result<Vec<Uuid>, Error>;

    /// Deletes what tries left behind at events that the ledger has; says at how many.
    async fn forget_settled_attempts(&self) -> Result<u64, Error>;

    /// Those of these events that the group's ledger has.
    async fn recorded(&self, group: &str, event_ids: &[Uuid]) -> Result<HashSet<Uuid>, Error>;

    /// Writes down when a group began, now or at `not_before` if that is later. Nothing changes if it began before.
    async fn begin_group(&self, group: &str, not_before: Option<DateTime<Utc>>) -> Result<(), Error>;

    /// Since when the ledger is known in full.
    async fn horizons(&self) -> Result<Horizons, Error>;

    /// Deletes at most `limit` rows that were recorded before `before`, and raises the horizons with them; says how
    /// many. A row whose dead letter is still to be dealt with stays.
    async fn forget_before(&self, before: DateTime<Utc>, limit: usize) -> Result<u64, Error>;

    /// How many rows [`Ledger::forget_before`] would delete without a limit.
    async fn forgettable_before(&self, before: DateTime<Utc>) -> Result<u64, Error>;
}
