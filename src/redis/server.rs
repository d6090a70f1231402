//! What the server says of itself.

use std::collections::HashMap;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use factline_pipeline::outage::Error;
use redis::RedisError;

use super::{Stream, failed};
use crate::observation::{RedisServer, StreamServer, clock_ahead};

#[async_trait]
impl StreamServer for Stream {
    async fn examine(&self) -> Result<Option<RedisServer>, Error> {
        let info: String = self.ask(&redis::cmd("INFO")).await?;
        let info = fields(&info);
        let snapshots = self.saves_snapshots().await?;
        let asked = Utc::now();
        let time: (i64, i64) = self.ask(&redis::cmd("TIME")).await?;
        let now = DateTime::from_timestamp(time.0, 0).unwrap_or_default() + TimeDelta::microseconds(time.1);
        let text = |field: &str| info.get(field).copied().unwrap_or_default();
        let number = |field: &str| text(field).parse().unwrap_or_default();
        Ok(Some(RedisServer {
            version: text("redis_version").to_owned(),
            clock_ahead_ms: clock_ahead(asked, now),
            used_memory: number("used_memory"),
            max_memory: number("maxmemory"),
            eviction_policy: text("maxmemory_policy").to_owned(),
            evicted_keys: number("evicted_keys"),
            append_only: text("aof_enabled") == "1",
            snapshots,
            clients: number("connected_clients"),
            max_clients: number("maxclients"),
        }))
    }
}

impl Stream {
    /// None where the server does not say: who hosts Redis seldom lets its users ask.
    async fn saves_snapshots(&self) -> Result<Option<bool>, Error> {
        let get = redis::cmd("CONFIG").arg("GET").arg("save").take();
        match get.query_async::<HashMap<String, String>>(&mut self.shared.clone()).await {
            Ok(answer) => Ok(answer.get("save").map(|save| !save.is_empty())),
            Err(error) if is_refusal(&error) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}

/// The server answered, and does not do this.
fn is_refusal(error: &RedisError) -> bool {
    error.code().is_some()
}

/// INFO's lines, `name:value`.
pub(super) fn fields(info: &str) -> HashMap<&str, &str> {
    info.lines().filter_map(|line| line.trim_end().split_once(':')).collect()
}
