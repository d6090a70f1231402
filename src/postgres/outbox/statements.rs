//! All statements of the outbox, spelled out once for the table as it is.
//!
//! What a row holds is read as text or bytes and judged in Rust: a cast or an operator that one row's content made fail
//! would fail the claim, and with it all rows.

use factline_pipeline::{outage::Error, outbox::COUNTED};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection, SqlSafeStr as _, error::DatabaseError};

use super::columns::{TableColumns, quoted};
use crate::{
    outbox_table::OutboxTable,
    postgres::{failed, misconfigured},
};

/// How rows are identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IdKind {
    Number,
    Text,
}

/// Settled rows, newest first.
pub(super) struct Walk {
    pub(super) newest: String,
    pub(super) before: String,
}

pub(super) struct Statements {
    pub(super) id_kind: IdKind,
    pub(super) claim_after: String,
    pub(super) claim_any: String,
    pub(super) mark_processed: String,
    pub(super) mark_failed: String,
    pub(super) mark_pending: String,
    pub(super) processed: Walk,
    pub(super) failed: Walk,
    pub(super) backlog: String,
    pub(super) insert: String,
    pub(super) find: String,
    pub(super) find_many: String,
    pub(super) list_pending: Walk,
    pub(super) list_processed: Walk,
    pub(super) list_failed: Walk,
    pub(super) delete_processed: String,
}

impl Statements {
    pub(super) fn new(table: &OutboxTable, columns: &TableColumns<'_>) -> Result<Self, String> {
        let parts = Parts::new(table, columns)?;
        let (claim_after, claim_any) = claims(&parts, columns)?;
        Ok(Self {
            id_kind: parts.id_kind,
            claim_after,
            claim_any,
            mark_processed: mark_processed(&parts, columns)?,
            mark_failed: mark_failed(&parts, columns)?,
            mark_pending: mark_pending(&parts, columns),
            processed: walk(&parts, columns, "processed")?,
            failed: walk(&parts, columns, "failed")?,
            backlog: backlog(&parts, columns)?,
            insert: insert(&parts, columns)?,
            find: find(&parts, columns, EventIds::One)?,
            find_many: find(&parts, columns, EventIds::Many)?,
            list_pending: list(&parts, columns, "pending")?,
            list_processed: list(&parts, columns, "processed")?,
            list_failed: list(&parts, columns, "failed")?,
            delete_processed: delete_processed(&parts, columns)?,
        })
    }

    /// Lets the server look at every statement, so that one that can't work is found now.
    pub(super) async fn prepare(&self, connection: &mut PgConnection) -> Result<(), Error> {
        let all = [
            ("claim rows in order", "id, order and status", &self.claim_after),
            ("claim rows", "id, order and status", &self.claim_any),
            ("mark rows processed", "id, status and processed_at", &self.mark_processed),
            ("mark rows failed", "id, status, processed_at, attempts and error", &self.mark_failed),
            ("mark rows pending", "id, status and processed_at", &self.mark_pending),
            ("walk through rows", "id, order, event_id and processed_at", &self.processed.before),
            ("count what waits", "status, order and created_at", &self.backlog),
            ("insert events", "event_id, topic, key, event_type, payload and headers", &self.insert),
            ("find an event", "event_id", &self.find),
            ("find events", "event_id", &self.find_many),
            ("list rows", "id, order, error and headers", &self.list_failed.before),
            ("delete processed rows", "order and processed_at", &self.delete_processed),
        ];
        for (purpose, columns, statement) in all {
            let prepared = connection.prepare(AssertSqlSafe(statement.clone()).into_sql_str()).await;
            prepared.map_err(|error| match &error {
                sqlx::Error::Database(refusal) if blames_the_statement(refusal.as_ref()) => misconfigured(format!(
                    "cannot {purpose} in this outbox table: {}; check what source.columns says of {columns}",
                    refusal.message()
                )),
                _ => failed(error),
            })?;
        }
        Ok(())
    }
}

/// SQLSTATE classes 0A, 22 and 42: not supported, data exception, syntax or access rule.
fn blames_the_statement(refusal: &dyn DatabaseError) -> bool {
    let code = refusal.code().unwrap_or_default();
    ["0A", "22", "42"].iter().any(|class| code.starts_with(class))
}

/// The expressions that several statements are made of.
struct Parts {
    at: String,
    id_kind: IdKind,
    id: String,
    /// The ids of a batch, which are the first parameter.
    ids: String,
    order: String,
    status: String,
    event_id: String,
    topic: String,
    key: String,
    event_type: String,
    headers: String,
}

impl Parts {
    fn new(table: &OutboxTable, columns: &TableColumns<'_>) -> Result<Self, String> {
        let (id, id_type) = (columns.required("id")?, columns.type_of("id"));
        let id_kind = match id_type {
            "bigint" | "integer" | "smallint" => IdKind::Number,
            _ => IdKind::Text,
        };
        let ids = match id_kind {
            IdKind::Number => "$1::bigint[]".to_owned(),
            IdKind::Text => format!("$1::text[]::{id_type}[]"),
        };
        let order = columns.optional("order").map_or_else(|| id.clone(), |order| format!("{order}, {id}"));
        let event_id = columns.required("event_id")?;
        let or_literal = |field, text| columns.optional(field).unwrap_or_else(|| literal(text));
        Ok(Self {
            at: quoted(&table.table),
            id_kind,
            ids,
            order,
            status: columns.required("status")?,
            topic: or_literal("topic", &table.default_topic),
            key: columns.optional("key").unwrap_or_else(|| event_id.clone()),
            event_type: or_literal("event_type", &table.default_event_type),
            headers: columns.optional("headers").unwrap_or_else(|| "NULL".into()),
            event_id,
            id,
        })
    }

    /// The id as it is read.
    fn row_id(&self) -> String {
        match self.id_kind {
            IdKind::Number => format!("{}::bigint", self.id),
            IdKind::Text => format!("{}::text", self.id),
        }
    }
}

/// The pending rows after a number, and all pending rows but those in flight.
fn claims(parts: &Parts, columns: &TableColumns<'_>) -> Result<(String, String), String> {
    let Parts { at, id, ids, order, status, event_id, topic, key, event_type, headers, .. } = parts;
    let row_id = parts.row_id();
    let payload = match (columns.required("payload")?, columns.type_of("payload")) {
        (payload, "bytea") => payload,
        (payload, _) => format!("{payload}::text"),
    };
    let created = columns.time("created_at")?;
    let occurred = columns.time("occurred_at")?.or_else(|| created.clone());
    let time = |column: &Option<_>| read_time(column.as_ref());
    let ((occurred_at, occurred_text), (created_at, created_text)) = (time(&occurred), time(&created));
    // A row without an id can be neither marked nor remembered.
    let rows = format!(
        "SELECT {row_id} AS row_id, {event_id}::text AS event_id, {topic}::text AS topic, {key}::text AS key, \
         {event_type}::text AS event_type, {payload} AS payload, {headers}::text AS headers, \
         {occurred_at} AS occurred_at, {occurred_text} AS occurred_at_text, {created_at} AS created_at, \
         {created_text} AS created_at_text FROM {at} WHERE {status} = 'pending' AND {id} IS NOT NULL"
    );
    // Only numbers have a successor that a relay may rely on; the other statement is never run then.
    let claim_any = format!("{rows} AND {id} <> ALL ({ids}) ORDER BY {order} LIMIT $2");
    let claim_after = match parts.id_kind {
        IdKind::Number => format!("{rows} AND {id} > $1 ORDER BY {id} LIMIT $2"),
        IdKind::Text => claim_any.clone(),
    };
    Ok((claim_after, claim_any))
}

/// A time, and the text where the column holds text.
fn read_time(column: Option<&super::times::TimeColumn>) -> (String, String) {
    column.map_or_else(
        || ("NULL::timestamptz".into(), "NULL::text".into()),
        |column| (column.read(), column.read_text()),
    )
}

fn set_processed_at(columns: &TableColumns<'_>) -> Result<String, String> {
    let Some(name) = columns.optional("processed_at") else { return Ok(String::new()) };
    let now = columns.time("processed_at")?.map(|column| column.write("clock_timestamp()"));
    Ok(now.map(|now| format!(", {name} = {now}")).unwrap_or_default())
}

/// Marks need not be on the disk yet: after a crash of the server, rows whose marks it lost are published again, and the
/// ledger knows their events.
fn mark_processed(parts: &Parts, columns: &TableColumns<'_>) -> Result<String, String> {
    let Parts { at, id, ids, status, .. } = parts;
    let now = set_processed_at(columns)?;
    Ok(format!(
        "UPDATE {at} SET {status} = 'processed'{now} WHERE {id} = ANY ({ids}) AND {status} = 'pending' \
         AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'"
    ))
}

fn mark_failed(parts: &Parts, columns: &TableColumns<'_>) -> Result<String, String> {
    let Parts { at, id, status, .. } = parts;
    let now = set_processed_at(columns)?;
    let counted = columns.optional("attempts");
    let counted = counted.map(|name| format!(", {name} = coalesce(o.{name}, 0) + 1")).unwrap_or_default();
    // An explicit cast shortens what is too long.
    let reason = match columns.type_of("error") {
        "json" => "to_json(f.reason)".to_owned(),
        "jsonb" => "to_jsonb(f.reason)".to_owned(),
        sql_type => format!("f.reason::{sql_type}"),
    };
    let reason = columns.optional("error").map(|name| format!(", {name} = {reason}")).unwrap_or_default();
    let id_type = columns.type_of("id");
    Ok(format!(
        "UPDATE {at} AS o SET {status} = 'failed'{now}{counted}{reason} \
         FROM unnest($1::text[]::{id_type}[], $2::text[]) AS f(id, reason) \
         WHERE o.{id} = f.id AND o.{status} = 'pending'"
    ))
}

fn mark_pending(parts: &Parts, columns: &TableColumns<'_>) -> String {
    let Parts { at, id, ids, status, .. } = parts;
    let unknown = columns.optional("processed_at").map(|name| format!(", {name} = NULL"));
    format!(
        "UPDATE {at} SET {status} = 'pending'{} WHERE {id} = ANY ({ids}) AND {status} = 'processed'",
        unknown.unwrap_or_default()
    )
}

/// Keyset pages against the publication order. Rows without a place in it are left out: no page would follow them.
fn walk(parts: &Parts, columns: &TableColumns<'_>, wanted: &str) -> Result<Walk, String> {
    let Parts { event_id, topic, key, .. } = parts;
    let row_id = parts.row_id();
    let (created_at, created_text) = read_time(columns.time("created_at")?.as_ref());
    let (processed_at, processed_text) = read_time(columns.time("processed_at")?.as_ref());
    let selected = format!(
        "SELECT {row_id} AS row_id, {event_id}::text AS event_id, {topic}::text AS topic, {key}::text AS key, \
         {created_at} AS created_at, {created_text} AS created_at_text, {processed_at} AS processed_at, \
         {processed_text} AS processed_at_text"
    );
    Ok(pages(parts, columns, &selected, wanted))
}

/// What is told of rows, page by page.
fn list(parts: &Parts, columns: &TableColumns<'_>, wanted: &str) -> Result<Walk, String> {
    Ok(pages(parts, columns, &told(parts, columns)?, wanted))
}

fn pages(parts: &Parts, columns: &TableColumns<'_>, selected: &str, wanted: &str) -> Walk {
    let Parts { at, id, status, .. } = parts;
    let order = columns.optional("order");
    let known = order.as_ref().map(|order| format!(" AND {order} IS NOT NULL")).unwrap_or_default();
    let rows = format!("{selected} FROM {at} WHERE {status} = '{wanted}' AND {id} IS NOT NULL{known}");
    let cursor = match parts.id_kind {
        IdKind::Number => "$2::bigint".to_owned(),
        IdKind::Text => format!("$2::text::{}", columns.type_of("id")),
    };
    let (before, newest_first) = match order {
        None => (format!("{id} < {cursor}"), format!("{id} DESC")),
        Some(order) => (
            format!("({order}, {id}) < (SELECT {order}, {id} FROM {at} WHERE {id} = {cursor})"),
            format!("{order} DESC, {id} DESC"),
        ),
    };
    Walk {
        newest: format!("{rows} ORDER BY {newest_first} LIMIT $1"),
        before: format!("{rows} AND {before} ORDER BY {newest_first} LIMIT $1"),
    }
}

fn backlog(parts: &Parts, columns: &TableColumns<'_>) -> Result<String, String> {
    let Parts { at, id, id_kind, order, status, .. } = parts;
    let (created_at, created_text) = read_time(columns.time("created_at")?.as_ref());
    let pending = format!("FROM {at} WHERE {status} = 'pending'");
    // Numbers that give the order say how far the rows beyond those counted reach.
    let (number, newest) = if *id_kind == IdKind::Number && columns.optional("order").is_none() {
        (format!("{id}::bigint"), format!("SELECT {id}::bigint {pending} ORDER BY {id} DESC LIMIT 1"))
    } else {
        ("NULL::bigint".to_owned(), "SELECT NULL::bigint".to_owned())
    };
    Ok(format!(
        "WITH pending AS MATERIALIZED (SELECT {number} AS number {pending} ORDER BY {order} LIMIT {COUNTED} + 1), \
         failed AS MATERIALIZED (SELECT FROM {at} WHERE {status} = 'failed' ORDER BY {order} LIMIT {COUNTED}), \
         counted AS (SELECT count(*) AS rows, min(number) AS first, max(number) AS last FROM pending) \
         SELECT counted.rows AS pending, counted.first, counted.last, \
         CASE WHEN counted.rows > {COUNTED} THEN ({newest}) END AS newest, \
         (SELECT count(*) FROM failed) AS failed, oldest.created_at, oldest.created_at_text \
         FROM counted LEFT JOIN (SELECT {created_at} AS created_at, {created_text} AS created_at_text {pending} \
         ORDER BY {order} LIMIT 1) AS oldest ON true"
    ))
}

/// Inserts the columns that the table has; a column that stands for two things gets the first.
fn insert(parts: &Parts, columns: &TableColumns<'_>) -> Result<String, String> {
    let payload = match columns.type_of("payload") {
        "bytea" => "convert_to(payload, 'UTF8')".to_owned(),
        sql_type => format!("payload::{sql_type}"),
    };
    let occurred_at = columns.time("occurred_at")?.map(|column| column.write("n.occurred_at"));
    let given = [
        ("event_id", format!("event_id::text::{}", columns.type_of("event_id"))),
        ("topic", format!("topic::{}", columns.type_of("topic"))),
        ("key", format!("key::{}", columns.type_of("key"))),
        ("event_type", format!("event_type::{}", columns.type_of("event_type"))),
        ("payload", payload),
        ("headers", format!("headers::{}", columns.type_of("headers"))),
        ("occurred_at", occurred_at.unwrap_or_default()),
    ];
    let (mut into, mut values) = (Vec::new(), Vec::new());
    for (field, value) in given {
        if let Some(name) = columns.optional(field).filter(|name| !into.contains(name)) {
            into.push(name);
            values.push(value);
        }
    }
    Ok(format!(
        "INSERT INTO {} ({}) SELECT {} FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], \
         $6::text[], $7::timestamptz[]) WITH ORDINALITY \
         AS n(event_id, topic, key, event_type, payload, headers, occurred_at, ordinal) ORDER BY ordinal",
        parts.at,
        into.join(", "),
        values.join(", "),
    ))
}

/// What the parameter of a search is.
#[derive(Clone, Copy)]
enum EventIds {
    One,
    Many,
}

fn find(parts: &Parts, columns: &TableColumns<'_>, ids: EventIds) -> Result<String, String> {
    let Parts { at, event_id, .. } = parts;
    let told = told(parts, columns)?;
    // Compared as the column's own type, so that its index serves; a type that knows no UUIDs, as text.
    let (column, sql_type) = match columns.type_of("event_id") {
        sql_type @ ("uuid" | "text" | "citext") => (event_id.clone(), sql_type),
        sql_type if sql_type.starts_with("character varying") => (event_id.clone(), "text"),
        _ => (format!("{event_id}::text"), "text"),
    };
    let wanted = match ids {
        EventIds::One => format!("= $1::text::{sql_type}"),
        EventIds::Many => format!("= ANY ($1::text[]::{sql_type}[])"),
    };
    Ok(format!("{told} FROM {at} WHERE {column} {wanted}"))
}

/// What is told of a row.
fn told(parts: &Parts, columns: &TableColumns<'_>) -> Result<String, String> {
    let Parts { id, status, event_id, topic, key, event_type, headers, .. } = parts;
    let (created_at, created_text) = read_time(columns.time("created_at")?.as_ref());
    let (processed_at, processed_text) = read_time(columns.time("processed_at")?.as_ref());
    let error = columns.optional("error").unwrap_or_else(|| "NULL".into());
    Ok(format!(
        "SELECT {id}::text AS row_id, {event_id}::text AS event_id, {topic}::text AS topic, {key}::text AS key, \
         {event_type}::text AS event_type, {status}::text AS status, {created_at} AS created_at, \
         {created_text} AS created_at_text, {processed_at} AS processed_at, {processed_text} AS processed_at_text, \
         {error}::text AS error, {headers}::text AS headers"
    ))
}

/// Looks at the oldest rows only: those that are kept for longer are not scanned at every turn.
fn delete_processed(parts: &Parts, columns: &TableColumns<'_>) -> Result<String, String> {
    let Parts { at, id, order, status, .. } = parts;
    let Some(column) = columns.time("processed_at")? else {
        // Nobody knows when they were processed: they stay.
        return Ok(format!("DELETE FROM {at} WHERE $1::timestamptz IS NULL AND $2::bigint IS NULL"));
    };
    let (time, before) = (column.comparable(), column.comparable_moment("$1::timestamptz"));
    Ok(format!(
        "DELETE FROM {at} WHERE {id} = ANY (ARRAY(SELECT {id} FROM (SELECT {id}, {time} AS processed_at_ FROM {at} \
         WHERE {status} = 'processed' AND {time} IS NOT NULL ORDER BY {order} LIMIT $2) AS oldest \
         WHERE processed_at_ < {before}))"
    ))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
