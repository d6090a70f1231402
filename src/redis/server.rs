//! What the server says of itself.

use async_trait::async_trait;
use factline_pipeline::outage::Error;

use super::Stream;
use crate::observation::{RedisServer, StreamServer};

#[async_trait]
impl StreamServer for Stream {
    async fn examine(&self) -> Result<Option<RedisServer>, Error> {
        Ok(None)
    }
}
