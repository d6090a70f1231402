//! The events: chat messages of a thousand conversations, every third of which states a fact.
//!
//! Message `n` of a conversation, `n` counted from 0: every third one says what somebody likes or where they have
//! been, each time another thing, so that it is a new fact; the ones between are small talk, and the first one gives
//! its conversation a title. What is missing to the wanted size is appended to the payload as a field of its own,
//! that no extractor reads.

use factline_pipeline::{chat, outbox::NewEvent};
use indicatif::ProgressBar;
use serde_json::json;

use crate::app::Databases;

/// The topic that all of them have.
pub(super) const TOPIC: &str = "chat";

/// Rows in one statement.
const CHUNK: u64 = 5_000;

/// Some events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) events: u64,
    pub(super) payload_bytes: usize,
    pub(super) keys: u64,
}

impl Load {
    /// Inserts all of them into the outbox.
    pub(super) async fn insert(self, databases: &Databases, bar: &ProgressBar) -> anyhow::Result<()> {
        bar.set_length(self.events);
        let mut from = 0;
        while from < self.events {
            let to = self.events.min(from + CHUNK);
            let events: Vec<NewEvent> = (from..to).map(|number| self.event(number)).collect();
            databases.outbox.insert(&events).await?;
            from = to;
            bar.set_position(from);
        }
        Ok(())
    }

    /// One of them.
    pub(super) fn event(self, number: u64) -> NewEvent {
        let (conversation, message) = (number % self.keys, number / self.keys);
        let key = format!("c{conversation}");
        NewEvent {
            event_id: None,
            topic: TOPIC.into(),
            payload: self.payload(&key, conversation, message),
            key,
            event_type: chat::EVENT_TYPE.into(),
            occurred_at: None,
            trace: None,
        }
    }

    fn payload(self, key: &str, conversation: u64, message: u64) -> String {
        let payload = |padding: &str| {
            let content = content(conversation, message);
            let content = if padding.is_empty() { content } else { format!("{content} {padding}") };
            json!({ "conversation_id": key, "message_id": format!("m{message}"), "role": "user", "content": content })
                .to_string()
        };
        let missing = self.payload_bytes.saturating_sub(payload("").len() + 1);
        if missing == 0 { payload("") } else { payload(&"x".repeat(missing)) }
    }
}

const SMALL_TALK: [&str; 4] = [
    "Could you have a look at the plan for the trip before we talk tomorrow?",
    "Thanks, that was quick, and it helped a lot.",
    "The second of the two options sounds better, to be honest.",
    "Let me think about it and come back to you in the evening.",
];

/// What is said.
fn content(conversation: u64, message: u64) -> String {
    // Conversations are not in step with each other, so that every batch has its share of facts.
    let step = conversation + message;
    if step.is_multiple_of(3) {
        return format!("I like puzzle {message}.");
    }
    SMALL_TALK[usize::try_from(step % 4).unwrap_or_default()].to_owned()
}
