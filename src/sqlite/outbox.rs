//! The outbox table in the embedded database.
//!
//! Any program may insert here with plain SQL, and SQLite lets it put anything into any column: what is read is taken
//! as bytes and judged like an entry of a stream.

use std::{borrow::Cow, sync::Arc};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use factline_pipeline::{
    cloudevent::{self, Malformed, RawEntry},
    event::Event,
    outage::Error,
    outbox::{
        Backlog, COUNTED, Claim, NewEvent, Outbox as Port, Record, Row, RowId, Settled, SettledRow, Status,
    },
};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Row as _, sqlite::SqliteRow};
use uuid::Uuid;

use super::{Database, attributes_in, bytes_in, count, failed, json, text_in, text_of, time_of};
use crate::{
    failpoints::{self, Step},
    nul::without_nul,
};

/// The outbox.
#[derive(Debug, Clone)]
pub struct Outbox {
    database: Database,
    source: String,
    statements: Arc<Statements>,
}

impl Outbox {
    /// The outbox in this table, which has the columns that `factline migrate up` gives it; `source` is the
    /// CloudEvents `source` of its events.
    #[must_use]
    pub fn new(database: Database, table: &str, source: &str) -> Self {
        Self { database, source: source.to_owned(), statements: Arc::new(Statements::new(table)) }
    }

    fn row_of(&self, row: &SqliteRow) -> Result<Row, sqlx::Error> {
        let number: i64 = row.try_get("number")?;
        let topic = text_in(row, "topic")?.unwrap_or_default();
        let mut attributes = attributes_in(row, &["id", "type", "partitionkey", "time", "data"])?;
        let mut attribute = |name: &str, value: &str| attributes.push((name.into(), value.into()));
        attribute("source", &self.source);
        attribute("sequence", &number.to_string());
        let headers = bytes_in(row, "headers")?.unwrap_or_default();
        // Headers that cannot be read lose the trace, not the event.
        if let Ok(Headers { traceparent: Some(traceparent), tracestate }) = serde_json::from_slice(&headers) {
            attribute("traceparent", &traceparent);
            if let Some(tracestate) = tracestate {
                attribute("tracestate", &tracestate);
            }
        }
        let created_at = readable_time_in(row, "created_at")?;
        let event = event_of(&topic, attributes, &headers).map(|event| event.created_at(created_at));
        Ok(Row { id: RowId::Number(number), event, topic })
    }

    /// Runs a statement that changes rows; says how many.
    async fn change(&self, sql: &Arc<str>, batch: String) -> Result<u64, Error> {
        let query = sqlx::query(AssertSqlSafe(sql.clone())).bind(batch);
        let changed = query.execute(self.database.writer()).await.map_err(failed)?;
        Ok(changed.rows_affected())
    }
}

#[async_trait]
impl Port for Outbox {
    async fn claim_pending(&self, claim: Claim<'_>) -> Result<Vec<Row>, Error> {
        let query = sqlx::query(AssertSqlSafe(self.statements.claim_pending.clone()))
            .bind(claim.after.unwrap_or(i64::MIN))
            .bind(json(&numbers(claim.in_flight))?)
            .bind(count(claim.limit));
        let rows = query.fetch_all(self.database.reader()).await.map_err(failed)?;
        if !rows.is_empty() {
            failpoints::pass(Step::AfterClaim)?;
        }
        rows.iter().map(|row| self.row_of(row)).collect::<Result<_, _>>().map_err(failed)
    }

    async fn mark_processed(&self, rows: &[RowId]) -> Result<(), Error> {
        failpoints::pass(Step::BeforeMark)?;
        self.change(&self.statements.mark_processed, json(&numbers(rows))?).await?;
        failpoints::pass(Step::AfterMark)
    }

    async fn mark_failed(&self, rows: &[(RowId, String)]) -> Result<(), Error> {
        let failures: Vec<Failure<'_>> = rows
            .iter()
            .filter_map(|(id, error)| match id {
                RowId::Number(id) => Some(Failure { id: *id, error: without_nul(error) }),
                RowId::Text(_) => None,
            })
            .collect();
        self.change(&self.statements.mark_failed, json(&failures)?).await?;
        Ok(())
    }

    async fn settled_before(
        &self,
        status: Settled,
        cursor: Option<&RowId>,
        limit: usize,
    ) -> Result<Vec<SettledRow>, Error> {
        let statement = match status {
            Settled::Processed => &self.statements.processed_before,
            Settled::Failed => &self.statements.failed_before,
        };
        let cursor = match cursor {
            None => i64::MAX,
            Some(RowId::Number(id)) => *id,
            Some(RowId::Text(_)) => return Ok(Vec::new()),
        };
        let query = sqlx::query(AssertSqlSafe(statement.clone())).bind(cursor).bind(count(limit));
        let rows = query.fetch_all(self.database.reader()).await.map_err(failed)?;
        rows.iter().map(settled_row_of).collect::<Result<_, _>>().map_err(failed)
    }

    async fn mark_pending(&self, rows: &[RowId]) -> Result<u64, Error> {
        self.change(&self.statements.mark_pending, json(&numbers(rows))?).await
    }

    async fn backlog(&self) -> Result<Backlog, Error> {
        let query = sqlx::query(AssertSqlSafe(self.statements.backlog.clone()));
        let row = query.fetch_one(self.database.reader()).await.map_err(failed)?;
        backlog_of(&row).map_err(failed)
    }

    async fn insert(&self, events: &[NewEvent]) -> Result<Vec<Uuid>, Error> {
        let now = Utc::now();
        let rows: Vec<NewRow<'_>> = events.iter().map(|event| NewRow::of(event, now)).collect();
        self.change(&self.statements.insert, json(&rows)?).await?;
        Ok(rows.iter().map(|row| row.event_id).collect())
    }

    async fn find(&self, event_id: Uuid) -> Result<Option<Record>, Error> {
        let query = sqlx::query(AssertSqlSafe(self.statements.find.clone())).bind(event_id.to_string());
        let row = query.fetch_optional(self.database.reader()).await.map_err(failed)?;
        row.map(|row| record_of(&row)).transpose().map_err(failed)
    }

    async fn find_many(&self, event_ids: &[Uuid]) -> Result<Vec<Record>, Error> {
        let query = sqlx::query(AssertSqlSafe(self.statements.find_many.clone())).bind(json(event_ids)?);
        let rows = query.fetch_all(self.database.reader()).await.map_err(failed)?;
        rows.iter().map(record_of).collect::<Result<_, _>>().map_err(failed)
    }

    async fn list(&self, status: Status, before: Option<&str>, limit: u32) -> Result<Vec<Record>, Error> {
        let statement = match status {
            Status::Pending => &self.statements.list_pending,
            Status::Processed => &self.statements.list_processed,
            Status::Failed => &self.statements.list_failed,
        };
        // An id that is no number is before none.
        let before = before.map_or(i64::MAX, |id| id.parse().unwrap_or(i64::MIN));
        let query = sqlx::query(AssertSqlSafe(statement.clone())).bind(before).bind(limit);
        let rows = query.fetch_all(self.database.reader()).await.map_err(failed)?;
        rows.iter().map(record_of).collect::<Result<_, _>>().map_err(failed)
    }

    async fn delete_processed(&self, before: DateTime<Utc>, limit: usize) -> Result<u64, Error> {
        let mut transaction = self.database.write().await?;
        let delete = sqlx::query(AssertSqlSafe(self.statements.delete_processed.clone()));
        let delete = delete.bind(text_of(before)).bind(count(limit));
        let deleted = delete.execute(&mut *transaction).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(deleted.rows_affected())
    }
}

/// A row that is no event keeps its headers too.
fn event_of(topic: &str, attributes: RawEntry, headers: &[u8]) -> Result<Event, Box<Malformed>> {
    cloudevent::parse(topic, attributes, Utc::now()).map_err(|mut malformed| {
        malformed.attributes.push(("headers".into(), String::from_utf8_lossy(headers).into_owned()));
        malformed
    })
}

#[derive(Serialize, Deserialize)]
struct Headers {
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracestate: Option<String>,
}

#[derive(Serialize)]
struct Failure<'a> {
    id: i64,
    error: Cow<'a, str>,
}

#[derive(Serialize)]
struct NewRow<'a> {
    event_id: Uuid,
    topic: &'a str,
    key: &'a str,
    event_type: &'a str,
    payload: &'a str,
    headers: Headers,
    occurred_at: String,
}

impl<'a> NewRow<'a> {
    fn of(event: &'a NewEvent, now: DateTime<Utc>) -> Self {
        let trace = event.trace.as_ref();
        Self {
            event_id: event.event_id.unwrap_or_else(Uuid::now_v7),
            topic: &event.topic,
            key: &event.key,
            event_type: &event.event_type,
            payload: &event.payload,
            headers: Headers {
                traceparent: trace.map(|trace| trace.traceparent.clone()),
                tracestate: trace.and_then(|trace| trace.tracestate.clone()),
            },
            occurred_at: text_of(event.occurred_at.unwrap_or(now)),
        }
    }
}

/// The rows of this table are numbered; another kind of id is none of its rows.
fn numbers(rows: &[RowId]) -> Vec<i64> {
    rows.iter().filter_map(|id| if let RowId::Number(id) = id { Some(*id) } else { None }).collect()
}

fn settled_row_of(row: &SqliteRow) -> Result<SettledRow, sqlx::Error> {
    let event_id = bytes_in(row, "event_id")?.and_then(|id| Uuid::try_parse_ascii(&id).ok());
    let key = text_in(row, "key")?.or_else(|| event_id.map(|id| id.to_string()));
    Ok(SettledRow {
        id: RowId::Number(row.try_get("id")?),
        event_id,
        topic: text_in(row, "topic")?.unwrap_or_default(),
        key: key.unwrap_or_default(),
        created_at: readable_time_in(row, "created_at")?,
        processed_at: readable_time_in(row, "processed_at")?,
    })
}

fn backlog_of(row: &SqliteRow) -> Result<Backlog, sqlx::Error> {
    let count = |column: &str| Ok::<_, sqlx::Error>(row.try_get::<i64, _>(column)?.unsigned_abs());
    let number = |column: &str| row.try_get::<Option<i64>, _>(column);
    let counted = count("pending")?;
    let estimated = counted > COUNTED;
    let pending = match (number("first")?, number("last")?, number("newest")?) {
        (Some(first), Some(last), Some(newest)) if estimated => {
            Backlog::estimate(counted, (first, last), newest)
        }
        _ => counted.min(COUNTED),
    };
    let oldest_pending = readable_time_in(row, "oldest_pending")?;
    Ok(Backlog { pending, estimated, failed: count("failed")?, oldest_pending })
}

fn record_of(row: &SqliteRow) -> Result<Record, sqlx::Error> {
    let text = |column| text_in(row, column).map(Option::unwrap_or_default);
    Ok(Record {
        id: row.try_get::<i64, _>("id")?.to_string(),
        event_id: text("event_id")?,
        topic: text("topic")?,
        key: text("key")?,
        event_type: text("event_type")?,
        status: text("status")?,
        created_at: readable_time_in(row, "created_at")?,
        processed_at: readable_time_in(row, "processed_at")?,
        error: text_in(row, "error")?,
        traceparent: text_in(row, "traceparent")?,
    })
}

/// A time for information only: whatever the application wrote there instead is passed over.
fn readable_time_in(row: &SqliteRow, column: &str) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    Ok(text_in(row, column)?.and_then(|text| time_of(&text).ok()))
}

/// All statements, spelled out once for the table's name.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) claim_pending: Arc<str>,
    pub(super) mark_processed: Arc<str>,
    mark_failed: Arc<str>,
    mark_pending: Arc<str>,
    processed_before: Arc<str>,
    failed_before: Arc<str>,
    backlog: Arc<str>,
    insert: Arc<str>,
    find: Arc<str>,
    find_many: Arc<str>,
    list_pending: Arc<str>,
    list_processed: Arc<str>,
    list_failed: Arc<str>,
    delete_processed: Arc<str>,
}

impl Statements {
    pub(super) fn new(table: &str) -> Self {
        let table = format!("\"{}\"", table.replace('"', "\"\""));
        let now = now_once!();
        let settled_before = |status| {
            format!(
                "SELECT id, event_id, topic, key, created_at, processed_at FROM {table} \
                 WHERE status = '{status}' AND id < ?1 ORDER BY id DESC LIMIT ?2"
            )
        };
        let told = format!(
            "SELECT id, event_id, topic, key, event_type, status, created_at, processed_at, error, \
             CASE WHEN json_valid(headers) THEN headers ->> 'traceparent' END AS traceparent FROM {table}"
        );
        let list = |status| format!("{told} WHERE status = '{status}' AND id < ?1 ORDER BY id DESC LIMIT ?2");
        Self {
            // The inner query needs the index of pending rows alone, so the planner cannot prefer the whole table.
            claim_pending: format!(
                "SELECT o.id AS number, event_id AS id, topic, key AS partitionkey, event_type AS type, \
                 payload AS data, headers, occurred_at AS time, created_at FROM {table} AS o \
                 WHERE o.id IN (SELECT p.id FROM {table} AS p WHERE p.status = 'pending' AND p.id > ?1 \
                 AND p.id NOT IN (SELECT value FROM json_each(?2)) ORDER BY p.id LIMIT ?3) ORDER BY o.id"
            )
            .into(),
            mark_processed: format!(
                "UPDATE {table} SET status = 'processed', processed_at = {now} \
                 WHERE id IN (SELECT value FROM json_each(?1)) AND status = 'pending'"
            )
            .into(),
            mark_failed: format!(
                "UPDATE {table} AS o SET status = 'failed', processed_at = {now}, attempts = attempts + 1, \
                 error = f.value ->> 'error' \
                 FROM json_each(?1) AS f WHERE o.id = f.value ->> 'id' AND o.status = 'pending'"
            )
            .into(),
            mark_pending: format!(
                "UPDATE {table} SET status = 'pending', processed_at = NULL \
                 WHERE id IN (SELECT value FROM json_each(?1)) AND status = 'processed'"
            )
            .into(),
            processed_before: settled_before("processed").into(),
            failed_before: settled_before("failed").into(),
            backlog: format!(
                "SELECT (SELECT count(*) FROM (SELECT 1 FROM {table} WHERE status = 'pending' LIMIT {COUNTED} + 1)) \
                 AS pending, (SELECT min(id) FROM {table} WHERE status = 'pending') AS first, \
                 (SELECT id FROM {table} WHERE status = 'pending' ORDER BY id LIMIT 1 OFFSET {COUNTED}) AS last, \
                 (SELECT max(id) FROM {table} WHERE status = 'pending') AS newest, \
                 (SELECT count(*) FROM (SELECT 1 FROM {table} WHERE status = 'failed' LIMIT {COUNTED})) AS failed, \
                 (SELECT created_at FROM {table} WHERE id = \
                 (SELECT min(id) FROM {table} WHERE status = 'pending')) AS oldest_pending"
            )
            .into(),
            insert: format!(
                "INSERT INTO {table} (event_id, topic, key, event_type, payload, headers, occurred_at) \
                 SELECT value ->> 'event_id', value ->> 'topic', value ->> 'key', value ->> 'event_type', \
                 value ->> 'payload', value -> 'headers', value ->> 'occurred_at' FROM json_each(?1) ORDER BY key"
            )
            .into(),
            find: format!("{told} WHERE event_id = ?1").into(),
            find_many: format!("{told} WHERE event_id IN (SELECT value FROM json_each(?1))").into(),
            list_pending: list("pending").into(),
            list_processed: list("processed").into(),
            list_failed: list("failed").into(),
            // Looks at the oldest rows only: those that are kept for longer are not scanned at every turn.
            delete_processed: format!(
                "DELETE FROM {table} WHERE id IN (SELECT id FROM (SELECT id, processed_at FROM {table} \
                 WHERE status = 'processed' AND processed_at IS NOT NULL ORDER BY id LIMIT ?2) \
                 WHERE processed_at < ?1)"
            )
            .into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn database() -> (tempfile::TempDir, Database) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path().join("factline.db").to_str().unwrap()).await.unwrap();
        database.migrate_up().await.unwrap();
        (folder, database)
    }

    #[tokio::test]
    async fn a_row_of_plain_sql_is_an_event_with_a_time_ordered_id() {
        let (_folder, database) = database().await;
        let mut transaction = database.write().await.unwrap();
        sqlx::query(
            r#"INSERT INTO outbox_events(topic, key, event_type, payload) VALUES ('chat', 'c', 't', '{"a":1}')"#,
        )
        .execute(&mut *transaction)
        .await
        .unwrap();
        transaction.commit().await.unwrap();
        let outbox = Outbox::new(database, "outbox_events", "outbox");
        let rows = outbox.claim_pending(Claim { after: None, in_flight: &[], limit: 9 }).await.unwrap();
        let event = rows[0].event.as_ref().unwrap();
        assert_eq!((event.id.get_version_num(), event.data.as_str()), (7, r#"{"a":1}"#));
        assert_eq!(event.id.get_variant(), uuid::Variant::RFC4122);
        let (seconds, _) = event.id.get_timestamp().unwrap().to_unix();
        assert!(seconds.abs_diff(event.occurred_at.timestamp().cast_unsigned()) <= 1);
    }

    #[tokio::test]
    async fn claiming_and_counting_look_at_the_index_of_pending_rows_alone() {
        let (_folder, database) = database().await;
        let statements = Statements::new("outbox_events");
        for sql in [&statements.claim_pending, &statements.backlog] {
            let explain = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")));
            let plan = explain.fetch_all(database.reader()).await.unwrap();
            let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
            let whole_table = |step: &&String| {
                // What a limited subquery gave is no table.
                let others = ["json_each", "CONSTANT ROW", "(subquery-"];
                let of_table = !others.iter().any(|other| step.contains(other));
                step.starts_with("SCAN") && of_table && !step.contains("COVERING INDEX outbox_events_")
            };
            assert_eq!(plan.iter().find(whole_table), None, "{plan:?}");
            assert!(plan.iter().any(|step| step.contains("INDEX outbox_events_pending")), "{plan:?}");
        }
    }
}
