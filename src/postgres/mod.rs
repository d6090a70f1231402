//! The PostgreSQL adapters. All SQL for PostgreSQL lives in this folder.
//!
//! # Layout
//!
//! - [`database`]: a pool whose connections answer in time, or are given up;
//! - [`outbox`]: the application's outbox table, whatever its columns are called;
//! - [`store`]: the ledger, with its `ledger_rows`, the `effects` of events, `facts`, `dead_letters`, `attempts` and `horizons`;
//!   `leases`; `records`, what there is to read; `operator_log`, who did what;
//! - [`migrations`]: both sets of tables;
//! - for measurements: [`trial`], a throwaway database; [`bare`], the store's statements without anything around them;
//!   [`handwritten`], what somebody would write instead.

use std::{error::Error as StdError, str::FromStr, time::Duration};

use factline_pipeline::outage::Error;
use sqlx::{
    Executor as _, PgPool,
    error::DatabaseError,
    postgres::{PgConnectOptions, PgPoolOptions},
};

mod attempts;
pub mod bare;
pub mod database;
mod dead_letters;
mod deployment;
mod effects;
mod evidence;
mod facts;
pub mod handwritten;
mod horizons;
mod leases;
mod ledger_rows;
pub mod migrations;
mod operator_log;
pub mod outbox;
mod records;
mod server;
pub mod store;
pub mod trial;

pub use database::Database;

/// How long to wait until a connection of the pool is free, or a new one is made.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// A pool of connections as the server sets them up; nothing is connected until it is used.
///
/// An unreadable URL is an error; it never repeats the URL, which may hold a password.
pub fn pool(url: &str, connections: u32) -> Result<PgPool, sqlx::Error> {
    Ok(options(connections).connect_lazy_with(server(url)?))
}

/// A pool of connections on each of which these statements are run first.
fn pool_with(url: &str, connections: u32, settings: &'static str) -> Result<PgPool, sqlx::Error> {
    let options = options(connections).after_connect(move |connection, _| {
        Box::pin(async move { connection.execute(settings).await.map(drop) })
    });
    Ok(options.connect_lazy_with(server(url)?))
}

fn server(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    Ok(PgConnectOptions::from_str(url)?.application_name("factline"))
}

fn options(connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // A ping before each use costs a round trip; a connection that broke is an outage like any other.
        .test_before_acquire(false)
}

/// The error as it is told: a pool that could make no connection says only that it waited.
pub(crate) fn told(error: sqlx::Error) -> Error {
    failed(error)
}

/// Tells data that PostgreSQL will always refuse from everything that may pass.
fn failed(error: sqlx::Error) -> Error {
    let service = "postgres";
    if refuses_data(&error) {
        Error::Data { service, source: Box::new(error) }
    } else {
        Error::Unavailable { service, source: Box::new(error) }
    }
}

/// Whoever opens a database and is told that it, or the role, does not exist, or that the password is wrong, need not
/// wait. One that worked before is only away: somebody renames or restores it, or changes a password.
fn at_opening(error: Error) -> Error {
    match error {
        Error::Unavailable { service, source } if refuses_whom_it_is_given(&*source) => {
            Error::Misconfigured { service, source }
        }
        error => error,
    }
}

/// SQLSTATE 3D000, no such database; 28000 and 28P01, no such role, or not with this password.
fn refuses_whom_it_is_given(error: &(dyn StdError + Send + Sync + 'static)) -> bool {
    let Some(sqlx::Error::Database(error)) = error.downcast_ref() else { return false };
    matches!(error.code().as_deref(), Some("3D000" | "28000" | "28P01"))
}

/// SQLSTATE classes 21 to 23 and 54: cardinality, data exception, integrity, program limit.
fn refuses_data(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Encode(_) => true,
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            !is_race(error.as_ref()) && ["21", "22", "23", "54"].iter().any(|class| code.starts_with(class))
        }
        _ => false,
    }
}

/// Two transactions that state the same new fact race for it, or wait for each other where one records in the long way
/// (SQLSTATE 40P01); the loser just tries again.
fn is_race(refusal: &dyn DatabaseError) -> bool {
    refusal.constraint() == Some("facts_current") || refusal.code().as_deref() == Some("40P01")
}

/// Somebody else changed the facts that a batch changes, after they were looked up.
#[derive(Debug, thiserror::Error)]
#[error("somebody else changed the same facts meanwhile")]
struct Overtaken;

/// Whether running the same transaction again, at once, is all that it takes.
fn was_lost_in_a_race(error: &Error) -> bool {
    let Error::Unavailable { source, .. } = error else { return false };
    source.is::<Overtaken>()
        || matches!(source.downcast_ref(), Some(sqlx::Error::Database(refusal)) if is_race(refusal.as_ref()))
}

/// Whether an event was recorded before.
fn was_repeated(error: &Error) -> bool {
    let Error::Data { source, .. } = error else { return false };
    let Some(sqlx::Error::Database(refusal)) = source.downcast_ref() else { return false };
    refusal.constraint() == Some("event_ledger_pkey")
}

/// A table that is there and cannot be used as it is configured.
fn misconfigured(reason: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
    Error::Misconfigured { service: "postgres", source: reason.into() }
}

/// An error that no server gave.
fn unusable(reason: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
    Error::Unavailable { service: "postgres", source: reason.into() }
}
