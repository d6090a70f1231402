//! Who did what: written in the transaction of what was done, if there is one.

use async_trait::async_trait;
use factline_pipeline::outage::Error;
use serde_json::Value;
use sqlx::{PgConnection, Row as _, postgres::PgRow};

use super::{failed, store::Store};
use crate::{
    nul::{json_without_nul, without_nul},
    operator_log::{Actor, Entry, Filter, OperatorLog},
};

#[async_trait]
impl OperatorLog for Store {
    async fn note(&self, by: &Actor, action: &str, targets: &[String], detail: &Value) -> Result<(), Error> {
        let note = async |connection: &mut PgConnection| log(connection, by, action, targets, detail).await;
        self.database.timely(note).await
    }

    async fn entries(&self, filter: &Filter) -> Result<Vec<Entry>, Error> {
        let select = sqlx::query(
            "SELECT id, at, who, origin, action, target, detail FROM factline.operator_log \
             WHERE ($1::text IS NULL OR who = $1) AND ($2::text IS NULL OR action = $2) \
             AND ($3::text IS NULL OR target = $3) AND id < coalesce($4, 9223372036854775807) ORDER BY id DESC LIMIT $5",
        )
        .bind(&filter.who)
        .bind(&filter.action)
        .bind(&filter.target)
        .bind(filter.before)
        .bind(i64::from(filter.limit));
        self.all(select, entry).await
    }
}

fn entry(row: &PgRow) -> Result<Entry, sqlx::Error> {
    Ok(Entry {
        id: row.try_get("id")?,
        at: row.try_get("at")?,
        who: row.try_get("who")?,
        origin: row.try_get("origin")?,
        action: row.try_get("action")?,
        target: row.try_get("target")?,
        detail: row.try_get("detail")?,
    })
}

/// Writes an entry for each target.
pub(super) async fn log<T: ToString>(
    connection: &mut PgConnection,
    by: &Actor,
    action: &str,
    targets: &[T],
    detail: &Value,
) -> Result<(), Error> {
    if targets.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO factline.operator_log (who, action, target, detail, origin) \
         SELECT $1, $2, target, $4::text::jsonb, $5 FROM unnest($3::text[]) AS target",
    )
    .bind(without_nul(&by.who))
    .bind(action)
    .bind(targets.iter().map(ToString::to_string).collect::<Vec<_>>())
    .bind(json_without_nul(detail).to_string())
    .bind(&by.origin)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
