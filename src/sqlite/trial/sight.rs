//! Looks at the ledger on connections of its own.

use async_trait::async_trait;
use factline_pipeline::outage::Error;
use uuid::Uuid;

use super::failed;
use crate::{
    sqlite::{Database, json, unavailable},
    trial::Sight as Port,
};

/// The connections.
pub struct Sight(Database);

impl Sight {
    /// Connects.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Database::open(url).await.map(Self).map_err(unavailable)
    }
}

#[async_trait]
impl Port for Sight {
    async fn recorded_among(&mut self, group: &str, events: &[Uuid]) -> Result<Vec<Uuid>, Error> {
        let select = "SELECT event_id FROM event_ledger \
                      WHERE consumer_group = ? AND event_id IN (SELECT value FROM json_each(?))";
        let select = sqlx::query_scalar(select).bind(group).bind(json(events)?);
        let found: Vec<String> = select.fetch_all(self.0.reader()).await.map_err(failed)?;
        found.iter().map(|id| Uuid::parse_str(id).map_err(unavailable)).collect()
    }
}
