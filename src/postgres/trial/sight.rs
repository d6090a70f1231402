//! Looks at the ledger on a connection of its own.

use async_trait::async_trait;
use factline_pipeline::outage::Error;
use sqlx::{Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

use super::failed;
use crate::{postgres::pool, trial::Sight as Port};

/// A look is as cheap whatever the planner thinks of a table that was empty a moment ago.
const BY_INDEX: &str = "SET enable_seqscan = off; SET enable_bitmapscan = off; \
                        SET plan_cache_mode = force_generic_plan";

/// The connection.
pub struct Sight(PgConnection);

impl Sight {
    /// Connects.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let options = pool(url, 1).map_err(failed)?.connect_options();
        let mut connection = PgConnection::connect_with(&options).await.map_err(failed)?;
        connection.execute(BY_INDEX).await.map_err(failed)?;
        Ok(Self(connection))
    }
}

#[async_trait]
impl Port for Sight {
    async fn recorded_among(&mut self, group: &str, events: &[Uuid]) -> Result<Vec<Uuid>, Error> {
        let select =
            "SELECT event_id FROM factline.event_ledger WHERE consumer_group = $1 AND event_id = ANY ($2)";
        sqlx::query_scalar(select).bind(group).bind(events).fetch_all(&mut self.0).await.map_err(failed)
    }
}
