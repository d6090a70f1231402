//! Days as people name them, seen from Wednesday, 18 March 2026.

use super::facts;

/// The day since which the only fact of a message holds.
fn since(content: &str) -> String {
    let facts = facts(content);
    assert_eq!(facts.len(), 1, "{content}: {facts:?}");
    facts[0].valid_from.date_naive().to_string()
}

#[test]
fn what_happened_is_dated_backwards() {
    for (when, day) in [
        ("yesterday", "2026-03-17"),
        ("the day before yesterday", "2026-03-16"),
        ("last night", "2026-03-17"),
        ("last Friday", "2026-03-13"),
        ("on Friday", "2026-03-13"),
        ("last weekend", "2026-03-14"),
        ("last week", "2026-03-11"),
        ("last month", "2026-02-01"),
        ("last year", "2025-01-01"),
        ("last summer", "2025-06-01"),
        ("two weeks ago", "2026-03-04"),
        ("a couple of days ago", "2026-03-16"),
        ("a year ago", "2025-03-18"),
        ("on 3 May", "2025-05-03"),
        ("on May 3rd", "2025-05-03"),
        ("on the 3rd of May 2024", "2024-05-03"),
        ("on May 3rd, 2024", "2024-05-03"),
        ("on 2024-05-03", "2024-05-03"),
        ("in January", "2026-01-01"),
        ("in 2019", "2019-01-01"),
    ] {
        assert_eq!(since(&format!("I visited Rome {when}.")), day, "{when}");
    }
    assert_eq!(since("Last Friday I visited Rome."), "2026-03-13");
    assert_eq!(since("Yesterday, we visited Rome."), "2026-03-17");
}

#[test]
fn what_is_planned_is_dated_forwards() {
    for (when, day) in [
        ("tomorrow", "2026-03-19"),
        ("next Friday", "2026-03-20"),
        ("on Friday", "2026-03-20"),
        ("next week", "2026-03-25"),
        ("next month", "2026-04-01"),
        ("next year", "2027-01-01"),
        ("in two weeks", "2026-04-01"),
        ("in a month", "2026-04-18"),
        ("on 3 May", "2026-05-03"),
        ("on January 2nd", "2027-01-02"),
        ("this weekend", "2026-03-21"),
        ("in May", "2026-05-01"),
    ] {
        assert_eq!(since(&format!("I'm flying to Rome {when}.")), day, "{when}");
    }
}

#[test]
fn what_lasts_is_dated_from_its_beginning() {
    assert_eq!(since("I've been painting for seven years"), "2019-03-18");
    assert_eq!(since("I've lived in Lyon since 2016"), "2016-01-01");
    assert_eq!(since("I've lived in Lyon for the past two months"), "2026-01-18");
    assert_eq!(since("I live in Lyon"), "2026-03-18");
}

#[test]
fn impossible_days_are_no_days() {
    for content in [
        "I visited Rome on February 31st",
        "I visited Rome 1000 years ago",
        "I visited Rome 99999999 years ago",
    ] {
        assert_eq!(facts(content)[0].object, "Rome", "{content}");
    }
}
