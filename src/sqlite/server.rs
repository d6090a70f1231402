//! There is no server: nothing to examine.

use async_trait::async_trait;
use factline_pipeline::outage::Error;

use super::{Outbox, Store, Stream};
use crate::observation::{DatabaseServer, PoolUse, PostgresServer, RedisServer, StreamServer};

#[async_trait]
impl DatabaseServer for Store {
    async fn examine(&self) -> Result<Option<PostgresServer>, Error> {
        Ok(None)
    }

    fn pool_use(&self) -> Option<PoolUse> {
        None
    }
}

#[async_trait]
impl DatabaseServer for Outbox {
    async fn examine(&self) -> Result<Option<PostgresServer>, Error> {
        Ok(None)
    }

    fn pool_use(&self) -> Option<PoolUse> {
        None
    }
}

#[async_trait]
impl StreamServer for Stream {
    async fn examine(&self) -> Result<Option<RedisServer>, Error> {
        Ok(None)
    }
}
