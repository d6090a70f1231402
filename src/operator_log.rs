//! The `OperatorLog` port: what people did that no transaction of ours was about.
//!
//! What changes a row of the store writes its entry in the same transaction; see [`crate::dead_letters`]. What is done
//! to a running process has no such transaction: it is noted here.

use std::fmt;

use async_trait::async_trait;
use factline_pipeline::outage::Error;
use serde_json::Value;

/// Who does something, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Their name: that of their token, or of their account.
    pub who: String,
    /// The address that they came from; none for somebody at a prompt.
    pub origin: Option<String>,
}

impl Actor {
    /// Somebody at a prompt.
    #[must_use]
    pub fn at_prompt(who: impl Into<String>) -> Self {
        Self { who: who.into(), origin: None }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.who)
    }
}

/// Who did what.
#[async_trait]
pub trait OperatorLog: Send + Sync {
    /// Writes an entry for each target.
    async fn note(&self, by: &Actor, action: &str, targets: &[String], detail: &Value) -> Result<(), Error>;
}
