//! What somebody writes in an afternoon who needs an outbox drained: no order by key, no retries, no poison, no
//! provenance, no guarantee. The benchmark runs it beside the daemon.

use chrono::{DateTime, Utc};
use factline_pipeline::outage::Error;
use sqlx::{Connection as _, Executor as _, PgConnection, Postgres, Transaction};
use uuid::Uuid;

use super::{failed, pool};

/// Its tables, and the same events as in the outbox of this database.
const TABLES: &str = "
    DROP TABLE IF EXISTS hw_outbox, hw_ledger, hw_facts;
    CREATE TABLE hw_outbox (
      id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_id uuid NOT NULL UNIQUE, key text NOT NULL,
      payload jsonb NOT NULL, status text NOT NULL DEFAULT 'pending',
      created_at timestamptz NOT NULL DEFAULT clock_timestamp(), processed_at timestamptz);
    CREATE INDEX ON hw_outbox (id) WHERE status = 'pending';
    CREATE TABLE hw_ledger (
      consumer_group text, event_id uuid, position text, processed_at timestamptz DEFAULT clock_timestamp(),
      PRIMARY KEY (consumer_group, event_id));
    CREATE TABLE hw_facts (
      id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_id uuid, subject text, predicate text, object text,
      recorded_at timestamptz DEFAULT clock_timestamp());
    INSERT INTO hw_outbox (event_id, key, payload) SELECT event_id, key, payload FROM outbox_events ORDER BY id";

const CLAIM: &str = "
    UPDATE hw_outbox SET status = 'processed', processed_at = clock_timestamp()
    WHERE id = ANY (ARRAY(SELECT id FROM hw_outbox WHERE status = 'pending' ORDER BY id LIMIT $1
                          FOR UPDATE SKIP LOCKED))
    RETURNING id, event_id, key, payload::text";

const RECORD: &str = "
    WITH new AS (
      INSERT INTO hw_ledger (consumer_group, event_id, position)
      SELECT 'facts', e, p FROM unnest($1::uuid[], $2::text[]) AS u(e, p)
      ON CONFLICT DO NOTHING RETURNING event_id)
    INSERT INTO hw_facts (event_id, subject, predicate, object)
    SELECT f.* FROM unnest($3::uuid[], $4::text[], $5::text[], $6::text[]) AS f(e, s, p, o)
    JOIN new ON new.event_id = f.e";

/// A row: its number, its event, its key and its payload.
pub type Row = (i64, Uuid, String, String);

/// What is recorded of a batch, by column.
#[derive(Debug, Default)]
pub struct Batch {
    /// The ledger's.
    pub event_ids: Vec<Uuid>,
    /// The ledger's.
    pub positions: Vec<String>,
    /// The facts'.
    pub fact_events: Vec<Uuid>,
    /// The facts'.
    pub subjects: Vec<String>,
    /// The facts'.
    pub predicates: Vec<String>,
    /// The facts'.
    pub objects: Vec<String>,
}

/// A connection.
pub struct Handwritten(PgConnection);

impl Handwritten {
    /// Connects.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let options = pool(url, 1).map_err(failed)?.connect_options();
        Ok(Self(PgConnection::connect_with(&options).await.map_err(failed)?))
    }

    /// Makes its tables and fills its outbox.
    pub async fn fill(&mut self) -> Result<(), Error> {
        self.0.execute(TABLES).await.map_err(failed)?;
        self.0.execute("VACUUM ANALYZE hw_outbox").await.map_err(failed)?;
        Ok(())
    }

    /// Claims and marks rows in one statement; the transaction is open until their events are published.
    pub async fn claim(&mut self, limit: i64) -> Result<(Transaction<'_, Postgres>, Vec<Row>), Error> {
        let mut transaction = self.0.begin().await.map_err(failed)?;
        let claim = sqlx::query_as(CLAIM).bind(limit);
        let mut rows: Vec<Row> = claim.fetch_all(&mut *transaction).await.map_err(failed)?;
        rows.sort_unstable_by_key(|row| row.0);
        Ok((transaction, rows))
    }

    /// Ledger and facts in one statement.
    pub async fn record(&mut self, batch: Batch) -> Result<(), Error> {
        let record = sqlx::query(RECORD).bind(batch.event_ids).bind(batch.positions).bind(batch.fact_events);
        let record = record.bind(batch.subjects).bind(batch.predicates).bind(batch.objects);
        record.execute(&mut self.0).await.map_err(failed)?;
        Ok(())
    }

    /// How many events were recorded, the first one's being marked, and the last one's being recorded.
    pub async fn window(&mut self) -> Result<(i64, Option<DateTime<Utc>>, Option<DateTime<Utc>>), Error> {
        let select = "SELECT (SELECT count(*) FROM hw_ledger), (SELECT min(processed_at) FROM hw_outbox), \
                      (SELECT max(processed_at) FROM hw_ledger)";
        sqlx::query_as(select).fetch_one(&mut self.0).await.map_err(failed)
    }
}

/// Ends the transaction of a claim.
pub async fn commit(transaction: Transaction<'_, Postgres>) -> Result<(), Error> {
    transaction.commit().await.map_err(failed)
}
