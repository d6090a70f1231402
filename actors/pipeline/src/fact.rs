//! What extraction finds: facts with their provenance, and what is known of a conversation.

use chrono::{DateTime, Utc};
use xxhash_rust::xxh3::Xxh3;

/// Whether a newer value of a predicate replaces the older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cardinality {
    /// One value at a time, `lives_in` say: a newer one closes the older one's validity.
    Single,
    /// Values stand beside each other, `likes` say.
    Many,
}

/// Whom a fact is about, and where that name means the same person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The subject is named: the same name is the same subject in every conversation.
    Everywhere,
    /// The subject is known only as the user of this conversation.
    Conversation,
}

/// One fact: subject, predicate, object; how sure, since when, and which words say so.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// Whom or what it is about: the speaker's name, or `user`.
    pub subject: String,
    /// In which conversations that subject is the same one.
    pub scope: Scope,
    /// The relation, `lives_in` say.
    pub predicate: String,
    /// The value.
    pub object: String,
    /// Whether a newer value replaces this one.
    pub cardinality: Cardinality,
    /// From 0 to 1.
    pub confidence: f32,
    /// Since when it holds: the message's time, or the date that it names.
    pub valid_from: DateTime<Utc>,
    /// Until when, where the message says so.
    pub valid_to: Option<DateTime<Utc>>,
    /// The words that say it, as in the message.
    pub quote: String,
    /// Where the quote begins in the message, in Unicode characters.
    pub span_start: u32,
    /// Where the quote ends (exclusive), in Unicode characters.
    pub span_end: u32,
    /// The extractor's name.
    pub extractor: &'static str,
    /// The extractor's version: raised whenever it may find something else in the same message.
    pub extractor_version: u16,
}

impl Fact {
    /// What must be equal for two facts to be about the same thing, as a 128-bit hash.
    ///
    /// The object takes part only where values stand beside each other, so that a newer value of a
    /// single-valued predicate meets the older one.
    #[must_use]
    pub fn identity(&self, conversation_id: &str) -> u128 {
        let scope = match self.scope {
            Scope::Everywhere => "",
            Scope::Conversation => conversation_id,
        };
        let object = match self.cardinality {
            Cardinality::Single => "",
            Cardinality::Many => self.object.as_str(),
        };
        let mut hash = Xxh3::new();
        for part in [scope, &self.subject, &self.predicate, object] {
            hash.update(part.as_bytes());
            hash.update(&[0xff]); // not a byte of UTF-8: no two splits of the same text collide
        }
        hash.digest128()
    }
}

/// A title for a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Title {
    /// The title.
    pub text: String,
    /// Which extractor gave it.
    pub source: &'static str,
}

/// All that one extractor found in one event.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Extraction {
    /// The facts, in the order of their words.
    pub facts: Vec<Fact>,
    /// A title for the conversation; the first one given to a conversation stays.
    pub title: Option<Title>,
}
