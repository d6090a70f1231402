//! Factline's own tables in PostgreSQL: the ledger with the facts, conversations and dead letters it guards.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use factline_pipeline::{
    attempts::{FailedTry, History},
    dead_letter::DeadLetter,
    lease::Fence,
    ledger::{Horizons, Ledger, Outcome, Recorded, Recording},
    outage::Error,
};
use sqlx::{Connection as _, PgConnection, PgPool};
use uuid::Uuid;

use super::{
    at_opening, attempts, database::Database, dead_letters, effects::Effects, failed, horizons, leases,
    ledger_rows::LedgerRows, pool_with, unusable, was_lost_in_a_race, was_repeated,
};
use crate::failpoints::{self, Step};

/// The consumer group under which rows are recorded that never left the outbox.
pub const RELAY: &str = "relay";

/// What is recorded knows its rows by index; statistics of a fresh table say that it is empty, and a plan made then would
/// go through all of it once it is not. A plan is made once for each connection: with few rows in its arrays, a statement
/// would be planned anew each time, which takes as long as carrying it out. The server ends a statement that takes too
/// long, and the transaction of whoever has gone without its noticing: it holds locks that their successor waits for.
pub(super) const SETTINGS: &str = "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan; SET jit = off; \
                        SET idle_in_transaction_session_timeout = '4s'; \
                        SET statement_timeout = '10s'";

/// How often a transaction is run again at once that lost a race; then it waits as in an outage.
const MOST_RACES: u32 = 20;

/// The store.
#[derive(Debug, Clone)]
pub struct Store {
    pub(super) database: Database,
    /// Whether the last batch had events that were recorded before: the next one probably has some too.
    repeats: Arc<AtomicBool>,
}

impl Store {
    /// Nothing is looked up; a store without its tables is unavailable until they are there.
    #[must_use]
    pub fn new(database: impl Into<Database>) -> Self {
        Self { database: database.into(), repeats: Arc::default() }
    }

    async fn record_on(
        &self,
        connection: &mut PgConnection,
        group: &str,
        fences: &[Fence],
        batch: &[Recording],
    ) -> Result<Recorded, Error> {
        let is_plain = !self.repeats.load(Ordering::Relaxed) && !batch.iter().any(needs_more);
        if is_plain && let Some(recorded) = record_unless_repeated(connection, group, fences, batch).await? {
            return Ok(recorded);
        }
        record_what_is_new(connection, group, fences, batch).await
    }
}

#[async_trait]
impl Ledger for Store {
    async fn record(&self, group: &str, fences: &[Fence], batch: &[Recording]) -> Result<Recorded, Error> {
        let record = async |connection: &mut PgConnection| {
            let mut races = 0;
            loop {
                match self.record_on(connection, group, fences, batch).await {
                    Err(error) if races < MOST_RACES && was_lost_in_a_race(&error) => races += 1,
                    recorded => return recorded,
                }
            }
        };
        let recorded = self.database.timely(record).await?;
        self.repeats.store(recorded.duplicates > 0, Ordering::Relaxed);
        Ok(recorded)
    }

    async fn record_unpublishable(&self, letters: &[DeadLetter]) -> Result<(), Error> {
        self.database.timely(async |connection| record_unpublishable(connection, letters).await).await
    }

    async fn history(&self, group: &str, event_ids: &[Uuid]) -> Result<History, Error> {
        let recorded = self.recorded(group, event_ids).await?;
        let select =
            async |connection: &mut PgConnection| attempts::select_past(connection, group, event_ids).await;
        Ok(History { recorded, tried: self.database.timely(select).await? })
    }

    async fn count_failure(&self, group: &str, failed: FailedTry<'_>) -> Result<(), Error> {
        self.database
            .timely(async |connection| attempts::count_failure(connection, group, failed).await)
            .await
    }

    async fn count_suspects(&self, group: &str, deaths: &[(Uuid, u32)]) -> Result<(), Error> {
        self.database
            .timely(async |connection| attempts::count_suspects(connection, group, deaths).await)
            .await
    }

    async fn absolve(&self, group: &str, deaths: &[(Uuid, u32)]) -> Result<(), Error> {
        self.database.timely(async |connection| attempts::absolve(connection, group, deaths).await).await
    }

    async fn troubled(&self, group: &str, limit: usize) -> Result<Vec<Uuid>, Error> {
        self.database
            .timely(async |connection| attempts::select_troubled(connection, group, limit).await)
            .await
    }

    async fn forget_settled_attempts(&self) -> Result<u64, Error> {
        self.database.timely(async |connection| attempts::forget_settled(connection).await).await
    }

    async fn recorded(&self, group: &str, event_ids: &[Uuid]) -> Result<HashSet<Uuid>, Error> {
        let select = sqlx::query_scalar(
            "SELECT event_id FROM factline.event_ledger WHERE consumer_group = $1 AND event_id = ANY ($2)",
        )
        .bind(group)
        .bind(event_ids);
        let select = async |connection: &mut PgConnection| select.fetch_all(connection).await.map_err(failed);
        let recorded: Vec<Uuid> = self.database.timely(select).await?;
        Ok(recorded.into_iter().collect())
    }

    async fn begin_group(&self, group: &str, not_before: Option<DateTime<Utc>>) -> Result<(), Error> {
        let insert =
            async |connection: &mut PgConnection| horizons::insert_group(connection, group, not_before).await;
        self.database.timely(insert).await
    }

    async fn horizons(&self) -> Result<Horizons, Error> {
        self.database.timely(async |connection: &mut PgConnection| horizons::select(connection).await).await
    }

    async fn forget_before(&self, before: DateTime<Utc>, limit: usize) -> Result<u64, Error> {
        let forget = async |connection: &mut PgConnection| {
            let mut transaction = connection.begin().await.map_err(failed)?;
            let deleted = horizons::delete_ledger_rows_before(&mut transaction, before, limit).await?;
            if deleted > 0 {
                horizons::raise(&mut transaction, before).await?;
            }
            transaction.commit().await.map_err(failed)?;
            Ok(deleted)
        };
        self.database.timely(forget).await
    }

    async fn forgettable_before(&self, before: DateTime<Utc>) -> Result<u64, Error> {
        Ok(self
            .all(horizons::count_ledger_rows_before(before), horizons::counted)
            .await?
            .pop()
            .unwrap_or_default())
    }
}

/// Whether something belongs to it beside what events do.
const fn needs_more(recording: &Recording) -> bool {
    recording.leaves_traces || matches!(recording.outcome, Outcome::DeadLettered(_))
}

/// Records the batch if nothing of it was recorded before, which is so nearly always, and costs half as much to find
/// out by trying. Otherwise nothing is changed, and nothing is the answer.
async fn record_unless_repeated(
    connection: &mut PgConnection,
    group: &str,
    fences: &[Fence],
    batch: &[Recording],
) -> Result<Option<Recorded>, Error> {
    failpoints::pass(Step::BeforeCommit)?;
    match Effects::of(batch).take(connection, fences, group, &LedgerRows::of_recordings(batch)).await {
        Ok(()) => failpoints::pass(Step::AfterCommit)?,
        Err(error) if was_repeated(&error) => return Ok(None),
        Err(error) => return Err(error),
    }
    Ok(Some(Recorded { new: batch.len() as u64, ..Recorded::default() }))
}

async fn record_what_is_new(
    connection: &mut PgConnection,
    group: &str,
    fences: &[Fence],
    batch: &[Recording],
) -> Result<Recorded, Error> {
    let mut transaction = connection.begin().await.map_err(failed)?;
    let connection = &mut *transaction;
    leases::check_fences(connection, fences).await?;
    let mut new_ids = LedgerRows::of_recordings(batch).insert_new(connection, group).await?;
    // An event that stands in the batch twice takes effect where it stands first.
    let new: Vec<&Recording> = batch.iter().filter(|one| new_ids.remove(&one.event_id)).collect();
    Effects::of(new.iter().copied()).take(connection, &[], group, &LedgerRows::none()).await?;
    let letters = new.iter().filter_map(|one| match &one.outcome {
        Outcome::DeadLettered(letter) => Some(letter.as_ref()),
        Outcome::Processed(_) => None,
    });
    let letters: Vec<&DeadLetter> = letters.collect();
    dead_letters::insert(connection, group, &letters).await?;
    attempts::forget_recorded(connection, group, batch).await?;
    failpoints::pass(Step::BeforeCommit)?;
    transaction.commit().await.map_err(failed)?;
    failpoints::pass(Step::AfterCommit)?;
    Ok(Recorded {
        new: new.len() as u64,
        dead_lettered: letters.len() as u64,
        duplicates: (batch.len() - new.len()) as u64,
    })
}

async fn record_unpublishable(connection: &mut PgConnection, letters: &[DeadLetter]) -> Result<(), Error> {
    let mut transaction = connection.begin().await.map_err(failed)?;
    let connection = &mut *transaction;
    let mut new_ids = LedgerRows::of_letters(letters).insert_new(connection, RELAY).await?;
    let new: Vec<&DeadLetter> = letters.iter().filter(|letter| new_ids.remove(&letter.ledger_id)).collect();
    dead_letters::insert(connection, RELAY, &new).await?;
    transaction.commit().await.map_err(failed)
}

/// A pool of connections for a store; nothing is connected until it is used.
///
/// An unreadable URL is an error; it never repeats the URL, which may hold a password.
pub fn pool(url: &str, connections: u32) -> Result<PgPool, sqlx::Error> {
    pool_with(url, connections, SETTINGS)
}

/// Whether the server answers and has the store's tables, the latest of them included.
pub async fn ready(pool: &PgPool) -> Result<(), Error> {
    let there = async |connection: &mut PgConnection| {
        let there = sqlx::query_scalar("SELECT to_regclass('factline.horizons') IS NOT NULL");
        there.fetch_one(connection).await.map_err(failed)
    };
    let there: bool = Database::from(pool.clone()).timely(there).await.map_err(at_opening)?;
    if there {
        Ok(())
    } else {
        Err(unusable("the store has not all of its tables; run `factline migrate up`"))
    }
}
