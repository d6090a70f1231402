//! Dates as people say them, resolved against the day on which the message was sent.
//!
//! "On Friday" is last Friday in "I flew to Rome on Friday" and next Friday in "I am flying to Rome on
//! Friday": an expression keeps both readings, and the relation that needs it chooses. Days are days in
//! UTC; a month or year stands for its first day, and "last week" is seven days ago.

use std::ops::Range;

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, Utc, Weekday};

use super::super::work;
use super::{
    calendar::{Calendar, Meaning, both, future, past, since},
    lexicon::Class,
    text::Text,
    tokens::{Kind, Token},
};

/// One expression in the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moment {
    /// Its tokens.
    pub(super) tokens: Range<usize>,
    pub(super) meaning: Meaning,
}

/// All expressions of the message, in order, none overlapping another.
pub(super) fn find(text: &Text, sent_at: DateTime<Utc>) -> Vec<Moment> {
    let reader = Reader { text, calendar: Calendar { today: sent_at.date_naive() } };
    let mut moments = Vec::new();
    let mut at = 0;
    while at < text.tokens.len() {
        let found = if starts_expression(&text.tokens[at]) { reader.expression(at) } else { None };
        at = match found {
            Some((end, meaning)) => {
                moments.push(Moment { tokens: at..end, meaning });
                end
            }
            None => at + 1,
        };
    }
    moments
}

fn starts_expression(token: &Token) -> bool {
    token.is_any(&[Class::Date, Class::Number, Class::Count, Class::Month, Class::Weekday])
}

type Found = Option<(usize, Meaning)>;

/// A word in lower case, if it is no longer than any that is asked for here; else nothing.
struct Lower {
    letters: [u8; Self::LONGEST],
    length: usize,
}

impl Lower {
    const LONGEST: usize = 12;

    fn of(word: &str) -> Self {
        let mut lower = Self { letters: [0; Self::LONGEST], length: 0 };
        if let Some(letters) = lower.letters.get_mut(..word.len()) {
            letters.copy_from_slice(word.as_bytes());
            letters.make_ascii_lowercase();
            lower.length = word.len();
        }
        lower
    }

    fn as_str(&self) -> &str {
        str::from_utf8(&self.letters[..self.length]).unwrap_or_default()
    }
}

struct Reader<'t, 'a> {
    text: &'t Text<'a>,
    calendar: Calendar,
}

impl Reader<'_, '_> {
    /// The expression that begins here: its end and what it means.
    fn expression(&self, at: usize) -> Found {
        let token = &self.text.tokens[at];
        if token.is(Class::Number) || token.is(Class::Count) {
            return self.ago(at).or_else(|| self.calendar_day(at));
        }
        if token.is_any(&[Class::Month, Class::Weekday]) {
            return self.calendar_day(at).or_else(|| self.weekday(at));
        }
        match Lower::of(self.word(at)).as_str() {
            "yesterday" => Some(self.with_part_of_day(at + 1, past(self.calendar.back(1)))),
            "tomorrow" => Some(self.with_part_of_day(at + 1, future(self.calendar.ahead(1)))),
            "today" | "tonight" => Some((at + 1, both(Some(self.calendar.today)))),
            "last" | "past" => self.last(at + 1),
            "next" | "coming" => self.next(at + 1),
            "this" => self.this(at + 1),
            "the" | "over" | "during" | "at" | "about" | "around" => {
                self.expression_behind(at + 1).or_else(|| self.the_weekend(at))
            }
            "on" => self.calendar_day(self.skip_the(at + 1)).or_else(|| self.weekday(at + 1)),
            "in" => self.ahead_by(at + 1).or_else(|| self.month_or_year(at + 1)),
            "since" => self.since(at + 1),
            "for" => self.lasting(at + 1),
            _ => None,
        }
    }

    /// "the day before yesterday", "over the past year", "the last weekend".
    fn expression_behind(&self, at: usize) -> Found {
        if self.says(at, "day") && self.says(at + 1, "after") && self.says(at + 2, "tomorrow") {
            return Some((at + 3, future(self.calendar.ahead(2))));
        }
        if self.says(at, "day") && self.says(at + 1, "before") && self.says(at + 2, "yesterday") {
            return Some((at + 3, past(self.calendar.back(2))));
        }
        let token = self.text.tokens.get(at)?;
        let modifier = ["last", "past", "next", "coming"].iter().any(|word| self.says(at, word));
        (modifier || token.is_any(&[Class::Count, Class::Number])).then(|| self.expression(at))?
    }

    fn the_weekend(&self, at: usize) -> Found {
        let at = if self.says(at, "over") || self.says(at, "at") { at + 1 } else { return None };
        (self.says(at, "the") && self.says(at + 1, "weekend"))
            .then(|| (at + 2, self.calendar.nearest_weekend()))
    }

    fn last(&self, at: usize) -> Found {
        if let Some(weekday) = self.weekday_at(at) {
            return Some((at + 1, past(self.calendar.weekday_before(weekday))));
        }
        let first = match Lower::of(self.word(at)).as_str() {
            "night" | "evening" => self.calendar.back(1),
            "week" => self.calendar.back(7),
            "weekend" => self.calendar.monday()?.checked_sub_days(Days::new(2)),
            "month" => self.calendar.first_of_month()?.checked_sub_months(Months::new(1)),
            "year" => self.calendar.first_of_year()?.checked_sub_months(Months::new(12)),
            word => {
                let day = self
                    .calendar
                    .season(word)
                    .or_else(|| self.month_at(at).and_then(|month| self.calendar.first(month)));
                let over =
                    day?.checked_add_months(Months::new(if self.month_at(at).is_some() { 1 } else { 3 }))?;
                day.and_then(|day| {
                    if over <= self.calendar.today { Some(day) } else { day.with_year(day.year() - 1) }
                })
            }
        };
        first.map(|day| (at + 1, past(Some(day))))
    }

    fn next(&self, at: usize) -> Found {
        if let Some(weekday) = self.weekday_at(at) {
            return Some((at + 1, future(self.calendar.weekday_after(weekday))));
        }
        let first = match Lower::of(self.word(at)).as_str() {
            "week" => self.calendar.ahead(7),
            "weekend" => self.calendar.monday()?.checked_add_days(Days::new(12)),
            "month" => self.calendar.first_of_month()?.checked_add_months(Months::new(1)),
            "year" => self.calendar.first_of_year()?.checked_add_months(Months::new(12)),
            word => {
                let day = self
                    .calendar
                    .season(word)
                    .or_else(|| self.month_at(at).and_then(|month| self.calendar.first(month)));
                day.and_then(|day| {
                    if day > self.calendar.today { Some(day) } else { day.with_year(day.year() + 1) }
                })
            }
        };
        first.map(|day| (at + 1, future(Some(day))))
    }

    fn this(&self, at: usize) -> Found {
        if let Some(weekday) = self.weekday_at(at) {
            let day = self
                .calendar
                .monday()?
                .checked_add_days(Days::new(u64::from(weekday.num_days_from_monday())));
            return Some((at + 1, both(day)));
        }
        let meaning = match Lower::of(self.word(at)).as_str() {
            "morning" | "afternoon" | "evening" | "week" => both(Some(self.calendar.today)),
            "weekend" => self.calendar.nearest_weekend(),
            "month" => Meaning { past: self.calendar.first_of_month(), ..future(Some(self.calendar.today)) },
            "year" => Meaning { past: self.calendar.first_of_year(), ..future(Some(self.calendar.today)) },
            word => {
                let season = self.calendar.season(word)?;
                Meaning { past: Some(season), future: Some(season.max(self.calendar.today)), since: None }
            }
        };
        Some((at + 1, meaning))
    }

    /// "two weeks ago", "a couple of days ago".
    fn ago(&self, at: usize) -> Found {
        let (behind, days, months) = self.length(at)?;
        let past_word = ["ago", "back", "earlier"].iter().any(|word| self.says(behind, word));
        past_word.then(|| (behind + 1, past(self.calendar.shifted_back(days, months))))
    }

    /// "in two weeks".
    fn ahead_by(&self, at: usize) -> Found {
        let (behind, days, months) = self.length(at)?;
        let day = self.calendar.ahead(days).and_then(|day| day.checked_add_months(Months::new(months)));
        Some((behind, future(day)))
    }

    /// "for seven years", "for the past two months".
    fn lasting(&self, at: usize) -> Found {
        let filler =
            ["the", "about", "almost", "nearly", "around", "over", "past", "last", "roughly", "like"];
        let skipped = (0..3).take_while(|n| filler.iter().any(|word| self.says(at + n, word))).count();
        let (behind, days, months) = self.length(at + skipped)?;
        Some((behind, since(self.calendar.shifted_back(days, months))))
    }

    fn since(&self, at: usize) -> Found {
        if self.says(at, "since") {
            return None; // "since since since …" must not recurse
        }
        let (end, meaning) = self.month_or_year(at).or_else(|| self.expression(at))?;
        meaning.past.map(|day| (end, since(Some(day))))
    }

    /// A number of days, weeks, months or years: where it ends, days, months.
    fn length(&self, at: usize) -> Option<(usize, u64, u32)> {
        let article = usize::from(self.says(at, "a") && self.text.tokens.get(at + 1)?.is(Class::Count));
        let count = self.count(at + article)?;
        let unit_at = at + article + 1;
        let unit_at = unit_at + usize::from(self.says(unit_at, "of"));
        let (days, months) = match Lower::of(self.word(unit_at).trim_end_matches(['s', 'S'])).as_str() {
            "day" => (1, 0),
            "week" | "weekend" => (7, 0),
            "fortnight" => (14, 0),
            "month" => (0, 1),
            "year" | "yr" => (0, 12),
            _ => return None,
        };
        Some((unit_at + 1, u64::from(count) * days, count.saturating_mul(months)))
    }

    fn count(&self, at: usize) -> Option<u32> {
        const WORDS: [&str; 13] = [
            "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
            "twelve",
        ];
        let word = Lower::of(self.word(at));
        match word.as_str() {
            "a" | "an" => Some(1),
            "couple" => Some(2),
            "few" | "several" => Some(3),
            known => match WORDS.iter().position(|word| *word == known) {
                Some(number) => u32::try_from(number).ok(),
                None => self.word(at).parse().ok(),
            },
        }
    }

    /// "3 May", "May 3rd, 2024", "2026-05-03", "3rd of May".
    fn calendar_day(&self, at: usize) -> Found {
        let is_number = self.word(at).starts_with(|c: char| c == '+' || c.is_ascii_digit());
        if let Some(day) = is_number.then(|| self.word(at).parse::<NaiveDate>().ok()).flatten() {
            return Some((at + 1, both(Some(day))));
        }
        let weekday_first = self.weekday_at(at).is_some();
        let at = at + usize::from(weekday_first) + usize::from(weekday_first && self.is_comma(at + 1));
        let (day, month, behind) = if let Some(month) = self.month_at(at) {
            let day_at = self.skip_the(at + 1);
            (self.day_number(day_at)?, month, day_at + 1)
        } else {
            let month_at = at + 1 + usize::from(self.says(at + 1, "of"));
            (self.day_number(at)?, self.month_at(month_at)?, month_at + 1)
        };
        let year_at = behind + usize::from(self.is_comma(behind));
        if let Some(year) = self.year_at(year_at) {
            return Some((year_at + 1, both(NaiveDate::from_ymd_opt(year, month, day))));
        }
        Some((behind, self.calendar.this_or_neighbouring_year(month, day)))
    }

    /// "in May", "in May 2020", "in 2019".
    fn month_or_year(&self, at: usize) -> Found {
        if let Some(year) = self.year_at(at) {
            return Some((at + 1, both(NaiveDate::from_ymd_opt(year, 1, 1))));
        }
        let month = self.month_at(at)?;
        if let Some(year) = self.year_at(at + 1) {
            return Some((at + 2, both(NaiveDate::from_ymd_opt(year, month, 1))));
        }
        Some((at + 1, self.calendar.this_or_neighbouring_year(month, 1)))
    }

    fn weekday(&self, at: usize) -> Found {
        let weekday = self.weekday_at(at)?;
        let meaning = Meaning {
            past: self.calendar.weekday_before(weekday),
            future: self.calendar.weekday_after(weekday),
            since: None,
        };
        Some(self.with_part_of_day(at + 1, meaning))
    }

    fn with_part_of_day(&self, at: usize, meaning: Meaning) -> (usize, Meaning) {
        let part = ["morning", "afternoon", "evening", "night"].iter().any(|word| self.says(at, word));
        (at + usize::from(part), meaning)
    }

    fn word(&self, at: usize) -> &str {
        work::did(1);
        self.text.tokens.get(at).map_or("", |token| self.text.written(token))
    }

    fn says(&self, at: usize, word: &str) -> bool {
        self.word(at).eq_ignore_ascii_case(word)
    }

    fn skip_the(&self, at: usize) -> usize {
        at + usize::from(self.says(at, "the"))
    }

    fn is_comma(&self, at: usize) -> bool {
        self.text.tokens.get(at).is_some_and(|token| token.kind == Kind::Comma)
    }

    fn day_number(&self, at: usize) -> Option<u32> {
        self.text.tokens.get(at).filter(|token| token.is(Class::Number))?;
        self.word(at).trim_end_matches(char::is_alphabetic).parse().ok().filter(|day| (1..=31).contains(day))
    }

    fn year_at(&self, at: usize) -> Option<i32> {
        self.word(at).parse().ok().filter(|year| (1900..=2100).contains(year))
    }

    /// Words that are also something else ("may", "sat", "march") count only with a capital letter.
    fn month_at(&self, at: usize) -> Option<u32> {
        const MONTHS: [&str; 12] =
            ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
        let token = self.text.tokens.get(at).filter(|token| token.is(Class::Month))?;
        let start = self.word(at).get(..3)?;
        let clear = token.capital || (self.word(at).len() > 4 && !start.eq_ignore_ascii_case("mar"));
        let index = MONTHS.iter().position(|month| month.eq_ignore_ascii_case(start) && clear)?;
        u32::try_from(index + 1).ok()
    }

    fn weekday_at(&self, at: usize) -> Option<Weekday> {
        let token = self.text.tokens.get(at).filter(|token| token.is(Class::Weekday))?;
        let clear = token.capital || self.word(at).len() > 4;
        if clear { self.word(at).parse().ok() } else { None }
    }
}
