//! What a batch changes in its conversations.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use crate::{
    fact::Title,
    ledger::{Outcome, Recording},
};

/// What to add to one conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Change<'a> {
    /// The conversation.
    pub conversation_id: &'a str,
    /// The first title that the batch gives it; a title that it has already stays.
    pub title: Option<&'a Title>,
    /// Messages recorded.
    pub messages: i64,
    /// The exclusive or of a hash of each event's id: equal for equal messages in any order.
    pub checksum: i64,
    /// The latest message's time in milliseconds since 1970.
    pub watermark_ms: i64,
}

/// What these recordings change, ordered by conversation.
#[must_use]
pub fn changes<'a>(recordings: impl IntoIterator<Item = &'a Recording>) -> Vec<Change<'a>> {
    let mut changes: BTreeMap<&str, Change<'a>> = BTreeMap::new();
    for recording in recordings {
        let Outcome::Processed(Some(said)) = &recording.outcome else { continue };
        let change = changes.entry(&said.conversation_id).or_insert(Change {
            conversation_id: &said.conversation_id,
            title: None,
            messages: 0,
            checksum: 0,
            watermark_ms: i64::MIN,
        });
        change.title = change.title.or(said.title.as_ref());
        change.messages += 1;
        change.checksum ^= xxh3_64(recording.event_id.as_bytes()).cast_signed();
        change.watermark_ms = change.watermark_ms.max(said.sent_at.timestamp_millis());
    }
    changes.into_values().collect()
}
