//! The outbox table in PostgreSQL, ours or one that was there before us.
//!
//! Table and columns are named by the configuration. What they hold is looked up once, when the outbox is opened, so
//! that ids may be numbers, UUIDs or text and times may be timestamps or numbers.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use factline_pipeline::{
    cloudevent::{self, Malformed},
    event::{Event, TraceContext},
    outage::Error,
    outbox::{Backlog, Claim, NewEvent, Outbox as Port, Record, Row, RowId},
};
use sqlx::{AssertSqlSafe, PgPool, Row as _, postgres::PgRow};
use uuid::Uuid;

use super::{failed, unusable};
use crate::outbox_table::{Columns, OutboxTable};

/// Opens a transaction in which the planner keeps to the index that gives the rows in order.
///
/// Statistics of a fresh outbox say that it is empty, and a plan made then scans or sorts everything once it is
/// not. Both statements know their rows by index, so nothing else is ever better.
const BEGIN_BY_INDEX: &str = "BEGIN; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; \
                              SET LOCAL enable_sort = off";

/// The outbox.
pub struct Outbox {
    pool: PgPool,
    source: String,
    statements: Statements,
}

impl Outbox {
    /// Looks the table up; fails if it, or one of the named columns, does not exist.
    pub async fn open(pool: PgPool, table: &OutboxTable) -> Result<Self, Error> {
        let types = column_types(&pool, table).await?;
        let statements = Statements::new(table, &types).map_err(unusable)?;
        Ok(Self { pool, source: table.source.clone(), statements })
    }

    fn row_of(&self, row: &PgRow) -> Result<Row, sqlx::Error> {
        let id = match self.statements.id_kind {
            IdKind::Number => RowId::Number(row.try_get("row_id")?),
            IdKind::Text => RowId::Text(row.try_get("row_id")?),
        };
        let event_id: String = row.try_get("event_id")?;
        let topic: String = row.try_get("topic")?;
        let key: String = row.try_get("key")?;
        let event_type: String = row.try_get("event_type")?;
        let data: String = row.try_get("payload")?;
        let traceparent: Option<String> = row.try_get("traceparent")?;
        let tracestate: Option<String> = row.try_get("tracestate")?;
        let event = match Uuid::try_parse(&event_id) {
            Ok(uuid) => Ok(Event {
                id: uuid,
                source: self.source.clone(),
                event_type,
                topic: topic.clone(),
                key,
                occurred_at: row.try_get::<Option<DateTime<Utc>>, _>("occurred_at")?.unwrap_or_else(Utc::now),
                sequence: if let RowId::Number(number) = id { Some(number) } else { None },
                trace: traceparent.map(|traceparent| TraceContext { traceparent, tracestate }),
                data,
            }),
            Err(_) => Err(Box::new(Malformed {
                reason: cloudevent::Error::Id(event_id.clone()),
                event_id,
                key: Some(key),
                event_type: Some(event_type),
                data: data.into_bytes(),
                attributes: traceparent.map(|value| ("traceparent".to_owned(), value)).into_iter().collect(),
            })),
        };
        Ok(Row { id, topic, event })
    }
}

#[async_trait]
impl Port for Outbox {
    async fn claim_pending(&self, claim: Claim<'_>) -> Result<Vec<Row>, Error> {
        let limit = i64::try_from(claim.limit).unwrap_or(i64::MAX);
        let mut transaction = self.pool.begin_with(BEGIN_BY_INDEX).await.map_err(failed)?;
        let rows = if let (Some(after), IdKind::Number) = (claim.after, self.statements.id_kind) {
            let claim_after = AssertSqlSafe(self.statements.claim_after.clone());
            sqlx::query(claim_after).bind(after).bind(limit).fetch_all(&mut *transaction).await
        } else {
            let claim_any = sqlx::query(AssertSqlSafe(self.statements.claim_any.clone()));
            let query = match self.statements.id_kind {
                IdKind::Number => claim_any.bind(numbers(claim.in_flight)),
                IdKind::Text => claim_any.bind(texts(claim.in_flight)),
            };
            query.bind(limit).fetch_all(&mut *transaction).await
        };
        let rows = rows.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        rows.iter().map(|row| self.row_of(row)).collect::<Result<_, _>>().map_err(failed)
    }

    async fn mark_processed(&self, rows: &[RowId]) -> Result<(), Error> {
        let mut transaction = self.pool.begin_with(BEGIN_BY_INDEX).await.map_err(failed)?;
        let mark = sqlx::query(AssertSqlSafe(self.statements.mark_processed.clone()));
        let query = match self.statements.id_kind {
            IdKind::Number => mark.bind(numbers(rows)),
            IdKind::Text => mark.bind(texts(rows)),
        };
        query.execute(&mut *transaction).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    async fn mark_failed(&self, rows: &[(RowId, String)]) -> Result<(), Error> {
        let (ids, reasons): (Vec<RowId>, Vec<String>) = rows.iter().cloned().unzip();
        let reasons: Vec<String> = reasons.iter().map(|reason| reason.replace('\0', "\u{fffd}")).collect();
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let mark = sqlx::query(AssertSqlSafe(self.statements.mark_failed.clone()));
        mark.bind(ids).bind(reasons).execute(&self.pool).await.map_err(failed)?;
        Ok(())
    }

    async fn backlog(&self) -> Result<Backlog, Error> {
        let query = sqlx::query(AssertSqlSafe(self.statements.backlog.clone()));
        let row = query.fetch_one(&self.pool).await.map_err(failed)?;
        let count =
            |column: &str| row.try_get::<i64, _>(column).map(|count| u64::try_from(count).unwrap_or(0));
        Ok(Backlog {
            pending: count("pending").map_err(failed)?,
            failed: count("failed").map_err(failed)?,
            oldest_pending: row.try_get("oldest_pending").map_err(failed)?,
        })
    }

    async fn insert(&self, events: &[NewEvent]) -> Result<Vec<Uuid>, Error> {
        let ids: Vec<Uuid> = events.iter().map(|event| event.event_id.unwrap_or_else(Uuid::now_v7)).collect();
        let texts = |text: fn(&NewEvent) -> &str| events.iter().map(|event| text(event).to_owned()).collect();
        let topics: Vec<String> = texts(|event| &event.topic);
        let keys: Vec<String> = texts(|event| &event.key);
        let types: Vec<String> = texts(|event| &event.event_type);
        let payloads: Vec<String> = texts(|event| &event.payload);
        let headers: Vec<String> = events.iter().map(headers_of).collect();
        let now = Utc::now();
        let times: Vec<_> = events.iter().map(|event| event.occurred_at.unwrap_or(now)).collect();
        let insert = sqlx::query(AssertSqlSafe(self.statements.insert.clone()));
        let insert =
            insert.bind(&ids).bind(topics).bind(keys).bind(types).bind(payloads).bind(headers).bind(times);
        insert.execute(&self.pool).await.map_err(failed)?;
        Ok(ids)
    }

    async fn find(&self, event_id: Uuid) -> Result<Option<Record>, Error> {
        let query = sqlx::query(AssertSqlSafe(self.statements.find.clone()));
        let row = query.bind(event_id.to_string()).fetch_optional(&self.pool).await.map_err(failed)?;
        let record = |row: PgRow| {
            Ok(Record {
                id: row.try_get("row_id")?,
                topic: row.try_get("topic")?,
                key: row.try_get("key")?,
                event_type: row.try_get("event_type")?,
                status: row.try_get("status")?,
                created_at: row.try_get("created_at")?,
                processed_at: row.try_get("processed_at")?,
                error: row.try_get("error")?,
                traceparent: row.try_get("traceparent")?,
            })
        };
        row.map(record).transpose().map_err(failed)
    }

    async fn delete_processed(&self, before: DateTime<Utc>, limit: usize) -> Result<u64, Error> {
        let delete = sqlx::query(AssertSqlSafe(self.statements.delete_processed.clone()));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let deleted = delete.bind(before).bind(limit).execute(&self.pool).await.map_err(failed)?;
        Ok(deleted.rows_affected())
    }
}

fn numbers(rows: &[RowId]) -> Vec<i64> {
    rows.iter().filter_map(|id| if let RowId::Number(id) = id { Some(*id) } else { None }).collect()
}

fn texts(rows: &[RowId]) -> Vec<String> {
    rows.iter().map(ToString::to_string).collect()
}

fn headers_of(event: &NewEvent) -> String {
    let mut headers = serde_json::Map::new();
    if let Some(trace) = &event.trace {
        headers.insert("traceparent".into(), trace.traceparent.clone().into());
        headers.extend(trace.tracestate.clone().map(|state| ("tracestate".to_owned(), state.into())));
    }
    serde_json::Value::Object(headers).to_string()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IdKind {
    Number,
    Text,
}

/// The types of the table's columns, by name, as SQL spells them.
type ColumnTypes = std::collections::HashMap<String, String>;

async fn column_types(pool: &PgPool, table: &OutboxTable) -> Result<ColumnTypes, Error> {
    let rows = sqlx::query(
        "SELECT attname::text AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute \
         WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped",
    )
    .bind(quoted(&table.table))
    .fetch_all(pool)
    .await
    .map_err(failed)?;
    if rows.is_empty() {
        return Err(unusable(format!(
            "outbox table {:?} does not exist; run `factline migrate up`, or set source.table",
            table.table
        )));
    }
    rows.iter()
        .map(|row| Ok((row.try_get("name")?, row.try_get("type")?)))
        .collect::<Result<_, _>>()
        .map_err(failed)
}

/// `chat.outbox_events` as `"chat"."outbox_events"`.
fn quoted(name: &str) -> String {
    let parts = name.split('.').map(|part| format!("\"{}\"", part.replace('"', "\"\"")));
    parts.collect::<Vec<_>>().join(".")
}

/// All statements, spelled out once for the table as it is.
struct Statements {
    id_kind: IdKind,
    claim_after: String,
    claim_any: String,
    mark_processed: String,
    mark_failed: String,
    backlog: String,
    insert: String,
    find: String,
    delete_processed: String,
}

impl Statements {
    fn new(table: &OutboxTable, types: &ColumnTypes) -> Result<Self, String> {
        let names = Names::new(&table.columns, types)?;
        let at = quoted(&table.table);
        let (id, status) = (names.required("id")?, names.required("status")?);
        let (id_type, event_id_type) = (names.type_of("id"), names.type_of("event_id"));
        let number = matches!(id_type, "bigint" | "integer" | "smallint");
        let (id_kind, row_id, ids) = if number {
            (IdKind::Number, format!("{id}::bigint"), "$1::bigint[]".to_owned())
        } else {
            (IdKind::Text, format!("{id}::text"), format!("$1::text[]::{id_type}[]"))
        };
        let order = names.optional("order").map_or_else(|| id.clone(), |order| format!("{order}, {id}"));
        let topic = names.optional("topic").unwrap_or_else(|| literal(&table.default_topic));
        let event_type = names.optional("event_type").unwrap_or_else(|| literal(&table.default_event_type));
        let event_id = names.required("event_id")?;
        let key = names.optional("key").unwrap_or_else(|| event_id.clone());
        let payload = names.required("payload")?;
        let header =
            |name| names.optional("headers").map_or("NULL".into(), |headers| format!("{headers}->>'{name}'"));
        let time = |column| names.optional(column).map(|name| as_time(&name, names.type_of(column)));
        let created_at = time("created_at").unwrap_or_else(|| "NULL::timestamptz".into());
        let occurred_at = time("occurred_at").unwrap_or_else(|| created_at.clone());
        let processed_at = time("processed_at").unwrap_or_else(|| "NULL::timestamptz".into());
        let error = names.optional("error").map_or("NULL::text".into(), |error| format!("{error}::text"));
        let event = format!(
            "SELECT {row_id} AS row_id, {event_id}::text AS event_id, {topic}::text AS topic, {key}::text AS key, \
             {event_type}::text AS event_type, {payload}::text AS payload, {} AS traceparent, {} AS tracestate, \
             {occurred_at} AS occurred_at FROM {at} WHERE {status} = 'pending'",
            header("traceparent"),
            header("tracestate"),
        );
        let set = |column, value: &str| names.optional(column).map(|name| format!(", {name} = {value}"));
        let now = set("processed_at", &now_as(names.type_of("processed_at"))).unwrap_or_default();
        let counted =
            names.optional("attempts").map(|name| format!(", {name} = o.{name} + 1")).unwrap_or_default();
        let reason = set("error", "f.reason").unwrap_or_default();
        let old = names.optional("processed_at").map_or("false".into(), |_| "processed_at_ < $1".to_string());
        Ok(Self {
            id_kind,
            claim_after: format!("{event} AND {id} > $1 ORDER BY {id} LIMIT $2"),
            claim_any: format!("{event} AND {id} <> ALL ({ids}) ORDER BY {order} LIMIT $2"),
            mark_processed: format!(
                "UPDATE {at} SET {status} = 'processed'{now} WHERE {id} = ANY ({ids}) AND {status} = 'pending'"
            ),
            mark_failed: format!(
                "UPDATE {at} AS o SET {status} = 'failed'{now}{counted}{reason} \
                 FROM unnest($1::text[]::{id_type}[], $2::text[]) AS f(id, reason) \
                 WHERE o.{id} = f.id AND o.{status} = 'pending'"
            ),
            backlog: format!(
                "SELECT (SELECT count(*) FROM {at} WHERE {status} = 'pending') AS pending, \
                 (SELECT count(*) FROM {at} WHERE {status} = 'failed') AS failed, \
                 (SELECT {created_at} FROM {at} WHERE {status} = 'pending' ORDER BY {order} LIMIT 1) \
                 AS oldest_pending"
            ),
            insert: insert_statement(&at, &names, event_id_type),
            find: format!(
                "SELECT {id}::text AS row_id, {topic}::text AS topic, {key}::text AS key, \
                 {event_type}::text AS event_type, {status}::text AS status, {created_at} AS created_at, \
                 {processed_at} AS processed_at, {error} AS error, {} AS traceparent \
                 FROM {at} WHERE {event_id} = $1::text::{event_id_type}",
                header("traceparent"),
            ),
            delete_processed: format!(
                "DELETE FROM {at} WHERE {id} IN (SELECT {id} FROM (SELECT {id}, {processed_at} AS processed_at_ \
                 FROM {at} WHERE {status} = 'processed' ORDER BY {order} LIMIT $2) AS oldest WHERE {old})"
            ),
        })
    }
}

/// Inserts the columns that the table has.
fn insert_statement(at: &str, names: &Names<'_>, event_id_type: &str) -> String {
    let columns = [
        ("event_id", format!("event_id::text::{event_id_type}")),
        ("topic", "topic".to_owned()),
        ("key", "key".to_owned()),
        ("event_type", "event_type".to_owned()),
        ("payload", format!("payload::{}", names.type_of("payload"))),
        ("headers", format!("headers::{}", names.type_of("headers"))),
        ("occurred_at", now_as_given(names.type_of("occurred_at"))),
    ];
    let present = columns.iter().filter_map(|(name, value)| Some((names.optional(name)?, value.as_str())));
    let (into, values): (Vec<String>, Vec<&str>) = present.unzip();
    format!(
        "INSERT INTO {at} ({}) SELECT {} FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], \
         $6::text[], $7::timestamptz[]) WITH ORDINALITY \
         AS n(event_id, topic, key, event_type, payload, headers, occurred_at, ordinal) ORDER BY ordinal",
        into.join(", "),
        values.join(", "),
    )
}

/// The configured column names, checked against the table.
struct Names<'a> {
    columns: &'a Columns,
    types: &'a ColumnTypes,
}

impl<'a> Names<'a> {
    fn new(columns: &'a Columns, types: &'a ColumnTypes) -> Result<Self, String> {
        for (field, name) in columns.named() {
            if !types.contains_key(name) {
                let mut known: Vec<&str> = types.keys().map(String::as_str).collect();
                known.sort_unstable();
                return Err(format!(
                    "source.columns.{field} = {name:?}, but the outbox table has no such column; it has {}; \
                     name one of them, or \"\" where the table has none",
                    known.join(", ")
                ));
            }
        }
        Ok(Self { columns, types })
    }

    fn optional(&self, field: &str) -> Option<String> {
        let (_, name) = self.columns.named().into_iter().find(|(known, _)| *known == field)?;
        Some(quoted(name))
    }

    fn required(&self, field: &str) -> Result<String, String> {
        self.optional(field).ok_or_else(|| format!("source.columns.{field} must name a column"))
    }

    /// The SQL type of a field's column; `text` where there is none, which nothing then uses.
    fn type_of(&self, field: &str) -> &str {
        let name = self.columns.named().into_iter().find(|(known, _)| *known == field);
        name.and_then(|(_, name)| self.types.get(name)).map_or("text", String::as_str)
    }
}

/// A column of any type as a time: timestamps, or Unix seconds or milliseconds.
fn as_time(name: &str, sql_type: &str) -> String {
    match sql_type {
        kind if kind.starts_with("timestamp") && kind.ends_with("without time zone") => {
            format!("({name} AT TIME ZONE 'UTC')")
        }
        "bigint" | "integer" | "numeric" | "double precision" | "real" => format!(
            "to_timestamp((CASE WHEN abs({name}) >= 1e11 THEN {name} / 1000.0 ELSE {name} END)::double precision)"
        ),
        _ => format!("{name}::timestamptz"),
    }
}

/// Now, as a column of this type holds it.
fn now_as(sql_type: &str) -> String {
    match sql_type {
        "bigint" | "numeric" => "(extract(epoch FROM clock_timestamp()) * 1000)::bigint".into(),
        "double precision" => "extract(epoch FROM clock_timestamp())".into(),
        kind if kind.ends_with("without time zone") => "(clock_timestamp() AT TIME ZONE 'UTC')".into(),
        _ => "clock_timestamp()".into(),
    }
}

/// The given time, as a column of this type holds it.
fn now_as_given(sql_type: &str) -> String {
    now_as(sql_type).replace("clock_timestamp()", "occurred_at")
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
