//! What there is to read in the store.

use async_trait::async_trait;
use factline_pipeline::{outage::Error, outbox::COUNTED};
use sqlx::{
    Postgres, Row as _,
    postgres::{PgArguments, PgRow},
    query::Query,
};
use uuid::Uuid;

use super::{dead_letters::listing, deployment, failed, store::Store};
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
        let select = sqlx::query(
            "SELECT * FROM factline.facts WHERE ($1::text IS NULL OR subject = $1) \
             AND ($2::text IS NULL OR predicate = $2) AND ($3::text IS NULL OR conversation_id = $3) \
             AND ($4::uuid IS NULL OR event_id = $4) AND ($5 OR superseded_by IS NULL) \
             AND id < coalesce($7, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) ORDER BY id DESC LIMIT $6",
        )
        .bind(&filter.subject)
        .bind(&filter.predicate)
        .bind(&filter.conversation_id)
        .bind(filter.event_id)
        .bind(filter.superseded)
        .bind(i64::from(filter.limit))
        .bind(filter.before);
        self.all(select, fact).await
    }

    async fn ledger(&self, event_id: Uuid) -> Result<Vec<LedgerRecord>, Error> {
        // The key begins with the group: name the few there are, so that the index serves.
        let select = sqlx::query(
            "WITH RECURSIVE groups(name) AS ( \
               (SELECT consumer_group FROM factline.event_ledger ORDER BY consumer_group LIMIT 1) \
               UNION ALL SELECT (SELECT consumer_group FROM factline.event_ledger \
                 WHERE consumer_group > groups.name ORDER BY consumer_group LIMIT 1) FROM groups \
               WHERE groups.name IS NOT NULL) \
             SELECT l.* FROM groups JOIN factline.event_ledger AS l \
             ON l.consumer_group = groups.name AND l.event_id = $1 ORDER BY l.consumer_group",
        )
        .bind(event_id);
        self.all(select, ledger).await
    }

    async fn attempts(&self, event_id: Uuid) -> Result<Vec<AttemptRecord>, Error> {
        let select = sqlx::query(
            "SELECT * FROM factline.event_attempts WHERE event_id = $1::uuid::text ORDER BY consumer_group",
        )
        .bind(event_id);
        self.all(select, attempt).await
    }

    async fn dead_letters(&self, filter: &DeadLetterFilter) -> Result<Vec<DeadLetterRecord>, Error> {
        listing::list(self, filter).await
    }

    async fn newest_open_letters(&self, limit: u32) -> Result<Vec<DeadLetterRecord>, Error> {
        listing::newest_open(self, limit).await
    }

    async fn conversations(&self, limit: u32) -> Result<Vec<ConversationRecord>, Error> {
        let select = sqlx::query("SELECT * FROM factline.conversations ORDER BY watermark_ms DESC LIMIT $1")
            .bind(i64::from(limit));
        self.all(select, conversation).await
    }

    async fn conversations_after(
        &self,
        id: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ConversationRecord>, Error> {
        let select = sqlx::query(
            "SELECT * FROM factline.conversations WHERE conversation_id >= coalesce($1, '') \
             AND conversation_id IS DISTINCT FROM $1 ORDER BY conversation_id LIMIT $2",
        );
        self.all(select.bind(id).bind(i64::from(limit)), conversation).await
    }

    async fn conversation(&self, id: &str) -> Result<Option<ConversationRecord>, Error> {
        let select = sqlx::query("SELECT * FROM factline.conversations WHERE conversation_id = $1");
        Ok(self.all(select.bind(id), conversation).await?.pop())
    }

    async fn open_letters(&self) -> Result<OpenLetters, Error> {
        let select = sqlx::query(
            "SELECT (SELECT count(*) FROM (SELECT FROM factline.dead_letters WHERE status = 'open' \
               ORDER BY dead_at LIMIT $1) AS open) AS open, \
             (SELECT dead_at FROM factline.dead_letters WHERE status = 'open' ORDER BY dead_at LIMIT 1) AS oldest, \
             (SELECT count(*) FROM (SELECT FROM factline.dead_letters \
               WHERE dead_at > statement_timestamp() - interval '10 minutes' ORDER BY dead_at DESC LIMIT $1) AS recent) \
             AS recent",
        )
        .bind(i64::try_from(COUNTED).unwrap_or(i64::MAX));
        let letters = |row: &PgRow| {
            Ok(OpenLetters {
                open: row.try_get::<i64, _>("open")?.unsigned_abs(),
                oldest: row.try_get("oldest")?,
                recent: row.try_get::<i64, _>("recent")?.unsigned_abs(),
            })
        };
        let rows = self.database.select_by_index(select).await?;
        rows.first().map_or_else(|| Ok(OpenLetters::default()), letters).map_err(failed)
    }

    async fn retrying(&self, limit: u32) -> Result<Vec<Retrying>, Error> {
        let select = sqlx::query(
            "SELECT consumer_group, event_id, attempts, first_failed_at, next_attempt_at, last_error \
             FROM factline.event_attempts WHERE attempts > 0 ORDER BY first_failed_at LIMIT $1",
        )
        .bind(i64::from(limit));
        let retrying = |row: &PgRow| {
            Ok(Retrying {
                consumer_group: row.try_get("consumer_group")?,
                event_id: row.try_get("event_id")?,
                attempts: row.try_get("attempts")?,
                since: row.try_get("first_failed_at")?,
                next_attempt_at: row.try_get("next_attempt_at")?,
                last_error: row.try_get("last_error")?,
            })
        };
        self.all(select, retrying).await
    }

    async fn deployment(&self) -> Result<Uuid, Error> {
        self.database.timely(async |connection| deployment::select(connection).await).await
    }

    async fn totals(&self) -> Result<Totals, Error> {
        let select = sqlx::query(
            "SELECT (SELECT count(*) FROM factline.event_ledger WHERE outcome = 'processed') AS processed, \
             (SELECT count(*) FROM factline.event_ledger WHERE outcome = 'dead_lettered') AS dead_lettered, \
             (SELECT count(*) FROM factline.facts WHERE superseded_by IS NULL) AS facts, \
             (SELECT count(*) FROM factline.dead_letters WHERE status = 'open') AS open_dead_letters, \
             (SELECT count(*) FROM factline.event_attempts WHERE attempts > 0) AS retrying",
        );
        Ok(self.all(select, totals).await?.pop().unwrap_or_default())
    }
}

impl Store {
    /// All rows, each as what it stands for.
    pub(super) async fn all<T>(
        &self,
        select: Query<'_, Postgres, PgArguments>,
        one: fn(&PgRow) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>, Error> {
        self.database.select(select).await?.iter().map(one).collect::<Result<_, _>>().map_err(failed)
    }
}

fn attempt(row: &PgRow) -> Result<AttemptRecord, sqlx::Error> {
    Ok(AttemptRecord {
        consumer_group: row.try_get("consumer_group")?,
        attempts: row.try_get("attempts")?,
        suspect_count: row.try_get("suspect_count")?,
        last_error: row.try_get("last_error")?,
        next_attempt_at: row.try_get("next_attempt_at")?,
    })
}

fn totals(row: &PgRow) -> Result<Totals, sqlx::Error> {
    Ok(Totals {
        processed: row.try_get("processed")?,
        dead_lettered: row.try_get("dead_lettered")?,
        facts: row.try_get("facts")?,
        open_dead_letters: row.try_get("open_dead_letters")?,
        retrying: row.try_get("retrying")?,
    })
}

fn fact(row: &PgRow) -> Result<FactRecord, sqlx::Error> {
    Ok(FactRecord {
        id: row.try_get("id")?,
        subject: row.try_get("subject")?,
        predicate: row.try_get("predicate")?,
        object: row.try_get("object")?,
        confidence: row.try_get("confidence")?,
        valid_from: row.try_get("valid_from")?,
        valid_to: row.try_get("valid_to")?,
        superseded_by: row.try_get("superseded_by")?,
        recorded_at: row.try_get("recorded_at")?,
        event_id: row.try_get("event_id")?,
        conversation_id: row.try_get("conversation_id")?,
        message_id: row.try_get("message_id")?,
        quote: row.try_get("quote")?,
        span_start: row.try_get("span_start")?,
        span_end: row.try_get("span_end")?,
        extractor: row.try_get("extractor")?,
        extractor_version: row.try_get("extractor_version")?,
    })
}

fn ledger(row: &PgRow) -> Result<LedgerRecord, sqlx::Error> {
    Ok(LedgerRecord {
        consumer_group: row.try_get("consumer_group")?,
        event_id: row.try_get("event_id")?,
        topic: row.try_get("topic")?,
        partition: row.try_get("partition")?,
        position: row.try_get("position")?,
        event_type: row.try_get("event_type")?,
        outcome: row.try_get("outcome")?,
        facts: row.try_get("facts")?,
        attempts: row.try_get("attempts")?,
        occurred_at: row.try_get("occurred_at")?,
        processed_at: row.try_get("processed_at")?,
        traceparent: row.try_get("traceparent")?,
    })
}

fn conversation(row: &PgRow) -> Result<ConversationRecord, sqlx::Error> {
    Ok(ConversationRecord {
        conversation_id: row.try_get("conversation_id")?,
        title: row.try_get("title")?,
        title_source: row.try_get("title_source")?,
        message_count: row.try_get("message_count")?,
        checksum: row.try_get("checksum")?,
        watermark_ms: row.try_get("watermark_ms")?,
    })
}
