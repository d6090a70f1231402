//! What is found and what is not, in tables: one for the relations, one for the traps.

use chrono::{DateTime, Utc};
use factline_pipeline::{
    chat::Message,
    fact::{Fact, Scope},
};

use super::{Patterns, lexicon::Class, words::LISTS};

mod dates;
mod limits;
mod relations;
mod traps;

/// A Wednesday.
const SENT_AT: &str = "2026-03-18T09:00:00Z";

fn message<'a>(role: &'a str, speaker: Option<&'a str>, content: &'a str) -> Message<'a> {
    Message {
        conversation_id: "c".into(),
        message_id: "m".into(),
        role: role.into(),
        speaker: speaker.map(Into::into),
        content: content.into(),
        sent_at: SENT_AT.parse::<DateTime<Utc>>().unwrap(),
    }
}

fn facts(content: &str) -> Vec<Fact> {
    thread_local!(static PATTERNS: Patterns = Patterns::new());
    PATTERNS.with(|patterns| patterns.facts(&message("user", None, content)).facts)
}

/// `predicate: object` of every fact, `; ` between them; other people's with their name before it.
fn found(content: &str) -> String {
    let line = |fact: Fact| {
        let subject = if fact.subject == "user" { String::new() } else { format!("{} ", fact.subject) };
        format!("{subject}{}: {}", fact.predicate, fact.object)
    };
    facts(content).into_iter().map(line).collect::<Vec<_>>().join("; ")
}

/// Words for every cue of the table, the first of each choice and of each class.
pub(in super::super) fn samples_of_cues() -> impl Iterator<Item = String> {
    let word_of = |class: Class| {
        let list = LISTS.iter().find(|(listed, _)| *listed == class).map_or("Ada", |(_, words)| *words);
        list.split([' ', '>']).next().unwrap_or_default()
    };
    let sample = move |cue: &str| {
        let first = |step: &str| step.trim_end_matches('?').split('|').next().unwrap_or_default().to_owned();
        let words = cue.split_whitespace().map(first);
        let words = words.map(|word| Class::named(&word).map_or(word, |class| word_of(class).to_owned()));
        words.collect::<Vec<_>>().join(" ")
    };
    super::relations::table().flat_map(|relation| relation.cues).map(move |cue| sample(cue))
}

fn check(table: &[(&str, &str)]) {
    let wrong: Vec<_> = table
        .iter()
        .map(|(content, expected)| (content, expected, found(content)))
        .filter(|(_, expected, found)| *expected != found)
        .map(|(content, expected, found)| format!("{content}\n  expected {expected}\n  found    {found}"))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Checks what every fact of any message must be, however odd the message; gives their number.
fn assert_sound(content: &str) -> usize {
    let characters: Vec<char> = content.chars().collect();
    let facts = facts(content);
    for fact in &facts {
        let (start, end) = (fact.span_start as usize, fact.span_end as usize);
        assert_eq!(characters[start..end].iter().collect::<String>(), fact.quote);
        assert!(!fact.quote.is_empty() && !fact.object.is_empty() && !fact.predicate.is_empty());
        let plain = |text: &str| !text.chars().any(char::is_control);
        assert!(plain(&fact.object) && plain(&fact.predicate) && plain(&fact.subject) && plain(&fact.quote));
        assert!(fact.object.len() <= 200 && fact.predicate.len() <= 60);
        assert!((0.0..=1.0).contains(&fact.confidence));
        assert_eq!((fact.extractor, fact.extractor_version), ("patterns", super::VERSION));
    }
    facts.len()
}

#[test]
fn a_speaker_is_the_same_person_everywhere_and_an_unnamed_user_is_not() {
    let patterns = Patterns::new();
    let named = &patterns.facts(&message("user", Some("Mira"), "I live in Bergen.")).facts[0];
    assert_eq!((named.subject.as_str(), &named.scope), ("Mira", &Scope::Everywhere));
    let unnamed = &patterns.facts(&message("user", None, "I live in Bergen.")).facts[0];
    assert_eq!((unnamed.subject.as_str(), &unnamed.scope), ("user", &Scope::Conversation));
}

#[test]
fn only_the_users_words_give_facts() {
    let patterns = Patterns::new();
    for role in ["assistant", "system", "tool"] {
        assert!(patterns.facts(&message(role, Some("Mira"), "I live in Bergen.")).facts.is_empty(), "{role}");
    }
}

#[test]
fn the_same_message_gives_the_same_facts() {
    let content = "I live in Oslo with my two cats, I like tea and cake, and I moved here in 2019.";
    assert_eq!(facts(content), facts(content));
}

#[test]
fn something_said_twice_is_one_fact() {
    check(&[("I like tea. Yes, I like tea!", "likes: tea")]);
}
