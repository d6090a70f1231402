//! The chat message: the payload of a `chat.message` event.

use std::{borrow::Cow, fmt};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, de};
use serde_json::Number;

use crate::{event::Event, time};

/// The event type whose payload is a [`Message`].
pub const EVENT_TYPE: &str = "chat.message";

/// A payload that is not a chat message. It will not become one by trying again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not JSON, or a field of the wrong type.
    #[error("payload is not a chat message")]
    Payload(#[source] serde_json::Error),
    /// Some other JSON.
    #[error("payload is not a JSON object")]
    NoObject,
    /// No `content`.
    #[error("payload has no content")]
    NoContent,
}

/// One message of a conversation, borrowed from its event where JSON's escapes let it.
#[derive(Debug, Clone, PartialEq)]
pub struct Message<'a> {
    /// The conversation; the event's key where the payload names none.
    pub conversation_id: Cow<'a, str>,
    /// The message; the event's id where the payload names none.
    pub message_id: Cow<'a, str>,
    /// `user`, `assistant`, `system`, …; `user` where the payload names none.
    pub role: Cow<'a, str>,
    /// Who speaks, where the producer knows.
    pub speaker: Option<Cow<'a, str>>,
    /// What was said.
    pub content: Cow<'a, str>,
    /// When it was said; the event's time where the payload names none.
    pub sent_at: DateTime<Utc>,
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow, default, deserialize_with = "text_or_number")]
    conversation_id: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text_or_number")]
    message_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    role: Option<Text<'a>>,
    #[serde(borrow)]
    speaker: Option<Text<'a>>,
    #[serde(borrow)]
    content: Option<Text<'a>>,
    #[serde(default, deserialize_with = "time::deserialize_optional")]
    sent_at: Option<DateTime<Utc>>,
}

/// An optional text is borrowed only inside a type of its own.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Message<'a> {
    /// Parses the event's payload, once, for all extractors.
    pub fn parse(event: &'a Event) -> Result<Self, Error> {
        // An array of the right length would pass for the fields in their order.
        if event.data.trim_start().starts_with('[') {
            return Err(Error::NoObject);
        }
        let payload: Payload = serde_json::from_str(&event.data).map_err(Error::Payload)?;
        Ok(Self {
            conversation_id: payload.conversation_id.unwrap_or(Cow::Borrowed(&event.key)),
            message_id: payload.message_id.unwrap_or_else(|| event.id.to_string().into()),
            role: payload.role.map_or(Cow::Borrowed("user"), |role| role.0),
            speaker: payload.speaker.map(|speaker| speaker.0).filter(|speaker| !speaker.trim().is_empty()),
            content: payload.content.ok_or(Error::NoContent)?.0,
            sent_at: payload.sent_at.unwrap_or(event.occurred_at),
        })
    }
}

/// Ids come as text or, from producers with numeric keys, as numbers.
fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cow<'de, str>>, D::Error> {
    deserializer.deserialize_any(Id)
}

struct Id;

impl<'de> de::Visitor<'de> for Id {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an id, which is text or a number")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string().into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string().into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Number::from_f64(number).map(|number| number.to_string().into()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(data: &str) -> Event {
        Event { data: data.into(), ..Event::sample() }
    }

    #[test]
    fn what_the_payload_leaves_out_comes_from_the_event() {
        let event = event(r#"{"content": "hello", "speaker": " "}"#);
        let message = Message::parse(&event).unwrap();
        assert_eq!((&*message.conversation_id, &*message.role), ("c-1", "user"));
        assert_eq!((message.message_id, message.speaker), (event.id.to_string().into(), None));
        assert_eq!(message.sent_at, event.occurred_at);
    }

    #[test]
    fn ids_may_be_numbers_and_times_floats() {
        let payload = r#"{"content": "x", "conversation_id": 7, "message_id": 8, "sent_at": 1769067099.568}"#;
        let event = event(payload);
        let message = Message::parse(&event).unwrap();
        assert_eq!((&*message.conversation_id, &*message.message_id), ("7", "8"));
        assert_eq!(message.sent_at.timestamp_millis(), 1_769_067_099_568);
    }

    #[test]
    fn what_is_no_message_says_why() {
        let reason = |data: &str| Message::parse(&event(data)).unwrap_err().to_string();
        assert_eq!(reason(r#"{"role": "user"}"#), "payload has no content");
        assert_eq!(reason(r#"["c", "m", "user", "Ada", "content", 1]"#), "payload is not a JSON object");
        assert_eq!(reason("not { json"), "payload is not a chat message");
        assert_eq!(reason(r#"{"content": 1}"#), "payload is not a chat message");
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(reason(&deep), "payload is not a JSON object");
        assert_eq!(reason(&format!(r#"{{"content": {deep}}}"#)), "payload is not a chat message");
    }
}
