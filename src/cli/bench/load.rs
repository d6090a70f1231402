//! The events: chat messages of a thousand conversations, every third of which states a fact.
//!
//! Message `n` of a conversation, `n` counted from 0: every third one says what somebody likes,
//! each time another thing, so that it is a new fact; the ones between are small talk, and the first one gives
//! its conversation a title. What is missing to the wanted size is appended to what is said.

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
        self.message(number % self.keys, number / self.keys)
    }

    /// A message of a conversation, both counted from 0.
    pub(super) fn message(self, conversation: u64, message: u64) -> NewEvent {
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

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc, time::Duration};

    use chrono::Utc;
    use factline_pipeline::{event::Event, extraction::try_once, extractor::Extractor};

    use super::*;
    use crate::extract::{Patterns, Title};

    fn as_read(event: NewEvent) -> Event {
        Event {
            id: uuid::Uuid::now_v7(),
            source: "outbox".into(),
            event_type: event.event_type,
            topic: event.topic,
            key: event.key,
            occurred_at: Utc::now(),
            created_at: None,
            sequence: None,
            trace: None,
            data: event.payload,
        }
    }

    #[tokio::test]
    async fn every_third_message_states_a_new_fact_and_every_conversation_has_a_title() {
        let load = Load { events: 3_000, payload_bytes: 300, keys: 10 };
        let extractors: [Arc<dyn Extractor>; 2] = [Arc::new(Patterns::new()), Arc::new(Title::new())];
        let (mut facts, mut stated, mut titles) = (BTreeSet::new(), 0, BTreeSet::new());
        for number in 0..load.events {
            let event = as_read(load.event(number));
            let said = try_once(&extractors, &event, Duration::from_secs(9));
            let said = said.await.unwrap().unwrap();
            stated += said.facts.len();
            facts.extend(said.facts.iter().map(|fact| {
                (
                    said.conversation_id.clone(),
                    fact.subject.clone(),
                    fact.predicate.clone(),
                    fact.object.clone(),
                )
            }));
            titles.extend(said.title.map(|_| said.conversation_id.clone()));
        }
        assert_eq!((facts.len(), stated, titles.len()), (1_000, 1_000, 10));
    }

    #[test]
    fn a_payload_is_as_long_as_it_is_to_be() {
        for number in [0, 7, 99_999] {
            let length =
                |payload_bytes| Load { events: 1, payload_bytes, keys: 1_000 }.event(number).payload.len();
            assert_eq!(length(300), 300);
            assert_eq!(length(1_000), 1_000);
            assert!((80..250).contains(&length(1)), "what is said is not cut short");
        }
    }
}
