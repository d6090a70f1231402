//! Who did what: written in the transaction of what was done.

use factline_pipeline::outage::Error;
use serde_json::Value;
use sqlx::SqliteConnection;

use super::{failed, json};
use crate::nul::{json_without_nul, without_nul};

/// Writes an entry for each target.
pub(super) async fn log<T: ToString>(
    connection: &mut SqliteConnection,
    by: &str,
    action: &'static str,
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
    .bind(action)
    .bind(json(&targets)?)
    .bind(json_without_nul(detail).to_string())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
