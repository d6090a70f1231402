//! Which deployment a file belongs to.

use factline_pipeline::outage::Error;
use sqlx::SqlitePool;
use uuid::Uuid;

use super::{failed, parsed_in};

/// The identity that the file got with its tables.
pub(super) async fn select(readers: &SqlitePool) -> Result<Uuid, Error> {
    let row = sqlx::query("SELECT id FROM deployment").fetch_one(readers).await.map_err(failed)?;
    parsed_in(&row, "id").map_err(failed)
}
