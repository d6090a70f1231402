//! What is asked of an embedded database that a measurement has to itself. It lives in a folder of its own, and is made
//! anew instead of being emptied.

use async_trait::async_trait;
use factline_pipeline::outage::Error;
use sqlx::{Row as _, sqlite::SqliteRow};

use super::{Database, failed, optional_time_in, parsed_in};
use crate::trial::{About, Place, Trial as Port, Window};

pub use self::sight::Sight;

mod history;
mod laden;
mod sight;

/// The database.
pub struct Trial {
    database: Database,
}

impl Trial {
    /// With connections of its own.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    async fn window(&self, select: &'static str) -> Result<Window, Error> {
        let row = sqlx::query(select).fetch_one(self.database.reader()).await.map_err(failed)?;
        window_of(&row).map_err(failed)
    }
}

fn window_of(row: &SqliteRow) -> Result<Window, sqlx::Error> {
    Ok(Window {
        rows: row.try_get::<i64, _>("rows")?.unsigned_abs(),
        first: optional_time_in(row, "first")?,
        last: optional_time_in(row, "last")?,
    })
}

fn place_of(row: &SqliteRow) -> Result<Place, sqlx::Error> {
    Ok(Place {
        event_id: parsed_in(row, "event_id")?,
        partition: row.try_get("partition")?,
        position: row.try_get("position")?,
    })
}

#[async_trait]
impl Port for Trial {
    async fn empty(&self) -> Result<(), Error> {
        self.database.close().await;
        Ok(())
    }

    async fn settle(&self) -> Result<(), Error> {
        let mut transaction = self.database.write().await?;
        sqlx::query("ANALYZE").execute(&mut *transaction).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    async fn marked(&self) -> Result<Window, Error> {
        self.window(
            "SELECT count(*) AS rows, min(processed_at) AS first, max(processed_at) AS last FROM outbox_events \
             WHERE status = 'processed'",
        )
        .await
    }

    async fn recorded(&self) -> Result<Window, Error> {
        self.window(
            "SELECT count(*) AS rows, min(processed_at) AS first, max(processed_at) AS last FROM event_ledger \
             WHERE outcome = 'processed'",
        )
        .await
    }

    async fn places(&self) -> Result<Vec<Place>, Error> {
        let select = "SELECT event_id, partition, position FROM event_ledger \
                      WHERE partition IS NOT NULL AND position IS NOT NULL";
        let rows = sqlx::query(select).fetch_all(self.database.reader()).await.map_err(failed)?;
        rows.iter().map(place_of).collect::<Result<_, _>>().map_err(failed)
    }

    async fn about(&self) -> Result<About, Error> {
        let pragma = async |name: &'static str| {
            let row = sqlx::query(name).fetch_one(self.database.reader()).await.map_err(failed)?;
            let number = row.try_get::<i64, _>(0).map(|number| number.to_string());
            number.or_else(|_| row.try_get::<String, _>(0)).map_err(failed)
        };
        let version: String = sqlx::query_scalar("SELECT sqlite_version()")
            .fetch_one(self.database.reader())
            .await
            .map_err(failed)?;
        let settings = vec![
            ("journal_mode".into(), pragma("PRAGMA journal_mode").await?),
            ("synchronous".into(), pragma("PRAGMA synchronous").await?),
        ];
        Ok(About { version: format!("SQLite {version}"), settings, process: None })
    }

    async fn log_position(&self) -> Result<Option<u64>, Error> {
        Ok(None)
    }
}
