//! The floor: the daemon's own statements and commands, issued bare by plain loops.
//!
//! One connection for each stage, each loop on a thread and a runtime of its own, one batch after the other; no actors,
//! no leases, no retries. What is sent was made beforehand, from the same events by the same extractors, so nothing is
//! decoded, parsed or extracted meanwhile.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, anyhow, ensure};
use factline_pipeline::{
    event::Event,
    extraction,
    ledger::{Outcome, Recording},
    outbox::{Claim, RowId},
    stream::{Delivered, Partition, Position},
    trace::Trail,
};
use tokio::{runtime, sync::oneshot};
use uuid::Uuid;

use super::{lab::Lab, load::TOPIC};
use crate::{
    app,
    config::{Config, Group, Service, service_of},
    postgres, redis, sqlite,
    trial::{BareOutbox, BareStore, BareStream, Read},
};

mod one_by_one;

/// Rows that are prepared in one step.
const PAGE: usize = 1_000;

/// All that the loops send.
pub(super) struct Prepared {
    servers: Servers,
    group: Group,
    /// In the order of the outbox.
    events: Vec<(i64, Event)>,
    recordings: HashMap<Uuid, Recording>,
}

impl Prepared {
    /// Reads the pending rows of the outbox, and extracts.
    pub(super) async fn of(lab: &Lab) -> anyhow::Result<Self> {
        let config = lab.config();
        let group = config.groups.first().context("no group is configured")?.clone();
        let events = pending(lab).await?;
        let extractors = app::extractors(config, &group);
        let mut recordings = HashMap::with_capacity(events.len());
        for (_, event) in &events {
            let said = extraction::try_once(&extractors, event, group.extract_timeout).await;
            let said =
                said.map_err(|failure| anyhow!("the events cannot be extracted: {}", failure.error))?;
            recordings.insert(event.id, recording(event.clone(), Outcome::Processed(said)));
        }
        Ok(Self { servers: Servers::of(config).await?, group, events, recordings })
    }

    /// From the outbox to the stream, marked.
    pub(super) fn relay(&mut self) -> anyhow::Result<Loop> {
        let (servers, events) = (self.servers.clone(), std::mem::take(&mut self.events));
        Loop::start(async move |stop: &AtomicBool| {
            let (mut outbox, mut stream) = (servers.outbox().await?, servers.stream(None).await?);
            relay(&mut *outbox, &mut *stream, events, servers.config.relay.batch_size, stop).await
        })
    }

    /// From the stream to ledger and facts.
    pub(super) fn consume(&mut self) -> anyhow::Result<Loop> {
        let (servers, group) = (self.servers.clone(), self.group.clone());
        let recordings = std::mem::take(&mut self.recordings);
        Loop::start(async move |stop: &AtomicBool| {
            let (mut stream, mut store) = (servers.stream(Some(&group.name)).await?, servers.store().await?);
            consume(&mut *stream, &mut *store, recordings, &group, stop).await
        })
    }

    /// Both at once.
    pub(super) async fn end_to_end(&mut self) -> anyhow::Result<()> {
        let (consuming, relaying) = (self.consume()?, self.relay()?);
        relaying.ended().await?;
        consuming.ended().await
    }
}

/// The pending rows, as the relay reads them.
async fn pending(lab: &Lab) -> anyhow::Result<Vec<(i64, Event)>> {
    let outbox = &lab.adapters()?.databases.outbox;
    let mut events: Vec<(i64, Event)> = Vec::new();
    loop {
        let after = events.last().map_or(i64::MIN, |(number, _)| *number);
        let claim = Claim { after: Some(after), in_flight: &[], limit: PAGE };
        let rows = outbox.claim_pending(claim).await?;
        if rows.is_empty() {
            return Ok(events);
        }
        for row in rows {
            let event = row.event.map_err(|malformed| anyhow!("an event is none: {}", malformed.reason))?;
            let RowId::Number(number) = row.id else { return Err(anyhow!("a row without a number")) };
            events.push((number, event));
        }
    }
}

/// What is recorded of an event, but for its place.
fn recording(event: Event, outcome: Outcome) -> Recording {
    let entry = Delivered {
        partition: Partition { topic: TOPIC.into(), number: 0 },
        position: Position::default(),
        deliveries: 1,
        taken_from: None,
        event: Ok(event),
        trail: Trail::default(),
    };
    let Ok(event_id) = entry.event.as_ref().map(|event| event.id) else {
        unreachable!("it was just put there")
    };
    Recording { event_id, entry, outcome, attempts: 1, leaves_traces: false }
}

async fn relay(
    outbox: &mut dyn BareOutbox,
    stream: &mut dyn BareStream,
    events: Vec<(i64, Event)>,
    batch: usize,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let (numbers, events): (Vec<i64>, Vec<Event>) = events.into_iter().unzip();
    let mut from = 0;
    while from < events.len() && !stop.load(Ordering::Relaxed) {
        let rows = outbox.claim(batch).await?;
        let to = from + rows.len();
        ensure!(!rows.is_empty() && numbers.get(from..to) == Some(&*rows), "the outbox gave other rows");
        stream.append(&events[from..to]).await?;
        outbox.mark(&rows).await?;
        from = to;
    }
    Ok(())
}

async fn consume(
    stream: &mut dyn BareStream,
    store: &mut dyn BareStore,
    mut recordings: HashMap<Uuid, Recording>,
    group: &Group,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    while !recordings.is_empty() && !stop.load(Ordering::Relaxed) {
        let read = stream.read(&group.name, group.batch_size).await?;
        for read in read.chunks(group.batch_size) {
            let batch: Vec<Recording> = read
                .iter()
                .filter_map(|read| Some(placed(recordings.remove(&read.event_id)?, *read)))
                .collect();
            ensure!(batch.len() == read.len(), "the stream gave other events");
            store.record(&group.name, &batch).await?;
            stream.acknowledge(&group.name, read).await?;
        }
    }
    Ok(())
}

fn placed(mut recording: Recording, read: Read) -> Recording {
    recording.entry.partition.number = read.partition;
    recording.entry.position = read.position;
    recording
}

/// What the loops connect to.
#[derive(Clone)]
struct Servers {
    config: Config,
    /// One connection for each embedded database, whoever uses it.
    files: HashMap<String, sqlite::bare::Bare>,
}

impl Servers {
    async fn of(config: &Config) -> anyhow::Result<Self> {
        let Config { source, store, stream, .. } = config;
        let mut files = HashMap::new();
        for url in [&source.url, &store.url, &stream.url] {
            if service_of(url) == Some(Service::Sqlite) && !files.contains_key(url) {
                let (partitions, cap) = (stream.partitions, stream.max_length);
                let file = sqlite::bare::Bare::open(url, &source.table, TOPIC, partitions, cap).await?;
                files.insert(url.clone(), file);
            }
        }
        Ok(Self { config: config.clone(), files })
    }

    async fn outbox(&self) -> anyhow::Result<Box<dyn BareOutbox>> {
        let source = &self.config.source;
        Ok(match self.files.get(&source.url) {
            Some(file) => Box::new(file.clone()),
            None => Box::new(postgres::outbox::Bare::connect(&source.url, &source.outbox_table()).await?),
        })
    }

    /// With the group made known, if any is to read.
    async fn stream(&self, group: Option<&str>) -> anyhow::Result<Box<dyn BareStream>> {
        let stream = &self.config.stream;
        if let Some(file) = self.files.get(&stream.url) {
            return Ok(Box::new(file.clone()));
        }
        let settings = redis::Settings {
            prefix: stream.prefix.clone(),
            partitions: stream.partitions,
            max_length: stream.max_length,
        };
        let mut bare = redis::bare::Bare::connect(&stream.url, &settings, TOPIC).await?;
        if let Some(group) = group {
            bare.make_group(group).await?;
        }
        Ok(Box::new(bare))
    }

    async fn store(&self) -> anyhow::Result<Box<dyn BareStore>> {
        let store = &self.config.store;
        Ok(match self.files.get(&store.url) {
            Some(file) => Box::new(file.clone()),
            None => Box::new(postgres::bare::Bare::connect(&store.url).await?),
        })
    }
}

/// A loop on a thread and a runtime of its own. Dropped, it is ended.
pub(super) struct Loop {
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    ended: Option<oneshot::Receiver<anyhow::Result<()>>>,
}

impl Loop {
    pub(super) fn start<W>(work: W) -> anyhow::Result<Self>
    where
        W: AsyncFnOnce(&AtomicBool) -> anyhow::Result<()> + Send + 'static,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, ended) = oneshot::channel();
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let told_to = stop.clone();
        let run = move || {
            let result = runtime.block_on(work(&told_to));
            // Nobody listens who has dropped us.
            drop(tell.send(result));
            runtime.shutdown_timeout(Duration::from_secs(1));
        };
        let thread = thread::Builder::new().name("bench-loop".into()).spawn(run)?;
        Ok(Self { thread: Some(thread), stop, ended: Some(ended) })
    }

    /// Waits for it.
    pub(super) async fn ended(mut self) -> anyhow::Result<()> {
        let ended = self.ended.take().context("a loop is waited for once")?;
        ended.await.context("a bare loop panicked")?
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("a bare loop panicked");
        }
    }
}
