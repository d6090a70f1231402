//! What somebody writes in an afternoon who needs events in a stream and out of it again. The benchmark runs it beside
//! the daemon.

use factline_pipeline::outage::Error;
use redis::{
    aio::MultiplexedConnection,
    streams::{StreamId, StreamReadReply},
};

use super::{
    failed,
    shared::{client, connect},
};

const GROUP: &str = "facts";

/// One stream for everything.
pub struct Handwritten {
    connection: MultiplexedConnection,
    key: String,
}

impl Handwritten {
    /// Connects.
    pub async fn connect(url: &str, prefix: &str) -> Result<Self, Error> {
        let client = client(url).map_err(failed)?;
        let connection = connect(&client).await.map_err(failed)?;
        Ok(Self { connection, key: format!("{prefix}:handwritten") })
    }

    /// Makes the stream anew.
    pub async fn empty(&mut self) -> Result<(), Error> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("DEL").arg(&self.key).ignore();
        pipeline.cmd("XGROUP").arg("CREATE").arg(&self.key).arg(GROUP).arg("0").arg("MKSTREAM").ignore();
        pipeline.exec_async(&mut self.connection).await.map_err(failed)
    }

    /// Appends events: id, key and payload.
    pub async fn append<'a>(
        &mut self,
        events: impl Iterator<Item = (String, &'a str, &'a str)>,
    ) -> Result<(), Error> {
        let mut pipeline = redis::pipe();
        for (id, key, data) in events {
            let add = pipeline.cmd("XADD").arg(&self.key).arg("*").arg("id").arg(id);
            add.arg("partitionkey").arg(key).arg("data").arg(data).ignore();
        }
        pipeline.exec_async(&mut self.connection).await.map_err(failed)
    }

    /// New entries.
    pub async fn read(&mut self, limit: usize) -> Result<Vec<StreamId>, Error> {
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP").arg(GROUP).arg("c1").arg("COUNT").arg(limit).arg("BLOCK").arg(20);
        read.arg("STREAMS").arg(&self.key).arg(">");
        let reply: Option<StreamReadReply> = read.query_async(&mut self.connection).await.map_err(failed)?;
        Ok(reply.and_then(|reply| reply.keys.into_iter().next()).map(|key| key.ids).unwrap_or_default())
    }

    /// Acknowledges them.
    pub async fn acknowledge(&mut self, entries: &[StreamId]) -> Result<(), Error> {
        let ids: Vec<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
        let acknowledge = redis::cmd("XACK").arg(&self.key).arg(GROUP).arg(ids).take();
        acknowledge.exec_async(&mut self.connection).await.map_err(failed)
    }
}
