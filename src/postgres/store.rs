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
use sqlx::{Connection as _, PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;

use super::{
    at_opening, attempts, conversations, database::Database, dead_letters, facts, failed, horizons, leases,
    ledger_rows::LedgerRows, unusable, was_lost_in_a_race,
};
use crate::failpoints::{self, Step};

/// The consumer group under which rows are recorded that never left the outbox.
pub const RELAY: &str = "relay";

/// Opens a transaction that the server ends by itself if we are gone without its noticing: it holds locks that our
/// successor waits for.
pub(super) const BEGIN: &str =
    "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '4s'; SET LOCAL statement_timeout = '10s'";

/// How often a transaction is run again at once that lost a race; then it waits as in an outage.
const MOST_RACES: u32 = 5;

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
        if !self.repeats.load(Ordering::Relaxed)
            && let Some(recorded) = record_unless_repeated(connection, group, fences, batch).await?
        {
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
            let mut transaction = connection.begin_with(BEGIN).await.map_err(failed)?;
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
        let count = async |connection: &mut PgConnection| {
            horizons::count_ledger_rows_before(connection, before).await
        };
        self.database.timely(count).await
    }
}

/// Records the batch if nothing of it was recorded before, which is so nearly always, and costs half as much to find
/// out by trying. Otherwise nothing is changed, and nothing is the answer.
async fn record_unless_repeated(
    connection: &mut PgConnection,
    group: &str,
    fences: &[Fence],
    batch: &[Recording],
) -> Result<Option<Recorded>, Error> {
    let mut transaction = connection.begin_with(BEGIN).await.map_err(failed)?;
    leases::check_fences(&mut transaction, fences).await?;
    if !LedgerRows::of_recordings(batch).insert_all(&mut transaction, group).await? {
        transaction.rollback().await.map_err(failed)?;
        return Ok(None);
    }
    take_effect(transaction, group, batch, &batch.iter().collect::<Vec<_>>()).await.map(Some)
}

async fn record_what_is_new(
    connection: &mut PgConnection,
    group: &str,
    fences: &[Fence],
    batch: &[Recording],
) -> Result<Recorded, Error> {
    let mut transaction = connection.begin_with(BEGIN).await.map_err(failed)?;
    leases::check_fences(&mut transaction, fences).await?;
    let mut new_ids = LedgerRows::of_recordings(batch).insert_new(&mut transaction, group).await?;
    // An event that stands in the batch twice takes effect where it stands first.
    let new: Vec<&Recording> = batch.iter().filter(|one| new_ids.remove(&one.event_id)).collect();
    take_effect(transaction, group, batch, &new).await
}

/// Carries out what the new ones of a batch say, and commits.
async fn take_effect(
    mut transaction: Transaction<'_, Postgres>,
    group: &str,
    batch: &[Recording],
    new: &[&Recording],
) -> Result<Recorded, Error> {
    let connection = &mut *transaction;
    facts::record(connection, new).await?;
    conversations::update(connection, new).await?;
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
    let mut transaction = connection.begin_with(BEGIN).await.map_err(failed)?;
    let connection = &mut *transaction;
    let mut new_ids = LedgerRows::of_letters(letters).insert_new(connection, RELAY).await?;
    let new: Vec<&DeadLetter> = letters.iter().filter(|letter| new_ids.remove(&letter.ledger_id)).collect();
    dead_letters::insert(connection, RELAY, &new).await?;
    transaction.commit().await.map_err(failed)
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
