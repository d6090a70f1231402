//! A throwaway database on a PostgreSQL server, for measurements that must not touch anybody's tables.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use factline_pipeline::outage::Error;
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool, Row as _,
    postgres::{PgConnectOptions, PgRow},
};
use url::Url;

use super::failed;
use crate::trial::{About, Place, Trial as Port, Window};

pub use self::sight::Sight;

mod history;
mod laden;
mod sight;

/// Keeps those apart who look for leftovers and make databases at the same moment: one that nobody is connected to yet
/// looks like a leftover.
const SET_UP_LOCK: i64 = 0x6661_6374_6c69_6e65;

/// Why there is no throwaway database.
#[derive(Debug, thiserror::Error)]
pub enum SetUp {
    /// The URL cannot be read.
    #[error("the URL of the database cannot be used")]
    Url(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The role may not make databases.
    #[error(
        "role {role:?} may not make the throwaway database that the benchmark wants; as a superuser, run: ALTER ROLE \
         \"{role}\" CREATEDB"
    )]
    NotAllowed {
        /// The role.
        role: String,
    },
    /// The server said something else.
    #[error("the throwaway database cannot be made")]
    Server(#[source] sqlx::Error),
}

/// What makes a database one of ours, besides its name.
const MARK: &str = "factline bench: removed when nobody is connected to it";

/// A database of this name on the server that `url` leads to.
pub struct Ground {
    server: PgConnectOptions,
    name: String,
    /// Says to everybody that the benchmark lives.
    keeper: Option<PgConnection>,
    /// Leads to it.
    pub url: String,
}

impl Ground {
    /// Nothing is made yet.
    pub fn new(url: &str, name: &str) -> Result<Self, SetUp> {
        let server: PgConnectOptions = url.parse().map_err(|error: sqlx::Error| SetUp::Url(error.into()))?;
        Ok(Self { url: url_of(url, name)?, server, name: name.to_owned(), keeper: None })
    }

    /// What the database is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes the database, after those were removed that killed benchmarks left behind; gives their names.
    pub async fn make(&mut self, prefix: &str) -> Result<Vec<String>, SetUp> {
        let mut connection = PgConnection::connect_with(&self.server).await.map_err(SetUp::Server)?;
        let made = self.make_over(&mut connection, prefix).await;
        connection.close().await.map_err(SetUp::Server)?;
        made
    }

    async fn make_over(&mut self, connection: &mut PgConnection, prefix: &str) -> Result<Vec<String>, SetUp> {
        let lock = sqlx::query("SELECT pg_advisory_lock($1)").bind(SET_UP_LOCK);
        lock.execute(&mut *connection).await.map_err(SetUp::Server)?;
        let gone = drop_leftovers(connection, prefix).await.map_err(SetUp::Server)?;
        let create = AssertSqlSafe(format!("CREATE DATABASE {}", quoted(&self.name)));
        match connection.execute(create).await {
            Ok(_) => {
                self.keep(connection).await.map_err(SetUp::Server)?;
                Ok(gone)
            }
            Err(sqlx::Error::Database(refusal)) if refusal.code().as_deref() == Some("42501") => {
                let role = sqlx::query_scalar("SELECT current_user::text").fetch_one(connection).await;
                Err(SetUp::NotAllowed { role: role.map_err(SetUp::Server)? })
            }
            Err(error) => Err(SetUp::Server(error)),
        }
    }

    /// From now on nobody takes it for a leftover, until we are gone.
    async fn keep(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        self.keeper = Some(PgConnection::connect_with(&self.server.clone().database(&self.name)).await?);
        let mark = format!("COMMENT ON DATABASE {} IS '{MARK}'", quoted(&self.name));
        connection.execute(AssertSqlSafe(mark)).await?;
        Ok(())
    }

    /// Removes the database, whoever is still connected.
    pub async fn remove(&self) -> Result<(), Error> {
        let mut connection = PgConnection::connect_with(&self.server).await.map_err(failed)?;
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(&self.name));
        connection.execute(AssertSqlSafe(drop)).await.map_err(failed)?;
        connection.close().await.map_err(failed)
    }
}

/// The same URL with another database.
fn url_of(url: &str, name: &str) -> Result<String, SetUp> {
    let mut url = Url::parse(url).map_err(|error| SetUp::Url(error.into()))?;
    let others: Vec<(String, String)> =
        url.query_pairs().filter(|(key, _)| key != "dbname").map(|(a, b)| (a.into(), b.into())).collect();
    url.set_path(name);
    if others.is_empty() {
        url.set_query(None);
    } else {
        url.query_pairs_mut().clear().extend_pairs(others);
    }
    Ok(url.into())
}

/// Databases of a benchmark that was killed: called and marked as ours are, and nobody is connected.
async fn drop_leftovers(connection: &mut PgConnection, prefix: &str) -> Result<Vec<String>, sqlx::Error> {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT datname::text FROM pg_database AS d WHERE datname ~ ('^' || $1 || '[0-9a-f]{12}(_store)?$') \
         AND shobj_description(d.oid, 'pg_database') = $2 AND pg_has_role(datdba, 'USAGE') \
         AND NOT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.datid = d.oid)",
    )
    .bind(prefix)
    .bind(MARK)
    .fetch_all(&mut *connection)
    .await?;
    for name in &names {
        // Not by force: whoever has connected since then keeps it.
        let drop = format!("DROP DATABASE IF EXISTS {}", quoted(name));
        connection.execute(AssertSqlSafe(drop)).await?;
    }
    Ok(names)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What is asked of the throwaway database.
pub struct Trial {
    pool: PgPool,
    has_outbox: bool,
    has_store: bool,
}

impl Trial {
    /// Over a pool of its own.
    #[must_use]
    pub fn new(pool: PgPool, has_outbox: bool, has_store: bool) -> Self {
        Self { pool, has_outbox, has_store }
    }

    async fn window(&self, select: &'static str) -> Result<Window, Error> {
        sqlx::query_as(select).fetch_one(&self.pool).await.map(Window::of).map_err(failed)
    }
}

impl Window {
    fn of((rows, first, last): (i64, Option<DateTime<Utc>>, Option<DateTime<Utc>>)) -> Self {
        Self { rows: rows.unsigned_abs(), first, last }
    }
}

fn place_of(row: &PgRow) -> Result<Place, sqlx::Error> {
    Ok(Place {
        event_id: row.try_get("event_id")?,
        partition: row.try_get("partition")?,
        position: row.try_get("position")?,
    })
}

#[async_trait]
impl Port for Trial {
    async fn empty(&self) -> Result<(), Error> {
        if self.has_outbox {
            self.pool.execute("TRUNCATE outbox_events RESTART IDENTITY").await.map_err(failed)?;
        }
        if self.has_store {
            let truncate = "TRUNCATE factline.event_ledger, factline.facts, factline.conversations, \
                            factline.dead_letters, factline.event_attempts, factline.leases CASCADE";
            self.pool.execute(truncate).await.map_err(failed)?;
        }
        Ok(())
    }

    async fn settle(&self) -> Result<(), Error> {
        if self.has_outbox {
            self.pool.execute("VACUUM ANALYZE outbox_events").await.map_err(failed)?;
        }
        match self.pool.execute("CHECKPOINT").await {
            Ok(_) => Ok(()),
            // Only for superusers, and members of pg_checkpoint.
            Err(sqlx::Error::Database(refusal)) if refusal.code().as_deref() == Some("42501") => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    async fn marked(&self) -> Result<Window, Error> {
        self.window(
            "SELECT count(*), min(processed_at), max(processed_at) FROM outbox_events WHERE status = 'processed'",
        )
        .await
    }

    async fn recorded(&self) -> Result<Window, Error> {
        self.window(
            "SELECT count(*), min(processed_at), max(processed_at) FROM factline.event_ledger \
             WHERE outcome = 'processed'",
        )
        .await
    }

    async fn places(&self) -> Result<Vec<Place>, Error> {
        let select = "SELECT event_id, partition, position FROM factline.event_ledger \
                      WHERE partition IS NOT NULL AND position IS NOT NULL";
        let rows = sqlx::query(select).fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(place_of).collect::<Result<_, _>>().map_err(failed)
    }

    async fn about(&self) -> Result<About, Error> {
        let (version, process): (String, i32) =
            sqlx::query_as("SELECT split_part(current_setting('server_version'), ' ', 1), pg_backend_pid()")
                .fetch_one(&self.pool)
                .await
                .map_err(failed)?;
        let settings = sqlx::query_as(
            "SELECT name, setting || coalesce(' ' || unit, '') FROM pg_settings WHERE name IN \
             ('fsync', 'synchronous_commit', 'full_page_writes', 'wal_level', 'shared_buffers', 'max_wal_size', \
             'jit') ORDER BY name",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        Ok(About { version: format!("PostgreSQL {version}"), settings, process: u32::try_from(process).ok() })
    }

    async fn log_position(&self) -> Result<Option<u64>, Error> {
        let select = "SELECT (pg_current_wal_lsn() - '0/0')::bigint WHERE NOT pg_is_in_recovery()";
        let position: Option<i64> =
            sqlx::query_scalar(select).fetch_optional(&self.pool).await.map_err(failed)?;
        Ok(position.map(i64::unsigned_abs))
    }
}

#[cfg(test)]
mod tests {
    use super::url_of;

    #[test]
    fn the_throwaway_database_is_on_the_same_server_with_the_same_options() {
        let of = |url: &str| url_of(url, "bench").unwrap();
        assert_eq!(of("postgres://app:secret@db:5433/chat"), "postgres://app:secret@db:5433/bench");
        assert_eq!(of("postgres://db"), "postgres://db/bench");
        assert_eq!(
            of("postgres:///chat?host=/run/postgresql&dbname=chat&sslmode=require"),
            "postgres:///bench?host=%2Frun%2Fpostgresql&sslmode=require"
        );
    }
}
