//! Where a phrase ends, and whether it means anything without the words around it.
//!
//! There is no grammar here: a phrase runs on until a word that can't belong to it (a finite verb, a
//! conjunction, a date, punctuation), loses what can't stand at its end, and is dropped if it points at
//! something outside itself ("it", "your painting", "the way").

use std::ops::Range;

use super::super::work;
use super::{
    dates::Moment,
    lexicon::{Class, Lexicon, Word},
    text::Text,
    tokens::{Kind, Token},
};

/// The longest phrase, in tokens: longer ones are sentences that were not understood.
const MAX_TOKENS: usize = 18;

/// The longest list.
const MAX_ITEMS: usize = 8;

/// How far a phrase reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// The noun and what stands before it; of attributes only "of …".
    Noun,
    /// With attributes ("with my sister in the park").
    Attributes,
    /// With attributes and what is joined by "and".
    Joined,
}

/// The words that the reading of phrases asks for by name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Links {
    and: Word,
    or: Word,
    ampersand: Word,
    of: Word,
    to: Word,
    is: Word,
}

impl Links {
    pub(super) fn new(lexicon: &mut Lexicon) -> Self {
        Self {
            and: lexicon.learn("and"),
            or: lexicon.learn("or"),
            ampersand: lexicon.learn("&"),
            of: lexicon.learn("of"),
            to: lexicon.learn("to"),
            is: lexicon.learn("'s"),
        }
    }
}

/// Reads phrases in one sentence.
pub(super) struct Phrases<'t, 'a> {
    pub(super) text: &'t Text<'a>,
    pub(super) moments: &'t [Moment],
    pub(super) links: Links,
    /// Where the sentence ends.
    pub(super) limit: usize,
}

impl Phrases<'_, '_> {
    pub(super) fn token(&self, at: usize) -> Option<&Token> {
        work::did(1);
        self.text.tokens[..self.limit].get(at)
    }

    pub(super) fn is(&self, at: usize, class: Class) -> bool {
        self.token(at).is_some_and(|token| token.is(class))
    }

    /// "and", "or", "&".
    pub(super) fn is_and(&self, at: usize) -> bool {
        let links = [self.links.and, self.links.or, self.links.ampersand];
        self.token(at).is_some_and(|token| links.contains(&token.word))
    }

    pub(super) fn is_of(&self, at: usize) -> bool {
        self.token(at).is_some_and(|token| token.word == self.links.of)
    }

    /// The expression of time that begins at a token.
    pub(super) fn moment_at(&self, at: usize) -> Option<&Moment> {
        let index = self.moments.binary_search_by_key(&at, |moment| moment.tokens.start).ok()?;
        Some(&self.moments[index])
    }

    /// The phrase that begins here, without a leading article, if it means something alone.
    pub(super) fn phrase(&self, from: usize, reach: Reach) -> Option<Range<usize>> {
        if self.moment_at(from).is_some() {
            return None;
        }
        let adverbs = (from..from + 2).take_while(|at| self.is(*at, Class::Adverb)).count();
        let begin = from + adverbs + usize::from(self.is_mere_article(from + adverbs));
        let phrase = begin..self.phrase_end(begin, begin, reach)?;
        self.is_meaningful(&phrase).then_some(phrase)
    }

    /// What is done, from its verb on: "painted the fence with Tom".
    pub(super) fn deed(&self, verb: usize) -> Option<Range<usize>> {
        let deed = verb..self.phrase_end(verb, verb + 1, Reach::Joined)?;
        let object = verb + 1..deed.end;
        let placed = object.clone().skip(1).any(|at| self.is(at, Class::Preposition) && !self.is_of(at));
        let vague = !object.is_empty() && !placed && self.is(self.head(&object), Class::Vague);
        let of_nothing = deed.len() == 1 && self.is(verb, Class::Inner);
        (!vague && !of_nothing).then_some(deed)
    }

    /// The items of a list, or the one phrase that is no list.
    pub(super) fn list(&self, from: usize) -> Vec<Range<usize>> {
        let Some(first) = self.phrase(from, Reach::Attributes) else { return Vec::new() };
        let mut items = vec![first];
        // A list ends with "and"; a comma without one begins another clause, and what follows it is dropped.
        let mut closed = 1;
        while items.len() < MAX_ITEMS {
            let at = items.last().map_or(from, |item| item.end);
            let comma = usize::from(self.is(at, Class::Comma));
            let and = usize::from(self.is_and(at + comma));
            let joins_clause = comma == 1 && and == 1 && items.len() == 1;
            let next = at + comma + and;
            if next == at || joins_clause || self.begins_clause(next) {
                break;
            }
            let Some(item) = self.phrase(next, Reach::Attributes) else {
                closed = if and == 1 { items.len() } else { closed };
                break;
            };
            match items.last_mut() {
                Some(last) if comma == 0 && self.shares_its_verb(last, &item) => last.end = item.end,
                _ => items.push(item),
            }
            if and == 1 {
                closed = items.len();
            }
        }
        items.truncate(closed);
        items
    }

    /// "Hiking with aunts and uncles" is one item, "hiking with friends and painting" are two.
    fn shares_its_verb(&self, item: &Range<usize>, next: &Range<usize>) -> bool {
        let attributes = item.clone().any(|at| self.is(at, Class::Preposition));
        let doing = item.len() > 1 && self.is(item.start, Class::Activity);
        (attributes || doing) && !self.is(next.start, Class::Activity)
    }

    /// Whether what follows is another statement rather than one more item.
    fn begins_clause(&self, at: usize) -> bool {
        let Some(token) = self.token(at) else { return true };
        let verb = token.is_any(&[Class::Did, Class::Felt, Class::Base, Class::Says])
            && !token.is_any(&[Class::Activity, Class::Occasion, Class::Possession]);
        let owned_subject = self.is(at, Class::Determiner)
            && self.is(at + 1, Class::Kin)
            && self.token(at + 2).is_some_and(|token| token.kind == Kind::Word && !self.is_and(at + 2));
        let verb_comes = (at + 1..at + 5)
            .take_while(|at| self.token(*at).is_some_and(Token::is_content))
            .any(|at| self.is(at, Class::Boundary) && self.is(at, Class::Asks));
        let ends_in_ed = self.text.written(token).ends_with("ed") && !token.capital;
        verb || owned_subject
            || verb_comes
            || ends_in_ed
            || token.is_any(&[Class::Boundary, Class::Interjection])
    }

    /// The last noun before the attributes: what the phrase is about.
    pub(super) fn head(&self, phrase: &Range<usize>) -> usize {
        let attributes = (phrase.start + 1..phrase.end).find(|at| self.is(*at, Class::Preposition));
        attributes.unwrap_or(phrase.end) - 1
    }

    /// The phrase as an object is written: single spaces, no control characters.
    pub(super) fn written(&self, phrase: &Range<usize>) -> String {
        let (first, last) = (&self.text.tokens[phrase.start], &self.text.tokens[phrase.end - 1]);
        let source = &self.text.source[first.start..last.end];
        let source = if phrase.len() == 1 && first.kind == Kind::Quoted {
            source.trim_matches(['"', '“', '”', '„', '«', '»', '`', '\'', '‘', '’'])
        } else {
            source
        };
        let mut object = String::with_capacity(source.len());
        for word in source.split_whitespace() {
            if !object.is_empty() {
                object.push(' ');
            }
            object.push_str(word);
        }
        object
    }

    /// "the", unless it begins a title: "The Beatles".
    fn is_mere_article(&self, at: usize) -> bool {
        let title = |at: usize| self.token(at).is_some_and(|token| token.capital);
        self.is(at, Class::Article) && !(title(at) && title(at + 1))
    }

    /// Reads on from `from`; the tokens before `free` may be anything. Nothing if the phrase breaks off
    /// before a pronoun or a clause that its last word needs: "watch children play with it", "know what
    /// they want".
    fn phrase_end(&self, from: usize, free: usize, reach: Reach) -> Option<usize> {
        let mut at = free;
        while let Some(token) = self.token(at) {
            let ends = !token.is_content()
                || at - from > MAX_TOKENS
                || self.moment_at(at).is_some()
                || (token.is(Class::Boundary)
                    && !self.is_possessive(at)
                    && !(at == free && self.shows_a_noun(at)))
                || (self.is_and(at) && !self.goes_on(from, at, reach))
                || (token.is(Class::Preposition) && self.ends_before_preposition(at, reach));
            if ends {
                break;
            }
            // Behind "and" and "to" a verb goes on with the phrase, even "do" or "have".
            let verb_follows = self.is(at + 1, Class::Base)
                && (token.word == self.links.to || (self.is_and(at) && self.is(from, Class::Base)));
            at += if verb_follows { 2 } else { 1 };
        }
        if at - from > MAX_TOKENS {
            let cut = (from + 2..at).rev().find(|at| self.is(*at, Class::Preposition));
            at = cut.unwrap_or(from);
        }
        let of_a_verb = free > from || self.is(from, Class::Activity);
        let known = |at: usize| of_a_verb && self.shows_a_noun(at);
        if self.breaks_off(at)
            || (from..at).any(|at| self.is(at, Class::Negative) || self.is(at, Class::Deictic) && !known(at))
        {
            return None;
        }
        while at > from && self.may_not_end(at - 1) {
            at -= 1;
        }
        Some(at)
    }

    fn breaks_off(&self, at: usize) -> bool {
        let Some(next) = self.token(at).filter(|token| token.is(Class::Boundary)) else { return false };
        let governs = [
            Class::Base,
            Class::Did,
            Class::Activity,
            Class::Inner,
            Class::Preposition,
            Class::Felt,
            Class::Courtesy,
        ];
        let mut before = self.text.tokens[..at].iter().rev().inspect(|_| work::did(1));
        let before = before.find(|token| !token.is(Class::Adverb));
        let governed = before.is_some_and(|last| last.is_any(&governs));
        let subject_of_a_verb = next.is(Class::Asks) && next.is(Class::Finite);
        subject_of_a_verb
            || next.is(Class::Deictic) && !next.is(Class::Determiner)
            || governed && next.is_any(&[Class::Asks, Class::Determiner, Class::Condition])
    }

    /// Whether "and" joins a part of this phrase: "fried fish and chips", "to practise and train".
    fn goes_on(&self, from: usize, and: usize, reach: Reach) -> bool {
        let verb = |at: usize| self.is(at, Class::Base) && !self.is(at, Class::Did);
        let infinitives = (verb(from) || verb(and - 1)) && self.is(and + 1, Class::Base);
        reach == Reach::Joined && (infinitives || !self.begins_clause(and + 1))
    }

    fn ends_before_preposition(&self, at: usize, reach: Reach) -> bool {
        let word = self.token(at).map(|token| token.word);
        let verb_follows = self.is(at + 1, Class::Base) && !self.is(at + 1, Class::Possession);
        match reach {
            Reach::Noun => word != Some(self.links.of),
            // "to get fit" says what for; "to the beach" says where.
            Reach::Attributes => word == Some(self.links.to) && verb_follows,
            Reach::Joined => false,
        }
    }

    /// "my daughter's birthday", but not "it's late".
    fn is_possessive(&self, at: usize) -> bool {
        let after = self.token(at + 1);
        let owner = at.checked_sub(1).and_then(|at| self.token(at));
        self.token(at).is_some_and(|token| token.word == self.links.is)
            && owner.is_some_and(|token| !token.is_any(&[Class::Boundary, Class::Deictic]))
            && after.is_some_and(|token| {
                token.is_content()
                    && !token.is_any(&[Class::Boundary, Class::Determiner, Class::Adverb, Class::Preposition])
            })
    }

    fn may_not_end(&self, at: usize) -> bool {
        self.token(at).is_none_or(|token| {
            token.kind == Kind::Word
                && (self.is_and(at)
                    || token.word == self.links.is
                    || token.is_any(&[
                        Class::Preposition,
                        Class::Determiner,
                        Class::Adverb,
                        Class::Interjection,
                        Class::Says,
                    ]))
        })
    }

    fn is_meaningful(&self, phrase: &Range<usize>) -> bool {
        if phrase.is_empty() {
            return false;
        }
        let doing = self.is(phrase.start, Class::Activity)
            || (self.is(phrase.start, Class::Inner) && phrase.len() > 1);
        let preposition = self.is(phrase.start, Class::Preposition);
        let vague = self.is(self.head(phrase), Class::Vague) || self.is(self.head(phrase), Class::Inner);
        let unfinished = phrase.len() > 1 && self.is(phrase.end - 1, Class::Vague);
        !preposition && if doing { !unfinished } else { !vague }
    }

    /// "this kettle", "those three islands": shown or known to the reader, and named all the same.
    fn shows_a_noun(&self, at: usize) -> bool {
        let noun = self.token(at + 1).is_some_and(|next| {
            next.kind == Kind::Word
                && !next.is_any(&[
                    Class::Boundary,
                    Class::Preposition,
                    Class::Deictic,
                    Class::Adverb,
                    Class::Determiner,
                ])
        });
        noun && self.is(at, Class::Shows)
    }
}
