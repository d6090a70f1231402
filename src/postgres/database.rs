//! A pool whose connections answer in time, or are given up.
//!
//! A connection over which nothing comes back any more, since a firewall forgot it or the server's machine is gone,
//! looks like one whose answer takes long: without a limit of our own a stage waits for it for ever.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use factline_pipeline::outage::Error;
use sqlx::{
    Connection as _, PgConnection, PgPool, Postgres,
    pool::PoolConnection,
    postgres::{PgArguments, PgRow},
    query::Query,
};

use tokio::{runtime::Handle, sync::Notify, task::JoinHandle, time::Instant};

use super::{ACQUIRE_TIMEOUT, failed, unusable, was_lost_in_a_race};
use crate::observation::PoolUse;

/// How long a call may take. Every call works on a bounded batch, and takes milliseconds.
const LIMIT: Duration = Duration::from_secs(10);

/// How long a connection may take to show that it is alive before the pool takes it back. Meanwhile nobody has it.
const RETURN_LIMIT: Duration = Duration::from_secs(1);

/// Opens a transaction in which the planner keeps to the index that gives the rows in order.
///
/// Statistics of a fresh table say that it is empty, and a plan made then scans or sorts everything once it is
/// not.
const BEGIN_BY_INDEX: &str =
    "BEGIN; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off";

/// Opens a transaction that reads whatever somebody asks for, in whatever way is best.
const BEGIN_TO_READ: &str = "BEGIN READ ONLY; SET LOCAL enable_seqscan = on; \
                             SET LOCAL plan_cache_mode = auto";

/// How long a connection is kept at hand before the pool has a look at it: whether it lives, and is not too old.
const AT_HAND: Duration = Duration::from_mins(1);

/// A pool with a limit to every call.
#[derive(Debug, Clone)]
pub struct Database {
    pool: PgPool,
    limit: Duration,
    at_hand: Arc<AtHand>,
    /// Where all connections are made, for they live no longer than the runtime that they were made in: the HTTP
    /// server has one of its own, and what it made would break in the pipeline's hands when it ends.
    home: Option<Handle>,
}

impl From<PgPool> for Database {
    fn from(pool: PgPool) -> Self {
        Self::with_limit(pool, LIMIT)
    }
}

impl Database {
    /// With another limit than ten seconds.
    #[must_use]
    pub fn with_limit(pool: PgPool, limit: Duration) -> Self {
        Self { pool, limit, at_hand: Arc::default(), home: Handle::try_current().ok() }
    }

    async fn acquire(&self) -> Result<Kept, sqlx::Error> {
        let mut from_pool = pin!(self.acquire_from_pool());
        loop {
            // Listening before looking: what is given back in between is not missed.
            let mut given_back = pin!(self.at_hand.given_back.notified());
            given_back.as_mut().enable();
            if let Some(kept) = self.at_hand.take() {
                return Ok(kept);
            }
            tokio::select! {
                () = given_back => {}
                acquired = &mut from_pool => {
                    return Ok(Kept { connection: acquired?, since: Instant::now() });
                }
            }
        }
    }

    async fn acquire_from_pool(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        if let Some(idle) = self.pool.try_acquire() {
            return Ok(idle);
        }
        if self.pool.size() == 0 {
            self.probe().await?;
        }
        let pool = self.pool.clone();
        let Some(home) = &self.home else { return pool.acquire().await };
        let mut acquiring = Acquiring(home.spawn(async move { pool.acquire().await }));
        (&mut acquiring.0).await.unwrap_or(Err(sqlx::Error::WorkerCrashed)) // the process ends
    }

    /// Connects once beside the pool, which says only that it has waited in vain, and does so for seconds.
    async fn probe(&self) -> Result<(), sqlx::Error> {
        let options = self.pool.connect_options();
        match tokio::time::timeout(ACQUIRE_TIMEOUT, PgConnection::connect_with(&options)).await {
            Ok(connection) => connection?.close().await,
            Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }

    /// How many connections are in use.
    pub(super) fn pool_use(&self) -> PoolUse {
        let idle = u32::try_from(self.pool.num_idle() + self.at_hand.count()).unwrap_or(u32::MAX);
        let open = self.pool.size();
        PoolUse { used: open.saturating_sub(idle), idle, max: self.pool.options().get_max_connections() }
    }

    /// Runs a query.
    pub(super) async fn fetch(&self, query: Query<'_, Postgres, PgArguments>) -> Result<Vec<PgRow>, Error> {
        self.timely(async |connection| query.fetch_all(connection).await.map_err(failed)).await
    }

    /// Runs a query that somebody wants an answer to.
    pub(super) async fn select(&self, query: Query<'_, Postgres, PgArguments>) -> Result<Vec<PgRow>, Error> {
        self.select_in(BEGIN_TO_READ, query).await
    }

    /// Runs a query that walks through a table in order.
    pub(super) async fn select_by_index(
        &self,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, Error> {
        self.select_in(BEGIN_BY_INDEX, query).await
    }

    async fn select_in(
        &self,
        begin: &'static str,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, Error> {
        let select = async |connection: &mut PgConnection| {
            let mut transaction = connection.begin_with(begin).await.map_err(failed)?;
            let rows = query.fetch_all(&mut *transaction).await.map_err(failed)?;
            transaction.commit().await.map_err(failed)?;
            Ok(rows)
        };
        self.timely(select).await
    }

    /// Runs a statement that changes rows; says how many.
    pub(super) async fn change(&self, query: Query<'_, Postgres, PgArguments>) -> Result<u64, Error> {
        let change = async |connection: &mut PgConnection| query.execute(connection).await.map_err(failed);
        Ok(self.timely(change).await?.rows_affected())
    }

    /// Does the work on a connection. If it takes longer than the limit, the connection is closed and the result is an
    /// outage.
    pub(super) async fn timely<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut lent = Lent(Some(self.acquire().await.map_err(failed)?));
        let Some(kept) = &mut lent.0 else {
            return Err(unusable("the connection was given back already"));
        };
        let Ok(result) = tokio::time::timeout(self.limit, work(&mut kept.connection)).await else {
            self.at_hand.give_up();
            return Err(unusable(format!("no answer within {:?}", self.limit)));
        };
        match lent.0.take() {
            Some(kept) if result.is_ok() && kept.since.elapsed() < AT_HAND => self.at_hand.keep(kept),
            Some(kept) => kept.back_to_pool(),
            None => {}
        }
        if result.as_ref().is_err_and(|error| error.is_outage() && !was_lost_in_a_race(error)) {
            self.at_hand.give_up();
        }
        result
    }
}

/// Somebody waits for the pool. If they no longer do, nor does this.
struct Acquiring(JoinHandle<Result<PoolConnection<Postgres>, sqlx::Error>>);

impl Drop for Acquiring {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A connection in use. Dropped before its work is done, because that took too long or nobody waits for it any more,
/// it is closed: what is on its way there would answer the next one's question.
struct Lent(Option<Kept>);

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(kept) = self.0.take() {
            kept.close();
        }
    }
}

/// A connection, and since when the pool has not seen it.
#[derive(Debug)]
struct Kept {
    connection: PoolConnection<Postgres>,
    since: Instant,
}

impl Kept {
    fn close(self) {
        drop(self.connection.detach());
    }

    /// The pool asks the connection whether it is alive before it takes it back, and would wait for ever.
    fn back_to_pool(mut self) {
        let returned = self.connection.return_to_pool();
        tokio::spawn(tokio::time::timeout(RETURN_LIMIT, returned));
    }
}

/// Connections that were used a moment ago and worked. The pool's question costs a round trip each time, in which the
/// next call would take another connection, whose statements the server has not at hand.
#[derive(Debug, Default)]
struct AtHand {
    connections: Mutex<Vec<Kept>>,
    given_back: Notify,
}

/// Whoever has a connection gives it back to the pool on a runtime, and there may be none any more.
impl Drop for AtHand {
    fn drop(&mut self) {
        self.take_all().into_iter().for_each(Kept::close);
    }
}

impl AtHand {
    /// The one that was used last.
    fn take(&self) -> Option<Kept> {
        self.lock().pop()
    }

    /// What broke one of them may have broken the others: the pool has a look at them.
    fn give_up(&self) {
        self.take_all().into_iter().for_each(Kept::back_to_pool);
    }

    fn take_all(&self) -> Vec<Kept> {
        std::mem::take(&mut *self.lock())
    }

    fn keep(&self, kept: Kept) {
        self.lock().push(kept);
        self.given_back.notify_one();
    }

    fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
