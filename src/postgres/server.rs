//! What the server says of itself, and how many connections to it are in use.

use async_trait::async_trait;
use factline_pipeline::outage::Error;

use super::{database::Database, outbox::Outbox, store::Store};
use crate::observation::{DatabaseServer, PoolUse, PostgresServer};

#[async_trait]
impl DatabaseServer for Store {
    async fn examine(&self) -> Result<Option<PostgresServer>, Error> {
        examine(&self.database).await
    }

    fn pool_use(&self) -> Option<PoolUse> {
        Some(self.database.pool_use())
    }
}

#[async_trait]
impl DatabaseServer for Outbox {
    async fn examine(&self) -> Result<Option<PostgresServer>, Error> {
        examine(&self.database).await
    }

    fn pool_use(&self) -> Option<PoolUse> {
        Some(self.database.pool_use())
    }
}

async fn examine(_database: &Database) -> Result<Option<PostgresServer>, Error> {
    Ok(None)
}
