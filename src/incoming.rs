//! Events as producers send them: CloudEvents 1.0 in JSON or in HTTP headers, read into what the outbox takes.
//!
//! Of the attributes, `id`, `type`, `time`, `data` and the extensions `topic`, `partitionkey`, `traceparent` and
//! `tracestate` are kept. `subject` is the key of an event that has no `partitionkey`. The outbox's own `source` goes
//! out with all its events: an event's is checked, and not kept; nor are other extensions.

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use factline_pipeline::{event::TraceContext, outbox::NewEvent, time};
use percent_encoding::percent_decode_str;
use serde_json::{Value, value::RawValue};
use uuid::Uuid;

use crate::config::Source;

/// Events that a batch may have.
pub const MOST_EVENTS: usize = 1000;

/// Why something is not what the outbox takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// It is no JSON, or not the JSON that it should be.
    Unreadable(String),
    /// There are too many events.
    TooMany(usize),
    /// An attribute of an event is missing or wrong.
    Attribute {
        /// Which event of a batch, counted from 0.
        index: usize,
        /// Which attribute.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(reason) => f.write_str(reason),
            Self::TooMany(events) => {
                write!(f, "{events} events in one batch: send at most {MOST_EVENTS} at once")
            }
            Self::Attribute { index, name, reason } => {
                write!(f, "event {index}: attribute {name:?} {reason}")
            }
        }
    }
}

impl std::error::Error for Error {}

/// What events are read with.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    /// The topic of events that name none.
    pub default_topic: &'a str,
    /// The trace of events that name none.
    pub trace: Option<TraceContext>,
    /// The only topic that the outbox has, if its table has no column for it.
    pub only_topic: Option<&'a str>,
    /// The only type.
    pub only_type: Option<&'a str>,
}

impl<'a> Reader<'a> {
    /// For this outbox.
    #[must_use]
    pub fn new(source: &'a Source) -> Self {
        let only = |column: &str, value: &'a str| column.is_empty().then_some(value);
        Self {
            default_topic: &source.default_topic,
            trace: None,
            only_topic: only(&source.columns.topic, &source.default_topic),
            only_type: only(&source.columns.event_type, &source.default_event_type),
        }
    }

    /// One event in JSON.
    pub fn structured(&self, text: &str) -> Result<NewEvent, Error> {
        let members = serde_json::from_str(text)
            .map_err(|error| Error::Unreadable(format!("not a CloudEvent in JSON: {error}")))?;
        self.read(0, attributes_of(0, members)?)
    }

    /// A batch in JSON.
    pub fn batch(&self, text: &str) -> Result<Vec<NewEvent>, Error> {
        let batch: Vec<BTreeMap<String, &RawValue>> = serde_json::from_str(text)
            .map_err(|error| Error::Unreadable(format!("not a batch of CloudEvents in JSON: {error}")))?;
        if batch.len() > MOST_EVENTS {
            return Err(Error::TooMany(batch.len()));
        }
        let read = |(index, members)| self.read(index, attributes_of(index, members)?);
        batch.into_iter().enumerate().map(read).collect()
    }

    /// One event whose attributes are these headers, without the `ce-` before their names.
    pub fn binary<'h>(
        &self,
        headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
        body: &str,
    ) -> Result<NewEvent, Error> {
        let mut attributes = Attributes { data: Some(body.to_owned()), ..Attributes::default() };
        for (name, value) in headers {
            let text = std::str::from_utf8(value).ok().map(|text| percent_decode_str(text).decode_utf8());
            let Some(Ok(text)) = text else { return Err(wrong(0, name, "is not UTF-8, percent-encoded")) };
            attributes.texts.insert(name.to_owned(), text.into_owned());
        }
        self.read(0, attributes)
    }

    fn read(&self, index: usize, mut attributes: Attributes) -> Result<NewEvent, Error> {
        let wrong = |name: &str, reason: &str| wrong(index, name, reason);
        let mut take = |name: &str| attributes.take(index, name);
        match take("specversion")?.as_deref() {
            Some("1.0") => {}
            Some(_) => return Err(wrong("specversion", "is not 1.0")),
            None => return Err(wrong("specversion", "is missing: it is 1.0")),
        }
        let missing = |name: &str| wrong(name, "is missing");
        let id = take("id")?.ok_or_else(|| missing("id"))?;
        let id = Uuid::try_parse(&id).map_err(|_| {
            wrong("id", "is not a UUID, which the ledger needs to know the event by: send a UUID")
        })?;
        take("source")?.ok_or_else(|| missing("source"))?;
        let event_type = take("type")?.ok_or_else(|| missing("type"))?;
        if self.only_type.is_some_and(|only| only != event_type) {
            return Err(wrong(
                "type",
                "is not source.default_event_type, and the outbox has no column for it",
            ));
        }
        let topic = take("topic")?.unwrap_or_else(|| self.default_topic.to_owned());
        if topic.is_empty() {
            return Err(wrong("topic", "is missing, and source.default_topic is empty"));
        }
        if self.only_topic.is_some_and(|only| only != topic) {
            return Err(wrong("topic", "is not source.default_topic, and the outbox has no column for it"));
        }
        let (partition_key, subject) = (take("partitionkey")?, take("subject")?);
        let key = partition_key.or(subject).ok_or_else(|| {
            wrong("partitionkey", "is missing, and so is \"subject\": order is kept by key, send one of them")
        })?;
        let occurred_at = take("time")?.map(|text| time::parse(&text)).transpose();
        let occurred_at = occurred_at.map_err(|error| wrong("time", &format!("cannot be read: {error}")))?;
        let trace = trace(take("traceparent")?, take("tracestate")?)
            .map_err(|reason| wrong("traceparent", reason))?;
        if take("datacontenttype")?.is_some_and(|kind| !is_json(&kind)) {
            return Err(wrong("datacontenttype", "is not JSON: Factline takes no other data"));
        }
        let payload = attributes.data.ok_or_else(|| missing("data"))?;
        check_data(&payload).map_err(|reason| wrong("data", &reason))?;
        Ok(NewEvent {
            event_id: Some(id),
            topic,
            key,
            event_type,
            payload,
            occurred_at,
            trace: trace.or_else(|| self.trace.clone()),
        })
    }
}

/// Whether a media type is JSON.
#[must_use]
pub fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

/// W3C trace context: a version, a trace id and a span id that are not all zeros, flags.
#[must_use]
pub fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str, digits: usize| {
        part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let known = |part: &str| part.bytes().any(|byte| byte != b'0');
    match parts[..] {
        [version, trace, span, flags] => {
            hex(version, 2)
                && version != "ff"
                && hex(trace, 32)
                && known(trace)
                && hex(span, 16)
                && known(span)
                && hex(flags, 2)
        }
        _ => false,
    }
}

fn trace(
    traceparent: Option<String>,
    tracestate: Option<String>,
) -> Result<Option<TraceContext>, &'static str> {
    match traceparent {
        Some(traceparent) if is_traceparent(&traceparent) => {
            Ok(Some(TraceContext { traceparent, tracestate }))
        }
        Some(_) => Err("is not one of W3C trace context: 00-TRACE-SPAN-FLAGS"),
        None => Ok(None),
    }
}

/// The outbox keeps it as JSON, and PostgreSQL can't keep this in it.
fn check_data(data: &str) -> Result<(), String> {
    serde_json::from_str::<&RawValue>(data).map_err(|error| format!("is not JSON: {error}"))?;
    if data.contains("\\u0000") && has_escaped_nul(data) {
        return Err("has a NUL character (\\u0000), which no outbox can keep".to_owned());
    }
    Ok(())
}

/// Whether an escape says NUL; a backslash that is escaped itself begins none.
fn has_escaped_nul(json: &str) -> bool {
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        let escape = &rest[at..];
        if escape.starts_with("\\u0000") {
            return true;
        }
        rest = escape.get(2..).unwrap_or_default();
    }
    false
}

fn wrong(index: usize, name: &str, reason: &str) -> Error {
    Error::Attribute { index, name: name.to_owned(), reason: reason.to_owned() }
}

/// An event's attributes as they came.
#[derive(Default)]
struct Attributes {
    texts: BTreeMap<String, String>,
    data: Option<String>,
}

impl Attributes {
    /// The attribute, which has to say something if it is there.
    fn take(&mut self, index: usize, name: &str) -> Result<Option<String>, Error> {
        match self.texts.remove(name) {
            Some(text) if text.is_empty() => Err(wrong(index, name, "is empty")),
            Some(text) if text.contains('\0') => Err(wrong(index, name, "has a NUL character")),
            text => Ok(text),
        }
    }
}

/// The members of an event in JSON. One that is null is not there.
fn attributes_of(index: usize, members: BTreeMap<String, &RawValue>) -> Result<Attributes, Error> {
    let mut attributes = Attributes::default();
    for (name, raw) in members {
        if name == "data" {
            attributes.data = Some(raw.get().to_owned());
            continue;
        }
        let value = serde_json::from_str(raw.get());
        match value.map_err(|error| wrong(index, &name, &format!("cannot be read: {error}")))? {
            Value::Null => {}
            Value::String(text) if name == "data_base64" => attributes.data = Some(decoded(index, &text)?),
            Value::String(text) => {
                attributes.texts.insert(name, text);
            }
            // A producer's clock may tell the time as a number.
            Value::Number(number) => {
                attributes.texts.insert(name, number.to_string());
            }
            Value::Bool(truth) => {
                attributes.texts.insert(name, truth.to_string());
            }
            Value::Array(_) | Value::Object(_) => {
                return Err(wrong(index, &name, "is not text, a number or a truth value"));
            }
        }
    }
    Ok(attributes)
}

fn decoded(index: usize, text: &str) -> Result<String, Error> {
    let refuse = |reason| wrong(index, "data_base64", reason);
    let bytes = STANDARD.decode(text).map_err(|_| refuse("is not base64"))?;
    String::from_utf8(bytes).map_err(|_| refuse("is not JSON in UTF-8: Factline takes no other data"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "0198c0de-0000-7000-8000-000000000001";
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn reader() -> Reader<'static> {
        Reader { default_topic: "chat", trace: None, only_topic: None, only_type: None }
    }

    fn event() -> Value {
        json!({ "specversion": "1.0", "id": ID, "source": "/app", "type": "t", "subject": "c-1", "data": {"a": 1} })
    }

    fn with(name: &str, value: Value) -> Result<NewEvent, String> {
        let mut event = event();
        event[name] = value;
        reader().structured(&event.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_event_says_what_the_outbox_keeps() {
        let read = reader().structured(&event().to_string()).unwrap();
        assert_eq!(read.event_id.unwrap().to_string(), ID);
        assert_eq!((read.topic.as_str(), read.key.as_str(), read.event_type.as_str()), ("chat", "c-1", "t"));
        assert_eq!((read.payload.as_str(), read.occurred_at, read.trace), (r#"{"a":1}"#, None, None));
        assert_eq!(with("topic", json!("mail")).unwrap().topic, "mail");
        assert_eq!(with("partitionkey", json!("k")).unwrap().key, "k");
        let at = with("time", json!("2026-01-22T07:31:39.568Z")).unwrap().occurred_at.unwrap();
        assert_eq!(with("time", json!(1_769_067_099.568)).unwrap().occurred_at, Some(at));
        assert_eq!(with("traceparent", json!(TRACE)).unwrap().trace.unwrap().traceparent, TRACE);
        assert_eq!(with("data_base64", json!("eyJiIjogMn0=")).unwrap().payload, r#"{"b": 2}"#);
        assert_eq!(with("unknown", json!("x")), with("subject", json!("c-1")));
    }

    #[test]
    fn what_is_wrong_is_told_with_the_attribute() {
        for (name, value, reason) in [
            ("id", json!("chat-1"), "attribute \"id\" is not a UUID"),
            ("id", Value::Null, "attribute \"id\" is missing"),
            ("specversion", json!("0.3"), "attribute \"specversion\" is not 1.0"),
            ("source", json!(""), "attribute \"source\" is empty"),
            ("type", json!({}), "attribute \"type\" is not text"),
            ("subject", Value::Null, "attribute \"partitionkey\" is missing"),
            ("time", json!("yesterday"), "attribute \"time\" cannot be read"),
            ("traceparent", json!("00-00-00-00"), "attribute \"traceparent\" is not one"),
            ("datacontenttype", json!("text/xml"), "attribute \"datacontenttype\" is not JSON"),
            ("data_base64", json!("/w=="), "attribute \"data_base64\" is not JSON"),
            ("data_base64", json!("eA=="), "attribute \"data\" is not JSON"),
            ("topic", json!("a\0"), "attribute \"topic\" has a NUL"),
            ("data", json!({ "a": "\0" }), "attribute \"data\" has a NUL"),
        ] {
            let told = with(name, value).unwrap_err();
            assert!(told.starts_with("event 0: ") && told.contains(reason), "{told}");
        }
        assert!(with("data", json!({ "a": "\\u0000" })).is_ok(), "a backslash, and no NUL");
    }

    #[test]
    fn a_batch_names_the_event_that_is_wrong() {
        let mut second = event();
        second["id"] = json!(7);
        let told = reader().batch(&json!([event(), second]).to_string()).unwrap_err().to_string();
        assert!(told.starts_with("event 1: attribute \"id\""), "{told}");
        assert_eq!(reader().batch("[]"), Ok(Vec::new()));
        let many = vec![event(); MOST_EVENTS + 1];
        assert_eq!(reader().batch(&json!(many).to_string()), Err(Error::TooMany(1001)));
    }

    #[test]
    fn headers_are_attributes_percent_encoded() {
        let headers: [(&str, &[u8]); 5] = [
            ("specversion", b"1.0"),
            ("id", ID.as_bytes()),
            ("source", b"/app"),
            ("type", b"t"),
            ("subject", b"caf%C3%A9"),
        ];
        let read = reader().binary(headers, "[1]").unwrap();
        assert_eq!((read.key.as_str(), read.payload.as_str()), ("café", "[1]"));
        let told = reader().binary(headers, "").unwrap_err().to_string();
        assert!(told.contains("attribute \"data\" is not JSON"), "{told}");
    }

    #[test]
    fn a_table_without_a_column_takes_one_value_only() {
        let narrow = Reader { only_topic: Some("chat"), only_type: Some("t"), ..reader() };
        assert!(narrow.structured(&event().to_string()).is_ok());
        for (name, value) in [("topic", "mail"), ("type", "u")] {
            let mut event = event();
            event[name] = json!(value);
            let told = narrow.structured(&event.to_string()).unwrap_err().to_string();
            assert!(told.contains(&format!("attribute {name:?} is not source.default")), "{told}");
        }
    }
}
