//! The embedded adapters: outbox, stream and store in one SQLite file. All SQL for SQLite lives in this folder.
//!
//! What is inserted in batches goes to the database as rows of parameters (`rows`); lists of ids and other small things
//! as one JSON array (`json_each`).
//!
//! # Layout
//!
//! - [`database`]: the file, its one writer and its readers; [`migrations`]: its tables;
//! - [`outbox`]: the outbox table;
//! - [`stream`], and its statements, `entries` and `groups`;
//! - [`store`]: the ledger, with its `facts`, `dead_letters`, `attempts` and `horizons`; `leases`; `records`, what there
//!   is to read; `operator_log`, who did what;
//! - for measurements: [`trial`], a throwaway database; [`bare`], the statements without anything around them.

use std::error::Error as StdError;

use chrono::{DateTime, SecondsFormat, Utc};
use factline_pipeline::{cloudevent::RawEntry, outage::Error, time};
use serde::Serialize;
use sqlx::{Row as _, sqlite::SqliteRow};

/// The present, by the database's clock, in the form of every time in it.
macro_rules! now {
    () => {
        "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')"
    };
}

/// The same, looked up once in a statement however many rows it is about.
macro_rules! now_once {
    () => {
        concat!("(SELECT ", now!(), ")")
    };
}

mod attempts;
pub mod bare;
pub mod database;
mod dead_letters;
mod deployment;
mod entries;
mod evidence;
mod facts;
mod groups;
mod horizons;
mod leases;
pub mod migrations;
mod operator_log;
pub mod outbox;
mod records;
mod rows;
mod server;
pub mod store;
pub mod stream;
pub mod trial;

pub use database::Database;
pub use outbox::Outbox;
pub use store::Store;
pub use stream::Stream;

const SERVICE: &str = "sqlite";

/// Primary result codes of SQLite that blame the data: see <https://www.sqlite.org/rescode.html>.
const TOO_BIG: i32 = 18;
const CONSTRAINT: i32 = 19;
const MISMATCH: i32 = 20;

/// Tells data that SQLite will always refuse from everything that may pass.
fn failed(error: sqlx::Error) -> Error {
    if refuses_data(&error) { refused(error) } else { unavailable(error) }
}

fn refuses_data(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Encode(_) => true,
        sqlx::Error::Database(error) => {
            // Whoever states the same new fact at the same time only has to try again.
            let race = error.message().contains("UNIQUE constraint failed: facts.identity");
            let code = error.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or_default();
            !race && [TOO_BIG, CONSTRAINT, MISMATCH].contains(&(code & 0xff))
        }
        _ => false,
    }
}

fn unavailable(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
    Error::Unavailable { service: SERVICE, source: source.into() }
}

fn refused(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
    Error::Data { service: SERVICE, source: source.into() }
}

/// A parameter that stands for a whole batch.
fn json(batch: &(impl Serialize + ?Sized)) -> Result<String, Error> {
    serde_json::to_string(batch).map_err(refused)
}

/// A limit as SQLite counts.
fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A time as every time in the database is written.
fn text_of(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// A time that was written by [`text_of`], in whatever year, or by somebody else in any form that is accepted.
fn time_of(text: &str) -> Result<DateTime<Utc>, sqlx::Error> {
    text.parse().or_else(|_| time::parse(text)).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// A column that holds a time.
fn time_in(row: &SqliteRow, column: &str) -> Result<DateTime<Utc>, sqlx::Error> {
    time_of(row.try_get(column)?)
}

/// A column that may hold a time.
fn optional_time_in(row: &SqliteRow, column: &str) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    row.try_get::<Option<&str>, _>(column)?.map(time_of).transpose()
}

/// A column that holds a UUID, or anything that reads like one.
fn parsed_in<T: std::str::FromStr>(row: &SqliteRow, column: &str) -> Result<T, sqlx::Error>
where
    T::Err: StdError + Send + Sync + 'static,
{
    row.try_get::<&str, _>(column)?.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// A column in which other programs may have put anything: its bytes, whatever its type.
fn bytes_in(row: &SqliteRow, column: &str) -> Result<Option<Vec<u8>>, sqlx::Error> {
    row.try_get_unchecked(column)
}

/// A column in which other programs may have put anything, as text; unreadable characters are replaced.
fn text_in(row: &SqliteRow, column: &str) -> Result<Option<String>, sqlx::Error> {
    Ok(bytes_in(row, column)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// The named columns as the attributes of an entry; one that is NULL is not there.
fn attributes_in(row: &SqliteRow, columns: &[&'static str]) -> Result<RawEntry, sqlx::Error> {
    let mut attributes = RawEntry::with_capacity(columns.len());
    for column in columns {
        if let Some(value) = bytes_in(row, column)? {
            attributes.push((column.as_bytes().to_vec(), value));
        }
    }
    Ok(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_any_year_reads_back_as_it_was_written() {
        let extremes = [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC, DateTime::UNIX_EPOCH];
        for time in extremes {
            let text = text_of(time);
            let read = time_of(&text).unwrap();
            assert_eq!(read.timestamp_micros(), time.timestamp_micros(), "{text}");
        }
        assert_eq!(time_of("1769067099.568").unwrap(), time_of("2026-01-22T07:31:39.568Z").unwrap());
    }
}
