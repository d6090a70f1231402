//! Fills the tables of a throwaway database on a PostgreSQL server.

use async_trait::async_trait;
use factline_pipeline::outage::Error;
use sqlx::{Executor as _, PgConnection, Postgres, postgres::PgArguments, query::Query};

use super::{Trial, failed};
use crate::trial::{Ballast, Laden, Sample, Snapshot, Subject};

/// A time-ordered UUID, older than any that is made now, for row `n`.
macro_rules! id {
    () => {
        "(lpad(to_hex(1700000000000 + n), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid"
    };
}

const OUTBOX: &str = concat!(
    "INSERT INTO outbox_events (event_id, topic, key, event_type, payload, occurred_at, created_at, status, \
     processed_at) SELECT ",
    id!(),
    ", $3, 'c' || n % 1000, $4, $5::jsonb, at, at, $6, CASE WHEN $6 = 'processed' THEN at END \
     FROM generate_series($1::bigint, $2::bigint) AS n, (SELECT clock_timestamp() - interval '1 hour') AS t(at)"
);

const MARK: &str =
    "UPDATE outbox_events SET status = 'processed', processed_at = created_at WHERE status = 'pending'";

const LEDGER: &str = concat!(
    "INSERT INTO factline.event_ledger (consumer_group, event_id, topic, partition, position, event_type, outcome, \
     facts, occurred_at, processed_at) SELECT $3, ",
    id!(),
    ", 'chat', n % 8, (1700000000000 + n) || '-0', 'chat.message', 'processed', 0, at, at \
     FROM generate_series($1::bigint, $2::bigint) AS n, (SELECT clock_timestamp() - interval '1 hour') AS t(at)"
);

const FACTS: &str = concat!(
    "INSERT INTO factline.facts (id, identity, subject, predicate, object, confidence, valid_from, recorded_at, \
     event_id, conversation_id, message_id, quote, span_start, span_end, extractor, extractor_version) SELECT ",
    id!(),
    ", gen_random_uuid(), $3, $4, 'matter ' || n, 0.9, at, at, ",
    id!(),
    ", 'c' || n % 1000, 'm' || n, 'matter ' || n, 0, 8, 'patterns', 1 \
     FROM generate_series($1::bigint, $2::bigint) AS n, (SELECT clock_timestamp() - interval '1 hour') AS t(at)"
);

impl Trial {
    async fn run(&self, query: Query<'_, Postgres, PgArguments>) -> Result<(), Error> {
        query.execute(&self.pool).await.map_err(failed)?;
        Ok(())
    }
}

#[async_trait]
impl Laden for Trial {
    async fn add(&self, ballast: &Ballast, from: i64, rows: i64) -> Result<(), Error> {
        let insert = |sql: &'static str| sqlx::query(sql).bind(from).bind(from + rows - 1);
        let outbox = |Sample { topic, event_type, payload }: &Sample, status: &'static str| {
            insert(OUTBOX).bind(topic.clone()).bind(event_type.clone()).bind(payload.clone()).bind(status)
        };
        match ballast {
            Ballast::Processed(sample) => self.run(outbox(sample, "processed")).await,
            Ballast::Marked(sample) => {
                self.run(outbox(sample, "pending")).await?;
                self.run(sqlx::query(MARK)).await
            }
            Ballast::Recorded(group) => self.run(insert(LEDGER).bind(group.clone())).await,
            Ballast::Facts(Subject { subject, predicate }) => {
                self.run(insert(FACTS).bind(subject.clone()).bind(predicate.clone())).await
            }
        }
    }

    async fn most_stated(&self) -> Result<Option<Subject>, Error> {
        let select = "SELECT subject, predicate FROM factline.facts GROUP BY subject, predicate \
                      ORDER BY count(*) DESC LIMIT 1";
        let found: Option<(String, String)> =
            sqlx::query_as(select).fetch_optional(&self.pool).await.map_err(failed)?;
        Ok(found.map(|(subject, predicate)| Subject { subject, predicate }))
    }

    /// On a connection that the pool does not get back, for nothing else may end the transaction.
    async fn hold_snapshot(&self) -> Result<Option<Snapshot>, Error> {
        let mut connection: PgConnection = self.pool.acquire().await.map_err(failed)?.detach();
        let begin =
            "SET idle_in_transaction_session_timeout = 0; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1";
        connection.execute(sqlx::raw_sql(begin)).await.map_err(failed)?;
        Ok(Some(Box::new(connection)))
    }
}
