//! An actor that panics is restarted by its supervisor under load, and nothing is lost or doubled.
//!
//! The real adapters on the real servers, and around each a wrapper that panics at a few of the calls: a bug in the
//! actor that calls it, as far as the supervisor can tell.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use factline::{
    admin,
    app::{self, Adapters, Opener, Parts, Wiring},
    config::{self, Sources},
    telemetry::Exposition,
};
use factline_pipeline::{
    attempts::{FailedTry, History},
    dead_letter::DeadLetter,
    event::Event,
    lease::Fence,
    ledger::{Horizons, Ledger, Recorded, Recording},
    outage::Error,
    outbox::{Backlog, Claim, NewEvent, Outbox, Record, Row, RowId, Settled, SettledRow, Status},
    stream::{AtCap, Carried, Delivered, EventStream, GroupLag, Identity, Partition, Position, Reader},
};
use uuid::Uuid;

use super::stage::{Stage, until};

/// Panics at the third, sixth and ninth call.
#[derive(Default)]
struct Bug(AtomicU32);

impl Bug {
    fn strike(&self, what: &str) {
        let calls = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(!(calls <= 9 && calls.is_multiple_of(3)), "a bug in {what}");
    }
}

struct Buggy<T: ?Sized> {
    inner: Arc<T>,
    first: Bug,
    second: Bug,
}

impl<T: ?Sized> Buggy<T> {
    fn new(inner: Arc<T>) -> Arc<Self> {
        Arc::new(Self { inner, first: Bug::default(), second: Bug::default() })
    }
}

#[async_trait]
impl Outbox for Buggy<dyn Outbox> {
    async fn claim_pending(&self, claim: Claim<'_>) -> Result<Vec<Row>, Error> {
        self.first.strike("claim_pending");
        self.inner.claim_pending(claim).await
    }
    async fn mark_processed(&self, rows: &[RowId]) -> Result<(), Error> {
        self.second.strike("mark_processed");
        self.inner.mark_processed(rows).await
    }
    async fn mark_failed(&self, rows: &[(RowId, String)]) -> Result<(), Error> {
        self.inner.mark_failed(rows).await
    }
    async fn settled_before(
        &self,
        status: Settled,
        cursor: Option<&RowId>,
        limit: usize,
    ) -> Result<Vec<SettledRow>, Error> {
        self.inner.settled_before(status, cursor, limit).await
    }
    async fn mark_pending(&self, rows: &[RowId]) -> Result<u64, Error> {
        self.inner.mark_pending(rows).await
    }
    async fn backlog(&self) -> Result<Backlog, Error> {
        self.inner.backlog().await
    }
    async fn insert(&self, events: &[NewEvent]) -> Result<Vec<Uuid>, Error> {
        self.inner.insert(events).await
    }
    async fn find(&self, event_id: Uuid) -> Result<Option<Record>, Error> {
        self.inner.find(event_id).await
    }
    async fn find_many(&self, event_ids: &[Uuid]) -> Result<Vec<Record>, Error> {
        self.inner.find_many(event_ids).await
    }
    async fn list(&self, status: Status, before: Option<&str>, limit: u32) -> Result<Vec<Record>, Error> {
        self.inner.list(status, before, limit).await
    }
    async fn delete_processed(&self, before: DateTime<Utc>, limit: usize) -> Result<u64, Error> {
        self.inner.delete_processed(before, limit).await
    }
}

#[async_trait]
impl EventStream for Buggy<dyn EventStream> {
    async fn append(&self, events: &[Event]) -> Result<Option<AtCap>, Error> {
        let appended = self.inner.append(events).await;
        self.first.strike("append"); // after the fact: the events are in the stream, and nobody is told
        appended
    }
    async fn at_cap(&self, partition: &Partition) -> Result<Option<AtCap>, Error> {
        self.inner.at_cap(partition).await
    }
    async fn ensure_group(&self, group: &str, partitions: &[Partition]) -> Result<(), Error> {
        self.inner.ensure_group(group, partitions).await
    }
    async fn take_over_pending(
        &self,
        reader: &Reader,
        partition: &Partition,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Delivered>, Error> {
        self.inner.take_over_pending(reader, partition, after, limit).await
    }
    async fn return_pending(&self, reader: &Reader, partition: &Partition) -> Result<(), Error> {
        self.inner.return_pending(reader, partition).await
    }
    async fn read_new(
        &self,
        reader: &Reader,
        partitions: &[Partition],
        limit: usize,
        wait: Duration,
    ) -> Result<Vec<Delivered>, Error> {
        let delivered = self.inner.read_new(reader, partitions, limit, wait).await;
        self.second.strike("read_new"); // the entries are pending now, and nobody has them
        delivered
    }
    async fn stranded(&self, reader: &Reader, partitions: &[Partition]) -> Result<Vec<Partition>, Error> {
        self.inner.stranded(reader, partitions).await
    }
    async fn acknowledge(
        &self,
        group: &str,
        partition: &Partition,
        positions: &[Position],
    ) -> Result<(), Error> {
        self.inner.acknowledge(group, partition, positions).await
    }
    async fn trim(&self, partition: &Partition) -> Result<u64, Error> {
        self.inner.trim(partition).await
    }
    async fn carried_before(
        &self,
        partition: &Partition,
        before: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Carried>, Error> {
        self.inner.carried_before(partition, before, limit).await
    }
    async fn lag(&self, topics: &[String]) -> Result<Vec<GroupLag>, Error> {
        self.inner.lag(topics).await
    }
    async fn topics(&self) -> Result<Vec<String>, Error> {
        self.inner.topics().await
    }
    async fn length(&self, partition: &Partition) -> Result<u64, Error> {
        self.inner.length(partition).await
    }
    async fn discard_unread(&self, partition: &Partition) -> Result<u64, Error> {
        self.inner.discard_unread(partition).await
    }
    async fn identity(&self) -> Result<Identity, Error> {
        self.inner.identity().await
    }
    fn partitions(&self, topic: &str) -> Vec<Partition> {
        self.inner.partitions(topic)
    }
}

#[async_trait]
impl Ledger for Buggy<dyn Ledger> {
    async fn record(&self, group: &str, fences: &[Fence], batch: &[Recording]) -> Result<Recorded, Error> {
        self.first.strike("record, before");
        let recorded = self.inner.record(group, fences, batch).await;
        self.second.strike("record, after");
        recorded
    }
    async fn record_unpublishable(&self, letters: &[DeadLetter]) -> Result<(), Error> {
        self.inner.record_unpublishable(letters).await
    }
    async fn history(&self, group: &str, event_ids: &[Uuid]) -> Result<History, Error> {
        self.inner.history(group, event_ids).await
    }
    async fn count_failure(&self, group: &str, failed: FailedTry<'_>) -> Result<(), Error> {
        self.inner.count_failure(group, failed).await
    }
    async fn count_suspects(&self, group: &str, deaths: &[(Uuid, u32)]) -> Result<(), Error> {
        self.inner.count_suspects(group, deaths).await
    }
    async fn absolve(&self, group: &str, deaths: &[(Uuid, u32)]) -> Result<(), Error> {
        self.inner.absolve(group, deaths).await
    }
    async fn troubled(&self, group: &str, limit: usize) -> Result<Vec<Uuid>, Error> {
        self.inner.troubled(group, limit).await
    }
    async fn forget_settled_attempts(&self) -> Result<u64, Error> {
        self.inner.forget_settled_attempts().await
    }
    async fn recorded(&self, group: &str, event_ids: &[Uuid]) -> Result<HashSet<Uuid>, Error> {
        self.inner.recorded(group, event_ids).await
    }
    async fn begin_group(&self, group: &str, not_before: Option<DateTime<Utc>>) -> Result<(), Error> {
        self.inner.begin_group(group, not_before).await
    }
    async fn horizons(&self) -> Result<Horizons, Error> {
        self.inner.horizons().await
    }
    async fn forget_before(&self, before: DateTime<Utc>, limit: usize) -> Result<u64, Error> {
        self.inner.forget_before(before, limit).await
    }
    async fn forgettable_before(&self, before: DateTime<Utc>) -> Result<u64, Error> {
        self.inner.forgettable_before(before).await
    }
}

#[test]
fn actors_that_panic_are_restarted_under_load_and_nothing_is_lost_or_doubled() {
    actix::System::new().block_on(panic_under("rest_for_one"));
}

#[test]
fn the_supervisors_strategy_makes_no_difference_to_that() {
    actix::System::new().block_on(async {
        panic_under("one_for_one").await;
        panic_under("one_for_all").await;
    });
}

async fn panic_under(strategy: &str) {
    let stage = Stage::new().await;
    stage.insert_messages(6000, 100).await;
    let environment = [
        ("DATABASE_URL", stage.database.as_str()),
        ("REDIS_URL", &stage.redis),
        ("FACTLINE__STREAM__PREFIX", &stage.prefix),
        ("FACTLINE__RELAY__BATCH_SIZE", "200"),
        ("FACTLINE__GROUPS__FACTS__BATCH_SIZE", "200"),
        // Many more than are ever meant to come so close together.
        ("FACTLINE__SUPERVISION__ROOT/RELAY__MAX_RESTARTS", "100"),
        ("FACTLINE__SUPERVISION__ROOT/CONSUMERS/FACTS__MAX_RESTARTS", "100"),
        ("FACTLINE__SUPERVISION__ROOT/RELAY__STRATEGY", strategy),
        ("FACTLINE__SUPERVISION__ROOT/CONSUMERS/FACTS__STRATEGY", strategy),
    ];
    let quick = [
        "RELAY/OUTBOX_POLLER",
        "RELAY/STREAM_PUBLISHER",
        "CONSUMERS/FACTS/CONSUMER_GROUP",
        "CONSUMERS/FACTS/LEDGER_WRITER",
    ]
    .map(|path| (format!("FACTLINE__SUPERVISION__ROOT/{path}__BACKOFF_MAX"), "200ms".to_owned()));
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let environment = environment.into_iter().chain(quick).collect();
    let config = config::load(&Sources { file: None, environment }).unwrap();
    let mut adapters: Adapters = Opener::new(&config).adapters().await.unwrap();
    adapters.databases.outbox = Buggy::new(adapters.databases.outbox);
    adapters.databases.ledger = Buggy::new(adapters.databases.ledger);
    adapters.stream = Buggy::new(adapters.stream);
    let process = factline::app::Process::new("");
    let seen = admin::State::new(&config, adapters.clone(), Exposition::default(), &process);
    let wiring = Wiring {
        config: &config,
        adapters,
        parts: Parts::All,
        admin: admin::Params { listener: None, state: Arc::new(seen) },
        process,
    };
    let tree = factline_supervision::start(app::tree(wiring)).await.unwrap();

    stage.until_recorded(6000).await;
    stage.assert_exactly_once_in_order().await;
    assert_eq!(stage.recorded().await, 6000);
    until("everything is acknowledged", || async { stage.undrained().await == 0 }).await;
    let observed = tree.observe();
    for path in [
        "root/relay/outbox_poller",
        "root/relay/stream_publisher",
        "root/consumers/facts/consumer_group",
        "root/consumers/facts/ledger_writer",
    ] {
        let node = observed.find(path).unwrap();
        assert!(node.restarts > 0, "{path} was never restarted");
        let reason = node.last_exit.as_ref().unwrap().reason.to_string();
        assert!(reason.contains("panicked") || reason.contains("shut down"), "{path}: {reason}");
    }
    tree.stop().await;
}
