//! Arithmetic on the calendar, relative to the day on which a message was sent.
//!
//! Everything may fail: a message may claim to have been sent on the calendar's last day.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveTime, Utc, Weekday};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Meaning {
    /// The day, if the expression speaks of the past.
    pub(super) past: Option<NaiveDate>,
    /// The day, if it speaks of the future.
    pub(super) future: Option<NaiveDate>,
    /// The first day of what lasts until now: "since May", "for three years".
    pub(super) since: Option<NaiveDate>,
}

/// Midnight of a day.
pub(super) fn midnight(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}

/// The day on which a message was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Calendar {
    pub(super) today: NaiveDate,
}

impl Calendar {
    pub(super) fn nearest_weekend(self) -> Meaning {
        let saturday = self.monday().and_then(|monday| monday.checked_add_days(Days::new(5)));
        let before = if saturday.is_some_and(|day| day <= self.today) {
            saturday
        } else {
            self.monday().and_then(|monday| monday.checked_sub_days(Days::new(2)))
        };
        Meaning { past: before, future: saturday, since: None }
    }

    /// A day of the year, as it came last and as it comes next. February 31st is a day that never is.
    pub(super) fn this_or_neighbouring_year(self, month: u32, day: u32) -> Meaning {
        let in_year = |years: i32| NaiveDate::from_ymd_opt(self.today.year().checked_add(years)?, month, day);
        Meaning {
            past: [0, -1].into_iter().filter_map(in_year).find(|day| *day <= self.today),
            future: [0, 1].into_iter().filter_map(in_year).find(|day| *day >= self.today),
            since: None,
        }
    }

    pub(super) fn back(self, days: u64) -> Option<NaiveDate> {
        self.today.checked_sub_days(Days::new(days))
    }

    pub(super) fn ahead(self, days: u64) -> Option<NaiveDate> {
        self.today.checked_add_days(Days::new(days))
    }

    pub(super) fn shifted_back(self, days: u64, months: u32) -> Option<NaiveDate> {
        self.back(days)?.checked_sub_months(Months::new(months))
    }

    pub(super) fn weekday_before(self, weekday: Weekday) -> Option<NaiveDate> {
        let days = self.today.weekday().days_since(weekday);
        self.back(u64::from(if days == 0 { 7 } else { days }))
    }

    pub(super) fn weekday_after(self, weekday: Weekday) -> Option<NaiveDate> {
        let days = weekday.days_since(self.today.weekday());
        self.ahead(u64::from(if days == 0 { 7 } else { days }))
    }

    pub(super) fn monday(self) -> Option<NaiveDate> {
        self.back(u64::from(self.today.weekday().num_days_from_monday()))
    }

    pub(super) fn first_of_month(self) -> Option<NaiveDate> {
        self.today.with_day(1)
    }

    pub(super) fn first_of_year(self) -> Option<NaiveDate> {
        self.first(1)
    }

    pub(super) fn first(self, month: u32) -> Option<NaiveDate> {
        NaiveDate::from_ymd_opt(self.today.year(), month, 1)
    }

    /// The first day of a season of this year, as the northern half of the world counts them.
    pub(super) fn season(self, word: &str) -> Option<NaiveDate> {
        match word {
            "spring" => self.first(3),
            "summer" => self.first(6),
            "autumn" | "fall" => self.first(9),
            "winter" | "christmas" => self.first(12),
            _ => None,
        }
    }
}

pub(super) fn past(day: Option<NaiveDate>) -> Meaning {
    Meaning { past: day, ..Meaning::default() }
}

pub(super) fn future(day: Option<NaiveDate>) -> Meaning {
    Meaning { future: day, ..Meaning::default() }
}

pub(super) fn both(day: Option<NaiveDate>) -> Meaning {
    Meaning { past: day, future: day, since: None }
}

pub(super) fn since(day: Option<NaiveDate>) -> Meaning {
    Meaning { since: day, ..Meaning::default() }
}
