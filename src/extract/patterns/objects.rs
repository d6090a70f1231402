//! Reading a relation's object, by its shape, from the words behind (or around) a cue.

use std::ops::Range;

use super::{
    cues::Found,
    lexicon::{Class, Lexicon},
    phrase::{Phrases, Reach},
    relation::Object,
    tokens::{Kind, Token},
};

/// One value that a cue states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    /// What the fact's object says.
    pub(super) object: String,
    /// What stands for `{}` in the predicate.
    pub(super) topic: Option<String>,
    /// The token behind the value's last one.
    pub(super) end: usize,
}

/// Reads objects in one sentence.
pub(super) struct Objects<'t, 'a> {
    pub(super) phrases: Phrases<'t, 'a>,
    pub(super) lexicon: &'t Lexicon,
    /// Where the cue begins.
    pub(super) start: usize,
}

impl Objects<'_, '_> {
    /// The values of a cue; none where the words behind it have not the shape that the relation asks for.
    pub(super) fn read(&self, found: &Found) -> Vec<Value> {
        let at = found.end;
        let last = at.saturating_sub(1);
        match found.relation.object {
            Object::Names => self.names(at, found.meant),
            Object::NamesInCue => {
                self.names(last - usize::from(self.phrases.is(last, Class::Comma)), found.meant)
            }
            Object::NameBefore => self.name_before(found),
            Object::Introduction => self.introduction(at),
            Object::Place => self.place(at),
            Object::Organisation => self.organisation(at),
            Object::Things => self.phrases.list(at).into_iter().map(|item| self.value(&item)).collect(),
            Object::Thing => self.phrase(at, Reach::Joined),
            Object::SomeThing => self.some_thing(at),
            Object::Kind(class) => self.kind(at, class),
            Object::Deed => self.deed(last),
            Object::Habit => self.habit(last),
            Object::Word => self.word(last),
            Object::Meant => self.meant(found),
            Object::Favourite => self.favourite(at),
            Object::FavouriteBefore => self.favourite_before(at),
            Object::Nothing => vec![],
            Object::Age => self.age(at),
            Object::Day => self.day(at),
            Object::Languages => self.languages(at),
            Object::Mail => self.address(at, Kind::Mail),
            Object::Link => self.address(at, Kind::Link),
            Object::Phone => self.phone(at),
        }
    }

    pub(super) fn value(&self, phrase: &Range<usize>) -> Value {
        Value { object: self.phrases.written(phrase), topic: None, end: phrase.end }
    }

    fn values(&self, phrase: Option<&Range<usize>>) -> Vec<Value> {
        phrase.map(|phrase| self.value(phrase)).into_iter().collect()
    }

    pub(super) fn phrase(&self, at: usize, reach: Reach) -> Vec<Value> {
        self.values(self.phrases.phrase(at, reach).as_ref())
    }

    /// "a new phone", "two tickets": something countable, which "got" and the like need to mean getting.
    fn some_thing(&self, at: usize) -> Vec<Value> {
        let counted = [Class::Determiner, Class::Number, Class::Count];
        if counted.iter().any(|class| self.phrases.is(at, *class)) {
            self.phrase(at, Reach::Attributes)
        } else {
            vec![]
        }
    }

    /// The items whose noun is of the class, each with what it is of ("a collection of maps") and no more.
    fn kind(&self, at: usize, class: Class) -> Vec<Value> {
        let items = self.phrases.list(at).into_iter().filter_map(|item| {
            let head = self.phrases.head(&item);
            let end = if self.phrases.is_of(head + 1) { item.end } else { head + 1 };
            self.phrases.is(head, class).then(|| self.value(&(item.start..end)))
        });
        items.collect()
    }

    fn deed(&self, verb: usize) -> Vec<Value> {
        self.values(self.phrases.deed(verb).as_ref())
    }

    fn habit(&self, verb: usize) -> Vec<Value> {
        let deed = self.phrases.deed(verb).filter(|deed| {
            let says_how_often =
                |at: usize| self.phrases.is(at, Class::Frequency) || self.is_times_a_week(at);
            let auxiliary = self.phrases.is(verb, Class::Asks);
            let nowhere = self.phrases.written(&(verb..verb + 1)) == "go"
                && !self.phrases.is(verb + 1, Class::Preposition);
            !auxiliary && !nowhere && deed.len() > 1 && (self.start..deed.end).any(says_how_often)
        });
        self.values(deed.as_ref())
    }

    /// "twice a week", "three times a month".
    fn is_times_a_week(&self, at: usize) -> bool {
        let text = self.phrases.text;
        let word = |at: usize| self.phrases.token(at).map_or("", |token| text.written(token));
        ["once", "twice", "times"].contains(&word(at))
            && word(at + 1) == "a"
            && self.phrases.is(at + 2, Class::Unit)
    }

    /// The cue's last word, unless it only describes a noun that follows: "I am a German teacher".
    fn word(&self, at: usize) -> Vec<Value> {
        if self.describes(at) { vec![] } else { vec![self.value(&(at..at + 1))] }
    }

    /// A noun follows, so that the word is not what is meant: "my goat sculpture".
    fn describes(&self, at: usize) -> bool {
        let noun = |next: &Token| {
            let other = [Class::Boundary, Class::Preposition, Class::Adverb, Class::Did, Class::Base];
            matches!(next.kind, Kind::Word | Kind::Quoted) && !next.is_any(&other)
        };
        self.phrases.token(at + 1).is_some_and(noun) && !self.phrases.is_and(at + 1)
    }

    fn meant(&self, found: &Found) -> Vec<Value> {
        let Some(at) = found.meant else { return vec![] };
        // An unknown word may well be a verb, "my wife juggles", "my sons juggle", and then it has an s or its
        // subject has.
        let ends_in_s = |at: usize| {
            self.phrases.token(at).is_some_and(|token| self.phrases.text.written(token).ends_with('s'))
        };
        let verb = self.phrases.is(at + 1, Class::Plain) && (ends_in_s(at) || ends_in_s(at + 1));
        if found.end == at + 1 && self.describes(at) && !verb {
            return vec![];
        }
        let possessive = self.phrases.token(at).map(|token| self.phrases.text.written(token));
        possessive
            .map(|word| Value { object: self.lexicon.canonical(word), topic: None, end: found.end })
            .into_iter()
            .collect()
    }

    fn favourite(&self, at: usize) -> Vec<Value> {
        let is_verb =
            |at: &usize| self.phrases.token(*at).is_some_and(|token| self.is_copula(token.start, token.end));
        let Some(verb) = (at + 1..at + 6).find(is_verb) else { return vec![] };
        let Some(topic) = self.topic(&(at..verb)) else { return vec![] };
        let behind = (verb + 1..verb + 4).find(|at| !self.phrases.is(*at, Class::Adverb)).unwrap_or(verb + 1);
        // There is one favourite: of several, all together are the object.
        let items = self.phrases.list(behind);
        let (Some(first), Some(last)) = (items.first(), items.last()) else { return vec![] };
        vec![Value { topic: Some(topic), ..self.value(&(first.start..last.end)) }]
    }

    fn is_copula(&self, start: usize, end: usize) -> bool {
        let word = &self.phrases.text.source[start..end];
        ["is", "are", "'s", "’s"].iter().any(|copula| word.eq_ignore_ascii_case(copula))
    }

    fn favourite_before(&self, at: usize) -> Vec<Value> {
        let topic = self.phrases.phrase(at, Reach::Noun).and_then(|words| self.topic(&words));
        let (Some(topic), Some(name)) = (topic, self.name(self.start)) else { return vec![] };
        vec![Value { object: self.phrases.written(&name), topic: Some(topic), end: at + 1 }]
    }

    /// "ice cream" as a part of a predicate: `ice_cream`.
    fn topic(&self, words: &Range<usize>) -> Option<String> {
        let plain = |at: usize| {
            self.phrases.token(at).is_some_and(|token| {
                token.kind == Kind::Word && !token.is_any(&[Class::Boundary, Class::Deictic])
            })
        };
        let vague = self.phrases.is(words.end - 1, Class::Vague);
        if words.is_empty() || words.len() > 4 || vague || !words.clone().all(plain) {
            return None;
        }
        let topic = self.phrases.written(words).to_lowercase().replace([' ', '-', '\'', '’'], "_");
        (topic.len() <= 40).then_some(topic)
    }
}
