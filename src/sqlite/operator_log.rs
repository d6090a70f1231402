//! Who did what: written in the transaction of what was done, if there is one.

use async_trait::async_trait;
use factline_pipeline::outage::Error;
use serde_json::Value;
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use super::{failed, json, parsed_in, store::Store, time_in};
use crate::{
    nul::{json_without_nul, without_nul},
    operator_log::{Actor, Entry, Filter, OperatorLog},
};

#[async_trait]
impl OperatorLog for Store {
    async fn note(&self, by: &Actor, action: &str, targets: &[String], detail: &Value) -> Result<(), Error> {
        let mut transaction = self.database.write().await?;
        log(&mut transaction, by, action, targets, detail).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn entries(&self, filter: &Filter) -> Result<Vec<Entry>, Error> {
        let select = sqlx::query(
            "SELECT id, at, who, origin, action, target, detail FROM operator_log \
             WHERE (?1 IS NULL OR who = ?1) AND (?2 IS NULL OR action = ?2) AND (?3 IS NULL OR target = ?3) \
             AND id < coalesce(?4, 9223372036854775807) ORDER BY id DESC LIMIT ?5",
        )
        .bind(filter.who.clone())
        .bind(filter.action.clone())
        .bind(filter.target.clone())
        .bind(filter.before)
        .bind(filter.limit);
        self.all(select, entry).await
    }
}

fn entry(row: &SqliteRow) -> Result<Entry, sqlx::Error> {
    Ok(Entry {
        id: row.try_get("id")?,
        at: time_in(row, "at")?,
        who: row.try_get("who")?,
        origin: row.try_get("origin")?,
        action: row.try_get("action")?,
        target: row.try_get("target")?,
        detail: parsed_in(row, "detail")?,
    })
}

/// Writes an entry for each target.
pub(super) async fn log<T: ToString>(
    connection: &mut SqliteConnection,
    by: &Actor,
    action: &str,
    targets: &[T],
    detail: &Value,
) -> Result<(), Error> {
    if targets.is_empty() {
        return Ok(());
    }
    let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
    sqlx::query(
        "INSERT INTO operator_log (who, action, target, detail, origin) \
         SELECT ?1, ?2, value, ?4, ?5 FROM json_each(?3)",
    )
    .bind(without_nul(&by.who).into_owned())
    .bind(action.to_owned())
    .bind(json(&targets)?)
    .bind(json_without_nul(detail).to_string())
    .bind(by.origin.clone())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
