//! Fills the tables of an embedded database.

use async_trait::async_trait;
use factline_pipeline::outage::Error;
use sqlx::{Sqlite, query::Query, sqlite::SqliteArguments};

use super::{Trial, failed};
use crate::trial::{Ballast, Laden, Sample, Snapshot, Subject};

/// The rows' numbers, and the time an hour ago.
macro_rules! rows {
    () => {
        "WITH RECURSIVE rows (n) AS (SELECT ?1 UNION ALL SELECT n + 1 FROM rows WHERE n < ?2), \
         t (at) AS (SELECT strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '-1 hour')) "
    };
}

/// A time-ordered UUID, older than any that is made now, for row `n`.
macro_rules! id {
    () => {
        "printf('%08x-%04x-7000-8000-%012x', (1700000000000 + n) >> 16, (1700000000000 + n) & 0xffff, n)"
    };
}

const OUTBOX: &str = concat!(
    rows!(),
    "INSERT INTO outbox_events (event_id, topic, key, event_type, payload, occurred_at, created_at, status, \
     processed_at) SELECT ",
    id!(),
    ", ?3, 'c' || n % 1000, ?4, ?5, at, at, 'processed', at FROM rows, t"
);

const LEDGER: &str = concat!(
    rows!(),
    "INSERT INTO event_ledger (consumer_group, event_id, topic, partition, position, event_type, outcome, facts, \
     occurred_at, processed_at) SELECT ?3, ",
    id!(),
    ", 'chat', n % 8, n, 'chat.message', 'processed', 0, at, at FROM rows, t"
);

const FACTS: &str = concat!(
    rows!(),
    "INSERT INTO facts (id, identity, subject, predicate, object, confidence, valid_from, recorded_at, event_id, \
     conversation_id, message_id, quote, span_start, span_end, extractor, extractor_version) SELECT ",
    id!(),
    ", lower(hex(randomblob(16))), ?3, ?4, 'matter ' || n, 0.9, at, at, ",
    id!(),
    ", 'c' || n % 1000, 'm' || n, 'matter ' || n, 0, 8, 'patterns', 1 FROM rows, t"
);

impl Trial {
    async fn run(&self, query: Query<'_, Sqlite, SqliteArguments>) -> Result<(), Error> {
        let mut transaction = self.database.write().await?;
        query.execute(&mut *transaction).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }
}

#[async_trait]
impl Laden for Trial {
    async fn add(&self, ballast: &Ballast, from: i64, rows: i64) -> Result<(), Error> {
        let insert = |sql: &'static str| sqlx::query(sql).bind(from).bind(from + rows - 1);
        match ballast {
            // What a row was before leaves no trace here.
            Ballast::Processed(Sample { topic, event_type, payload })
            | Ballast::Marked(Sample { topic, event_type, payload }) => {
                let insert = insert(OUTBOX).bind(topic.clone());
                self.run(insert.bind(event_type.clone()).bind(payload.clone())).await
            }
            Ballast::Recorded(group) => self.run(insert(LEDGER).bind(group.clone())).await,
            Ballast::Facts(Subject { subject, predicate }) => {
                self.run(insert(FACTS).bind(subject.clone()).bind(predicate.clone())).await
            }
        }
    }

    async fn most_stated(&self) -> Result<Option<Subject>, Error> {
        let select =
            "SELECT subject, predicate FROM facts GROUP BY subject, predicate ORDER BY count(*) DESC LIMIT 1";
        let found: Option<(String, String)> =
            sqlx::query_as(select).fetch_optional(self.database.reader()).await.map_err(failed)?;
        Ok(found.map(|(subject, predicate)| Subject { subject, predicate }))
    }

    async fn hold_snapshot(&self) -> Result<Option<Snapshot>, Error> {
        Ok(None)
    }
}
