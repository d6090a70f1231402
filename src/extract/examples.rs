//! Everything that is found in the conversations of `examples/`, as a snapshot: what `factline demo` shows.

use factline_pipeline::{chat::Message, event::Event, extractor::Extractor};
use futures_util::FutureExt;

use super::{Patterns, Title};

const CONVERSATIONS: &str = include_str!("../../examples/conversations.jsonl");

/// An event with nothing but a payload.
pub(super) fn event(data: &str) -> Event {
    Event {
        id: uuid::Uuid::nil(),
        source: "test".to_owned(),
        event_type: factline_pipeline::chat::EVENT_TYPE.to_owned(),
        topic: "chat".to_owned(),
        key: "conversation".to_owned(),
        occurred_at: chrono::DateTime::UNIX_EPOCH,
        created_at: None,
        sequence: None,
        trace: None,
        data: data.to_owned(),
    }
}

fn lines_of(
    extractor: &dyn Extractor,
    render: impl Fn(&Message, &mut Vec<String>, factline_pipeline::fact::Extraction),
) -> String {
    let mut lines = Vec::new();
    for line in CONVERSATIONS.lines() {
        let event = event(line);
        let message = Message::parse(&event).unwrap();
        let extraction = extractor.extract(&event, &message).now_or_never().unwrap().unwrap();
        render(&message, &mut lines, extraction);
    }
    lines.join("\n")
}

#[test]
fn facts_of_the_examples() {
    let facts = lines_of(&Patterns::new(), |message, lines, extraction| {
        for fact in extraction.facts {
            let day = fact.valid_from.date_naive();
            let to = fact.valid_to.map_or_else(String::new, |to| format!(" to {}", to.date_naive()));
            lines.push(format!(
                "{} | {} | {} | {} | {day}{to} | {}",
                message.message_id, fact.subject, fact.predicate, fact.object, fact.quote
            ));
        }
    });
    insta::assert_snapshot!(facts);
}

#[test]
fn titles_of_the_examples() {
    let titles = lines_of(&Title::new(), |message, lines, extraction| {
        let first =
            lines.last().is_none_or(|line| !line.starts_with(&format!("{} |", message.conversation_id)));
        if let Some(title) = extraction.title.filter(|_| first) {
            lines.push(format!("{} | {}", message.conversation_id, title.text));
        }
    });
    insta::assert_snapshot!(titles);
}

#[test]
fn the_examples_are_what_the_documentation_says() {
    let events: Vec<_> = CONVERSATIONS.lines().map(event).collect();
    let messages: Vec<_> = events.iter().map(|event| Message::parse(event).unwrap()).collect();
    let mut conversations: Vec<_> = messages.iter().map(|message| &message.conversation_id).collect();
    conversations.sort_unstable();
    conversations.dedup();
    assert!(messages.len() >= 60 && conversations.len() >= 6);
    assert!(messages.iter().any(|message| message.role == "user" && message.speaker.is_none()));
    assert!(CONVERSATIONS.contains("1777885290.568"), "a producer with float seconds is among them");
}
