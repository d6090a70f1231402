//! Factline's own tables in the embedded database: the ledger with the facts, conversations and dead letters it guards.

use std::{borrow::Cow, collections::HashSet};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use factline_pipeline::{
    attempts::{FailedTry, History},
    conversation,
    dead_letter::DeadLetter,
    lease::Fence,
    ledger::{Horizons, Ledger, Outcome, Recorded, Recording},
    outage::Error,
};
use sqlx::{SqliteConnection, error::BoxDynError};
use uuid::Uuid;

use super::{
    Database, attempts, dead_letters, facts, failed, horizons, json, leases,
    rows::{Insert, Parameters},
    text_of, unavailable,
};
use crate::{
    failpoints::{self, Step},
    nul::without_nul,
};

/// The consumer group under which rows are recorded that never left the outbox.
pub const RELAY: &str = "relay";

/// The store: ledger, facts, conversations, dead letters and leases.
#[derive(Debug, Clone)]
pub struct Store {
    pub(super) database: Database,
}

impl Store {
    /// Nothing is looked up; a database without the tables is unavailable until they are there.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self { database }
    }
}

#[async_trait]
impl Ledger for Store {
    async fn record(&self, group: &str, fences: &[Fence], batch: &[Recording]) -> Result<Recorded, Error> {
        let mut transaction = self.database.write().await?;
        let connection = &mut *transaction;
        leases::check_fences(connection, fences).await?;
        let rows: Vec<LedgerRow<'_>> = batch.iter().map(LedgerRow::of_recording).collect();
        let mut new_ids = insert_ledger_rows(connection, group, &rows).await?;
        // An event that stands in the batch twice takes effect where it stands first.
        let new: Vec<&Recording> = batch.iter().filter(|one| new_ids.remove(&one.event_id)).collect();
        facts::record(connection, &new).await?;
        update_conversations(connection, &new).await?;
        let letters = new.iter().filter_map(|one| match &one.outcome {
            Outcome::DeadLettered(letter) => Some(letter.as_ref()),
            Outcome::Processed(_) => None,
        });
        let dead_lettered = dead_letters::insert(connection, group, letters).await?;
        attempts::forget_recorded(connection, group, batch).await?;
        failpoints::pass(Step::BeforeCommit)?;
        transaction.commit().await.map_err(failed)?;
        failpoints::pass(Step::AfterCommit)?;
        Ok(Recorded { new: new.len() as u64, dead_lettered, duplicates: (batch.len() - new.len()) as u64 })
    }

    async fn record_unpublishable(&self, letters: &[DeadLetter]) -> Result<(), Error> {
        let mut transaction = self.database.write().await?;
        let connection = &mut *transaction;
        let rows: Vec<LedgerRow<'_>> = letters.iter().map(LedgerRow::of_letter).collect();
        let mut new_ids = insert_ledger_rows(connection, RELAY, &rows).await?;
        let new = letters.iter().filter(|letter| new_ids.remove(&letter.ledger_id));
        dead_letters::insert(connection, RELAY, new).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn history(&self, group: &str, event_ids: &[Uuid]) -> Result<History, Error> {
        let recorded = self.recorded(group, event_ids).await?;
        let tried = attempts::select_past(self.database.reader(), group, event_ids).await?;
        Ok(History { recorded, tried })
    }

    async fn count_failure(&self, group: &str, failure: FailedTry<'_>) -> Result<(), Error> {
        let mut transaction = self.database.write().await?;
        attempts::count_failure(&mut transaction, group, failure).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn count_suspects(&self, group: &str, deaths: &[(Uuid, u32)]) -> Result<(), Error> {
        let mut transaction = self.database.write().await?;
        attempts::count_suspects(&mut transaction, group, deaths).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn absolve(&self, group: &str, deaths: &[(Uuid, u32)]) -> Result<(), Error> {
        let mut transaction = self.database.write().await?;
        attempts::absolve(&mut transaction, group, deaths).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn troubled(&self, group: &str, limit: usize) -> Result<Vec<Uuid>, Error> {
        attempts::select_troubled(self.database.reader(), group, limit).await
    }

    async fn forget_settled_attempts(&self) -> Result<u64, Error> {
        let mut transaction = self.database.write().await?;
        let forgotten = attempts::forget_settled(&mut transaction).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(forgotten)
    }

    async fn recorded(&self, group: &str, event_ids: &[Uuid]) -> Result<HashSet<Uuid>, Error> {
        let recorded: Vec<String> = sqlx::query_scalar(
            "SELECT l.event_id FROM json_each(?2) AS asked CROSS JOIN event_ledger AS l \
             ON l.consumer_group = ?1 AND l.event_id = asked.value",
        )
        .bind(group)
        .bind(json(event_ids)?)
        .fetch_all(self.database.reader())
        .await
        .map_err(failed)?;
        recorded.iter().map(|id| Uuid::parse_str(id)).collect::<Result<_, _>>().map_err(unavailable)
    }

    async fn begin_group(&self, group: &str, not_before: Option<DateTime<Utc>>) -> Result<(), Error> {
        let mut transaction = self.database.write().await?;
        horizons::insert_group(&mut transaction, group, not_before).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn horizons(&self) -> Result<Horizons, Error> {
        horizons::select(self.database.reader()).await
    }

    async fn forget_before(&self, before: DateTime<Utc>, limit: usize) -> Result<u64, Error> {
        let mut transaction = self.database.write().await?;
        let deleted = horizons::delete_ledger_rows_before(&mut transaction, before, limit).await?;
        if deleted > 0 {
            horizons::raise(&mut transaction, before).await?;
        }
        transaction.commit().await.map_err(failed)?;
        Ok(deleted)
    }

    async fn forgettable_before(&self, before: DateTime<Utc>) -> Result<u64, Error> {
        horizons::count_ledger_rows_before(self.database.reader(), before).await
    }
}

pub(super) struct LedgerRow<'a> {
    event_id: Uuid,
    topic: Cow<'a, str>,
    partition: Option<u16>,
    position: Option<Cow<'a, str>>,
    event_type: Cow<'a, str>,
    outcome: &'static str,
    facts: usize,
    attempts: u32,
    occurred_at: Option<String>,
    traceparent: Option<Cow<'a, str>>,
}

impl<'a> LedgerRow<'a> {
    pub(super) fn of_recording(recording: &'a Recording) -> Self {
        let Recording { event_id, entry, outcome, attempts, .. } = recording;
        let event = entry.event.as_ref().ok();
        let trace = event.and_then(|event| event.trace.as_ref());
        let traceparent = trace.map(|trace| without_nul(&trace.traceparent));
        let place = |row| Self {
            event_id: *event_id,
            partition: Some(entry.partition.number),
            position: Some(entry.position.to_string().into()),
            occurred_at: event.map(|event| text_of(event.occurred_at)),
            traceparent,
            ..row
        };
        match outcome {
            Outcome::DeadLettered(letter) => place(Self::of_letter(letter)),
            Outcome::Processed(said) => place(Self {
                topic: (&*entry.partition.topic).into(),
                event_type: event.map_or("", |event| &event.event_type).into(),
                outcome: "processed",
                facts: said.as_ref().map_or(0, |said| said.facts.len()),
                attempts: *attempts,
                ..Self::default()
            }),
        }
    }

    /// In the order of the columns of [`INSERT_LEDGER`].
    fn bind(&self, group: &str, parameters: &mut Parameters) -> Result<(), BoxDynError> {
        parameters.add(group)?;
        parameters.add(self.event_id.to_string())?;
        parameters.add(&*self.topic)?;
        parameters.add(self.partition)?;
        parameters.add(self.position.as_deref())?;
        parameters.add(&*self.event_type)?;
        parameters.add(self.outcome)?;
        parameters.add(i64::try_from(self.facts)?)?;
        parameters.add(self.attempts)?;
        parameters.add(self.occurred_at.as_deref())?;
        parameters.add(self.traceparent.as_deref())
    }

    /// A dead letter's own row must not be refused for what the letter is about.
    fn of_letter(letter: &'a DeadLetter) -> Self {
        Self {
            event_id: letter.ledger_id,
            topic: without_nul(&letter.topic),
            partition: letter.partition,
            position: letter.position.as_deref().map(without_nul),
            event_type: letter.event_type.as_deref().map(without_nul).unwrap_or_default(),
            outcome: "dead_lettered",
            facts: 0,
            attempts: letter.cause.attempts,
            occurred_at: letter.occurred_at.map(text_of),
            traceparent: None,
        }
    }
}

impl Default for LedgerRow<'_> {
    fn default() -> Self {
        Self {
            event_id: Uuid::nil(),
            topic: Cow::default(),
            partition: None,
            position: None,
            event_type: Cow::default(),
            outcome: "processed",
            facts: 0,
            attempts: 0,
            occurred_at: None,
            traceparent: None,
        }
    }
}

/// One row an event; gives the ids of those that were not there.
pub(super) async fn insert_ledger_rows(
    connection: &mut SqliteConnection,
    group: &str,
    rows: &[LedgerRow<'_>],
) -> Result<HashSet<Uuid>, Error> {
    let inserted =
        INSERT_LEDGER.execute(connection, rows, |row, parameters| row.bind(group, parameters)).await?;
    let ids: HashSet<Uuid> = rows.iter().map(|row| row.event_id).collect();
    if inserted == ids.len() as u64 {
        return Ok(ids);
    }
    // Nobody else can have inserted any since: they are the last ones.
    let inserted: Vec<String> =
        sqlx::query_scalar("SELECT event_id FROM event_ledger ORDER BY rowid DESC LIMIT ?1")
            .bind(i64::try_from(inserted).unwrap_or(i64::MAX))
            .fetch_all(connection)
            .await
            .map_err(failed)?;
    inserted.iter().map(|id| Uuid::parse_str(id)).collect::<Result<_, _>>().map_err(unavailable)
}

static INSERT_LEDGER: Insert = Insert::new(
    "INSERT INTO event_ledger (consumer_group, event_id, topic, partition, position, event_type, outcome, facts, \
     attempts, occurred_at, traceparent, processed_at)",
    11,
    concat!("*, ", now_once!()),
    "ON CONFLICT (consumer_group, event_id) DO NOTHING",
);

// SQLite has no exclusive or: it is the bits that either has without those that both have.
static UPDATE_CONVERSATIONS: Insert = Insert::new(
    "INSERT INTO conversations AS c (conversation_id, title, title_source, message_count, checksum, watermark_ms, \
     updated_at)",
    6,
    concat!("*, ", now_once!()),
    "ON CONFLICT (conversation_id) DO UPDATE SET \
     title_source = CASE WHEN c.title IS NULL THEN excluded.title_source ELSE c.title_source END, \
     title = coalesce(c.title, excluded.title), message_count = c.message_count + excluded.message_count, \
     checksum = (c.checksum | excluded.checksum) & ~(c.checksum & excluded.checksum), \
     watermark_ms = max(c.watermark_ms, excluded.watermark_ms), updated_at = excluded.updated_at",
);

/// Counts the messages, moves the watermarks, keeps the first titles.
pub(super) async fn update_conversations(
    connection: &mut SqliteConnection,
    new: &[&Recording],
) -> Result<(), Error> {
    let changes = conversation::changes(new.iter().copied());
    let bind = |change: conversation::Change<'_>, parameters: &mut Parameters| {
        parameters.add(change.conversation_id)?;
        parameters.add(change.title.map(|title| title.text.as_str()))?;
        parameters.add(change.title.map(|title| title.source))?;
        parameters.add(change.messages)?;
        parameters.add(change.checksum)?;
        parameters.add(change.watermark_ms)
    };
    UPDATE_CONVERSATIONS.execute(connection, changes, bind).await?;
    Ok(())
}
