//! What the store knows, read only: for the commands, and for whoever asks over HTTP.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use factline_pipeline::{dead_letter::Origin, outage::Error, outbox::Record};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::observation::{OpenLetters, Retrying};

/// Which facts to list. Newest first.
#[derive(Debug, Clone, Default)]
pub struct FactFilter {
    /// Of this subject.
    pub subject: Option<String>,
    /// Of this predicate.
    pub predicate: Option<String>,
    /// Of this conversation.
    pub conversation_id: Option<String>,
    /// Stated by this event.
    pub event_id: Option<Uuid>,
    /// Also those that a newer value has replaced.
    pub superseded: bool,
    /// With an id before this one: what follows in a listing that ended there.
    pub before: Option<Uuid>,
    /// How many at most.
    pub limit: u32,
}

/// A fact as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct FactRecord {
    /// Its id.
    pub id: Uuid,
    /// Whom or what it is about.
    pub subject: String,
    /// The relation.
    pub predicate: String,
    /// The value.
    pub object: String,
    /// From 0 to 1; rises when the fact is stated again.
    pub confidence: f32,
    /// Since when it holds.
    pub valid_from: DateTime<Utc>,
    /// Until when it held.
    pub valid_to: Option<DateTime<Utc>>,
    /// The newer fact that replaced it.
    pub superseded_by: Option<Uuid>,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
    /// The event that stated it first.
    pub event_id: Uuid,
    /// Its conversation.
    pub conversation_id: String,
    /// Its message.
    pub message_id: String,
    /// The words.
    pub quote: String,
    /// Where they begin in the message, in Unicode characters.
    pub span_start: i32,
    /// Where they end, exclusive.
    pub span_end: i32,
    /// Who found it.
    pub extractor: String,
    /// In which version.
    pub extractor_version: i16,
}

/// A row of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct LedgerRecord {
    /// The consumer group.
    pub consumer_group: String,
    /// The event.
    pub event_id: Uuid,
    /// The topic.
    pub topic: String,
    /// The partition; none for a row of the outbox that was never published.
    pub partition: Option<i32>,
    /// The position there.
    pub position: Option<String>,
    /// The event type.
    pub event_type: String,
    /// `processed`, `dead_lettered` or `discarded`.
    pub outcome: String,
    /// How many facts the event stated, new or repeated.
    pub facts: i32,
    /// At which attempt.
    pub attempts: i32,
    /// When it happened.
    pub occurred_at: Option<DateTime<Utc>>,
    /// When it was recorded.
    pub processed_at: DateTime<Utc>,
    /// The producer's trace.
    pub traceparent: Option<String>,
}

/// Which dead letters to list. Newest first.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterFilter {
    /// These alone.
    pub ids: Option<Vec<Uuid>>,
    /// With an id from the first to the second.
    pub between: Option<(Uuid, Uuid)>,
    /// With an id before this one: what follows in a listing that ended there.
    pub before: Option<Uuid>,
    /// Of this event, by its id as it came.
    pub event_id: Option<String>,
    /// In this state; `unfinished`: open or reprocessing.
    pub status: Option<String>,
    /// Of this topic.
    pub topic: Option<String>,
    /// Of this event type.
    pub event_type: Option<String>,
    /// With this cause, or one that begins so.
    pub fingerprint: Option<String>,
    /// Of this consumer group.
    pub consumer_group: Option<String>,
    /// Set aside at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// With this text, letter by letter, in the error, the payload, the key or the event's id.
    pub text: Option<String>,
    /// Without their payloads, which may be large.
    pub without_payload: bool,
    /// How many at most.
    pub limit: u32,
}

/// A dead letter as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DeadLetterRecord {
    /// Its id.
    pub id: Uuid,
    /// The consumer group, or the source whose relay set it aside.
    pub consumer_group: String,
    /// Which stage.
    pub stage: String,
    /// The event's id as it came.
    pub event_id: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: Option<i32>,
    /// The position there, or the outbox row.
    pub position: Option<String>,
    /// The key.
    pub key: Option<String>,
    /// The event type.
    pub event_type: Option<String>,
    /// The payload, unreadable bytes replaced; none where it was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// The other attributes.
    pub headers: serde_json::Value,
    /// What kind of failure.
    pub error_kind: String,
    /// The chain of errors.
    pub error: String,
    /// Equal causes have equal ones.
    pub fingerprint: String,
    /// How often it was tried.
    pub attempts: i32,
    /// When it failed first.
    pub first_failed_at: DateTime<Utc>,
    /// When it was set aside.
    pub dead_at: DateTime<Utc>,
    /// `open`, `reprocessing`, `resolved` or `discarded`.
    pub status: String,
    /// Who resolved or discarded it.
    pub resolved_by: Option<String>,
    /// When.
    pub resolved_at: Option<DateTime<Utc>>,
    /// What they had to say.
    pub note: Option<String>,
    /// The reprocessing run that it was selected for last.
    pub reprocess_run: Option<Uuid>,
}

impl DeadLetterRecord {
    /// The key of its ledger row; nothing if the letter has lost what it is told from.
    #[must_use]
    pub fn ledger_id(&self) -> Option<Uuid> {
        let origin = Origin {
            stage: &self.stage,
            kind: &self.error_kind,
            event_id: &self.event_id,
            source: self.header("source"),
            topic: &self.topic,
            partition: self.partition,
            position: self.position.as_deref(),
        };
        origin.ledger_id()
    }

    /// One of its other attributes, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.as_str()
    }

    /// Whether somebody may still do something with it.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        matches!(self.status.as_str(), "open" | "reprocessing")
    }
}

/// What tries left behind at an event that did not take effect yet.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct AttemptRecord {
    /// The consumer group.
    pub consumer_group: String,
    /// Tries that failed for now.
    pub attempts: i32,
    /// Deaths of processes that had it in their hands.
    pub suspect_count: i32,
    /// Why the last try failed.
    pub last_error: Option<String>,
    /// Before this time it is not tried again.
    pub next_attempt_at: Option<DateTime<Utc>>,
}

/// What is known of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ConversationRecord {
    /// The conversation.
    pub conversation_id: String,
    /// Its title.
    pub title: Option<String>,
    /// Who gave it.
    pub title_source: Option<String>,
    /// Messages recorded.
    pub message_count: i64,
    /// The exclusive or of the messages' hashes: equal for equal messages in any order.
    pub checksum: i64,
    /// The latest message's time, in milliseconds since 1970.
    pub watermark_ms: i64,
}

/// A row of the outbox, for those who look.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct OutboxRow {
    /// The row's id.
    pub id: String,
    /// The event's id, as it is in the row.
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

impl From<Record> for OutboxRow {
    fn from(row: Record) -> Self {
        Self {
            id: row.id,
            event_id: row.event_id,
            topic: row.topic,
            key: row.key,
            event_type: row.event_type,
            status: row.status,
            created_at: row.created_at,
            processed_at: row.processed_at,
            error: row.error,
            traceparent: row.traceparent,
        }
    }
}

/// How much the store holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Events processed.
    pub processed: i64,
    /// Events set aside.
    pub dead_lettered: i64,
    /// Facts that hold.
    pub facts: i64,
    /// Dead letters that nobody has dealt with.
    pub open_dead_letters: i64,
    /// Events that were tried and have not taken effect yet: their keys wait with them.
    pub retrying: i64,
}

/// The store, read only.
#[async_trait]
pub trait Records: Send + Sync {
    /// Facts.
    async fn facts(&self, filter: &FactFilter) -> Result<Vec<FactRecord>, Error>;

    /// What the ledger has of an event, one row for each group.
    async fn ledger(&self, event_id: Uuid) -> Result<Vec<LedgerRecord>, Error>;

    /// What tries left behind at an event, one row for each group that is still at it.
    async fn attempts(&self, event_id: Uuid) -> Result<Vec<AttemptRecord>, Error>;

    /// Dead letters.
    async fn dead_letters(&self, filter: &DeadLetterFilter) -> Result<Vec<DeadLetterRecord>, Error>;

    /// The open dead letters that were set aside last, the newest first, without their payloads.
    async fn newest_open_letters(&self, limit: u32) -> Result<Vec<DeadLetterRecord>, Error>;

    /// Conversations, the ones with the latest messages first.
    async fn conversations(&self, limit: u32) -> Result<Vec<ConversationRecord>, Error>;

    /// Conversations by their ids, in an order that never changes: those after this one, or the first.
    async fn conversations_after(
        &self,
        id: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ConversationRecord>, Error>;

    /// One conversation.
    async fn conversation(&self, id: &str) -> Result<Option<ConversationRecord>, Error>;

    /// How many dead letters are open, and since when; not counted beyond [`COUNTED`](factline_pipeline::outbox::COUNTED).
    async fn open_letters(&self) -> Result<OpenLetters, Error>;

    /// Events that were tried and have not taken effect yet, the one that has waited longest first.
    async fn retrying(&self, limit: u32) -> Result<Vec<Retrying>, Error>;

    /// Which deployment this is: an identity that the store got with its tables.
    async fn deployment(&self) -> Result<Uuid, Error>;

    /// How much there is. Counts whole tables: for a person who asks, not for a scrape.
    async fn totals(&self) -> Result<Totals, Error>;
}
