//! Where the outbox is and what its columns are called: ours, or an application's that was there before us.

use serde::{Deserialize, Serialize};

/// Names of the outbox table's columns; an empty name means that the table has no such column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// Identifies a row; a number is the publication order as well.
    pub id: String,
    /// What else gives the publication order, where `id` does not: a time or a number.
    pub order: String,
    /// The event's UUID.
    pub event_id: String,
    /// The topic.
    pub topic: String,
    /// What order is kept for.
    pub key: String,
    /// The event type.
    pub event_type: String,
    /// The payload: JSON.
    pub payload: String,
    /// A JSON object with `traceparent` and `tracestate`.
    pub headers: String,
    /// When the event happened.
    pub occurred_at: String,
    /// When the row was inserted.
    pub created_at: String,
    /// `pending`, `processed` or `failed`.
    pub status: String,
    /// When it was published or failed.
    pub processed_at: String,
    /// How often publishing was tried.
    pub attempts: String,
    /// Why it failed.
    pub error: String,
}

impl Columns {
    /// The columns that the table has: our name and the table's.
    #[must_use]
    pub fn named(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("id", &self.id),
            ("order", &self.order),
            ("event_id", &self.event_id),
            ("topic", &self.topic),
            ("key", &self.key),
            ("event_type", &self.event_type),
            ("payload", &self.payload),
            ("headers", &self.headers),
            ("occurred_at", &self.occurred_at),
            ("created_at", &self.created_at),
            ("status", &self.status),
            ("processed_at", &self.processed_at),
            ("attempts", &self.attempts),
            ("error", &self.error),
        ];
        all.into_iter()
            .filter(|(_, name)| !name.is_empty())
            .map(|(ours, name)| (ours, name.as_str()))
            .collect()
    }
}

impl Default for Columns {
    /// The columns of the table that `factline migrate up` makes.
    fn default() -> Self {
        let name = str::to_owned;
        Self {
            id: name("id"),
            order: String::new(),
            event_id: name("event_id"),
            topic: name("topic"),
            key: name("key"),
            event_type: name("event_type"),
            payload: name("payload"),
            headers: name("headers"),
            occurred_at: name("occurred_at"),
            created_at: name("created_at"),
            status: name("status"),
            processed_at: name("processed_at"),
            attempts: name("attempts"),
            error: name("error"),
        }
    }
}

/// The outbox table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxTable {
    /// The table, with its schema where it needs one.
    pub table: String,
    /// Its columns.
    pub columns: Columns,
    /// The CloudEvents `source` of its events.
    pub source: String,
    /// The topic of a table that has no column for it.
    pub default_topic: String,
    /// The event type of a table that has no column for it.
    pub default_event_type: String,
}
