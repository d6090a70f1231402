//! One try at extracting what an event says: every way in which it may go wrong is that event's own failure.
//!
//! The same for the daemon and for whoever works a dead letter from the command line.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;

use crate::{
    chat,
    dead_letter::{Cause, ErrorKind, Stage},
    event::Event,
    extractor::{self, Extractor},
    ledger::Said,
    outage,
};

/// Why a try failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure it is, if the event is given up now.
    pub kind: ErrorKind,
    /// The whole chain of errors.
    pub error: String,
    /// Whether the next try may succeed.
    pub retryable: bool,
}

impl Failure {
    fn for_good(kind: ErrorKind, error: String) -> Self {
        Self { kind, error, retryable: false }
    }

    /// Why the event was given up at this attempt, counted from 1.
    #[must_use]
    pub fn into_cause(self, attempts: u32) -> Cause {
        Cause { stage: Stage::Extract, kind: self.kind, error: self.error, attempts }
    }
}

/// What the event says; nothing, if it is no chat message. Each extractor has `deadline` to say it.
///
/// A panic is caught. An extractor that holds its thread for ever cannot be stopped from here.
pub async fn try_once(
    extractors: &[Arc<dyn Extractor>],
    event: &Event,
    deadline: Duration,
) -> Result<Option<Box<Said>>, Failure> {
    if event.event_type != chat::EVENT_TYPE {
        return Ok(None);
    }
    let message = chat::Message::parse(event)
        .map_err(|error| Failure::for_good(ErrorKind::Malformed, outage::chain(&error)))?;
    let mut said = Said {
        conversation_id: message.conversation_id.to_string(),
        message_id: message.message_id.to_string(),
        sent_at: message.sent_at,
        title: None,
        facts: Vec::new(),
    };
    for extractor in extractors {
        // Nothing that a panic may have left half done is used again.
        let attempt = AssertUnwindSafe(extractor.extract(event, &message)).catch_unwind();
        let extraction = match tokio::time::timeout(deadline, attempt).await {
            Ok(Ok(Ok(extraction))) => extraction,
            Ok(Ok(Err(error @ extractor::Error::Retryable(_)))) => {
                return Err(Failure {
                    kind: ErrorKind::Exhausted,
                    error: error.to_string(),
                    retryable: true,
                });
            }
            Ok(Ok(Err(error))) => return Err(Failure::for_good(ErrorKind::Permanent, error.to_string())),
            Ok(Err(panic)) => {
                let error = format!("{} panicked: {}", extractor.name(), panic_text(panic.as_ref()));
                return Err(Failure::for_good(ErrorKind::Panic, error));
            }
            Err(_) => {
                let error = format!("{} took longer than {deadline:?}", extractor.name());
                return Err(Failure { kind: ErrorKind::TimedOut, error, retryable: true });
            }
        };
        said.title = said.title.or(extraction.title);
        said.facts.extend(extraction.facts);
    }
    Ok(Some(Box::new(said)))
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
