//! The `Extractor` port: what turns one message into facts.

use async_trait::async_trait;

use crate::{chat::Message, event::Event, fact::Extraction};

/// Why an extraction failed, which decides whether it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It may succeed later: a model that is overloaded, a connection that broke.
    #[error("extraction failed for now: {0}")]
    Retryable(String),
    /// It will fail every time: the event becomes a dead letter.
    #[error("extraction failed: {0}")]
    Permanent(String),
}

/// Finds facts in messages.
///
/// A panic costs only the event that caused it: the caller catches it and the event becomes a dead letter.
#[async_trait]
pub trait Extractor: Send + Sync {
    /// A short, stable name, kept with every fact.
    fn name(&self) -> &'static str;

    /// What the message says. Deterministic extractors give the same answer for the same message.
    async fn extract(&self, event: &Event, message: &Message) -> Result<Extraction, Error>;
}
