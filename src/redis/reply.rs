//! What Redis answers, taken apart without copying payloads.

use std::{sync::Arc, time::Duration};

use factline_pipeline::{
    cloudevent::RawEntry,
    outage::Error,
    stream::{PendingFor, Position},
};
use redis::{FromRedisValue, RedisError, Value, from_redis_value};

/// One consumer group of one stream.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) pending: u64,
    pub(super) last_delivered: Position,
    /// Entries not yet delivered; Redis 7 tells, unless entries were deleted from the middle.
    pub(super) lag: Option<u64>,
}

/// The answer has another form than this version of Factline knows.
#[derive(Debug, thiserror::Error)]
#[error("unexpected answer to {command}; factline needs Redis 6.2 or later")]
struct Unexpected {
    command: &'static str,
}

fn unexpected(command: &'static str) -> Error {
    Error::Unavailable { service: "redis", source: Box::new(Unexpected { command }) }
}

fn array(value: Value, command: &'static str) -> Result<Vec<Value>, Error> {
    match value {
        Value::Array(values) => Ok(values),
        Value::Nil => Ok(Vec::new()),
        _ => Err(unexpected(command)),
    }
}

fn bytes(value: Value, command: &'static str) -> Result<Vec<u8>, Error> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        _ => Err(unexpected(command)),
    }
}

fn position(value: Value, command: &'static str) -> Result<Position, Error> {
    let text = String::from_utf8(bytes(value, command)?).map_err(|_| unexpected(command))?;
    text.parse().map_err(|_| unexpected(command))
}

fn plain<T: FromRedisValue>(value: Value, command: &'static str) -> Result<T, Error> {
    from_redis_value(value).map_err(|_| unexpected(command))
}

fn take<const N: usize>(value: Value, command: &'static str) -> Result<[Value; N], Error> {
    array(value, command)?.try_into().map_err(|_| unexpected(command))
}

/// A stream's key, and its entries.
type Found = (Vec<u8>, Vec<(Position, RawEntry)>);

/// XREADGROUP: the entries of each stream that has any, by key.
pub(super) fn streams(value: Value) -> Result<Vec<Found>, Error> {
    let command = "XREADGROUP";
    let mut streams = Vec::new();
    for stream in array(value, command)? {
        let [key, found] = take(stream, command)?;
        streams.push((bytes(key, command)?, entries(found)?));
    }
    Ok(streams)
}

/// Entries with their fields; those that were deleted are left out.
pub(super) fn entries(value: Value) -> Result<Vec<(Position, RawEntry)>, Error> {
    let command = "XREADGROUP or XCLAIM";
    let mut entries = Vec::new();
    for entry in array(value, command)? {
        if entry == Value::Nil {
            continue;
        }
        let [id, fields] = take(entry, command)?;
        let mut raw = RawEntry::new();
        let mut fields = array(fields, command)?.into_iter();
        while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
            raw.push((bytes(name, command)?, bytes(value, command)?));
        }
        entries.push((position(id, command)?, raw));
    }
    Ok(entries)
}

/// An entry that is pending.
pub(super) struct Pending {
    pub(super) position: Position,
    /// For whom.
    pub(super) consumer: Arc<str>,
    /// How often it was delivered.
    pub(super) deliveries: u32,
}

/// XPENDING with a range.
pub(super) fn pending(value: Value) -> Result<Vec<Pending>, Error> {
    let command = "XPENDING";
    let mut pending = Vec::new();
    for entry in array(value, command)? {
        let [id, consumer, _idle, deliveries] = take(entry, command)?;
        pending.push(Pending {
            position: position(id, command)?,
            consumer: String::from_utf8_lossy(&bytes(consumer, command)?).into(),
            deliveries: plain(deliveries, command)?,
        });
    }
    Ok(pending)
}

/// XPENDING without a range: the oldest pending entry.
pub(super) fn oldest_pending(value: Value) -> Result<Option<Position>, Error> {
    let command = "XPENDING";
    let [_count, oldest, _newest, _consumers] = take(value, command)?;
    match oldest {
        Value::Nil => Ok(None),
        oldest => position(oldest, command).map(Some),
    }
}

/// XPENDING without a range: the consumers that have anything pending.
pub(super) fn pending_consumers(value: Value) -> Result<Vec<Vec<u8>>, Error> {
    let command = "XPENDING";
    let [_count, _oldest, _newest, consumers] = take(value, command)?;
    let name = |consumer| {
        let [name, _count] = take(consumer, command)?;
        bytes(name, command)
    };
    array(consumers, command)?.into_iter().map(name).collect()
}

/// XPENDING without a range: the oldest pending entry, and how many each consumer has.
pub(super) fn pending_summary(value: Value) -> Result<(Option<Position>, Vec<PendingFor>), Error> {
    let command = "XPENDING";
    let [_count, oldest, _newest, consumers] = take(value, command)?;
    let oldest = match oldest {
        Value::Nil => None,
        oldest => Some(position(oldest, command)?),
    };
    let one = |consumer| {
        let [name, entries] = take(consumer, command)?;
        let consumer = String::from_utf8_lossy(&bytes(name, command)?).into_owned();
        Ok(PendingFor { consumer, entries: plain(entries, command)? })
    };
    Ok((oldest, array(consumers, command)?.into_iter().map(one).collect::<Result<_, Error>>()?))
}

/// XRANGE of one entry: where it stands.
pub(super) fn first_position(value: Value) -> Result<Option<Position>, Error> {
    let command = "XRANGE";
    let first = array(value, command)?.into_iter().next();
    let place =
        |entry| position(take::<2>(entry, command)?.into_iter().next().unwrap_or(Value::Nil), command);
    first.map(place).transpose()
}

/// XINFO CONSUMERS: the names of those that have nothing pending and have not been heard of for so long.
pub(super) fn consumers_without_entries(value: Value, silent: Duration) -> Result<Vec<Vec<u8>>, Error> {
    let command = "XINFO CONSUMERS";
    let mut found = Vec::new();
    for consumer in array(value, command)? {
        let (mut name, mut pending, mut idle) = (Vec::new(), 0_u64, 0_u64);
        for (field, value) in fields(consumer, command)? {
            match field.as_slice() {
                b"name" => name = bytes(value, command)?,
                b"pending" => pending = plain(value, command)?,
                b"idle" => idle = plain(value, command)?,
                _ => {}
            }
        }
        if pending == 0 && Duration::from_millis(idle) > silent {
            found.push(name);
        }
    }
    Ok(found)
}

/// XINFO GROUPS.
pub(super) fn groups(value: Value) -> Result<Vec<Group>, Error> {
    let command = "XINFO GROUPS";
    let mut groups = Vec::new();
    for group in array(value, command)? {
        let mut one =
            Group { name: String::new(), pending: 0, last_delivered: Position::default(), lag: None };
        for (field, value) in fields(group, command)? {
            match field.as_slice() {
                b"name" => one.name = plain(value, command)?,
                b"pending" => one.pending = plain(value, command)?,
                b"last-delivered-id" => one.last_delivered = position(value, command)?,
                b"lag" => one.lag = plain(value, command)?,
                _ => {}
            }
        }
        groups.push(one);
    }
    Ok(groups)
}

/// XLEN, several times.
pub(super) fn lengths(values: &[Value]) -> Result<Vec<u64>, Error> {
    values.iter().map(|length| plain(length.clone(), "XLEN")).collect()
}

/// XADD, several times: where the entries stand.
pub(super) fn positions<'a>(values: impl Iterator<Item = &'a Value>) -> Result<Vec<Position>, Error> {
    values.map(|value| position(value.clone(), "XADD")).collect()
}

/// HMGET of identity and partitions.
pub(super) fn meta(value: Value) -> Result<(Option<String>, Option<u16>), Error> {
    plain(value, "HMGET")
}

/// XINFO STREAM: the last position that the stream has given; none if there is no stream.
pub(super) fn end_of_stream(answer: Result<Value, Error>) -> Result<Option<Position>, Error> {
    let command = "XINFO STREAM";
    let stream = match answer {
        Err(error) if is_no_such_key(&error) => return Ok(None),
        answer => answer?,
    };
    let end = fields(stream, command)?.into_iter().find(|(field, _)| field == b"last-generated-id");
    let (_, end) = end.ok_or_else(|| unexpected(command))?;
    position(end, command).map(Some)
}

fn is_no_such_key(error: &Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<RedisError>());
    source.and_then(RedisError::detail).is_some_and(|detail| detail.contains("no such key"))
}

/// A map, which RESP2 sends as a flat list.
fn fields(value: Value, command: &'static str) -> Result<Vec<(Vec<u8>, Value)>, Error> {
    if let Value::Map(map) = value {
        return map.into_iter().map(|(name, value)| Ok((bytes(name, command)?, value))).collect();
    }
    let mut flat = array(value, command)?.into_iter();
    let mut fields = Vec::new();
    while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
        fields.push((bytes(name, command)?, value));
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consumer(name: &str, pending: i64, idle: i64) -> Value {
        let text = |text: &str| Value::BulkString(text.into());
        let fields = [text("name"), text(name), text("pending"), Value::Int(pending), text("idle")];
        Value::Array([&fields[..], &[Value::Int(idle), text("inactive"), Value::Int(-1)]].concat())
    }

    #[test]
    fn only_a_consumer_that_has_nothing_and_says_nothing_is_gone() {
        let consumers = vec![
            consumer("gone", 0, 600_001),
            consumer("reads", 0, 600_000),
            consumer("has entries", 1, 600_001),
        ];
        let gone = consumers_without_entries(Value::Array(consumers), Duration::from_mins(10)).unwrap();
        assert_eq!(gone, [b"gone"]);
    }
}
