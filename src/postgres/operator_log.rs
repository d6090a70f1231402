//! Who did what: written in the transaction of what was done, if there is one.

use async_trait::async_trait;
use factline_pipeline::outage::Error;
use serde_json::Value;
use sqlx::PgConnection;

use super::{failed, store::Store};
use crate::{
    nul::{json_without_nul, without_nul},
    operator_log::{Actor, OperatorLog},
};

#[async_trait]
impl OperatorLog for Store {
    async fn note(&self, by: &Actor, action: &str, targets: &[String], detail: &Value) -> Result<(), Error> {
        let note =
            async |connection: &mut PgConnection| log(connection, &by.who, action, targets, detail).await;
        self.database.timely(note).await
    }
}

/// Writes an entry for each target.
pub(super) async fn log<T: ToString>(
    connection: &mut PgConnection,
    by: &str,
    action: &str,
    targets: &[T],
    detail: &Value,
) -> Result<(), Error> {
    if targets.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO factline.operator_log (who, action, target, detail) \
         SELECT $1, $2, target, $4::text::jsonb FROM unnest($3::text[]) AS target",
    )
    .bind(without_nul(by))
    .bind(action)
    .bind(targets.iter().map(ToString::to_string).collect::<Vec<_>>())
    .bind(json_without_nul(detail).to_string())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
