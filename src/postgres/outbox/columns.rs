//! The table's columns as they are: their names from the configuration, their types from the database.

use std::collections::HashMap;

use factline_pipeline::outage::Error;
use sqlx::{PgConnection, Row as _, postgres::PgRow};

use super::times::{TimeColumn, without_limits};
use crate::{
    outbox_table::{Columns, OutboxTable},
    postgres::{failed, misconfigured, unusable},
};

/// `processed`, the longest status.
const LENGTH_OF_STATUS: u32 = 9;

/// What PostgreSQL knows of a column.
struct ColumnType {
    /// As SQL spells it; a domain's own type.
    sql_type: String,
    /// Whether it is a kind of text.
    is_text: bool,
}

/// The configured columns, checked against the table. They are quoted for use in statements.
pub(super) struct TableColumns<'a> {
    columns: &'a Columns,
    types: HashMap<String, ColumnType>,
}

impl<'a> TableColumns<'a> {
    /// Looks the table up; fails if it, or one of the named columns, does not exist or cannot do what it is for.
    pub(super) async fn look_up(
        connection: &mut PgConnection,
        table: &'a OutboxTable,
    ) -> Result<Self, Error> {
        let types = column_types(connection, &table.table).await?;
        if types.is_empty() {
            return Err(unusable(format!(
                "outbox table {:?} does not exist; run `factline migrate up`, or set source.table",
                table.table
            )));
        }
        let found = Self { columns: &table.columns, types };
        found.check_names().and_then(|()| found.check_types()).map_err(misconfigured)?;
        Ok(found)
    }

    fn check_names(&self) -> Result<(), String> {
        for (field, name) in self.columns.named() {
            if !self.types.contains_key(name) {
                let mut known: Vec<&str> = self.types.keys().map(String::as_str).collect();
                known.sort_unstable();
                return Err(format!(
                    "source.columns.{field} = {name:?}, but the outbox table has no such column; it has {}; \
                     name one of them, or \"\" where the table has none",
                    known.join(", ")
                ));
            }
        }
        Ok(())
    }

    /// What no statement could find out before it is run.
    fn check_types(&self) -> Result<(), String> {
        if let Some(status) = self.column("status")
            && status.is_text
            && without_limits(&status.sql_type).1.first().is_some_and(|&length| length < LENGTH_OF_STATUS)
        {
            return Err(self.refusal("status", "which is too short for `processed`"));
        }
        if let Some(error) = self.column("error")
            && !error.is_text
            && !matches!(error.sql_type.as_str(), "json" | "jsonb")
        {
            return Err(self.refusal("error", "which holds no text; use text, or \"\" for no such column"));
        }
        for field in ["occurred_at", "created_at", "processed_at"] {
            self.time(field)?;
        }
        Ok(())
    }

    fn refusal(&self, field: &str, reason: &str) -> String {
        let (name, sql_type) = (self.name(field).unwrap_or_default(), self.type_of(field));
        format!("source.columns.{field} = {name:?} is of type {sql_type}, {reason}")
    }

    fn name(&self, field: &str) -> Option<&str> {
        self.columns.named().into_iter().find(|(known, _)| *known == field).map(|(_, name)| name)
    }

    fn column(&self, field: &str) -> Option<&ColumnType> {
        self.types.get(self.name(field)?)
    }

    /// The column of a field that a table need not have.
    pub(super) fn optional(&self, field: &str) -> Option<String> {
        self.name(field).map(quoted)
    }

    /// The column of a field that every table needs.
    pub(super) fn required(&self, field: &str) -> Result<String, String> {
        self.optional(field).ok_or_else(|| format!("source.columns.{field} must name a column"))
    }

    /// The SQL type of a field's column; `text` where there is none, which nothing then uses.
    pub(super) fn type_of(&self, field: &str) -> &str {
        self.column(field).map_or("text", |column| &column.sql_type)
    }

    /// A column that holds times.
    pub(super) fn time(&self, field: &str) -> Result<Option<TimeColumn>, String> {
        let column = |name| TimeColumn::new(name, self.type_of(field));
        self.optional(field).map(column).transpose().map_err(|reason| self.refusal(field, &reason))
    }
}

async fn column_types(
    connection: &mut PgConnection,
    table: &str,
) -> Result<HashMap<String, ColumnType>, Error> {
    let rows = sqlx::query(
        "SELECT attname::text AS name, t.typcategory = 'S' AS is_text, CASE WHEN t.typtype = 'd' \
         THEN format_type(t.typbasetype, t.typtypmod) ELSE format_type(a.atttypid, a.atttypmod) END AS sql_type \
         FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid \
         WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped",
    )
    .bind(quoted(table))
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let column = |row: &PgRow| {
        let column = ColumnType { sql_type: row.try_get("sql_type")?, is_text: row.try_get("is_text")? };
        Ok((row.try_get("name")?, column))
    };
    rows.iter().map(column).collect::<Result<_, _>>().map_err(failed)
}

/// `chat.outbox_events` as `"chat"."outbox_events"`.
pub(in crate::postgres) fn quoted(name: &str) -> String {
    let parts = name.split('.').map(|part| format!("\"{}\"", part.replace('"', "\"\"")));
    parts.collect::<Vec<_>>().join(".")
}
