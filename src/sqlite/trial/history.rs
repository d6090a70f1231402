//! What was done when, in an embedded database.

use async_trait::async_trait;
use factline_pipeline::outage::Error;

use super::{Trial, failed, place_of, window_of};
use crate::{
    sqlite::{text_of, time_of},
    trial::{History, Mark, Place, Tenth, Window},
};

/// The tenth of a second of a time that is written as all are: with six digits behind the seconds.
macro_rules! tenth {
    () => {
        "CAST(strftime('%s', processed_at) AS INTEGER) * 10 + CAST(substr(processed_at, -7, 1) AS INTEGER) AS tenth"
    };
}

impl Trial {
    async fn tenths(&self, select: &'static str) -> Result<Vec<Tenth>, Error> {
        let rows: Vec<(i64, i64)> =
            sqlx::query_as(select).fetch_all(self.database.reader()).await.map_err(failed)?;
        Ok(rows.into_iter().map(|(tenth, rows)| (tenth, rows.unsigned_abs())).collect())
    }
}

#[async_trait]
impl History for Trial {
    async fn mark_now(&self) -> Result<Mark, Error> {
        let select = concat!("SELECT ", now!(), ", (SELECT coalesce(max(id), 0) FROM outbox_events)");
        let (now, row): (String, i64) =
            sqlx::query_as(select).fetch_one(self.database.reader()).await.map_err(failed)?;
        Ok(Mark { at: time_of(&now).map_err(failed)?, row })
    }

    async fn marked_since(&self, mark: Mark) -> Result<Window, Error> {
        let select = "SELECT count(*) AS rows, min(processed_at) AS first, max(processed_at) AS last \
                      FROM outbox_events WHERE id > ? AND status = 'processed'";
        let row = sqlx::query(select).bind(mark.row).fetch_one(self.database.reader()).await;
        window_of(&row.map_err(failed)?).map_err(failed)
    }

    async fn recorded_since(&self, mark: Mark) -> Result<Window, Error> {
        let select = "SELECT count(*) AS rows, min(processed_at) AS first, max(processed_at) AS last \
                      FROM event_ledger WHERE processed_at >= ? AND outcome = 'processed'";
        let row = sqlx::query(select).bind(text_of(mark.at)).fetch_one(self.database.reader()).await;
        window_of(&row.map_err(failed)?).map_err(failed)
    }

    async fn places_since(&self, mark: Mark) -> Result<Vec<Place>, Error> {
        let select = "SELECT event_id, partition, position FROM event_ledger \
                      WHERE processed_at >= ? AND partition IS NOT NULL AND position IS NOT NULL";
        let rows = sqlx::query(select).bind(text_of(mark.at)).fetch_all(self.database.reader()).await;
        rows.map_err(failed)?.iter().map(place_of).collect::<Result<_, _>>().map_err(failed)
    }

    async fn marked_over_time(&self) -> Result<Vec<Tenth>, Error> {
        self.tenths(concat!(
            "SELECT ",
            tenth!(),
            ", count(*) FROM outbox_events WHERE status = 'processed' GROUP BY tenth ORDER BY tenth"
        ))
        .await
    }

    async fn recorded_over_time(&self) -> Result<Vec<Tenth>, Error> {
        self.tenths(concat!(
            "SELECT ",
            tenth!(),
            ", count(*) FROM event_ledger GROUP BY tenth ORDER BY tenth"
        ))
        .await
    }

    async fn size(&self) -> Result<u64, Error> {
        let select = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
        let bytes: i64 =
            sqlx::query_scalar(select).fetch_one(self.database.reader()).await.map_err(failed)?;
        Ok(bytes.unsigned_abs())
    }
}
