//! A prefix of keys on a Redis server that a measurement has to itself.
//!
//! Whoever measures is registered in a set, and its connection has its name: one that is in the set and has no
//! connection was killed, and its keys are left over.

use std::collections::HashSet;

use factline_pipeline::outage::Error;
use redis::{RedisError, aio::MultiplexedConnection};

use super::{
    failed,
    server::fields,
    shared::{client, connect},
};
use crate::trial::About;

/// The set of those that measure.
const NAMES: &str = "factline_bench:names";

/// Partitions that a leftover may have had whose own number is not known.
const PARTITIONS: u16 = 8;

/// The prefix.
pub struct Ground {
    connection: MultiplexedConnection,
    name: String,
    topic: String,
}

impl Ground {
    /// Registers the prefix, after the keys of those were removed that are no more; gives their names.
    pub async fn make(url: &str, name: &str, topic: &str) -> Result<(Self, Vec<String>), Error> {
        let client = client(url).map_err(failed)?;
        let mut connection = connect(&client).await.map_err(failed)?;
        redis::cmd("CLIENT").arg("SETNAME").arg(name).exec_async(&mut connection).await.map_err(failed)?;
        redis::cmd("SADD").arg(NAMES).arg(name).exec_async(&mut connection).await.map_err(failed)?;
        let mut ground = Self { connection, name: name.to_owned(), topic: topic.to_owned() };
        let gone = ground.leftovers().await?;
        for name in &gone {
            ground.unlink(name).await?;
            ground.forget(name).await?;
        }
        Ok((ground, gone))
    }

    /// Registered, and without a connection. Nothing where the server does not say who is connected.
    async fn leftovers(&mut self) -> Result<Vec<String>, Error> {
        let names: HashSet<String> =
            redis::cmd("SMEMBERS").arg(NAMES).query_async(&mut self.connection).await.map_err(failed)?;
        let list = redis::cmd("CLIENT").arg("LIST").take();
        let clients: String = match list.query_async(&mut self.connection).await {
            Ok(clients) => clients,
            Err(error) if is_refusal(&error) => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let connected: HashSet<&str> =
            clients.split_ascii_whitespace().filter_map(|field| field.strip_prefix("name=")).collect();
        Ok(names.into_iter().filter(|name| !connected.contains(name.as_str())).collect())
    }

    /// Deletes all that is under the prefix.
    pub async fn empty(&mut self) -> Result<(), Error> {
        let name = self.name.clone();
        self.unlink(&name).await
    }

    /// The same, and leaves.
    pub async fn remove(&mut self) -> Result<(), Error> {
        self.empty().await?;
        let name = self.name.clone();
        self.forget(&name).await
    }

    async fn forget(&mut self, name: &str) -> Result<(), Error> {
        redis::cmd("SREM").arg(NAMES).arg(name).exec_async(&mut self.connection).await.map_err(failed)
    }

    async fn unlink(&mut self, name: &str) -> Result<(), Error> {
        let meta = format!("{name}:meta");
        let partitions: Option<u16> = redis::cmd("HGET")
            .arg(&meta)
            .arg("partitions")
            .query_async(&mut self.connection)
            .await
            .map_err(failed)?;
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(meta).arg(format!("{name}:topics")).arg(format!("{name}:handwritten"));
        for partition in 0..partitions.unwrap_or(PARTITIONS) {
            unlink.arg(format!("{name}:{}:{partition}", self.topic));
        }
        unlink.exec_async(&mut self.connection).await.map_err(failed)
    }

    /// What the server says of itself.
    pub async fn about(&mut self) -> Result<About, Error> {
        let info: String = redis::cmd("INFO").query_async(&mut self.connection).await.map_err(failed)?;
        let info = fields(&info);
        let text = |field: &str| info.get(field).copied().unwrap_or_default();
        let mut settings = vec![("appendonly".to_owned(), yes_or_no(text("aof_enabled") == "1"))];
        for name in ["appendfsync", "save", "maxmemory", "io-threads"] {
            let get = redis::cmd("CONFIG").arg("GET").arg(name).take();
            match get.query_async::<Vec<String>>(&mut self.connection).await {
                Ok(answer) => settings.extend(answer.get(1).map(|value| (name.to_owned(), value.clone()))),
                Err(error) if is_refusal(&error) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(About {
            version: format!("Redis {}", text("redis_version")),
            settings,
            process: text("process_id").parse().ok(),
        })
    }
}

fn yes_or_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

/// The server answered, and does not do this.
fn is_refusal(error: &RedisError) -> bool {
    error.code().is_some()
}
