//! What is looked at before anything is appended, because Redis would find it too late.
//!
//! `MULTI`/`EXEC` rolls nothing back: a command that fails when its turn comes leaves the others' effects, and every
//! retry would double them. And a value over the server's limit is not answered at all: the
//! connection is closed, which looks like an outage that never ends.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use factline_pipeline::{cloudevent, event::Event, outage::Error};

use super::{failed, shared::Shared};

/// What `proto-max-bulk-len` is unless somebody changed it.
const DEFAULT_VALUE_LIMIT: usize = 512 << 20;

/// All fields of an entry together: more than this is an error inside `EXEC`, in every version of Redis.
const ENTRY_LIMIT: usize = 1 << 30;

/// More than all that an entry holds besides what its producer wrote: names, times, numbers.
const REST: usize = 1 << 10;

/// What is known about the server, until something goes wrong.
#[derive(Default)]
pub(super) struct Preflight {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    value_limit: Option<usize>,
    /// Keys that are of the type that they should be.
    good: BTreeSet<String>,
}

/// What stands in the way of an append.
#[derive(Debug, thiserror::Error)]
enum Obstacle {
    #[error("key {key:?} is a {found}, not a {wanted}; rename or delete it")]
    Type { key: String, found: String, wanted: &'static str },
    #[error("the event's {attribute} has {size} bytes, and the server takes {limit} (proto-max-bulk-len)")]
    Value { attribute: &'static str, size: usize, limit: usize },
    #[error("the event has {size} bytes, and a stream entry takes {ENTRY_LIMIT}")]
    Entry { size: usize },
}

impl Preflight {
    /// Says what would go wrong if these events were appended to these streams.
    pub(super) async fn check(
        &self,
        server: &mut Shared,
        events: &[Event],
        streams: impl Iterator<Item = &String>,
        topics_key: &str,
    ) -> Result<(), Error> {
        let limit = self.value_limit(server).await?;
        check_sizes(events, limit).map_err(refused)?;
        let mut wanted: BTreeMap<&str, &'static str> = streams.map(|key| (key.as_str(), "stream")).collect();
        wanted.insert(topics_key, "set");
        self.check_types(server, wanted).await
    }

    /// Everything may have changed: the server may be another one.
    pub(super) fn forget(&self) {
        *self.known() = Known::default();
    }

    async fn value_limit(&self, server: &mut Shared) -> Result<usize, Error> {
        let known = self.known().value_limit;
        if let Some(limit) = known {
            return Ok(limit);
        }
        let get = redis::cmd("CONFIG").arg("GET").arg("proto-max-bulk-len").take();
        let answer: HashMap<String, String> = match get.query_async(server).await {
            Ok(answer) => answer,
            Err(error) if error.code().is_some() => HashMap::new(), // who hosts Redis seldom lets its users ask
            Err(error) => return Err(failed(error)),
        };
        let limit = answer.get("proto-max-bulk-len").and_then(|limit| limit.parse().ok());
        let limit = limit.unwrap_or(DEFAULT_VALUE_LIMIT);
        self.known().value_limit = Some(limit);
        Ok(limit)
    }

    async fn check_types(
        &self,
        server: &mut Shared,
        mut wanted: BTreeMap<&str, &'static str>,
    ) -> Result<(), Error> {
        wanted.retain({
            let known = self.known();
            move |key, _| !known.good.contains(*key)
        });
        if wanted.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        for key in wanted.keys() {
            pipeline.cmd("TYPE").arg(*key);
        }
        let types: Vec<String> = pipeline.query_async(server).await.map_err(failed)?;
        for ((key, wanted), found) in wanted.iter().zip(types) {
            if found != "none" && found != *wanted {
                let obstacle = Obstacle::Type { key: (*key).to_owned(), found, wanted };
                return Err(Error::Unavailable { service: "redis", source: Box::new(obstacle) });
            }
        }
        self.known().good.extend(wanted.into_keys().map(str::to_owned));
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing that runs under this lock can panic half-way through a change.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check_sizes(events: &[Event], value_limit: usize) -> Result<(), Obstacle> {
    for event in events.iter().filter(|event| !is_small(event, value_limit)) {
        let (mut size, mut largest) = (0, ("data", 0));
        cloudevent::encode(event, |attribute, value| {
            size += attribute.len() + value.len();
            if value.len() > largest.1 {
                largest = (attribute, value.len());
            }
        });
        if largest.1 > value_limit {
            return Err(Obstacle::Value { attribute: largest.0, size: largest.1, limit: value_limit });
        }
        if size > ENTRY_LIMIT {
            return Err(Obstacle::Entry { size });
        }
    }
    Ok(())
}

/// Whether nothing about the event can be too large, which needs no encoding to see.
fn is_small(event: &Event, value_limit: usize) -> bool {
    let trace = event
        .trace
        .as_ref()
        .map_or(0, |trace| trace.traceparent.len() + trace.tracestate.as_ref().map_or(0, String::len));
    let written =
        event.data.len() + 2 * event.key.len() + event.source.len() + event.event_type.len() + trace;
    written + REST <= value_limit.min(ENTRY_LIMIT)
}

fn refused(obstacle: Obstacle) -> Error {
    Error::Data { service: "redis", source: Box::new(obstacle) }
}
