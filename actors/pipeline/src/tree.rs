//! The supervisor tree of the pipeline.
//!
//! `relay` and each group are `rest_for_one`, first the stage that later ones hand their work to: when it dies they
//! start over with it. Mailboxes are made here, before any actor, so that stages can know each other.

use std::sync::Arc;

use factline_supervision::{BackoffPolicy, ChildSpec, Lifeline, Strategy, SupervisorSpec, mailbox};

use crate::{
    attempts::Watched,
    batch::Chain,
    consumer_group::{self, ConsumerGroup},
    extraction_thread::Tools,
    fact_extractor::{self, FactExtractor},
    janitor::{self, Janitor},
    lease::Keeper,
    ledger::Ledger,
    ledger_writer::{self, LedgerWriter},
    metrics::Metrics,
    outbox::Outbox,
    outbox_poller::{self, OutboxPoller},
    reconcile,
    stream::{EventStream, Partition},
    stream_publisher::{self, StreamPublisher},
    turns::Turns,
};

/// What the configuration says of supervisors and children, by path (`root/relay/outbox_poller`).
pub trait Tuning {
    /// The supervisor with its configured strategy, intensity and so on.
    fn supervisor(&self, path: &str, spec: SupervisorSpec) -> SupervisorSpec;

    /// The child with its configured restart type, shutdown time and so on.
    fn child(&self, path: &str, spec: ChildSpec) -> ChildSpec;

    /// The child's mailbox capacity, if configured.
    fn mailbox(&self, path: &str) -> Option<usize>;
}

/// What the relay works with.
pub struct Relay {
    /// The application's outbox.
    pub outbox: Arc<dyn Outbox>,
    /// Where unpublishable rows are set aside.
    pub ledger: Arc<dyn Ledger>,
    /// Where events go.
    pub stream: Arc<dyn EventStream>,
    /// How to find what the streams have lost.
    pub reconcile: reconcile::Params,
    /// Who may publish.
    pub keeper: Keeper,
    /// The source's name.
    pub source: String,
    /// The lease `relay:{source}`.
    pub lease: String,
    /// What it counts.
    pub metrics: Metrics,
    /// How the poller works.
    pub settings: outbox_poller::Settings,
}

/// `root/relay`: first the publisher, then the poller that feeds it.
#[must_use]
pub fn relay(relay: Relay, tuning: &dyn Tuning) -> SupervisorSpec {
    let path = "root/relay";
    // Every batch in flight has a place in both mailboxes, so neither stage ever waits for the other to read.
    let capacity = |child: &str| tuning.mailbox(child).unwrap_or(16).max(relay.settings.in_flight + 1);
    let (publisher_path, poller_path) =
        ("root/relay/stream_publisher".to_owned(), "root/relay/outbox_poller".to_owned());
    let (publisher, publisher_mailbox) = mailbox::<StreamPublisher>(capacity(&publisher_path));
    let (poller, poller_mailbox) = mailbox::<OutboxPoller>(capacity(&poller_path));
    let chain = Chain::of(2);
    let publisher_params = stream_publisher::Params {
        stream: relay.stream,
        poller,
        outage: relay.settings.outage.clone(),
        chain: chain.clone(),
        metrics: relay.metrics.clone(),
    };
    let poller_params = outbox_poller::Params {
        outbox: relay.outbox,
        ledger: relay.ledger,
        reconcile: relay.reconcile,
        keeper: relay.keeper,
        source: relay.source,
        lease: relay.lease,
        publisher,
        chain,
        metrics: relay.metrics,
        settings: relay.settings,
    };
    let publisher = ChildSpec::actor("stream_publisher", publisher_mailbox, move |life: Lifeline| {
        StreamPublisher::new(publisher_params.clone(), life)
    });
    let poller = ChildSpec::actor("outbox_poller", poller_mailbox, move |life: Lifeline| {
        OutboxPoller::new(poller_params.clone(), life)
    });
    let spec = SupervisorSpec::new("relay")
        .strategy(Strategy::RestForOne)
        .child(tuning.child(&publisher_path, publisher))
        .child(tuning.child(&poller_path, poller));
    tuning.supervisor(path, spec)
}

/// What one consumer group works with.
pub struct Group {
    /// What it reads.
    pub stream: Arc<dyn EventStream>,
    /// All partitions of its topics.
    pub partitions: Vec<Partition>,
    /// Who may read them.
    pub keeper: Keeper,
    /// What finds facts.
    pub tools: Tools,
    /// Where they are recorded.
    pub ledger: Arc<dyn Ledger>,
    /// How many events are extracted at once.
    pub workers: usize,
    /// How many transactions record at once, at most.
    pub lanes: usize,
    /// How often an event is tried.
    pub max_attempts: u32,
    /// Pauses between attempts.
    pub retry: BackoffPolicy,
    /// Shared by all groups of the process.
    pub turns: Turns,
    /// What it counts.
    pub metrics: Metrics,
    /// How the group reads.
    pub settings: consumer_group::Settings,
}

/// `root/consumers/{group}`: the writer, the extractors, and the group that feeds them.
#[must_use]
pub fn group(group: Group, tuning: &dyn Tuning) -> SupervisorSpec {
    let name = group.settings.group.clone();
    let path = format!("root/consumers/{name}");
    let in_flight = group.settings.in_flight + group.workers;
    let capacity = |child: &str| tuning.mailbox(child).unwrap_or(16).max(in_flight + 1);
    let (writer_path, consumer_path) = (format!("{path}/ledger_writer"), format!("{path}/consumer_group"));
    let (writer, writer_mailbox) = mailbox::<LedgerWriter>(capacity(&writer_path));
    let (consumer, consumer_mailbox) = mailbox::<ConsumerGroup>(capacity(&consumer_path));
    let (chain, watched) = (Chain::of(group.workers + 2), Watched::default());

    let writer_params = ledger_writer::Params {
        group: name.clone(),
        ledger: group.ledger.clone(),
        consumer,
        batch_size: group.settings.batch_size,
        lanes: group.lanes.min(group.workers),
        outage: group.settings.outage.clone(),
        chain: chain.clone(),
        metrics: group.metrics.clone(),
    };
    let ledger_writer = ChildSpec::actor("ledger_writer", writer_mailbox, move |life: Lifeline| {
        LedgerWriter::new(writer_params.clone(), life)
    });
    let mut spec = SupervisorSpec::new(name.as_str())
        .strategy(Strategy::RestForOne)
        .child(tuning.child(&writer_path, ledger_writer));

    let extractor_params = fact_extractor::Params {
        group: name.clone(),
        tools: group.tools,
        writer,
        lane: 0,
        ledger: group.ledger.clone(),
        max_attempts: group.max_attempts,
        retry: group.retry,
        outage: group.settings.outage.clone(),
        chain: chain.clone(),
        turns: group.turns.clone(),
        watched: watched.clone(),
        metrics: group.metrics.clone(),
    };
    let mut extractors = Vec::with_capacity(group.workers);
    for number in 1..=group.workers {
        let id = format!("fact_extractor-{number}");
        // One configuration entry tunes the whole pool.
        let pool_path = format!("{path}/fact_extractor");
        let (extractor, extractor_mailbox) = mailbox::<FactExtractor>(capacity(&pool_path));
        let params = fact_extractor::Params { lane: number - 1, ..extractor_params.clone() };
        let child = ChildSpec::actor(id.as_str(), extractor_mailbox, move |life: Lifeline| {
            FactExtractor::new(params.clone(), life)
        });
        spec = spec.child(tuning.child(&pool_path, child));
        extractors.push(extractor);
    }

    let consumer_params = consumer_group::Params {
        stream: group.stream,
        partitions: group.partitions,
        keeper: group.keeper,
        ledger: group.ledger,
        extractors,
        chain,
        turns: group.turns,
        watched,
        metrics: group.metrics,
        settings: group.settings,
    };
    let consumer_group = ChildSpec::actor("consumer_group", consumer_mailbox, move |life: Lifeline| {
        ConsumerGroup::new(consumer_params.clone(), life)
    });
    tuning.supervisor(&path, spec.child(tuning.child(&consumer_path, consumer_group)))
}

/// `root/janitor`.
#[must_use]
pub fn janitor(params: janitor::Params, tuning: &dyn Tuning) -> ChildSpec {
    let path = "root/janitor";
    let (_, janitor_mailbox) = mailbox::<Janitor>(tuning.mailbox(path).unwrap_or(1));
    let child = ChildSpec::actor("janitor", janitor_mailbox, move |life: Lifeline| {
        Janitor::new(params.clone(), life)
    });
    tuning.child(path, child)
}
