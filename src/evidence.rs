//! What the store can say of the events of an outbox, for whoever checks that each took effect once and in order.

use std::collections::HashMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use factline_pipeline::outage::Error;
use uuid::Uuid;

/// What one group's ledger says of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// The event.
    pub event_id: Uuid,
    /// `processed`, `dead_lettered` or `discarded`.
    pub outcome: String,
    /// How many facts it stated, new or repeated.
    pub facts: i64,
    /// When it was recorded.
    pub processed_at: DateTime<Utc>,
    /// Whether an operator had to do with it: then it is later than its order, by intent.
    pub reworked: bool,
}

/// Messages counted in conversations, and messages that the ledger has as processed, at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Messages {
    /// The sum of all conversations.
    pub counted: i64,
    /// Ledger rows of processed messages.
    pub recorded: i64,
}

/// The store, read only.
#[async_trait]
pub trait Evidence: Send + Sync {
    /// Those of these events that the group's ledger has.
    async fn effects(&self, group: &str, event_ids: &[Uuid]) -> Result<Vec<Effect>, Error>;

    /// How many facts each of these events has stated first. Events without facts are left out.
    async fn facts_of(&self, event_ids: &[Uuid]) -> Result<HashMap<Uuid, i64>, Error>;

    /// Messages of this event type, in all groups and conversations.
    async fn messages(&self, event_type: &str) -> Result<Messages, Error>;
}
