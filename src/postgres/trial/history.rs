//! What was done when, in a throwaway database on a PostgreSQL server.

use async_trait::async_trait;
use factline_pipeline::outage::Error;

use super::{Trial, failed, place_of};
use crate::trial::{History, Mark, Place, Tenth, Window};

impl Trial {
    async fn tenths(&self, select: &'static str) -> Result<Vec<Tenth>, Error> {
        let rows: Vec<(i64, i64)> = sqlx::query_as(select).fetch_all(&self.pool).await.map_err(failed)?;
        Ok(rows.into_iter().map(|(tenth, rows)| (tenth, rows.unsigned_abs())).collect())
    }
}

#[async_trait]
impl History for Trial {
    async fn mark_now(&self) -> Result<Mark, Error> {
        let row = if self.has_outbox {
            let select = "SELECT coalesce(max(id), 0) FROM outbox_events";
            sqlx::query_scalar(select).fetch_one(&self.pool).await.map_err(failed)?
        } else {
            0
        };
        let now = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&self.pool);
        Ok(Mark { at: now.await.map_err(failed)?, row })
    }

    async fn marked_since(&self, mark: Mark) -> Result<Window, Error> {
        let select = sqlx::query_as(
            "SELECT count(*), min(processed_at), max(processed_at) FROM outbox_events \
             WHERE id > $1 AND status = 'processed'",
        );
        select.bind(mark.row).fetch_one(&self.pool).await.map(Window::of).map_err(failed)
    }

    async fn recorded_since(&self, mark: Mark) -> Result<Window, Error> {
        let select = sqlx::query_as(
            "SELECT count(*), min(processed_at), max(processed_at) FROM factline.event_ledger \
             WHERE processed_at >= $1 AND outcome = 'processed'",
        );
        select.bind(mark.at).fetch_one(&self.pool).await.map(Window::of).map_err(failed)
    }

    async fn places_since(&self, mark: Mark) -> Result<Vec<Place>, Error> {
        let select = "SELECT event_id, partition, position FROM factline.event_ledger \
                      WHERE processed_at >= $1 AND partition IS NOT NULL AND position IS NOT NULL";
        let rows = sqlx::query(select).bind(mark.at).fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(place_of).collect::<Result<_, _>>().map_err(failed)
    }

    async fn marked_over_time(&self) -> Result<Vec<Tenth>, Error> {
        self.tenths(
            "SELECT floor(extract(epoch FROM processed_at) * 10)::bigint AS tenth, count(*) FROM outbox_events \
             WHERE status = 'processed' GROUP BY tenth ORDER BY tenth",
        )
        .await
    }

    async fn recorded_over_time(&self) -> Result<Vec<Tenth>, Error> {
        self.tenths(
            "SELECT floor(extract(epoch FROM processed_at) * 10)::bigint AS tenth, count(*) \
             FROM factline.event_ledger GROUP BY tenth ORDER BY tenth",
        )
        .await
    }

    async fn size(&self) -> Result<u64, Error> {
        let select = sqlx::query_scalar("SELECT pg_database_size(current_database())");
        let bytes: i64 = select.fetch_one(&self.pool).await.map_err(failed)?;
        Ok(bytes.unsigned_abs())
    }
}
