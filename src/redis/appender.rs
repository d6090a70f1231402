//! Appending, and noticing before it that the server has lost what was appended earlier.
//!
//! `{prefix}:meta` holds an identity, a random UUID that whoever finds none makes. It goes when the server loses its
//! data, so another identity, or none, says that everything was lost. Connections that append watch that key: a loss
//! between two appends makes the second one's `EXEC` fail, instead of letting a key's later event into an emptied
//! stream. What a server lost that came back with older data, and so with the same identity, is noticed on the next
//! fresh connection, for it can't have kept the old one: a stream ends before the last entry that we appended to it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use factline_pipeline::{outage::Error, stream::Position};
use redis::{Pipeline, RedisResult, Value, aio::MultiplexedConnection};
use uuid::Uuid;

use super::{Stream, failed, reply, shared::connect};

/// How often an append is tried whose `EXEC` is aborted although nothing was lost.
const ATTEMPTS: u32 = 10;

/// What this process knows of what it has appended.
#[derive(Default)]
pub(super) struct Appenders {
    idle: Mutex<Option<Appender>>,
    baseline: Mutex<Baseline>,
}

/// A connection that watches the server's identity, which was this one then.
struct Appender {
    connection: MultiplexedConnection,
    identity: Option<String>,
}

#[derive(Default)]
struct Baseline {
    identity: Option<String>,
    /// The last entry that we have appended to a stream, by its key.
    last: HashMap<String, Position>,
}

/// What the server has lost, and how it shows.
#[derive(Debug, thiserror::Error)]
enum Loss {
    #[error("{meta} was lost, and with it all streams")]
    Everything { meta: String },
    #[error("stream {key} ends at {end}, but {last} was appended to it")]
    Tail { key: String, end: Position, last: Position },
    #[error("stream {key} is gone, but {last} was appended to it")]
    Stream { key: String, last: Position },
}

/// Nothing was appended, for another reason than a loss.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{meta} is changed by somebody again and again; leave it alone")]
    Touched { meta: String },
    #[error("stream.partitions is {wanted}, but {meta} says {recorded}; configure all daemons alike")]
    Partitions { meta: String, wanted: u16, recorded: u16 },
}

impl Appenders {
    /// From now on, another identity than this one is a loss.
    pub(super) fn expect_identity(&self, identity: String) {
        self.baseline().identity.get_or_insert(identity);
    }

    /// These entries are there.
    pub(super) fn expect_entries(&self, entries: impl Iterator<Item = (String, Position)>) {
        let last = &mut self.baseline().last;
        for (key, position) in entries {
            let known = last.entry(key).or_default();
            *known = position.max(*known);
        }
    }

    fn is_expected(&self, identity: Option<&String>) -> bool {
        identity.is_some() && self.baseline().identity.as_ref() == identity
    }

    fn take(&self) -> Option<Appender> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put_back(&self, appender: Appender) {
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(appender);
    }

    fn baseline(&self) -> MutexGuard<'_, Baseline> {
        // Nothing that runs under this lock can panic half-way through a change.
        self.baseline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A transaction to which commands can be added. Their answers come with that of EXEC: what is answered before is to
/// be ignored.
pub(super) fn begin() -> Pipeline {
    let mut transaction = redis::pipe();
    transaction.cmd("MULTI").ignore();
    transaction
}

/// What the server says of itself.
struct Meta {
    identity: Option<String>,
    partitions: Option<u16>,
    /// Where the streams end that we have appended to; none where there is no stream.
    ends: Vec<(String, Option<Position>)>,
}

impl Stream {
    pub(super) fn meta_key(&self) -> String {
        format!("{}:meta", self.settings.prefix)
    }

    /// Writes down how many partitions there are, and an identity, unless somebody has; gives what is there.
    ///
    /// Looks first: a server that is out of memory refuses to write, and need not be written to.
    pub(super) async fn record_meta(&self) -> Result<(u16, String), Error> {
        let meta = self.meta_key();
        let (identity, partitions) =
            reply::meta(self.ask(redis::cmd("HMGET").arg(&meta).arg("identity").arg("partitions")).await?)?;
        if let (Some(partitions), Some(identity)) = (partitions, identity) {
            return Ok((partitions, identity));
        }
        let mut pipeline = redis::pipe();
        pipeline.cmd("HSETNX").arg(&meta).arg("partitions").arg(self.settings.partitions).ignore();
        pipeline.cmd("HSETNX").arg(&meta).arg("identity").arg(Uuid::new_v4().to_string()).ignore();
        pipeline.cmd("HMGET").arg(&meta).arg("partitions").arg("identity");
        let ((partitions, identity),): ((u16, String),) =
            pipeline.query_async(&mut self.shared.clone()).await.map_err(failed)?;
        Ok((partitions, identity))
    }

    /// Runs commands that were begun with [`begin`], all or none, if the server has lost nothing since the last time.
    ///
    /// In the same round trip the identity is watched for the next time.
    pub(super) async fn run_unless_lost(&self, mut transaction: Pipeline) -> Result<Vec<Value>, Error> {
        let meta = self.meta_key();
        transaction.cmd("EXEC");
        transaction.cmd("WATCH").arg(&meta).ignore();
        transaction.cmd("HGET").arg(&meta).arg("identity");
        for _ in 0..ATTEMPTS {
            let mut appender = self.appender().await?;
            let (done, identity): (Option<Vec<Value>>, Option<String>) =
                transaction.query_async(&mut appender.connection).await.map_err(failed)?;
            appender.identity = identity;
            self.appenders.put_back(appender);
            if let Some(done) = done {
                return Ok(done);
            }
        }
        Err(unavailable(Refusal::Touched { meta }))
    }

    /// A connection on which the expected identity is watched.
    async fn appender(&self) -> Result<Appender, Error> {
        let connection = match self.appenders.take() {
            Some(appender) if self.appenders.is_expected(appender.identity.as_ref()) => return Ok(appender),
            Some(appender) => appender.connection,
            None => connect(&self.client).await.map_err(failed)?,
        };
        self.check(connection).await
    }

    /// Watches the identity, and says if anything is lost, once: from then on, what is there is what is expected.
    async fn check(&self, mut connection: MultiplexedConnection) -> Result<Appender, Error> {
        let meta = loop {
            let meta = self.watch(&mut connection).await?;
            if meta.identity.is_some() {
                break meta;
            }
            // Our own change would abort what we watch: look again.
            let made = self.record_meta().await?;
            tracing::info!(identity = made.1, "these streams are new");
        };
        let (wanted, recorded) = (self.settings.partitions, meta.partitions);
        if let Some(recorded) = recorded.filter(|recorded| *recorded != wanted) {
            return Err(unavailable(Refusal::Partitions { meta: self.meta_key(), wanted, recorded }));
        }
        let mut baseline = self.appenders.baseline();
        let found = self.loss(&baseline, &meta);
        baseline.identity.clone_from(&meta.identity);
        if found.is_some() {
            baseline.last.clear();
        }
        drop(baseline);
        let appender = Appender { connection, identity: meta.identity };
        let Some(loss) = found else { return Ok(appender) };
        self.appenders.put_back(appender);
        Err(Error::Lost { service: "redis", source: Box::new(loss) })
    }

    fn loss(&self, baseline: &Baseline, meta: &Meta) -> Option<Loss> {
        if baseline.identity.is_some() && baseline.identity != meta.identity {
            return Some(Loss::Everything { meta: self.meta_key() });
        }
        meta.ends.iter().find_map(|(key, end)| {
            let (key, last) = (key.clone(), *baseline.last.get(key)?);
            match *end {
                None => Some(Loss::Stream { key, last }),
                Some(end) => (end < last).then_some(Loss::Tail { key, end, last }),
            }
        })
    }

    async fn watch(&self, connection: &mut MultiplexedConnection) -> Result<Meta, Error> {
        let keys: Vec<String> = self.appenders.baseline().last.keys().cloned().collect();
        let meta = self.meta_key();
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors(); // a stream that is gone is an error
        pipeline.cmd("UNWATCH");
        pipeline.cmd("WATCH").arg(&meta);
        pipeline.cmd("HMGET").arg(&meta).arg("identity").arg("partitions");
        for key in &keys {
            pipeline.cmd("XINFO").arg("STREAM").arg(key);
        }
        let answers: Vec<RedisResult<Value>> = pipeline.query_async(connection).await.map_err(failed)?;
        let mut answers = answers.into_iter().map(|answer| answer.map_err(failed));
        let mut next = || answers.next().unwrap_or(Ok(Value::Nil));
        next()?;
        next()?;
        let (identity, partitions) = reply::meta(next()?)?;
        let ends = keys.into_iter().map(|key| Ok((key, reply::end_of_stream(next())?)));
        Ok(Meta { identity, partitions, ends: ends.collect::<Result<_, Error>>()? })
    }
}

fn unavailable(refusal: Refusal) -> Error {
    Error::Unavailable { service: "redis", source: Box::new(refusal) }
}
