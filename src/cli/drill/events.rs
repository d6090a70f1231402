//! The events that a drill writes: told from all others by their keys and ids, and of no consequence.

use factline_pipeline::{chat, outbox::NewEvent};
use serde_json::json;
use uuid::{Builder, Uuid};

/// What ids of drills begin with: "drill" in digits.
const MARK: u64 = 0xd2111;

/// Bits of a run's number.
const RUN_BITS: u32 = 44;

/// No extractor has anything to say about an event of this type: it leaves a row in the ledger and nothing else.
const EVENT_TYPE: &str = "factline.drill";

/// Makes the events of one run, numbered from 0.
pub(super) struct Events {
    topic: String,
    run: u64,
    written: u32,
}

impl Events {
    pub(super) fn new(topic: &str) -> Self {
        let (random, _) = Uuid::new_v4().as_u64_pair();
        Self { topic: topic.to_owned(), run: random & ((1 << RUN_BITS) - 1), written: 0 }
    }

    /// What the run is called.
    pub(super) fn run(&self) -> String {
        format!("drill-{:011x}", self.run)
    }

    /// One of its keys.
    pub(super) fn key(&self, number: u32) -> String {
        format!("{}-{number}", self.run())
    }

    /// The next event: of this key, without consequence.
    pub(super) fn plain(&mut self, key: u32) -> NewEvent {
        let payload = json!({ "drill": self.run(), "number": self.written });
        self.event(key, EVENT_TYPE, payload.to_string())
    }

    /// The next event: a chat message, or what claims to be one.
    pub(super) fn message(&mut self, key: u32, payload: String) -> NewEvent {
        self.event(key, chat::EVENT_TYPE, payload)
    }

    /// The next event: with this payload, without consequence.
    pub(super) fn with_payload(&mut self, key: u32, payload: String) -> NewEvent {
        self.event(key, EVENT_TYPE, payload)
    }

    fn event(&mut self, key: u32, event_type: &str, payload: String) -> NewEvent {
        let id = self.id_of(self.written);
        self.written += 1;
        NewEvent {
            event_id: Some(id),
            topic: self.topic.clone(),
            key: self.key(key),
            event_type: event_type.to_owned(),
            payload,
            occurred_at: None,
            trace: None,
        }
    }

    fn id_of(&self, number: u32) -> Uuid {
        let high = u128::from(MARK << RUN_BITS | self.run) << 64;
        Builder::from_custom_bytes((high | u128::from(number)).to_be_bytes()).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_others_and_from_each_other() {
        let mut events = Events::new("chat");
        let (first, second) = (events.plain(3), events.message(4, "{}".into()));
        let ids: Vec<String> =
            [&first, &second].iter().map(|event| event.event_id.unwrap().to_string()).collect();
        assert!(ids[0].starts_with("d2111") && ids[0].ends_with("000000000000"), "{ids:?}");
        assert!(ids[1].starts_with(&ids[0][..18]) && ids[1].ends_with("000000000001"), "{ids:?}");
        assert_eq!(first.key, format!("{}-3", events.run()));
        assert_ne!(events.run(), Events::new("chat").run());
    }
}
