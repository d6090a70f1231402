//! Builds the adapters and the tree, in flow order; the one place that knows both.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use chrono::TimeDelta;
use factline_pipeline::{
    consumer_group,
    extraction_thread::{StuckThreads, Tools},
    extractor::Extractor,
    janitor,
    lease::Keeper,
    metrics::Metrics,
    outage, outbox_poller,
    reconcile::{self, Subscription},
    tree::{self, Tuning},
    turns::Turns,
};
use factline_supervision::{BackoffPolicy, SupervisorSpec};
use uuid::Uuid;

use crate::{
    admin,
    config::{self, Config},
    extract,
    stream_users::StreamUser,
};

mod opener;

pub use opener::{Adapters, Databases, Error, Opener};
pub(crate) use opener::{Source, Streams};

/// Which parts of the pipeline run in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parts {
    /// All of it.
    #[default]
    All,
    /// From the outbox to the streams.
    Relay,
    /// From the streams to the facts.
    Consumers,
}

/// What all parts of one process share.
#[derive(Debug, Clone)]
pub struct Process {
    /// Who it is in leases and consumer names: nobody else, ever.
    pub holder: String,
    /// Who may have events in its hands.
    pub turns: Turns,
    /// The threads that it can't get back.
    pub stuck: StuckThreads,
    /// What it counts.
    pub metrics: Metrics,
}

impl Process {
    /// A new one, of an instance of this name; without a name, the host's.
    #[must_use]
    pub fn new(instance: &str) -> Self {
        Self {
            holder: holder_name(instance),
            turns: Turns::default(),
            stuck: StuckThreads::default(),
            metrics: Metrics::default(),
        }
    }
}

/// What the tree is built from.
pub struct Wiring<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// What the pipeline works with.
    pub adapters: Adapters,
    /// Which parts of it run here.
    pub parts: Parts,
    /// The HTTP server's part.
    pub admin: admin::Params,
    /// What all parts share.
    pub process: Process,
}

/// How far the clocks of two database servers may be apart.
const CLOCKS_APART: TimeDelta = TimeDelta::minutes(1);

/// A rest after each page that the janitor reconciles.
const JANITORS_PAUSE: Duration = Duration::from_millis(10);

/// What there is to reconcile between outbox, streams and ledger.
#[must_use]
pub fn reconciliation(config: &Config, adapters: &Adapters) -> reconcile::Params {
    let Adapters { databases, stream, .. } = adapters;
    let subscription =
        |group: &config::Group| Subscription { group: group.name.clone(), topics: group.topics.clone() };
    let one_clock = config.source.url == config.store.url;
    reconcile::Params {
        outbox: databases.outbox.clone(),
        stream: stream.clone(),
        ledger: databases.ledger.clone(),
        groups: config.groups.iter().map(subscription).collect(),
        margin: if one_clock { TimeDelta::zero() } else { CLOCKS_APART },
        pause: Duration::ZERO,
    }
}

/// The whole tree, in flow order.
#[must_use]
pub fn tree(wiring: Wiring<'_>) -> SupervisorSpec {
    let Wiring { config, adapters, parts, admin, process } = wiring;
    let tuning = config.policies();
    let holder = process.holder.clone();
    let mut root = SupervisorSpec::new("root");
    if parts != Parts::Consumers {
        process.metrics.expect_source(&config.source.name, &topics(config));
        root = root.supervisor(relay(config, &adapters, &process, &holder, &tuning));
    }
    if parts != Parts::Relay {
        let mut consumers = SupervisorSpec::new("consumers");
        for group in &config.groups {
            process.metrics.expect_group(&group.name, &group.topics);
            consumers =
                consumers.supervisor(consumer_group(config, group, &adapters, &process, &holder, &tuning));
        }
        root = root.supervisor(tuning.supervisor("root/consumers", consumers));
    }
    root = root.child(janitor(config, &adapters, parts, &process, &tuning));
    root = root.child(tuning.child("root/admin", admin::child(admin)));
    tuning.supervisor("root", root)
}

/// The topics that are known beforehand.
fn topics(config: &Config) -> Vec<String> {
    let topics: BTreeSet<&String> = config.groups.iter().flat_map(|group| &group.topics).collect();
    topics.into_iter().cloned().collect()
}

/// Who this process is in leases and consumer names: nobody else, ever.
pub(crate) fn holder_name(instance: &str) -> String {
    let host = || gethostname::gethostname().to_string_lossy().into_owned();
    let name = if instance.is_empty() { host() } else { instance.to_owned() };
    let random = Uuid::new_v4().simple().to_string();
    format!("{name}-{}", &random[..8])
}

fn outage_policy(config: &Config) -> BackoffPolicy {
    BackoffPolicy { initial: config.outage.initial, max: config.outage.max, ..outage::default_policy() }
}

fn relay(
    config: &Config,
    adapters: &Adapters,
    process: &Process,
    holder: &str,
    tuning: &dyn Tuning,
) -> SupervisorSpec {
    let Adapters { databases, stream, .. } = adapters;
    let relay = tree::Relay {
        outbox: databases.outbox.clone(),
        ledger: databases.ledger.clone(),
        stream: stream.clone(),
        reconcile: reconciliation(config, adapters),
        keeper: keeper(config, databases, holder),
        source: config.source.name.clone(),
        lease: relay_lease(config),
        metrics: process.metrics.clone(),
        settings: outbox_poller::Settings {
            batch_size: config.relay.batch_size,
            in_flight: config.relay.in_flight,
            poll_min: config.relay.poll_min,
            poll_max: config.relay.poll_max,
            outage: outage_policy(config),
        },
    };
    tree::relay(relay, tuning)
}

/// This process as one of those who use the streams.
#[must_use]
pub fn stream_user(config: &Config, databases: &Databases, parts: Parts, process: &Process) -> StreamUser {
    let ttl = StreamUser::ttl(config.telemetry.observe_every);
    let keeper = Keeper { ttl, ..keeper(config, databases, &process.holder) };
    StreamUser::new(keeper, parts.into())
}

/// Holds leases for this process.
fn keeper(config: &Config, databases: &Databases, holder: &str) -> Keeper {
    Keeper { leases: databases.leases.clone(), holder: holder.to_owned(), ttl: config.store.lease_ttl }
}

/// The lease of the one relay that is active.
pub(crate) fn relay_lease(config: &Config) -> String {
    format!("relay:{}", config.source.name)
}

fn consumer_group(
    config: &Config,
    group: &crate::config::Group,
    adapters: &Adapters,
    process: &Process,
    holder: &str,
    tuning: &dyn Tuning,
) -> SupervisorSpec {
    let Adapters { databases, stream, .. } = adapters;
    let partitions: Vec<_> = group.topics.iter().flat_map(|topic| stream.partitions(topic)).collect();
    let spec = tree::Group {
        stream: stream.clone(),
        keeper: keeper(config, databases, holder),
        partitions,
        tools: Tools {
            extractors: extractors(config, group),
            deadline: group.extract_timeout,
            stuck: process.stuck.clone(),
        },
        turns: process.turns.clone(),
        metrics: process.metrics.clone(),
        ledger: databases.ledger.clone(),
        workers: group.workers,
        lanes: lanes(config),
        max_attempts: group.max_attempts,
        retry: BackoffPolicy {
            initial: group.retry_initial,
            max: group.retry_max,
            ..BackoffPolicy::default()
        },
        settings: consumer_group::Settings {
            group: group.name.clone(),
            batch_size: group.batch_size,
            in_flight: group.in_flight,
            outage: outage_policy(config),
        },
    };
    tree::group(spec, tuning)
}

/// Transactions that a group records in at once: two connections are left for leases and whatever else cannot wait.
fn lanes(config: &Config) -> usize {
    let free = usize::try_from(config.store.pool.saturating_sub(2)).unwrap_or(usize::MAX);
    (free / config.groups.len().max(1)).max(1)
}

/// The group's extractors; the configuration was checked to name none that cannot be built.
pub(crate) fn extractors(config: &Config, group: &crate::config::Group) -> Vec<Arc<dyn Extractor>> {
    let kinds = group.extractors.iter().filter_map(|name| config.extractors.get(name));
    kinds.filter_map(|extractor| extract::build(&extractor.kind)).collect()
}

fn janitor(
    config: &Config,
    adapters: &Adapters,
    parts: Parts,
    process: &Process,
    tuning: &dyn Tuning,
) -> factline_supervision::ChildSpec {
    let Adapters { databases, stream, .. } = adapters;
    let relays = parts != Parts::Consumers;
    let params = janitor::Params {
        attempts: databases.ledger.clone(),
        stream: stream.clone(),
        outbox: config.outbox_retention().filter(|_| relays).map(|time| (databases.outbox.clone(), time)),
        ledger: config.janitor.ledger_retention().map(|time| (databases.ledger.clone(), time)),
        reconcile: relays.then(|| janitor::Reconciling {
            params: reconcile::Params { pause: JANITORS_PAUSE, ..reconciliation(config, adapters) },
            every: config.janitor.reconcile_every,
            leases: databases.leases.clone(),
            relay: relay_lease(config),
            holder: process.holder.clone(),
        }),
        every: config.janitor.every,
        metrics: process.metrics.clone(),
    };
    tree::janitor(params, tuning)
}
