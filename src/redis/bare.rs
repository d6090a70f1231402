//! The commands of an event's way through the streams on one connection, without anything around them: what they cost
//! by themselves.

use async_trait::async_trait;
use factline_pipeline::{
    event::Event,
    outage::Error,
    stream::{Position, partition_of},
};
use redis::{Value, aio::MultiplexedConnection};
use uuid::Uuid;

use super::{
    Settings, add_entry, failed,
    shared::{client, connect},
};
use crate::trial::{BareStream, Read, by_partition};

/// How long a read waits, in milliseconds.
const WAIT: u32 = 20;

/// The streams of one topic.
pub struct Bare {
    connection: MultiplexedConnection,
    keys: Vec<String>,
}

/// The answer to a read is none that we know.
#[derive(Debug, thiserror::Error)]
#[error("an entry of the stream has no id, or no event's id")]
struct Unreadable;

impl Bare {
    /// Connects.
    pub async fn connect(url: &str, settings: &Settings, topic: &str) -> Result<Self, Error> {
        let client = client(url).map_err(failed)?;
        let connection = connect(&client).await.map_err(failed)?;
        let key = |number| format!("{}:{topic}:{number}", settings.prefix);
        Ok(Self { connection, keys: (0..settings.partitions).map(key).collect() })
    }

    /// Makes the group known.
    pub async fn make_group(&mut self, group: &str) -> Result<(), Error> {
        for key in &self.keys {
            let create =
                redis::cmd("XGROUP").arg("CREATE").arg(key).arg(group).arg("0").arg("MKSTREAM").take();
            match create.exec_async(&mut self.connection).await {
                Err(error) if error.code() != Some("BUSYGROUP") => return Err(failed(error)),
                _ => {}
            }
        }
        Ok(())
    }

    fn partitions(&self) -> u16 {
        u16::try_from(self.keys.len()).unwrap_or(u16::MAX)
    }
}

#[async_trait]
impl BareStream for Bare {
    async fn append(&mut self, events: &[Event]) -> Result<(), Error> {
        let mut pipeline = redis::pipe();
        for event in events {
            let partition = partition_of(&event.key, self.partitions());
            if let Some(key) = self.keys.get(usize::from(partition)) {
                add_entry(&mut pipeline, key, event);
            }
        }
        pipeline.exec_async(&mut self.connection).await.map_err(failed)
    }

    async fn read(&mut self, group: &str, limit: usize) -> Result<Vec<Read>, Error> {
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP").arg(group).arg("bare").arg("COUNT").arg(limit).arg("BLOCK").arg(WAIT);
        read.arg("STREAMS").arg(&self.keys).arg(vec![">"; self.keys.len()]);
        let streams: Value = read.query_async(&mut self.connection).await.map_err(failed)?;
        let mut entries = Vec::new();
        for stream in array(&streams) {
            let [Value::BulkString(key), found] = array(stream) else { return Err(unreadable()) };
            let partition = self.keys.iter().position(|known| known.as_bytes() == key);
            let partition = partition.and_then(|number| u16::try_from(number).ok()).ok_or_else(unreadable)?;
            for entry in array(found) {
                entries.push(read_of(partition, entry).ok_or_else(unreadable)?);
            }
        }
        Ok(entries)
    }

    async fn acknowledge(&mut self, group: &str, entries: &[Read]) -> Result<(), Error> {
        let mut pipeline = redis::pipe();
        for (partition, positions) in by_partition(entries) {
            let Some(key) = self.keys.get(usize::from(partition)) else { continue };
            let positions: Vec<String> = positions.iter().map(Position::to_string).collect();
            pipeline.cmd("XACK").arg(key).arg(group).arg(positions).ignore();
        }
        pipeline.exec_async(&mut self.connection).await.map_err(failed)
    }
}

fn array(value: &Value) -> &[Value] {
    if let Value::Array(values) = value { values } else { &[] }
}

fn read_of(partition: u16, entry: &Value) -> Option<Read> {
    let [Value::BulkString(position), fields] = array(entry) else { return None };
    let id = array(fields).chunks_exact(2).find_map(|field| match field {
        [Value::BulkString(name), Value::BulkString(value)] if name == b"id" => Some(value),
        _ => None,
    })?;
    let position = std::str::from_utf8(position).ok()?.parse().ok()?;
    Some(Read { partition, position, event_id: Uuid::try_parse_ascii(id).ok()? })
}

fn unreadable() -> Error {
    Error::Unavailable { service: "redis", source: Box::new(Unreadable) }
}
