//! Facts from plain words: deterministic, without a model, without a network.
//!
//! A message's way reads down these modules: it is cut into tokens and sentences that state something
//! ([`text`], with the [`lexicon`] and its [`words`]), expressions of time are resolved ([`dates`]), each
//! sentence is scanned for the cues ([`cues`]) of the table of [`relations`], and what stands behind a
//! cue is read as the object that the relation asks for ([`objects`], [`names`], [`phrase`]). [`scan`]
//! puts a fact together.
//!
//! Precision comes first: a question, a condition, a wish, a quotation, a negation or a phrase that means
//! nothing without its neighbours gives no fact, even if a reader would find one. Work is linear in the
//! message's length, and both that length and the number of facts are limited.

use async_trait::async_trait;
use factline_pipeline::{
    chat::Message,
    event::Event,
    extractor::{Error, Extractor},
    fact::Extraction,
};

use self::{cues::Cues, lexicon::Lexicon, phrase::Links, scan::Scan, text::Text};
use super::is_from_user;

mod text;
mod tokens;

mod lexicon;
mod words;

mod calendar;
mod dates;

mod cues;
mod relation;
mod relations;

mod names;
mod objects;
mod phrase;

mod drafts;
mod scan;
mod subjects;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use {tests::samples_of_cues, text::MAX_CONSIDERED};

/// The kind by which the configuration asks for it, and the extractor's name in every fact.
pub(super) const NAME: &str = "patterns";

/// Raised whenever the same message may give other facts than before.
pub(super) const VERSION: u16 = 1;

/// Finds facts in the sentences of a chat message.
#[derive(Debug)]
pub struct Patterns {
    lexicon: Lexicon,
    cues: Cues,
    links: Links,
}

impl Patterns {
    /// Reads the word lists and the table of relations, which takes a few milliseconds.
    #[must_use]
    pub fn new() -> Self {
        let mut lexicon = Lexicon::new();
        let cues = Cues::new(relations::table(), &mut lexicon);
        let links = Links::new(&mut lexicon);
        Self { lexicon, cues, links }
    }

    /// What a message says.
    fn facts(&self, message: &Message) -> Extraction {
        if !is_from_user(&message.role) {
            return Extraction::default();
        }
        let text = Text::read(&message.content, &self.lexicon);
        let moments = dates::find(&text, message.sent_at);
        let scan = Scan::new(self, message, &text, &moments);
        Extraction { facts: scan.facts(), title: None }
    }
}

impl Default for Patterns {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Extractor for Patterns {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn extract(&self, _event: &Event, message: &Message) -> Result<Extraction, Error> {
        Ok(self.facts(message))
    }
}
