//! A stream entry: the CloudEvents 1.0 attributes of an event as flat fields.
//!
//! Other producers may append entries too, so parsing is lenient where the meaning is clear (a float is a time,
//! a missing `source` is unknown) and otherwise says what is wrong, keeping every byte for the dead letter.

use chrono::{DateTime, SecondsFormat, Utc};
use uuid::Uuid;

use crate::{
    event::{Event, TraceContext},
    time,
};

/// The fields of one entry as they came from the stream.
pub type RawEntry = Vec<(Vec<u8>, Vec<u8>)>;

/// The attributes that an entry may have, by the names of its fields.
pub const ATTRIBUTES: [&str; 13] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "partitionkey",
    "sequence",
    "traceparent",
    "tracestate",
    "recordedtime",
    "data",
];

/// Why an entry is not an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An attribute that every event needs is not there.
    #[error("attribute {0:?} is missing")]
    Missing(&'static str),
    /// The id cannot be a ledger key.
    #[error("id is not a UUID: {0:?}")]
    Id(String),
    /// An attribute is not UTF-8.
    #[error("attribute {0:?} is not UTF-8")]
    Encoding(&'static str),
    /// `time` is none of the accepted forms.
    #[error("time is unreadable")]
    Time(#[source] time::Error),
    /// A CloudEvents version that Factline does not know.
    #[error("specversion {0:?} is not 1.0")]
    SpecVersion(String),
}

/// An entry or an outbox row that is not an event, with all that could be read of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// Why.
    pub reason: Error,
    /// The id as it came, unreadable characters replaced; empty where there was none.
    pub event_id: String,
    /// The key, where one could be read.
    pub key: Option<String>,
    /// The event type, where one could be read.
    pub event_type: Option<String>,
    /// The data, byte for byte.
    pub data: Vec<u8>,
    /// All other attributes, as text.
    pub attributes: Vec<(String, String)>,
}

/// The fields of an event's entry, in the order in which they are appended.
///
/// The order is the same for every event, which lets Redis share the field names between entries.
pub fn encode(event: &Event, mut field: impl FnMut(&'static str, &str)) {
    let mut id = Uuid::encode_buffer();
    let time = event.occurred_at.to_rfc3339_opts(SecondsFormat::Micros, true);
    field("specversion", "1.0");
    field("id", event.id.as_hyphenated().encode_lower(&mut id));
    field("source", &event.source);
    field("type", &event.event_type);
    field("subject", &event.key);
    field("time", &time);
    field("datacontenttype", "application/json");
    field("partitionkey", &event.key);
    if let Some(sequence) = event.sequence {
        field("sequence", &sequence.to_string());
    }
    if let Some(trace) = &event.trace {
        field("traceparent", &trace.traceparent);
        if let Some(tracestate) = &trace.tracestate {
            field("tracestate", tracestate);
        }
    }
    if let Some(created_at) = event.created_at {
        // An extension that CloudEvents documents: "Recorded Time".
        field("recordedtime", &created_at.to_rfc3339_opts(SecondsFormat::Micros, true));
    }
    field("data", &event.data);
}

#[derive(Default)]
struct Attributes {
    specversion: Option<Vec<u8>>,
    id: Option<Vec<u8>>,
    source: Option<Vec<u8>>,
    event_type: Option<Vec<u8>>,
    subject: Option<Vec<u8>>,
    time: Option<Vec<u8>>,
    partitionkey: Option<Vec<u8>>,
    sequence: Option<Vec<u8>>,
    traceparent: Option<Vec<u8>>,
    tracestate: Option<Vec<u8>>,
    recordedtime: Option<Vec<u8>>,
    data: Option<Vec<u8>>,
}

impl Attributes {
    fn of(raw: RawEntry) -> Self {
        let mut attributes = Self::default();
        for (name, value) in raw {
            let slot = match name.as_slice() {
                b"specversion" => &mut attributes.specversion,
                b"id" => &mut attributes.id,
                b"source" => &mut attributes.source,
                b"type" => &mut attributes.event_type,
                b"subject" => &mut attributes.subject,
                b"time" => &mut attributes.time,
                b"partitionkey" => &mut attributes.partitionkey,
                b"sequence" => &mut attributes.sequence,
                b"traceparent" => &mut attributes.traceparent,
                b"tracestate" => &mut attributes.tracestate,
                b"recordedtime" => &mut attributes.recordedtime,
                b"data" => &mut attributes.data,
                _ => continue,
            };
            *slot = Some(value);
        }
        attributes
    }

    fn check(&self) -> Result<(Uuid, Option<DateTime<Utc>>), Error> {
        if let Some(version) = self.specversion.as_deref().filter(|&version| version != b"1.0") {
            return Err(Error::SpecVersion(lossy(version)));
        }
        let id = self.id.as_deref().ok_or(Error::Missing("id"))?;
        let id = Uuid::try_parse_ascii(id).map_err(|_| Error::Id(lossy(id)))?;
        if self.event_type.is_none() {
            return Err(Error::Missing("type"));
        }
        let Some(data) = &self.data else { return Err(Error::Missing("data")) };
        std::str::from_utf8(data).map_err(|_| Error::Encoding("data"))?;
        let time = self.time.as_deref().map(|time| time::parse(&lossy(time))).transpose();
        Ok((id, time.map_err(Error::Time)?))
    }

    fn into_malformed(self, reason: Error) -> Malformed {
        let rest = [
            ("specversion", &self.specversion),
            ("id", &self.id),
            ("source", &self.source),
            ("subject", &self.subject),
            ("time", &self.time),
            ("partitionkey", &self.partitionkey),
            ("sequence", &self.sequence),
            ("traceparent", &self.traceparent),
            ("tracestate", &self.tracestate),
            ("recordedtime", &self.recordedtime),
        ];
        let attributes = rest
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), lossy(value.as_deref()?))))
            .collect();
        Malformed {
            reason,
            event_id: self.id.as_deref().map(lossy).unwrap_or_default(),
            key: self.partitionkey.as_deref().or(self.subject.as_deref()).map(lossy),
            event_type: self.event_type.as_deref().map(lossy),
            data: self.data.unwrap_or_default(),
            attributes,
        }
    }
}

/// Parses an entry; `appended_at` is its time where it names none.
pub fn parse(topic: &str, raw: RawEntry, appended_at: DateTime<Utc>) -> Result<Event, Box<Malformed>> {
    let attributes = Attributes::of(raw);
    let (id, time) = match attributes.check() {
        Ok(checked) => checked,
        Err(reason) => return Err(Box::new(attributes.into_malformed(reason))),
    };
    let key = attributes.partitionkey.or(attributes.subject).map_or_else(|| id.to_string(), text);
    let trace = attributes.traceparent.map(|traceparent| TraceContext {
        traceparent: text(traceparent),
        tracestate: attributes.tracestate.map(text),
    });
    Ok(Event {
        id,
        source: attributes.source.map(text).unwrap_or_default(),
        event_type: attributes.event_type.map(text).unwrap_or_default(),
        topic: topic.to_owned(),
        key,
        occurred_at: time.unwrap_or(appended_at),
        // For information only: one that cannot be read is passed over.
        created_at: attributes.recordedtime.and_then(|time| time::parse(&lossy(&time)).ok()),
        sequence: attributes.sequence.and_then(|sequence| lossy(&sequence).parse().ok()),
        trace,
        data: attributes.data.map(text).unwrap_or_default(),
    })
}

/// The value as text without a copy; only what is not UTF-8 is copied and repaired.
fn text(value: Vec<u8>) -> String {
    String::from_utf8(value).unwrap_or_else(|error| lossy(error.as_bytes()))
}

fn lossy(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    fn raw(fields: &[(&str, &str)]) -> RawEntry {
        fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
    }

    fn event() -> Event {
        let trace = TraceContext {
            traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into(),
            tracestate: Some("vendor=1".into()),
        };
        Event { trace: Some(trace), ..Event::sample() }
    }

    #[test]
    fn an_encoded_event_parses_to_itself() {
        for event in [event(), Event { trace: None, sequence: None, ..event() }] {
            let mut entry = RawEntry::new();
            encode(&event, |name, value| entry.push((name.into(), value.into())));
            assert_eq!(parse("chat", entry, Utc::now()), Ok(event));
        }
    }

    #[test]
    fn a_float_time_is_a_time_and_a_missing_one_is_the_entrys() {
        let id = Uuid::now_v7().to_string();
        let entry = raw(&[("id", &id), ("type", "t"), ("time", "1769067099.568"), ("data", "{}")]);
        assert_eq!(
            parse("chat", entry, Utc::now()).unwrap().occurred_at.timestamp_millis(),
            1_769_067_099_568
        );
        let appended_at = Utc::now();
        let entry = raw(&[("id", &id), ("type", "t"), ("data", "{}")]);
        let event = parse("chat", entry, appended_at).unwrap();
        assert_eq!((event.occurred_at, event.key.as_str()), (appended_at, id.as_str()));
    }

    #[test]
    fn a_malformed_entry_keeps_its_bytes_and_says_why() {
        let entry = raw(&[("id", "chat-1769035355992"), ("type", "t"), ("data", "not json \u{0}")]);
        let malformed = parse("chat", entry, Utc::now()).unwrap_err();
        assert_eq!(malformed.reason.to_string(), r#"id is not a UUID: "chat-1769035355992""#);
        assert_eq!(malformed.event_id, "chat-1769035355992");
        assert_eq!(malformed.data, b"not json \0");

        let id = Uuid::now_v7().to_string();
        let mut entry = raw(&[("id", &id), ("type", "t")]);
        assert_eq!(parse("chat", entry.clone(), Utc::now()).unwrap_err().reason, Error::Missing("data"));
        entry.push((b"data".to_vec(), vec![0xc3, 0x28]));
        let malformed = parse("chat", entry, Utc::now()).unwrap_err();
        assert_eq!(
            (&malformed.reason, malformed.data.as_slice()),
            (&Error::Encoding("data"), &[0xc3, 0x28][..])
        );
    }

    /// Bytes that look like an attribute's value, and bytes that do not.
    fn value() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            any::<Vec<u8>>(),
            any::<String>().prop_map(String::into_bytes),
            Just(Uuid::now_v7().to_string().into_bytes()),
            any::<f64>().prop_map(|time| time.to_string().into_bytes()),
            any::<i64>().prop_map(|time| time.to_string().into_bytes()),
            Just(b"1.0".to_vec()),
            Just(b"2026-02-30T25:61:00+99:99".to_vec()),
        ]
    }

    fn name() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![9 => select(ATTRIBUTES.to_vec()).prop_map(Into::into), 1 => any::<Vec<u8>>()]
    }

    proptest! {
        #[test]
        fn whatever_an_entry_holds_is_an_event_or_keeps_its_data(raw in vec((name(), value()), 0..16)) {
            let data = raw.iter().rfind(|(name, _)| name == b"data").map(|(_, data)| data.clone());
            match parse("chat", raw, Utc::now()) {
                Ok(event) => {
                    prop_assert_eq!(Some(event.data.as_bytes()), data.as_deref());
                    // Whatever is an event is one again when it is appended, and no payload is too odd to judge.
                    let mut again = RawEntry::new();
                    encode(&event, |name, value| again.push((name.into(), value.into())));
                    prop_assert_eq!(parse("chat", again, Utc::now()).map(|again| again.id), Ok(event.id));
                    crate::chat::Message::parse(&event).ok();
                }
                Err(malformed) => prop_assert_eq!(malformed.data, data.unwrap_or_default()),
            }
        }

        #[test]
        fn no_payload_is_too_odd_to_be_judged(data in "\\PC*|\\{(\"(content|sent_at|role|message_id)\": ?(\\[*|-?[0-9.e]{0,20}|\"\\PC*\"),?)*\\}?") {
            crate::chat::Message::parse(&Event { data, ..Event::sample() }).ok();
        }
    }
}
