//! The `OperatorLog` port: what people did that no transaction of ours was about.
//!
//! What changes a row of the store writes its entry in the same transaction; see [`crate::dead_letters`]. What is done
//! to a running process has no such transaction: it is noted here.

use std::fmt;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use factline_pipeline::outage::Error;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

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

/// Something that was done.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Entry {
    /// Its number, counted upwards.
    pub id: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// By whom.
    pub who: String,
    /// The address that they came from; none for somebody at a prompt.
    pub origin: Option<String>,
    /// What: `resolved`, `edit`, `restart`.
    pub action: String,
    /// To what: a dead letter, a reprocessing run, a path of the tree.
    pub target: String,
    /// What else there is to say.
    #[schema(value_type = Object)]
    pub detail: Value,
}

/// Which entries to list. Newest first.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// By this person.
    pub who: Option<String>,
    /// Of this kind.
    pub action: Option<String>,
    /// About this.
    pub target: Option<String>,
    /// With a number before this one.
    pub before: Option<i64>,
    /// How many at most.
    pub limit: u32,
}

/// Bytes of a note at most: it is kept with every letter, and every entry, that it is about.
const LONGEST_NOTE: usize = 4096;

/// That a note is not too long.
pub fn check_note(note: &str) -> Result<(), String> {
    match note.len() {
        ..=LONGEST_NOTE => Ok(()),
        bytes => Err(format!("the note has {bytes} bytes: write {LONGEST_NOTE} at most")),
    }
}

/// Who did what.
#[async_trait]
pub trait OperatorLog: Send + Sync {
    /// Writes an entry for each target.
    async fn note(&self, by: &Actor, action: &str, targets: &[String], detail: &Value) -> Result<(), Error>;

    /// What was done.
    async fn entries(&self, filter: &Filter) -> Result<Vec<Entry>, Error>;
}
