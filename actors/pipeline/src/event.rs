//! An event on its way, and the trace it belongs to.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// W3C trace context as its producer wrote it, carried unchanged from the outbox row to the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// `traceparent`: version, trace id, parent span id, flags.
    pub traceparent: String,
    /// `tracestate`: vendor data, opaque to Factline.
    pub tracestate: Option<String>,
}

/// One event: the CloudEvents 1.0 attributes that Factline uses, parsed, and the data as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Unique for ever; what the ledger is keyed by.
    pub id: Uuid,
    /// CloudEvents `source`: which outbox it came from.
    pub source: String,
    /// CloudEvents `type`, `chat.message` say.
    pub event_type: String,
    /// The topic, which names the stream.
    pub topic: String,
    /// What order is kept for: events of one key are published, extracted and recorded in outbox order.
    pub key: String,
    /// When it happened, by the producer's clock.
    pub occurred_at: DateTime<Utc>,
    /// The outbox id, where it came from an outbox: the publication order within its source.
    pub sequence: Option<i64>,
    /// The producer's trace, if it sent one.
    pub trace: Option<TraceContext>,
    /// The payload: JSON text, not yet parsed.
    pub data: String,
}

#[cfg(test)]
impl Event {
    /// A chat message that says hello; tests change what they are about.
    pub(crate) fn sample() -> Self {
        Self {
            id: Uuid::now_v7(),
            source: "outbox".into(),
            event_type: crate::chat::EVENT_TYPE.into(),
            topic: "chat".into(),
            key: "c-1".into(),
            occurred_at: DateTime::from_timestamp_micros(1_769_067_099_568_123).unwrap_or_default(),
            sequence: Some(7),
            trace: None,
            data: r#"{"content":"hello"}"#.into(),
        }
    }
}
