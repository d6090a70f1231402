//! Walking through a message's sentences, from cue to cue.
//!
//! What is followed on the way is whether the author asserts what they write: behind "if", "maybe" or "she
//! said:" they do not.

use std::ops::Range;

use factline_pipeline::{
    chat::Message,
    fact::{Cardinality, Fact},
};

use super::super::work;
use super::{
    Patterns,
    calendar::Meaning,
    cues::{Found, Node},
    dates::Moment,
    drafts::Drafts,
    lexicon::Class,
    objects::{Objects, Value},
    phrase::Phrases,
    relation::{Holds, Object, Relation},
    subjects::Joint,
    text::Text,
    tokens::{Kind, Token},
};

/// The longest object, in bytes.
const MAX_OBJECT: usize = 160;

/// How many tokens may stand between an object and the date that belongs to it.
const MAX_DATE_GAP: usize = 4;

/// One message being read.
pub(super) struct Scan<'t, 'a> {
    pub(super) patterns: &'t Patterns,
    message: &'t Message<'t>,
    pub(super) text: &'t Text<'a>,
    moments: &'t [Moment],
    drafts: Drafts<'t>,
}

/// What is known of the sentence so far.
pub(super) struct Sentence {
    pub(super) tokens: Range<usize>,
    /// False behind "if", "maybe", "she said:".
    asserted: bool,
    /// Somewhere in it there is an "if".
    conditional: bool,
    /// The expression of time last passed.
    lead: Option<Meaning>,
    /// Where the last statement about the speaker ended, if another verb may join it.
    pub(super) joint: Option<Joint>,
}

impl<'t, 'a> Scan<'t, 'a> {
    pub(super) fn new(
        patterns: &'t Patterns,
        message: &'t Message<'t>,
        text: &'t Text<'a>,
        moments: &'t [Moment],
    ) -> Self {
        Self { patterns, message, text, moments, drafts: Drafts::new(message, text) }
    }

    /// The facts, in the order of their words.
    pub(super) fn facts(mut self) -> Vec<Fact> {
        for tokens in &self.text.sentences {
            if !self.is_log_line(tokens) {
                self.read_sentence(tokens.clone());
            }
        }
        self.drafts.finish()
    }

    /// "Bob: I live in Paris" pasted from elsewhere.
    fn is_log_line(&self, tokens: &Range<usize>) -> bool {
        let [first, second, ..] = &self.text.tokens[tokens.clone()] else { return false };
        first.is(Class::Name) && second.kind == Kind::Colon
    }

    fn read_sentence(&mut self, tokens: Range<usize>) {
        work::did(tokens.len());
        let conditional = self.text.tokens[tokens.clone()].iter().any(|token| token.is(Class::Condition));
        let mut sentence =
            Sentence { tokens: tokens.clone(), asserted: true, conditional, lead: None, joint: None };
        let mut at = tokens.start;
        while at < tokens.end && !self.drafts.is_full() {
            at = self.read_on(at, &mut sentence);
        }
    }

    /// Reads what begins at a token and gives the token to go on with.
    fn read_on(&mut self, at: usize, sentence: &mut Sentence) -> usize {
        let token = &self.text.tokens[at];
        if let Some(moment) = self.moment_at(at) {
            sentence.lead = Some(moment.meaning);
            if let Some(joint) = sentence.joint.as_mut().filter(|joint| joint.end == at) {
                joint.end = moment.tokens.end;
            }
            return moment.tokens.end;
        }
        self.follow_assertion(at, sentence);
        if !sentence.asserted {
            return at + 1;
        }
        if self.patterns.cues.may_begin(token) {
            let mut found = self.patterns.cues.find(Node::ROOT, &self.text.tokens[..sentence.tokens.end], at);
            found.retain(|cue| self.may_state(at, cue.relation));
            if let Some(next) = self.take_first(at, &found, sentence) {
                return next;
            }
        }
        if let Some(start) = self.omitted_subject(at, sentence) {
            let found = self.find_without_subject(start, sentence);
            if let Some(next) = self.take_first(start, &found, sentence) {
                return next;
            }
        }
        at + 1
    }

    /// Notices where the author stops or starts asserting.
    fn follow_assertion(&self, at: usize, sentence: &mut Sentence) {
        let token = &self.text.tokens[at];
        let before = &self.text.tokens[at.saturating_sub(3).max(sentence.tokens.start)..at];
        // "He told me: …", "She said, …"; but "like you said, …" goes on in the author's voice.
        let reports = match token.kind {
            Kind::Colon => before.iter().any(|token| token.is(Class::Says)),
            Kind::Comma | Kind::Quoted => {
                let own = before.len() > 1 && (self.says(at - 2, "you") || self.says(at - 2, "i"));
                !own && before.last().is_some_and(|token| token.is(Class::Says))
            }
            _ => false,
        };
        if token.is(Class::Hypothesis) || reports {
            sentence.asserted = false;
        } else if self.text.written(token).eq_ignore_ascii_case("but") {
            sentence.asserted = true;
        }
    }

    /// Drafts facts from the first cue whose object can be read, and gives the token to go on with.
    fn take_first(&mut self, start: usize, found: &[Found], sentence: &mut Sentence) -> Option<usize> {
        let mut taken: Option<&Found> = None;
        for cue in found {
            // "I have two sons and a dog" states two relations with the same words.
            let same_words = taken.is_none_or(|taken| {
                taken.end == cue.end
                    && matches!(taken.relation.object, Object::Kind(_))
                    && matches!(cue.relation.object, Object::Kind(_))
            });
            if !same_words {
                continue;
            }
            if cue.relation.object == Object::Nothing {
                return Some(cue.end.max(start + 1));
            }
            if let Some(end) = self.take(start, cue, sentence) {
                taken = taken.or(Some(cue));
                sentence.joint = self.joint(start, end, cue.relation);
            }
        }
        let taken = taken?;
        let name_begins_next = taken.relation.object == Object::NamesInCue;
        Some((taken.end - usize::from(name_begins_next)).max(start + 1))
    }

    /// Drafts the facts of one cue; gives where its words end.
    fn take(&mut self, start: usize, cue: &Found, sentence: &Sentence) -> Option<usize> {
        let objects = Objects {
            phrases: Phrases {
                text: self.text,
                moments: self.moments,
                links: self.patterns.links,
                limit: sentence.tokens.end,
            },
            lexicon: &self.patterns.lexicon,
            start,
        };
        let mut end = None;
        for value in self.corrected(cue, objects.read(cue), &objects) {
            let moment = self.moment_behind(&value, sentence);
            let meaning = moment.map(|moment| moment.meaning).or(sentence.lead);
            let sent_at = self.message.sent_at;
            let validity = cue.relation.holds.validity(meaning, sent_at, sentence.conditional);
            let Some(validity) = validity.filter(|_| self.says_enough(cue, &value, meaning)) else {
                continue;
            };
            end = Some(value.end);
            let quote_end = moment.map_or(value.end, |moment| moment.tokens.end);
            self.drafts.add(start..quote_end, cue.relation, value, validity);
        }
        end
    }

    /// "I live in Berlin, no, Hamburg": what is said last is meant.
    fn corrected(&self, cue: &Found, values: Vec<Value>, objects: &Objects) -> Vec<Value> {
        let [value] = values.as_slice() else { return values };
        let mut at = value.end;
        let marks = |at: usize| self.text.tokens.get(at).is_some_and(|token| !token.is_content());
        let takes_back = |at: usize| {
            ["no", "sorry", "wait", "actually", "rather", "correction"].iter().any(|word| self.says(at, word))
        };
        if cue.relation.cardinality != Cardinality::Single || !marks(at) || !takes_back(at + 1) {
            return values;
        }
        while at < objects.phrases.limit && (marks(at) || takes_back(at)) {
            at += 1;
        }
        let corrected = objects.read(&Found { end: at, ..*cue });
        if corrected.is_empty() { values } else { corrected }
    }

    /// Whether the words before a cue let it be a statement: "I", "and I", "yesterday I", but not "do I".
    fn may_state(&self, start: usize, relation: &Relation) -> bool {
        let contact = matches!(relation.object, Object::Mail | Object::Link | Object::Phone);
        let Some(before) = start.checked_sub(1).map(|at| &self.text.tokens[at]) else { return true };
        let owner = self.says(start, "my") || self.says(start, "our");
        if owner && matches!(relation.object, Object::Favourite) {
            return !self.says(start - 1, "of");
        }
        let alone = start < 2 || !self.text.tokens[start - 2].is_content();
        let exclaims = before.is(Class::Interjection) && alone; // "great, sure I do", but not "I am not sure I do"
        let opens = before.is_any(&[Class::Opener, Class::Adverb]);
        let introduced = self.is(start, Class::Name) && before.is_any(&[Class::Kin, Class::Friend]);
        let happened = relation.holds == Holds::Past && before.is(Class::Subordinate);
        contact
            || owner
            || happened
            || introduced
            || !before.is_content()
            || opens
            || exclaims
            || self.ends_moment(start)
    }

    fn ends_moment(&self, at: usize) -> bool {
        let index = self.moments.partition_point(|moment| moment.tokens.end < at);
        self.moments.get(index).is_some_and(|moment| moment.tokens.end == at)
    }

    /// A single verb says something only with its day, and so does one that may be in the present: "I read".
    fn says_enough(&self, cue: &Found, value: &Value, meaning: Option<Meaning>) -> bool {
        let dated = meaning.is_some_and(|meaning| meaning.past.is_some() || meaning.future.is_some());
        let at = cue.end.saturating_sub(1);
        let verb = &self.text.tokens[at];
        let recent = ["recently", "just", "finally", "already"]
            .iter()
            .any(|word| self.says(at.saturating_sub(1), word));
        let ambiguous = !recent
            && !self.says(at, "quit")
            && verb.is(Class::Did)
            && verb.is(Class::Base)
            && cue.relation.holds == Holds::Past;
        let lasting = meaning.is_some_and(|meaning| meaning.since.is_some()) && verb.is(Class::Activity);
        let alone = verb.is(Class::Alone) || lasting;
        let courtesy = verb.is(Class::Courtesy) && cue.relation.holds != Holds::Past;
        let fits = value.object.len() <= MAX_OBJECT;
        match cue.relation.object {
            Object::Deed | Object::Habit => {
                fits && !courtesy && (value.object.contains(' ') || alone) && (dated || !ambiguous)
            }
            _ => fits,
        }
    }

    /// The expression of time that belongs to a value: directly behind it or a few words on.
    fn moment_behind(&self, value: &Value, sentence: &Sentence) -> Option<&'t Moment> {
        let first = self.moments.partition_point(|moment| moment.tokens.start < value.end);
        let moment = self.moments.get(first).filter(|moment| moment.tokens.end <= sentence.tokens.end)?;
        let gap = self.text.tokens.get(value.end..moment.tokens.start)?;
        let same_clause = |token: &Token| {
            token.is_content()
                && (!token.is(Class::Boundary) || token.is(Class::Adverb))
                && !token.is(Class::Did)
        };
        (gap.len() <= MAX_DATE_GAP && gap.iter().all(same_clause)).then_some(moment)
    }

    fn moment_at(&self, at: usize) -> Option<&'t Moment> {
        let index = self.moments.binary_search_by_key(&at, |moment| moment.tokens.start).ok()?;
        Some(&self.moments[index])
    }

    pub(super) fn is(&self, at: usize, class: Class) -> bool {
        work::did(1);
        self.text.tokens.get(at).is_some_and(|token| token.is(class))
    }

    pub(super) fn says(&self, at: usize, word: &str) -> bool {
        work::did(1);
        self.text.tokens.get(at).is_some_and(|token| self.text.written(token).eq_ignore_ascii_case(word))
    }
}
