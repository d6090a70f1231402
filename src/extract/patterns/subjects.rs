//! Statements whose subject is left out: "I live in Bonn and work at …", "Went to Rome."

use super::{
    cues::{Found, Node},
    lexicon::{Class, Word},
    relation::{Holds, Object, Relation},
    scan::{Scan, Sentence},
    tokens::Token,
};

/// A statement about the speaker that another verb may join: "I live in Bonn and …".
#[derive(Clone, Copy)]
pub(super) struct Joint {
    /// The token behind it.
    pub(super) end: usize,
    pub(super) relation: &'static Relation,
    /// It said what the speaker is, so that "and" may go on with an adjective.
    pub(super) copula: bool,
}

impl Scan<'_, '_> {
    /// The verb that goes on with the speaker as its subject: "I live in Bonn and work at …", "Went to Rome."
    pub(super) fn omitted_subject(&self, at: usize, sentence: &Sentence) -> Option<usize> {
        let start = if let Some(joint) = sentence.joint.filter(|joint| joint.end == at) {
            if joint.relation.object == Object::Kind(Class::Job)
                && (self.says(at, "at") || self.says(at, "for"))
            {
                return Some(at); // "I work as a nurse at …"
            }
            let comma = usize::from(self.is(at, Class::Comma));
            let joined = ["and", "but", "then"].iter().any(|word| self.says(at + comma, word));
            joined.then_some(at + comma + 1)?
        } else {
            at
        };
        if start > at { Some(start) } else { self.dropped_subject(at, sentence).then_some(at) }
    }

    /// "Went to Rome.", "Just got back.", "Gonna move.": the speaker's, if it begins the sentence.
    fn dropped_subject(&self, at: usize, sentence: &Sentence) -> bool {
        let before = &self.text.tokens[sentence.tokens.start..at];
        let passed_over =
            |token: &Token| !token.is_content() || token.is_any(&[Class::Interjection, Class::Adverb]);
        let begins = before.len() < 4 && before.iter().all(passed_over);
        let verb = (at..sentence.tokens.end.min(at + 3)).find(|at| !self.is(*at, Class::Adverb));
        let Some(verb) = verb.filter(|_| begins) else { return false };
        let token = &self.text.tokens[verb];
        let going = self.says(verb, "going") && self.says(verb + 1, "to");
        // "Made me happy" and "Blessed" have another subject.
        let did = token.is(Class::Did) && !token.is(Class::Base) && token.word != Word::UNKNOWN;
        going || self.says(verb, "been") || (did && !self.says(verb, "made"))
    }

    pub(super) fn find_without_subject(&self, at: usize, sentence: &Sentence) -> Vec<Found> {
        let tokens = &self.text.tokens[..sentence.tokens.end];
        let start = (at..tokens.len()).find(|at| !self.is(*at, Class::Adverb)).unwrap_or(at);
        let implied = [("going", "am"), ("been", "have"), ("at", "work"), ("for", "work")];
        let implied = implied.iter().find(|(word, _)| self.says(start, word)).map(|(_, implied)| *implied);
        let step = |node, word| self.patterns.cues.step(node, self.patterns.lexicon.number(word));
        let speaker = step(Node::ROOT, "i");
        let node = speaker.and_then(|node| implied.map_or(Some(node), |word| step(node, word)));
        let mut found = node.map_or_else(Vec::new, |node| self.patterns.cues.find(node, tokens, start));
        if sentence.joint.is_some_and(|joint| joint.copula && joint.end < at) {
            let copula = speaker.and_then(|node| step(node, "am"));
            found.extend(copula.iter().flat_map(|node| self.patterns.cues.find(*node, tokens, start)));
        }
        found
    }

    /// "I live in Bonn and work …" joins two statements; "I want to move and work …" goes on wishing.
    pub(super) fn joint(&self, start: usize, end: usize, relation: &'static Relation) -> Option<Joint> {
        let am = self.patterns.lexicon.number("am");
        let copula = self.text.tokens[start..end].iter().take(3).any(|token| token.word == am);
        matches!(relation.holds, Holds::Now | Holds::Past).then_some(Joint { end, relation, copula })
    }
}
