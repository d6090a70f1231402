//! Which deployment a store belongs to.

use factline_pipeline::outage::Error;
use sqlx::PgConnection;
use uuid::Uuid;

use super::failed;

/// The identity that the store got with its tables.
pub(super) async fn select(connection: &mut PgConnection) -> Result<Uuid, Error> {
    sqlx::query_scalar("SELECT id FROM factline.deployment").fetch_one(connection).await.map_err(failed)
}
