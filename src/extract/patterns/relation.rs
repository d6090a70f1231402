//! What a row of the table of relations says.

use chrono::{DateTime, Utc};
use factline_pipeline::fact::Cardinality;

use super::{
    calendar::{Meaning, midnight},
    lexicon::Class,
};

/// One relation: the words that state it, and the object that they state it of.
#[derive(Debug)]
pub(super) struct Relation {
    /// The fact's predicate. `{}` stands for the relative, animal or topic that the cue mentions.
    pub(super) predicate: &'static str,
    pub(super) cardinality: Cardinality,
    /// From 0 to 1: how often such words mean what the row says.
    pub(super) confidence: f32,
    /// Where the object stands and what it looks like.
    pub(super) object: Object,
    pub(super) holds: Holds,
    /// The words. Lower case is literal, with contractions written out ("i am"); `a|b` is either; `?` makes a
    /// word optional; upper case is a class of words. Adverbs may stand anywhere behind the first word.
    pub(super) cues: &'static [&'static str],
}

/// The object's shape. It stands behind the cue unless the shape says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Object {
    /// One or more names of people or animals.
    Names,
    /// The same, beginning with the cue's last word.
    NamesInCue,
    /// The name with which the cue begins.
    NameBefore,
    /// A name with nothing behind it that could make it something else: "I am Anna."
    Introduction,
    /// A town, a country, "a village near Bergen".
    Place,
    /// An employer or a school.
    Organisation,
    /// Things or doings, each one an object of its own: "tea, cake and long walks by the sea".
    Things,
    /// One thing with its attributes: "a lecture on beekeeping".
    Thing,
    /// One thing with its article or its owner: "a new phone".
    SomeThing,
    /// One thing whose noun is of a class: "two old cats".
    Kind(Class),
    /// What somebody did or does, beginning with the cue's last word: "painted the fence".
    Deed,
    /// The same, if the words say how often: "run every morning".
    Habit,
    /// The cue's own last word of a class, as it is written.
    Word,
    /// The word that stands for the relative or animal in the cue: "my dogs" is `dog`.
    Meant,
    /// "colour is blue" behind "my favourite": topic and object.
    Favourite,
    /// The same the other way round: "Blue is my favourite colour".
    FavouriteBefore,
    /// None: the words are an idiom that would be misread.
    Nothing,
    Age,
    Day,
    Languages,
    Mail,
    Link,
    Phone,
}

/// When a fact holds, and which reading of a date belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// Now, and maybe since a day that is named: "for seven years".
    Now,
    /// It happened, maybe on a day that is named.
    Past,
    /// As above, and the day must be named, because the words alone could mean anything.
    PastDated,
    /// It is planned or wished for, maybe for a day that is named.
    Future,
    /// As above, and the day must be named.
    FutureDated,
    /// It held once and no longer does.
    Over,
}

impl Holds {
    /// Since when and until when a fact holds; nothing if the relation needs a day and has none, or is a plan
    /// that depends on something.
    pub(super) fn validity(
        self,
        meaning: Option<Meaning>,
        sent_at: DateTime<Utc>,
        conditional: bool,
    ) -> Option<(DateTime<Utc>, Option<DateTime<Utc>>)> {
        let meaning = meaning.unwrap_or_default();
        let day = match self {
            Self::Future | Self::FutureDated if conditional => return None,
            Self::Now => meaning.since,
            Self::Past | Self::Over => meaning.past,
            Self::PastDated => Some(meaning.past?),
            Self::Future => meaning.future,
            Self::FutureDated => Some(meaning.future.filter(|day| *day > sent_at.date_naive())?),
        };
        let from = day.map_or(sent_at, midnight);
        Some((from, (self == Self::Over).then_some(sent_at)))
    }
}

/// Idioms, which state nothing.
pub(super) const fn nothing(cues: &'static [&'static str]) -> Relation {
    many("", 0.0, Object::Nothing, Holds::Now, cues)
}

/// A relation with one value at a time.
pub(super) const fn single(
    predicate: &'static str,
    confidence: f32,
    object: Object,
    holds: Holds,
    cues: &'static [&'static str],
) -> Relation {
    Relation { predicate, cardinality: Cardinality::Single, confidence, object, holds, cues }
}

/// A relation whose values stand beside each other.
pub(super) const fn many(
    predicate: &'static str,
    confidence: f32,
    object: Object,
    holds: Holds,
    cues: &'static [&'static str],
) -> Relation {
    Relation { predicate, cardinality: Cardinality::Many, confidence, object, holds, cues }
}
