//! The outbox table in PostgreSQL, ours or one that was there before us.
//!
//! Table and columns are named by the configuration. What they hold is looked up once, when the outbox is opened, so
//! that ids may be numbers, UUIDs or text and times may be timestamps, numbers or text.
//!
//! # Layout
//!
//! - `columns`: the table as it is, and `times`, its columns that hold times;
//! - `statements`: the SQL for such a table; `rows`: what it gives; `bare`: the same for measurements.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use factline_pipeline::{
    outage::Error,
    outbox::{Backlog, Claim, NewEvent, Outbox as Port, Record, Row, RowId, Settled, SettledRow, Status},
};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, postgres::PgArguments, query::Query};
use uuid::Uuid;

use self::{
    columns::TableColumns,
    rows::Headers,
    statements::{IdKind, Statements, Walk},
};
use super::{at_opening, database::Database, failed, misconfigured, pool_with};
use crate::{
    failpoints::{self, Step},
    nul::without_nul,
    outbox_table::OutboxTable,
};

pub use self::bare::Bare;
pub(super) use self::columns::quoted;

mod bare;
mod columns;
mod rows;
mod statements;
mod times;

/// All statements know their rows by index, so nothing else is ever better; but statistics of a fresh table say that it
/// is empty, and a plan made then scans or sorts everything once it is not. A plan is made once for each connection, not
/// for each batch. The server ends a statement that takes too long.
const SETTINGS: &str = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off; \
                        SET plan_cache_mode = force_generic_plan; SET jit = off; \
                        SET idle_in_transaction_session_timeout = '4s'; SET statement_timeout = '10s'";

/// A pool of connections for an outbox; nothing is connected until it is used.
///
/// An unreadable URL is an error; it never repeats the URL, which may hold a password.
pub fn pool(url: &str, connections: u32) -> Result<PgPool, sqlx::Error> {
    pool_with(url, connections, SETTINGS)
}

/// The outbox.
pub struct Outbox {
    pub(super) database: Database,
    source: String,
    statements: Statements,
}

impl Outbox {
    /// Looks the table up; fails if it, or one of the named columns, does not exist or cannot do what it is for.
    pub async fn open(database: impl Into<Database>, table: &OutboxTable) -> Result<Self, Error> {
        let database = database.into();
        let look_up = async |connection: &mut PgConnection| {
            let columns = TableColumns::look_up(connection, table).await?;
            let statements = Statements::new(table, &columns).map_err(misconfigured)?;
            statements.prepare(connection).await?;
            Ok(statements)
        };
        let statements = database.timely(look_up).await.map_err(at_opening)?;
        Ok(Self { database, source: table.source.clone(), statements })
    }
}

#[async_trait]
impl Port for Outbox {
    async fn claim_pending(&self, claim: Claim<'_>) -> Result<Vec<Row>, Error> {
        let Statements { id_kind, claim_after, claim_any, .. } = &self.statements;
        let query = match (claim.after, id_kind) {
            (Some(after), IdKind::Number) => query(claim_after).bind(after),
            (_, IdKind::Number) => query(claim_any).bind(numbers(claim.in_flight)),
            (_, IdKind::Text) => query(claim_any).bind(texts(claim.in_flight)),
        };
        let query = query.bind(i64::try_from(claim.limit).unwrap_or(i64::MAX));
        let rows = self.database.fetch(query).await?;
        if !rows.is_empty() {
            failpoints::pass(Step::AfterClaim)?;
        }
        rows.iter()
            .map(|row| rows::claimed(row, *id_kind, &self.source))
            .collect::<Result<_, _>>()
            .map_err(failed)
    }

    async fn mark_processed(&self, rows: &[RowId]) -> Result<(), Error> {
        let mark = query(&self.statements.mark_processed);
        let mark = match self.statements.id_kind {
            IdKind::Number => mark.bind(numbers(rows)),
            IdKind::Text => mark.bind(texts(rows)),
        };
        failpoints::pass(Step::BeforeMark)?;
        self.database.change(mark).await?;
        failpoints::pass(Step::AfterMark)
    }

    async fn mark_failed(&self, rows: &[(RowId, String)]) -> Result<(), Error> {
        let (ids, reasons): (Vec<String>, Vec<_>) =
            rows.iter().map(|(id, reason)| (id.to_string(), without_nul(reason))).unzip();
        self.database.change(query(&self.statements.mark_failed).bind(ids).bind(reasons)).await?;
        Ok(())
    }

    async fn settled_before(
        &self,
        status: Settled,
        cursor: Option<&RowId>,
        limit: usize,
    ) -> Result<Vec<SettledRow>, Error> {
        let Walk { newest, before } = match status {
            Settled::Processed => &self.statements.processed,
            Settled::Failed => &self.statements.failed,
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let query = match cursor {
            None => query(newest).bind(limit),
            Some(RowId::Number(id)) => query(before).bind(limit).bind(*id),
            Some(RowId::Text(id)) => query(before).bind(limit).bind(id.clone()),
        };
        let rows = self.database.fetch(query).await?;
        let settled = rows.iter().map(|row| rows::settled(row, self.statements.id_kind));
        settled.collect::<Result<_, _>>().map_err(failed)
    }

    async fn mark_pending(&self, rows: &[RowId]) -> Result<u64, Error> {
        let mark = query(&self.statements.mark_pending);
        self.database
            .change(match self.statements.id_kind {
                IdKind::Number => mark.bind(numbers(rows)),
                IdKind::Text => mark.bind(texts(rows)),
            })
            .await
    }

    async fn backlog(&self) -> Result<Backlog, Error> {
        let rows = self.database.fetch(query(&self.statements.backlog)).await?;
        rows.first().map_or_else(|| Ok(Backlog::default()), rows::backlog).map_err(failed)
    }

    async fn insert(&self, events: &[NewEvent]) -> Result<Vec<Uuid>, Error> {
        let ids: Vec<Uuid> = events.iter().map(|event| event.event_id.unwrap_or_else(Uuid::now_v7)).collect();
        let texts = |text: fn(&NewEvent) -> &str| events.iter().map(|event| text(event).to_owned()).collect();
        let topics: Vec<String> = texts(|event| &event.topic);
        let keys: Vec<String> = texts(|event| &event.key);
        let types: Vec<String> = texts(|event| &event.event_type);
        let payloads: Vec<String> = texts(|event| &event.payload);
        let headers: Vec<String> = events.iter().map(headers_of).collect::<Result<_, _>>()?;
        let now = Utc::now();
        let times: Vec<_> = events.iter().map(|event| event.occurred_at.unwrap_or(now)).collect();
        let insert = query(&self.statements.insert).bind(&ids).bind(topics).bind(keys);
        self.database.change(insert.bind(types).bind(payloads).bind(headers).bind(times)).await?;
        Ok(ids)
    }

    async fn find(&self, event_id: Uuid) -> Result<Option<Record>, Error> {
        let select = query(&self.statements.find).bind(event_id.to_string());
        let select =
            async |connection: &mut PgConnection| select.fetch_optional(connection).await.map_err(failed);
        let row = self.database.timely(select).await?;
        row.map(|row| rows::found(&row)).transpose().map_err(failed)
    }

    async fn find_many(&self, event_ids: &[Uuid]) -> Result<Vec<Record>, Error> {
        let ids: Vec<String> = event_ids.iter().map(Uuid::to_string).collect();
        let rows = self.database.fetch(query(&self.statements.find_many).bind(ids)).await?;
        rows.iter().map(rows::found).collect::<Result<_, _>>().map_err(failed)
    }

    async fn list(&self, status: Status, before: Option<&str>, limit: u32) -> Result<Vec<Record>, Error> {
        let Walk { newest, before: after_page } = match status {
            Status::Pending => &self.statements.list_pending,
            Status::Processed => &self.statements.list_processed,
            Status::Failed => &self.statements.list_failed,
        };
        let limit = i64::from(limit);
        let query = match (before, self.statements.id_kind) {
            (None, _) => query(newest).bind(limit),
            // An id that is no number is before none.
            (Some(id), IdKind::Number) => query(after_page).bind(limit).bind(id.parse().unwrap_or(i64::MIN)),
            (Some(id), IdKind::Text) => query(after_page).bind(limit).bind(id.to_owned()),
        };
        let rows = self.database.fetch(query).await?;
        rows.iter().map(rows::found).collect::<Result<_, _>>().map_err(failed)
    }

    async fn delete_processed(&self, before: DateTime<Utc>, limit: usize) -> Result<u64, Error> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.database.change(query(&self.statements.delete_processed).bind(before).bind(limit)).await
    }
}

/// One of our statements; what it is made of is quoted.
fn query<'q>(statement: &str) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(AssertSqlSafe(statement.to_owned()))
}

fn numbers(rows: &[RowId]) -> Vec<i64> {
    rows.iter().filter_map(|id| if let RowId::Number(id) = id { Some(*id) } else { None }).collect()
}

fn texts(rows: &[RowId]) -> Vec<String> {
    rows.iter().map(ToString::to_string).collect()
}

fn headers_of(event: &NewEvent) -> Result<String, Error> {
    let trace = event.trace.as_ref();
    let headers = Headers {
        traceparent: trace.map(|trace| trace.traceparent.clone()),
        tracestate: trace.and_then(|trace| trace.tracestate.clone()),
    };
    serde_json::to_string(&headers).map_err(|error| Error::Data { service: "postgres", source: error.into() })
}
