//! Putting facts together: whom they are about, and the words that say them.

use std::ops::Range;

use chrono::{DateTime, Utc};
use factline_pipeline::{
    chat::Message,
    fact::{Fact, Scope},
};

use super::super::work;
use super::{
    NAME, VERSION,
    lexicon::Class,
    objects::Value,
    relation::{Object, Relation},
    text::Text,
};

/// The most facts of one message; a message with more is a list, not talk.
pub(super) const MAX_FACTS: usize = 100;

/// Whom the facts are about where the producer does not say who speaks.
const ANONYMOUS: &str = "user";

/// The facts found so far in one message.
pub(super) struct Drafts<'t> {
    message: &'t Message<'t>,
    text: &'t Text<'t>,
    found: Vec<Draft>,
}

/// A fact whose quote is still in bytes.
struct Draft {
    fact: Fact,
    quote: Range<usize>,
}

impl<'t> Drafts<'t> {
    pub(super) fn new(message: &'t Message<'t>, text: &'t Text<'t>) -> Self {
        Self { message, text, found: Vec::new() }
    }

    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= MAX_FACTS
    }

    /// Adds what the tokens say, unless the message has said it before.
    pub(super) fn add(
        &mut self,
        tokens: Range<usize>,
        relation: &Relation,
        value: Value,
        (valid_from, valid_to): (DateTime<Utc>, Option<DateTime<Utc>>),
    ) {
        let quote = self.text.tokens[tokens.start].start..self.text.tokens[tokens.end - 1].end;
        let (subject, scope) = self.subject(tokens.start, relation);
        let topic = value.topic.unwrap_or_default();
        let fact = Fact {
            subject,
            scope,
            predicate: relation.predicate.replace("{}", &topic.replace(' ', "_")),
            object: value.object,
            cardinality: relation.cardinality,
            confidence: relation.confidence,
            valid_from,
            valid_to,
            quote: String::new(),
            span_start: 0,
            span_end: 0,
            extractor: NAME,
            extractor_version: VERSION,
        };
        work::did(self.found.len());
        let known = |Draft { fact: known, .. }: &Draft| {
            known.subject == fact.subject && known.predicate == fact.predicate && known.object == fact.object
        };
        if !self.is_full() && !self.found.iter().any(known) {
            self.found.push(Draft { fact, quote });
        }
    }

    /// The speaker, by name if the producer gives it, or the person with whose name the statement begins.
    ///
    /// Names mean the same person everywhere only where the producer names people at all: the Anna of one
    /// anonymous conversation is not the Anna of another.
    fn subject(&self, start: usize, relation: &Relation) -> (String, Scope) {
        let speaker = self.message.speaker.as_deref().map(str::trim);
        let scope = if speaker.is_some() { Scope::Everywhere } else { Scope::Conversation };
        let about_speaker = matches!(relation.object, Object::NameBefore | Object::FavouriteBefore);
        let first = &self.text.tokens[start];
        if first.is(Class::Name) && !about_speaker {
            let second = self.text.tokens.get(start + 1).filter(|token| token.is(Class::Name));
            let end = second.map_or(first.end, |token| token.end);
            return (self.text.source[first.start..end].to_owned(), scope);
        }
        (speaker.unwrap_or(ANONYMOUS).to_owned(), scope)
    }

    /// The facts in the order of their words. Quotes become text and spans of characters in one pass.
    pub(super) fn finish(mut self) -> Vec<Fact> {
        self.found.sort_by_key(|draft| draft.quote.start);
        let (mut bytes, mut characters) = (0, 0);
        let source = self.text.source;
        let finished = self.found.into_iter().map(|Draft { mut fact, quote }| {
            characters += source[bytes..quote.start].chars().count();
            bytes = quote.start;
            fact.quote.push_str(&source[quote]);
            let length = fact.quote.chars().count();
            fact.span_start = u32::try_from(characters).unwrap_or(u32::MAX);
            fact.span_end = u32::try_from(characters + length).unwrap_or(u32::MAX);
            fact
        });
        finished.collect()
    }
}
