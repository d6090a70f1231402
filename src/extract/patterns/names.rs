//! Objects that are recognised by how they are written: names, places, ages, days, languages, addresses.

use std::ops::Range;

use chrono::NaiveDate;

use super::{
    cues::Found,
    dates::Moment,
    lexicon::{Class, Word},
    objects::{Objects, Value},
    phrase::Reach,
    tokens::{Kind, Token},
};

/// The longest name, in words.
const MAX_NAME: usize = 3;

/// The most digits that a telephone number has, by E.164, and the fewest that are not a house number.
const PHONE_DIGITS: Range<usize> = 7..16;

impl Objects<'_, '_> {
    /// One name or, of several relatives or animals, several: "my cats Tom and Jerry".
    pub(super) fn names(&self, at: usize, meant: Option<usize>) -> Vec<Value> {
        let at = at + usize::from(self.phrases.is(at, Class::Adverb));
        let topic = meant.and_then(|at| self.phrases.token(at)).map(|token| self.phrases.text.written(token));
        let several = topic.is_some_and(|word| word.ends_with('s') || word.eq_ignore_ascii_case("children"));
        let topic = topic.map(|word| self.lexicon.canonical(word));
        let mut values = Vec::new();
        let mut next = at;
        while let Some(name) = self.name(next).or_else(|| self.name_in_lower_case(next)) {
            values.push(Value { topic: topic.clone(), ..self.value(&name) });
            let comma = usize::from(self.phrases.is(name.end, Class::Comma));
            let and = usize::from(self.phrases.is_and(name.end + comma));
            next = name.end + comma + and;
            if !several || next == name.end || values.len() == 6 {
                break;
            }
        }
        values
    }

    pub(super) fn name(&self, at: usize) -> Option<Range<usize>> {
        let first = self.phrases.token(at).filter(|token| may_be_name(token))?;
        let more = |at: &usize| self.phrases.token(*at).is_some_and(|token| token.is(Class::Name));
        let length = 1 + (at + 1..at + MAX_NAME).take_while(more).count();
        first.capital.then_some(at..at + length)
    }

    /// "my name is anna", if nothing follows that would make it another word.
    fn name_in_lower_case(&self, at: usize) -> Option<Range<usize>> {
        let token = self.phrases.token(at)?;
        let unknown = token.kind == Kind::Word && token.word == Word::UNKNOWN && !token.capital;
        let alone = !token.is_any(&[Class::Adverb, Class::Activity]) && self.ends_at(at + 1);
        let all_lower = self.phrases.token(self.start).is_some_and(|first| !first.capital);
        (unknown && alone && all_lower).then_some(at..at + 1)
    }

    /// No noun follows.
    fn ends_at(&self, at: usize) -> bool {
        self.phrases.is_and(at)
            || self.phrases.token(at).is_none_or(|token| {
                !token.is_content() || token.is_any(&[Class::Boundary, Class::Preposition])
            })
    }

    pub(super) fn name_before(&self, found: &Found) -> Vec<Value> {
        let topic = found.meant.and_then(|at| self.phrases.token(at));
        let (Some(topic), Some(name)) = (topic, self.name(self.start)) else { return vec![] };
        let topic = self.lexicon.canonical(self.phrases.text.written(topic));
        vec![Value { object: self.phrases.written(&name), topic: Some(topic), end: found.end }]
    }

    /// "I am Anna." but not "I am Team Leader at …" or "I am OK".
    pub(super) fn introduction(&self, at: usize) -> Vec<Value> {
        let name = self.name(at).filter(|name| {
            let written = self.phrases.written(name);
            let known = !self.phrases.is(at, Class::Name) || self.phrases.is(at, Class::Activity);
            let shouted = written.chars().all(|c| !c.is_lowercase());
            !known && !shouted && self.ends_at(name.end)
        });
        name.iter().map(|name| self.value(name)).collect()
    }

    pub(super) fn place(&self, at: usize) -> Vec<Value> {
        let the = usize::from(self.phrases.is(at, Class::Article));
        let place = self.proper_place(at + the).or_else(|| {
            let described = self.phrases.is(at, Class::Article);
            if described { self.phrases.phrase(at, Reach::Attributes) } else { self.place_in_lower_case(at) }
        });
        place.iter().map(|place| self.value(place)).collect()
    }

    /// "Rio de Janeiro", "Portland, Oregon".
    fn proper_place(&self, at: usize) -> Option<Range<usize>> {
        let capital = |at: usize| {
            self.phrases.token(at).is_some_and(|token| {
                token.kind == Kind::Word && token.capital && !token.is_any(&[Class::Boundary, Class::Deictic])
            })
        };
        if !capital(at) || self.phrases.is(at, Class::Month) {
            return None;
        }
        let mut end = at + 1;
        while end < at + 5 {
            let link = self.phrases.token(end).map_or("", |token| self.phrases.text.written(token));
            let linked = ["de", "of", "the", "am", "upon", "la", "do"].contains(&link);
            end += match () {
                () if capital(end) => 1,
                () if linked && capital(end + 1) => 2,
                () => break,
            };
        }
        let country = self.phrases.is(end, Class::Comma)
            && capital(end + 1)
            && self.phrases.is(end + 1, Class::Country);
        Some(at..if country { end + 2 } else { end })
    }

    /// "i live in berlin": only where the author writes everything in lower case.
    fn place_in_lower_case(&self, at: usize) -> Option<Range<usize>> {
        let first = self.phrases.token(self.start)?;
        let lower = self.phrases.text.source[first.start..].starts_with('i');
        let unknown = self.phrases.token(at).is_some_and(|token| {
            token.kind == Kind::Word && (token.word == Word::UNKNOWN || token.is(Class::Country))
        });
        (lower && unknown && self.ends_at(at + 1)).then_some(at..at + 1)
    }

    pub(super) fn organisation(&self, at: usize) -> Vec<Value> {
        let named = self.phrases.token(at).is_some_and(|token| token.capital);
        if named || self.phrases.is(at, Class::Article) { self.phrase(at, Reach::Noun) } else { vec![] }
    }

    /// "29", if the words go on with "years old" or not at all.
    pub(super) fn age(&self, at: usize) -> Vec<Value> {
        let text = self.phrases.text;
        let word = |at: usize| self.phrases.token(at).map_or("", |token| text.written(token));
        let followed = text.tokens.get(at).and_then(|token| text.source[token.end..].chars().next());
        let plain = followed.is_none_or(|c| c.is_whitespace() || matches!(c, '.' | ',' | '!' | '-'));
        let years = plain && word(at).parse().is_ok_and(|age: u32| (1..=120).contains(&age));
        let old = ["years", "year", "yrs"].contains(&word(at + 1)) && word(at + 2) == "old";
        let alone = self.ends_at(at + 1) && !self.phrases.is(at + 1, Class::Preposition);
        if years && (old || alone || word(at + 1) == "yo") { vec![self.value(&(at..at + 1))] } else { vec![] }
    }

    /// "3 May", "3 May 1990", "May 1990" or "1990", whatever the way it is said.
    pub(super) fn day(&self, at: usize) -> Vec<Value> {
        let Some(moment) = self.phrases.moment_at(at) else { return vec![] };
        let Some(day) = moment.meaning.future.or(moment.meaning.past) else { return vec![] };
        vec![Value { object: self.day_as_precise_as_said(moment, day), topic: None, end: moment.tokens.end }]
    }

    fn day_as_precise_as_said(&self, moment: &Moment, day: NaiveDate) -> String {
        let tokens = &self.phrases.text.tokens[moment.tokens.clone()];
        let numbers = || {
            tokens
                .iter()
                .filter(|token| token.is(Class::Number))
                .map(|token| self.phrases.text.written(token))
        };
        let is_year = |number: &str| number.len() == 4 && number.parse::<u16>().is_ok();
        let has_year = numbers().any(|number| is_year(number) || number.len() == 10);
        let has_month = tokens.iter().any(|token| token.is(Class::Month));
        let has_day = numbers().any(|number| !is_year(number)) || !(has_month || has_year);
        let format = match (has_day, has_month, has_year) {
            (true, _, true) => "%-d %B %Y",
            (true, _, false) => "%-d %B",
            (false, true, true) => "%B %Y",
            (false, true, false) => "%B",
            (false, false, _) => "%Y",
        };
        day.format(format).to_string()
    }

    pub(super) fn languages(&self, at: usize) -> Vec<Value> {
        const PASSED_OVER: [&str; 14] = [
            "a",
            "little",
            "bit",
            "of",
            "some",
            "fluent",
            "basic",
            "native",
            "good",
            "both",
            "conversational",
            "broken",
            "decent",
            "my",
        ];
        let mut values = Vec::new();
        for at in at..at + 24 {
            let Some(token) = self.phrases.token(at) else { break };
            let word = self.phrases.text.written(token);
            if token.is_any(&[Class::Language, Class::Name]) {
                values.push(Value { object: capitalised(word), ..self.value(&(at..at + 1)) });
            } else if !(token.is_any(&[Class::Comma, Class::Adverb])
                || self.phrases.is_and(at)
                || PASSED_OVER.contains(&word))
            {
                break;
            }
        }
        values
    }

    pub(super) fn address(&self, at: usize, kind: Kind) -> Vec<Value> {
        let at = self.behind_marks(at);
        let address = self.phrases.token(at).filter(|token| token.kind == kind);
        address.map(|_| self.value(&(at..at + 1))).into_iter().collect()
    }

    /// Groups of digits with the marks that people put between them.
    pub(super) fn phone(&self, at: usize) -> Vec<Value> {
        let at = self.behind_marks(at);
        let source = self.phrases.text.source;
        let written = |token: &Token| &source[token.start..token.end];
        let belongs = |at: &usize| {
            self.phrases.token(*at).is_some_and(|token| {
                let marks = token.kind == Kind::Pause && ["(", ")", "-", "–"].contains(&written(token));
                marks || written(token).starts_with(|c: char| c.is_ascii_digit() || c == '+')
            })
        };
        let mut end = at + (at..at + 12).take_while(belongs).count();
        while end > at && self.phrases.token(end - 1).is_some_and(|token| token.kind == Kind::Pause) {
            end -= 1;
        }
        if end == at {
            return vec![];
        }
        let value = self.value(&(at..end));
        let digits = value.object.chars().filter(char::is_ascii_digit).count();
        let other = value.object.contains(|c: char| c.is_alphabetic() || c == '/' || c == ':');
        let date = value.object.parse::<NaiveDate>().is_ok();
        if PHONE_DIGITS.contains(&digits) && !other && !date { vec![value] } else { vec![] }
    }

    /// Behind a colon, and behind an opening bracket that a quotation or number may have.
    fn behind_marks(&self, at: usize) -> usize {
        at + usize::from(self.phrases.token(at).is_some_and(|token| token.kind == Kind::Colon))
    }
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn may_be_name(token: &Token) -> bool {
    let word = [
        Class::Boundary,
        Class::Deictic,
        Class::Determiner,
        Class::Interjection,
        Class::Adverb,
        Class::Opener,
    ];
    token.kind == Kind::Word && token.capital && !token.is_any(&word)
}
