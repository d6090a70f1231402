//! What there is to read in the embedded store.

use async_trait::async_trait;
use chrono::{TimeDelta, Utc};
use factline_pipeline::{outage::Error, outbox::COUNTED};
use sqlx::{
    Row as _, Sqlite,
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};
use uuid::Uuid;

use super::{
    dead_letters::listing, deployment, failed, optional_time_in, parsed_in, store::Store, text_of, time_in,
};
use crate::{
    observation::{OpenLetters, Retrying},
    records::{
        AttemptRecord, ConversationRecord, DeadLetterFilter, DeadLetterRecord, FactFilter, FactRecord,
        LedgerRecord, Records, Totals,
    },
};

#[async_trait]
impl Records for Store {
    async fn facts(&self, filter: &FactFilter) -> Result<Vec<FactRecord>, Error> {
        let rows = sqlx::query(
            "SELECT * FROM facts WHERE (?1 IS NULL OR subject = ?1) AND (?2 IS NULL OR predicate = ?2) \
             AND (?3 IS NULL OR conversation_id = ?3) AND (?4 IS NULL OR event_id = ?4) \
             AND (?5 OR superseded_by IS NULL) AND id < coalesce(?7, 'g') ORDER BY id DESC LIMIT ?6",
        )
        .bind(&filter.subject)
        .bind(&filter.predicate)
        .bind(&filter.conversation_id)
        .bind(filter.event_id.map(|id| id.to_string()))
        .bind(filter.superseded)
        .bind(filter.limit)
        .bind(filter.before.map(|id| id.to_string()))
        .fetch_all(self.database.reader())
        .await
        .map_err(failed)?;
        all(&rows, fact)
    }

    async fn ledger(&self, event_id: Uuid) -> Result<Vec<LedgerRecord>, Error> {
        // The key begins with the group: name the few there are, so that the index serves.
        let rows = sqlx::query(
            "WITH RECURSIVE groups(name) AS (SELECT min(consumer_group) FROM event_ledger UNION ALL \
             SELECT (SELECT min(consumer_group) FROM event_ledger WHERE consumer_group > name) FROM groups \
             WHERE name IS NOT NULL) \
             SELECT l.* FROM groups CROSS JOIN event_ledger AS l \
             ON l.consumer_group = groups.name AND l.event_id = ?1 ORDER BY l.consumer_group",
        )
        .bind(event_id.to_string())
        .fetch_all(self.database.reader())
        .await
        .map_err(failed)?;
        all(&rows, ledger)
    }

    async fn attempts(&self, event_id: Uuid) -> Result<Vec<AttemptRecord>, Error> {
        let rows = sqlx::query("SELECT * FROM event_attempts WHERE event_id = ?1 ORDER BY consumer_group")
            .bind(event_id.to_string())
            .fetch_all(self.database.reader())
            .await
            .map_err(failed)?;
        all(&rows, attempt)
    }

    async fn dead_letters(&self, filter: &DeadLetterFilter) -> Result<Vec<DeadLetterRecord>, Error> {
        listing::list(self, filter).await
    }

    async fn newest_open_letters(&self, limit: u32) -> Result<Vec<DeadLetterRecord>, Error> {
        listing::newest_open(self, limit).await
    }

    async fn conversations(&self, limit: u32) -> Result<Vec<ConversationRecord>, Error> {
        let rows =
            sqlx::query("SELECT * FROM conversations ORDER BY watermark_ms DESC, conversation_id LIMIT ?1")
                .bind(limit)
                .fetch_all(self.database.reader())
                .await
                .map_err(failed)?;
        all(&rows, conversation)
    }

    async fn conversations_after(
        &self,
        id: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ConversationRecord>, Error> {
        let select = sqlx::query(
            "SELECT * FROM conversations WHERE conversation_id >= coalesce(?1, '') \
             AND conversation_id IS NOT ?1 ORDER BY conversation_id LIMIT ?2",
        );
        self.all(select.bind(id.map(str::to_owned)).bind(limit), conversation).await
    }

    async fn conversation(&self, id: &str) -> Result<Option<ConversationRecord>, Error> {
        let select = sqlx::query("SELECT * FROM conversations WHERE conversation_id = ?1");
        Ok(self.all(select.bind(id.to_owned()), conversation).await?.pop())
    }

    async fn open_letters(&self) -> Result<OpenLetters, Error> {
        let select = sqlx::query(
            "SELECT (SELECT count(*) FROM (SELECT 1 FROM dead_letters WHERE status = 'open' LIMIT ?2)) AS open, \
             (SELECT min(dead_at) FROM dead_letters WHERE status = 'open') AS oldest, \
             (SELECT count(*) FROM (SELECT 1 FROM dead_letters WHERE dead_at > ?1 LIMIT ?2)) AS recent",
        )
        .bind(text_of(Utc::now() - TimeDelta::minutes(10)))
        .bind(i64::try_from(COUNTED).unwrap_or(i64::MAX));
        let letters = |row: &SqliteRow| {
            Ok(OpenLetters {
                open: row.try_get::<i64, _>("open")?.unsigned_abs(),
                oldest: optional_time_in(row, "oldest")?,
                recent: row.try_get::<i64, _>("recent")?.unsigned_abs(),
            })
        };
        Ok(self.all(select, letters).await?.pop().unwrap_or_default())
    }

    async fn retrying(&self, limit: u32) -> Result<Vec<Retrying>, Error> {
        let select = sqlx::query(
            "SELECT consumer_group, event_id, attempts, first_failed_at, next_attempt_at, last_error \
             FROM event_attempts WHERE attempts > 0 ORDER BY first_failed_at LIMIT ?1",
        )
        .bind(limit);
        let retrying = |row: &SqliteRow| {
            Ok(Retrying {
                consumer_group: row.try_get("consumer_group")?,
                event_id: row.try_get("event_id")?,
                attempts: row.try_get("attempts")?,
                since: optional_time_in(row, "first_failed_at")?,
                next_attempt_at: optional_time_in(row, "next_attempt_at")?,
                last_error: row.try_get("last_error")?,
            })
        };
        self.all(select, retrying).await
    }

    async fn deployment(&self) -> Result<Uuid, Error> {
        deployment::select(self.database.reader()).await
    }

    async fn totals(&self) -> Result<Totals, Error> {
        let row = sqlx::query(
            "SELECT count(*) FILTER (WHERE outcome = 'processed') AS processed, \
             count(*) FILTER (WHERE outcome = 'dead_lettered') AS dead_lettered, \
             (SELECT count(*) FROM facts WHERE superseded_by IS NULL) AS facts, \
             (SELECT count(*) FROM dead_letters WHERE status = 'open') AS open_dead_letters, \
             (SELECT count(*) FROM event_attempts WHERE attempts > 0) AS retrying FROM event_ledger",
        )
        .fetch_one(self.database.reader())
        .await
        .map_err(failed)?;
        let totals = |row: &SqliteRow| {
            Ok(Totals {
                processed: row.try_get("processed")?,
                dead_lettered: row.try_get("dead_lettered")?,
                facts: row.try_get("facts")?,
                open_dead_letters: row.try_get("open_dead_letters")?,
                retrying: row.try_get("retrying")?,
            })
        };
        totals(&row).map_err(failed)
    }
}

impl Store {
    /// All rows, each as what it stands for.
    pub(super) async fn all<T>(
        &self,
        select: Query<'_, Sqlite, SqliteArguments>,
        record: fn(&SqliteRow) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>, Error> {
        all(&select.fetch_all(self.database.reader()).await.map_err(failed)?, record)
    }
}

fn all<T>(rows: &[SqliteRow], record: fn(&SqliteRow) -> Result<T, sqlx::Error>) -> Result<Vec<T>, Error> {
    rows.iter().map(record).collect::<Result<_, _>>().map_err(failed)
}

fn attempt(row: &SqliteRow) -> Result<AttemptRecord, sqlx::Error> {
    Ok(AttemptRecord {
        consumer_group: row.try_get("consumer_group")?,
        attempts: row.try_get("attempts")?,
        suspect_count: row.try_get("suspect_count")?,
        last_error: row.try_get("last_error")?,
        next_attempt_at: optional_time_in(row, "next_attempt_at")?,
    })
}

fn fact(row: &SqliteRow) -> Result<FactRecord, sqlx::Error> {
    let superseded_by: Option<&str> = row.try_get("superseded_by")?;
    Ok(FactRecord {
        id: parsed_in(row, "id")?,
        subject: row.try_get("subject")?,
        predicate: row.try_get("predicate")?,
        object: row.try_get("object")?,
        confidence: row.try_get("confidence")?,
        valid_from: time_in(row, "valid_from")?,
        valid_to: optional_time_in(row, "valid_to")?,
        superseded_by: superseded_by.map(|_| parsed_in(row, "superseded_by")).transpose()?,
        recorded_at: time_in(row, "recorded_at")?,
        event_id: parsed_in(row, "event_id")?,
        conversation_id: row.try_get("conversation_id")?,
        message_id: row.try_get("message_id")?,
        quote: row.try_get("quote")?,
        span_start: row.try_get("span_start")?,
        span_end: row.try_get("span_end")?,
        extractor: row.try_get("extractor")?,
        extractor_version: row.try_get("extractor_version")?,
    })
}

fn ledger(row: &SqliteRow) -> Result<LedgerRecord, sqlx::Error> {
    Ok(LedgerRecord {
        consumer_group: row.try_get("consumer_group")?,
        event_id: parsed_in(row, "event_id")?,
        topic: row.try_get("topic")?,
        partition: row.try_get("partition")?,
        position: row.try_get("position")?,
        event_type: row.try_get("event_type")?,
        outcome: row.try_get("outcome")?,
        facts: row.try_get("facts")?,
        attempts: row.try_get("attempts")?,
        occurred_at: optional_time_in(row, "occurred_at")?,
        processed_at: time_in(row, "processed_at")?,
        traceparent: row.try_get("traceparent")?,
    })
}

fn conversation(row: &SqliteRow) -> Result<ConversationRecord, sqlx::Error> {
    Ok(ConversationRecord {
        conversation_id: row.try_get("conversation_id")?,
        title: row.try_get("title")?,
        title_source: row.try_get("title_source")?,
        message_count: row.try_get("message_count")?,
        checksum: row.try_get("checksum")?,
        watermark_ms: row.try_get("watermark_ms")?,
    })
}
