//! The `DeadLetters` port: what people do with what was set aside.
//!
//! Every change says who made it: it writes the operator log in its own transaction.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use factline_pipeline::{
    chat,
    event::Event,
    ledger::{Outcome, Recording},
    outage::{self, Error},
};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    operator_log::Actor,
    records::{DeadLetterFilter, DeadLetterRecord},
};

/// A dead letter in full.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Letter {
    /// What a listing shows of it.
    #[serde(flatten)]
    pub record: DeadLetterRecord,
    /// The payload, byte for byte.
    #[serde(skip)]
    pub payload: Vec<u8>,
    /// The payload as it came, if somebody has edited it.
    #[serde(serialize_with = "as_text")]
    pub original_payload: Option<Vec<u8>>,
}

#[expect(clippy::ref_option, reason = "serde passes the field itself")]
fn as_text<S: serde::Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    bytes.as_deref().map(String::from_utf8_lossy).serialize(serializer)
}

impl Letter {
    /// Whether this could be its payload: one that can only fail again is not worth keeping. Says what is wrong with it.
    pub fn check_payload(&self, payload: &str) -> Result<(), String> {
        serde_json::from_str::<&RawValue>(payload)
            .map_err(|error| format!("the payload is not JSON: {error}"))?;
        let record = &self.record;
        if record.event_type.as_deref() != Some(chat::EVENT_TYPE) {
            return Ok(());
        }
        let event = Event {
            id: record.ledger_id().unwrap_or(Uuid::nil()),
            source: String::new(),
            event_type: chat::EVENT_TYPE.to_owned(),
            topic: record.topic.clone(),
            key: record.key.clone().unwrap_or_default(),
            occurred_at: record.dead_at,
            created_at: None,
            sequence: None,
            trace: None,
            data: payload.to_owned(),
        };
        chat::Message::parse(&event).map(|_| ()).map_err(|error| outage::chain(&error))
    }
}

/// The time so long ago; none beyond a hundred years, for a database need not know every time that we can write.
#[must_use]
pub fn ago(time: Duration) -> Option<DateTime<Utc>> {
    let delta = TimeDelta::from_std(time).ok().filter(|delta| delta.num_days() <= 100 * 366)?;
    Utc::now().checked_sub_signed(delta)
}

/// Letters that were set aside for equal causes.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CauseGroup {
    /// What they share.
    pub fingerprint: String,
    /// How many they are.
    pub letters: i64,
    /// When the first of them failed first.
    pub first_seen: DateTime<Utc>,
    /// When the last of them was set aside.
    pub last_seen: DateTime<Utc>,
    /// Which stage gave them up.
    pub stage: String,
    /// What kind of failure it is.
    pub error_kind: String,
    /// The topic of the latest one.
    pub topic: String,
    /// The error of the latest one.
    pub error: String,
}

/// A new payload for a letter.
#[derive(Debug, Clone, Copy)]
pub struct Edit<'a> {
    /// What it was when the editor was opened.
    pub from: &'a [u8],
    /// What it shall be.
    pub to: &'a [u8],
}

/// How a letter's story ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Somebody has dealt with its event.
    Resolved,
    /// Nobody ever will; the ledger says so too.
    Discarded,
}

impl End {
    /// The status in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resolved => "resolved",
            Self::Discarded => "discarded",
        }
    }
}

/// A letter that was selected for a reprocessing run and has not been tried in it yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selected {
    /// The letter.
    pub letter: Uuid,
    /// The run.
    pub run: Uuid,
}

/// A try at a letter that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// What kind of failure it was.
    pub kind: String,
    /// The whole chain of errors.
    pub error: String,
    /// Equal causes have equal ones.
    pub fingerprint: String,
}

/// What a letter's event has to say after all.
#[derive(Debug, Clone, Copy)]
pub struct Success<'a> {
    /// The letter's consumer group.
    pub group: &'a str,
    /// What is to be recorded.
    pub recording: &'a Recording,
    /// How often the event was tried, this time included.
    pub attempts: i32,
}

impl Success<'_> {
    pub(crate) fn facts(&self) -> i32 {
        i32::try_from(facts_stated(self.recording)).unwrap_or(i32::MAX)
    }
}

/// How many facts the event states.
pub(crate) fn facts_stated(recording: &Recording) -> usize {
    match &recording.outcome {
        Outcome::Processed(Some(said)) => said.facts.len(),
        Outcome::Processed(None) | Outcome::DeadLettered(_) => 0,
    }
}

/// What recording a letter's event changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The event took effect now.
    Took,
    /// The letter is resolved, for its event had taken effect before.
    KnownBefore,
    /// Nothing was changed: the letter was in this state already, or is gone.
    Settled(String),
}

/// What an hour, a day or a week brought.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Report {
    /// Since when.
    pub since: DateTime<Utc>,
    /// Letters set aside since then.
    pub arrived: i64,
    /// Letters resolved since then.
    pub resolved: i64,
    /// Letters discarded since then.
    pub discarded: i64,
    /// Letters that are open now, whenever they came.
    pub open: i64,
    /// Letters that wait in a reprocessing run now.
    pub reprocessing: i64,
    /// When the oldest open one was set aside.
    pub oldest_open: Option<DateTime<Utc>>,
    /// What arrived, by topic and event type, the most frequent first.
    pub topics: Vec<TopicCount>,
    /// What arrived, by cause.
    pub causes: Vec<CauseGroup>,
    /// What was done, by whom.
    pub actions: Vec<ActionCount>,
}

impl Report {
    /// Of a time in which nothing happened.
    pub(crate) fn empty(since: DateTime<Utc>) -> Self {
        Self {
            since,
            arrived: 0,
            resolved: 0,
            discarded: 0,
            open: 0,
            reprocessing: 0,
            oldest_open: None,
            topics: Vec::new(),
            causes: Vec::new(),
            actions: Vec::new(),
        }
    }
}

/// Letters of one topic and event type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TopicCount {
    /// The topic.
    pub topic: String,
    /// The event type, where one could be read.
    pub event_type: Option<String>,
    /// How many.
    pub letters: i64,
}

/// What one person did how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ActionCount {
    /// Who.
    pub who: String,
    /// What.
    pub action: String,
    /// How often.
    pub times: i64,
}

/// Dead letters, for those who work them. `by` is who does it.
///
/// A letter is `open` until it is `resolved` or `discarded`; one that is selected for a run is `reprocessing` until
/// its turn comes. Every method may run twice, and two of them at once.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// One letter.
    async fn letter(&self, id: Uuid) -> Result<Option<Letter>, Error>;

    /// The letters by their causes, the most frequent cause first.
    async fn causes(&self, filter: &DeadLetterFilter) -> Result<Vec<CauseGroup>, Error>;

    /// What happened since then.
    async fn report(&self, since: DateTime<Utc>) -> Result<Report, Error>;

    /// Gives an unfinished letter another payload, if it is still the one that the edit began with; the first
    /// payload is kept. Says whether it did.
    async fn edit(&self, by: &Actor, id: Uuid, edit: Edit<'_>) -> Result<bool, Error>;

    /// Ends those of these letters that are unfinished; gives them.
    async fn end(&self, by: &Actor, ids: &[Uuid], end: End, note: &str) -> Result<Vec<Uuid>, Error>;

    /// Selects the open letters of the filter for a run, in one statement; says how many.
    async fn select(&self, by: &Actor, run: Uuid, filter: &DeadLetterFilter) -> Result<u64, Error>;

    /// The letters that wait for their turn, in this run or in any; each run's oldest first.
    async fn selected(&self, run: Option<Uuid>) -> Result<Vec<Selected>, Error>;

    /// Makes a selected letter open again and counts the try that follows, whatever comes of it; gives the number of
    /// tries. Nothing if its turn is over.
    async fn begin_try(&self, by: &Actor, selected: Selected) -> Result<Option<i32>, Error>;

    /// Keeps why the try failed; the letter stays as it is.
    async fn record_failure(&self, by: &Actor, selected: Selected, failed: &Failed) -> Result<(), Error>;

    /// Resolves an unfinished letter, and records its event in the same transaction, if the ledger does not have it
    /// as processed: ledger row, facts and conversation, as [`Ledger::record`](factline_pipeline::ledger::Ledger).
    async fn record_success(
        &self,
        by: &Actor,
        selected: Selected,
        success: Success<'_>,
    ) -> Result<Effect, Error>;

    /// Opens what a run has selected and not tried; says how many letters.
    async fn put_back(&self, by: &Actor, run: Uuid) -> Result<u64, Error>;

    /// How many letters ended before then.
    async fn ended_before(&self, before: DateTime<Utc>) -> Result<u64, Error>;

    /// Deletes at most `limit` letters that ended before then; says how many.
    async fn purge(&self, by: &Actor, before: DateTime<Utc>, limit: u32) -> Result<u64, Error>;
}
