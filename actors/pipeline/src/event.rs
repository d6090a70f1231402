//! An event on its way, and the trace it belongs to.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
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
    /// When its outbox row was inserted, where that was not when it happened.
    pub created_at: Option<DateTime<Utc>>,
    /// The outbox id, where it came from an outbox: the publication order within its source.
    pub sequence: Option<i64>,
    /// The producer's trace, if it sent one.
    pub trace: Option<TraceContext>,
    /// The payload: JSON text, not yet parsed.
    pub data: String,
}

impl TraceContext {
    /// The trace's id, in hex; none if this is no trace context.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        let id = self.traceparent.split('-').nth(1)?;
        (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
    }
}

/// What lies between the defaults of two columns of one insert.
const SAME_MOMENT: TimeDelta = TimeDelta::milliseconds(1);

impl Event {
    /// The same event, whose outbox row was inserted then. A time that says nothing new is not carried.
    #[must_use]
    pub fn created_at(self, created_at: Option<DateTime<Utc>>) -> Self {
        let says_more = |time: &DateTime<Utc>| (*time - self.occurred_at).abs() > SAME_MOMENT;
        Self { created_at: created_at.filter(says_more), ..self }
    }

    /// How long ago its producer wrote it.
    #[must_use]
    pub fn age(&self, now: DateTime<Utc>) -> Duration {
        (now - self.created_at.unwrap_or(self.occurred_at)).to_std().unwrap_or_default()
    }

    /// The id of its trace, if its producer sent one.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        self.trace.as_ref()?.trace_id()
    }
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
            created_at: None,
            sequence: Some(7),
            trace: None,
            data: r#"{"content":"hello"}"#.into(),
        }
    }
}
