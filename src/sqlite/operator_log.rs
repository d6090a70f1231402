//! Who did what: written in the transaction of what was done, if there is one.

use async_trait::async_trait;
use factline_pipeline::outage::Error;
use serde_json::Value;
use sqlx::SqliteConnection;

use super::{failed, json, store::Store};
use crate::{
    nul::{json_without_nul, without_nul},
    operator_log::{Actor, OperatorLog},
};

#[async_trait]
impl OperatorLog for Store {
    async fn note(&self, by: &Actor, action: &str, targets: &[String], detail: &Value) -> Result<(), Error> {
        let mut transaction = self.database.write().await?;
        log(&mut transaction, &by.who, action, targets, detail).await?;
        transaction.commit().await.map_err(failed)
    }
}

/// Writes an entry for each target.
pub(super) async fn log<T: ToString>(
    connection: &mut SqliteConnection,
    by: &str,
    action: &str,
    targets: &[T],
    detail: &Value,
) -> Result<(), Error> {
    if targets.is_empty() {
        return Ok(());
    }
    let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
    sqlx::query(
        "INSERT INTO operator_log (who, action, target, detail) SELECT ?1, ?2, value, ?4 FROM json_each(?3)",
    )
    .bind(without_nul(by).into_owned())
    .bind(action.to_owned())
    .bind(json(&targets)?)
    .bind(json_without_nul(detail).to_string())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
