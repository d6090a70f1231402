//! A pool whose connections answer in time, or are given up.
//!
//! A connection over which nothing comes back any more, since a firewall forgot it or the server's machine is gone,
//! looks like one whose answer takes long: without a limit of our own a stage waits for it for ever.

use std::time::Duration;

use factline_pipeline::outage::Error;
use sqlx::{
    Connection as _, PgConnection, PgPool, Postgres,
    pool::PoolConnection,
    postgres::{PgArguments, PgRow},
    query::Query,
};

use tokio::runtime::Handle;

use super::{ACQUIRE_TIMEOUT, failed, unusable};
use crate::observation::PoolUse;

/// How long a call may take. Every call works on a bounded batch, and takes milliseconds.
const LIMIT: Duration = Duration::from_secs(10);

/// How long a connection may take to show that it is alive before the pool takes it back. Meanwhile nobody has it.
const RETURN_LIMIT: Duration = Duration::from_secs(1);

/// Opens a transaction in which the planner keeps to the index that gives the rows in order.
///
/// Statistics of a fresh table say that it is empty, and a plan made then scans or sorts everything once it is
/// not. These statements know their rows by index, so nothing else is ever better. The server ends the transaction by
/// itself if we are gone without its noticing.
macro_rules! begin_by_index {
    ($also:literal) => {
        concat!(
            "BEGIN; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off; \
             SET LOCAL idle_in_transaction_session_timeout = '4s'; SET LOCAL statement_timeout = '10s'",
            $also
        )
    };
}

const BEGIN_BY_INDEX: &str = begin_by_index!("");

/// For marks, which need not be on the disk yet: after a crash of the server rows whose marks it lost are published
/// again, and the ledger knows their events.
const BEGIN_TO_MARK: &str = begin_by_index!("; SET LOCAL synchronous_commit = off");

/// Opens a transaction that reads whatever somebody asks for: a query that nobody waits for any more ends as well.
const BEGIN_TO_READ: &str = "BEGIN READ ONLY; SET LOCAL idle_in_transaction_session_timeout = '4s'; \
                             SET LOCAL statement_timeout = '10s'";

/// A pool with a limit to every call.
#[derive(Debug, Clone)]
pub struct Database {
    pool: PgPool,
    limit: Duration,
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
        Self { pool, limit, home: Handle::try_current().ok() }
    }

    async fn acquire(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        if let Some(idle) = self.pool.try_acquire() {
            return Ok(idle);
        }
        if self.pool.size() == 0 {
            self.probe().await?;
        }
        let pool = self.pool.clone();
        let Some(home) = &self.home else { return pool.acquire().await };
        let acquiring = home.spawn(async move { pool.acquire().await });
        acquiring.await.unwrap_or(Err(sqlx::Error::WorkerCrashed)) // the process ends
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
        let idle = u32::try_from(self.pool.num_idle()).unwrap_or(u32::MAX);
        let open = self.pool.size();
        PoolUse { used: open.saturating_sub(idle), idle, max: self.pool.options().get_max_connections() }
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

    /// Runs a statement that walks through a table in order and changes rows; says how many.
    pub(super) async fn change_by_index(
        &self,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<u64, Error> {
        self.change_in(BEGIN_BY_INDEX, query).await
    }

    /// The same for marks that may be lost if the server crashes.
    pub(super) async fn mark_by_index(&self, query: Query<'_, Postgres, PgArguments>) -> Result<u64, Error> {
        self.change_in(BEGIN_TO_MARK, query).await
    }

    async fn change_in(
        &self,
        begin: &'static str,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<u64, Error> {
        let change = async |connection: &mut PgConnection| {
            let mut transaction = connection.begin_with(begin).await.map_err(failed)?;
            let changed = query.execute(&mut *transaction).await.map_err(failed)?;
            transaction.commit().await.map_err(failed)?;
            Ok(changed.rows_affected())
        };
        self.timely(change).await
    }

    /// Does the work on a connection. If it takes longer than the limit, the connection is closed and the result is an
    /// outage.
    pub(super) async fn timely<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut lent = Lent(Some(self.acquire().await.map_err(failed)?));
        let Some(connection) = lent.0.as_deref_mut() else {
            return Err(unusable("the connection was given back already"));
        };
        let Ok(result) = tokio::time::timeout(self.limit, work(connection)).await else {
            return Err(unusable(format!("no answer within {:?}", self.limit)));
        };
        lent.give_back();
        result
    }
}

/// A connection in use. Dropped before its work is done, because that took too long or nobody waits for it any more,
/// it is closed: what is on its way there would answer the next one's question.
struct Lent(Option<PoolConnection<Postgres>>);

impl Lent {
    /// The pool asks the connection whether it is alive before it takes it back, and would wait for ever.
    fn give_back(mut self) {
        if let Some(mut connection) = self.0.take() {
            let returned = connection.return_to_pool();
            tokio::spawn(tokio::time::timeout(RETURN_LIMIT, returned));
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}
