//! The words that extraction knows, and what it knows of them.
//!
//! A word is looked up once, when a message is cut into tokens; from then on it is a number and a set of
//! classes, so that matching a cue compares integers and never text.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use xxhash_rust::xxh3::xxh3_64;

use super::words::LISTS;

/// A known word's number; all others share [`Word::UNKNOWN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Word(u16);

impl Word {
    pub(super) const UNKNOWN: Self = Self(0);
}

/// Declares the classes and the names under which cues and word lists mention them.
macro_rules! classes {
    ($($(#[$doc:meta])* $class:ident = $name:literal,)*) => {
        /// What kind of word it is, as far as extraction needs to know.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Class { $($(#[$doc])* $class,)* }

        impl Class {
            /// The class that a cue means by an upper-case word.
            pub(super) fn named(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$class),)* _ => None }
            }
        }
    };
}

classes! {
    /// May stand between the words of a cue without changing what is said: "I really just moved to".
    Adverb = "ADVERB",
    /// May stand before a statement's subject: "and I", "because I".
    Opener = "OPENER",
    /// May stand before the subject of something that happened: "after I moved to".
    Subordinate = "SUBORDINATE",
    /// Nothing behind it in its sentence is asserted: "if", "wish", "maybe".
    Hypothesis = "HYPOTHESIS",
    /// Makes a plan in its sentence depend on something: "if", "unless".
    Condition = "CONDITION",
    /// Begins a question: "do", "what", "have".
    Asks = "ASKS",
    /// "is", "have": a verb with a subject before it.
    Finite = "FINITE",
    /// Reports what somebody says: "said", "told".
    Says = "SAYS",
    /// "ok", "thanks": may stand before a statement, is never a part of it.
    Interjection = "INTERJECTION",
    /// A finite verb, a conjunction, a pronoun as subject: a phrase ends before it.
    Boundary = "BOUNDARY",
    /// "in", "with", "for": begins an attribute of a phrase.
    Preposition = "PREPOSITION",
    /// "a", "the", "my": begins a phrase.
    Determiner = "DETERMINER",
    /// "a", "the": begins a phrase and says nothing.
    Article = "ARTICLE",
    /// "no", "any": a phrase with it says what there is not.
    Negative = "NEGATIVE",
    /// "this", "those": with a noun behind it, that is named all the same.
    Shows = "SHOWS",
    /// Points at something outside the sentence, so that a phrase with it means nothing alone: "it", "that".
    Deictic = "DEICTIC",
    /// A phrase with this head is not worth keeping: "lot", "way", "idea".
    Vague = "VAGUE",
    /// A relative or a partner.
    Kin = "KIN",
    /// One of them that not everybody has.
    Relative = "RELATIVE",
    /// A friend, a flatmate, a colleague.
    Friend = "FRIEND",
    /// Says which one: "younger", "best".
    KinKind = "KINKIND",
    Pet = "PET",
    Job = "JOB",
    Language = "LANGUAGE",
    Nationality = "NATIONALITY",
    Diet = "DIET",
    Religion = "RELIGION",
    /// "married", "divorced".
    Marital = "MARITAL",
    /// Something that people have and that is worth knowing.
    Possession = "POSSESSION",
    /// Looks like a verb or an adverb by its ending and is a noun: "family", "ring".
    Noun = "NOUN",
    /// Something that people attend.
    Occasion = "OCCASION",
    /// A verb in the past that says what somebody did.
    Did = "DID",
    /// One of them that says enough without an object: "retired".
    Alone = "ALONE",
    /// A verb in the past about the mind, which says nothing of what happened: "thought", "wanted".
    Felt = "FELT",
    /// A verb's base form.
    Base = "BASE",
    /// A verb of talking about the talk: "let", "know", "thank". It makes no plan.
    Courtesy = "COURTESY",
    /// A verb's -ing form that is no activity: "thinking", "hoping".
    Inner = "INNER",
    /// Any other -ing form; known by its ending.
    Activity = "ACTIVITY",
    Month = "MONTH",
    Weekday = "WEEKDAY",
    /// "day", "week", "month", "year".
    Unit = "UNIT",
    /// "one" to "twelve", "couple", "few".
    Count = "COUNT",
    /// May begin an expression of time: "last", "in", "since".
    Date = "DATE",
    /// "every", "daily", "usually".
    Frequency = "FREQUENCY",
    /// A capitalised word that is not otherwise known; decided by how it is written.
    Name = "NAME",
    /// A word in lower case that is not otherwise known; behind "to" it is a verb.
    Plain = "PLAIN",
    /// Digits; decided by how it is written.
    Number = "NUMBER",
    /// The mark, so that cues can ask for it.
    Comma = "COMMA",
    /// A country or a state, which may follow a town's name and a comma.
    Country = "COUNTRY",
}

/// A set of classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Classes(u64);

impl Classes {
    pub(super) fn has(self, class: Class) -> bool {
        self.0 & (1 << class as u64) != 0
    }

    pub(super) fn has_any(self, classes: &[Class]) -> bool {
        classes.iter().any(|class| self.has(*class))
    }

    pub(super) fn without(self, class: Class) -> Self {
        Self(self.0 & !(1 << class as u64))
    }

    pub(super) fn with(self, class: Class) -> Self {
        Self(self.0 | 1 << class as u64)
    }
}

/// All known words.
#[derive(Debug)]
pub(super) struct Lexicon {
    entries: HashMap<Box<str>, Entry, BuildHasherDefault<WordHasher>>,
    /// The longest one, in bytes: what is longer is not looked for.
    longest: usize,
}

/// Hashes short words fast. All keys are our own, so that nobody can choose some that collide.
#[derive(Debug, Default)]
struct WordHasher(u64);

impl Hasher for WordHasher {
    fn write(&mut self, text: &[u8]) {
        self.0 = xxh3_64(text);
    }

    /// A string's end, which one hash of all of it has no need of.
    fn write_u8(&mut self, _end: u8) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    word: Word,
    classes: Classes,
    /// The word that facts use for it: "mum" is "mother", "dogs" are "dog".
    canonical: Option<&'static str>,
}

impl Lexicon {
    /// The words of the lists.
    pub(super) fn new() -> Self {
        let mut lexicon = Self { entries: HashMap::default(), longest: 0 };
        for (class, words) in LISTS {
            for listed in words.split_whitespace() {
                let (written, canonical) =
                    listed.split_once('>').map_or((listed, None), |(written, meant)| (written, Some(meant)));
                lexicon.add(written, Some(*class), canonical);
            }
        }
        lexicon
    }

    /// The number of a word that a cue mentions.
    pub(super) fn learn(&mut self, word: &str) -> Word {
        self.add(word, None, None)
    }

    fn add(&mut self, text: &str, class: Option<Class>, canonical: Option<&'static str>) -> Word {
        let next = Word(u16::try_from(self.entries.len() + 1).unwrap_or(Word::UNKNOWN.0));
        self.longest = self.longest.max(text.len());
        let entry = self.entries.entry(text.into()).or_insert(Entry {
            word: next,
            classes: Classes::default(),
            canonical: None,
        });
        if let Some(class) = class {
            entry.classes = entry.classes.with(class);
        }
        entry.canonical = entry.canonical.or(canonical);
        entry.word
    }

    /// A word in lower case; unknown ones are classed by their ending.
    pub(super) fn look_up(&self, text: &str) -> (Word, Classes) {
        if let Some(entry) = self.entry(text) {
            return (entry.word, with_ending(entry.classes, text));
        }
        let by_ending = || {
            let past = text.len() >= 5 && text.ends_with("ed");
            let classes = Classes::default();
            if past { classes.with(Class::Did) } else { with_ending(classes, text) }
        };
        (Word::UNKNOWN, self.plural_of_noun(text).unwrap_or_else(by_ending))
    }

    fn entry(&self, text: &str) -> Option<&Entry> {
        if text.len() > self.longest { None } else { self.entries.get(text) }
    }

    /// "bikes" and "nurses" are what "bike" and "nurse" are.
    fn plural_of_noun(&self, text: &str) -> Option<Classes> {
        let classes = self.entry(text.strip_suffix('s')?)?.classes;
        let kept =
            [Class::Possession, Class::Job, Class::Occasion].into_iter().filter(|class| classes.has(*class));
        kept.map(|class| Classes::default().with(class)).reduce(|all, class| Classes(all.0 | class.0))
    }

    /// The number of a word that is in a list or a cue.
    pub(super) fn number(&self, text: &str) -> Word {
        self.entry(text).map_or(Word::UNKNOWN, |entry| entry.word)
    }

    /// The word that facts use for a relative or an animal.
    pub(super) fn canonical(&self, text: &str) -> String {
        let text = text.to_lowercase();
        match self.entry(&text).and_then(|entry| entry.canonical) {
            Some(canonical) => canonical.to_owned(),
            None => text,
        }
    }
}

/// "painting" is an activity, "quickly" an adverb, whatever the word.
fn with_ending(classes: Classes, text: &str) -> Classes {
    if text.len() >= 5
        && text.ends_with("ing")
        && !classes.has_any(&[Class::Inner, Class::Noun, Class::Vague, Class::Deictic])
    {
        return classes.with(Class::Activity);
    }
    if text.len() >= 5 && text.ends_with("ly") && classes == Classes::default() {
        return classes.with(Class::Adverb);
    }
    classes
}
