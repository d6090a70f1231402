//! `ConsumerGroup`: entries of the partitions that this process holds, in batches, to the extractors; recorded
//! entries acknowledged.
//!
//! In: [`BatchRecorded`] from the [`LedgerWriter`](crate::ledger_writer::LedgerWriter). Out: [`ExtractBatch`] to
//! the [`FactExtractor`]s.
//!
//! A partition is read by the holder of its lease alone. Whoever has just got the lease first finishes what is
//! pending there, its own or another's, and then reads new entries: so a key's order holds across crashes, restarts
//! and daemons. A partition's batches all go to the same extractor, which keeps them in order. An entry is
//! acknowledged only after the ledger's commit; whatever is lost before that is pending.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use factline_supervision::{BackoffPolicy, Condition, Delays, Lifeline, Ref};

use crate::{
    assignment::{Assignment, Next},
    batch::{BatchId, Chain, Member, Numbering},
    fact_extractor::{ExtractBatch, FactExtractor},
    lease::{Keeper, Tenure},
    outage::{self, Error},
    stream::{Delivered, EventStream, Partition, Position, Reader},
};

/// How long a read waits for the first new entry.
const READ_WAIT: Duration = Duration::from_millis(500);

/// Entries of one partition in a read at most, however many partitions there are.
const LEAST_SHARE: usize = 64;

/// How the group works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The group's name.
    pub group: String,
    /// Entries in a read at most, roughly: shared evenly between the partitions, with a least share for each.
    pub batch_size: usize,
    /// Batches that may be on their way at once.
    pub in_flight: usize,
    /// Pauses during an outage.
    pub outage: BackoffPolicy,
}

/// What the group works with.
#[derive(Clone)]
pub struct Params {
    /// What it reads.
    pub stream: Arc<dyn EventStream>,
    /// All partitions of its topics.
    pub partitions: Vec<Partition>,
    /// The leases [`lease_name`](crate::assignment::lease_name) of those partitions.
    pub keeper: Keeper,
    /// Where batches go.
    pub extractors: Vec<Ref<FactExtractor>>,
    /// Shared with the extractors and the ledger writer.
    pub chain: Chain,
    /// How it works.
    pub settings: Settings,
}

/// A batch was recorded.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct BatchRecorded {
    /// The batch.
    pub batch: BatchId,
    /// What to acknowledge.
    pub recorded: Vec<(Partition, Position)>,
}

/// The actor.
pub struct ConsumerGroup {
    params: Params,
    life: Lifeline,
    assignment: Assignment,
    /// Whether any partition is held; nothing is known after a renewal that failed.
    holds: Option<bool>,
    in_flight: HashSet<BatchId>,
    numbering: Numbering,
    _member: Member,
    reading: bool,
    renewing: bool,
    /// Pauses after reads that went wrong; none, if the last one was right.
    delays: Option<Delays>,
}

impl ConsumerGroup {
    /// A group that holds no partition yet.
    #[must_use]
    pub fn new(params: Params, life: Lifeline) -> Self {
        Self {
            _member: params.chain.join(),
            numbering: Numbering::begin(&params.chain),
            assignment: Assignment::new(&params.settings.group, params.partitions.clone()),
            params,
            life,
            holds: None,
            in_flight: HashSet::new(),
            reading: false,
            renewing: false,
            delays: None,
        }
    }

    /// Each incarnation is a consumer of its own: what a former one's read still gets is seen to be stranded.
    fn reader(&self) -> Reader {
        let consumer = format!("{}.{}", self.params.keeper.holder, self.life.generation());
        Reader { group: self.params.settings.group.clone(), consumer }
    }

    fn renew_leases(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.renewing, true) {
            return;
        }
        let (keeper, stream) = (self.params.keeper.clone(), self.params.stream.clone());
        let (reader, live) = (self.reader(), self.assignment.live().to_vec());
        let renewal = async move {
            let tenure = keeper.renew().await?;
            Ok((
                tenure,
                if live.is_empty() {
                    live
                } else {
                    stream.stranded(&reader, &live).await.unwrap_or_else(|error| {
                        tracing::debug!(error = %outage::chain(&error), "asked again at the next renewal");
                        Vec::new()
                    })
                },
            ))
        };
        ctx.spawn(renewal.into_actor(self).map(|renewed: Result<_, Error>, group, ctx| {
            group.renewing = false;
            match renewed {
                Ok((tenure, stranded)) => group.accept(tenure, &stranded, ctx),
                Err(error) => {
                    tracing::warn!(error = %outage::chain(&error), "partition leases could not be renewed");
                    group.life.set_condition(Condition::Degraded(outage::chain(&error)));
                    group.holds = None;
                }
            }
        }));
    }

    fn accept(&mut self, tenure: Tenure, stranded: &[Partition], ctx: &mut Context<Self>) {
        let won = self.assignment.accept(tenure);
        if won > 0 {
            tracing::info!(group = self.params.settings.group, partitions = won, "partitions taken on");
        }
        if !stranded.is_empty() {
            tracing::warn!(
                partitions = stranded.len(),
                "entries went to a reader that is gone: taking them over"
            );
            self.assignment.recover(stranded);
        }
        let holds = Some(self.assignment.holds_any());
        if self.holds != holds {
            self.holds = holds;
            self.life.set_condition(match holds {
                Some(true) => Condition::Healthy,
                _ => Condition::Standby("another daemon reads all partitions".into()),
            });
        }
        self.read(ctx);
    }

    /// Reads the next entries if there is room for them; otherwise whatever ends the lack of room calls again.
    fn read(&mut self, ctx: &mut Context<Self>) {
        let full = self.in_flight.len() >= self.params.settings.in_flight;
        if self.reading || full || self.life.is_stopping() {
            return;
        }
        let Some(next) = self.assignment.next(READ_WAIT) else { return };
        self.reading = true;
        let began_in = self.numbering.epoch();
        let entries = read(self.params.clone(), self.life.clone(), self.reader(), next.clone());
        ctx.spawn(entries.into_actor(self).map(move |entries, group, ctx| {
            group.reading = false;
            match entries {
                // What was read before the group started over is pending, and read again in its turn.
                Ok(_) if began_in != group.numbering.epoch() => group.read(ctx),
                Ok(entries) => group.take_in(next, entries, ctx),
                Err(error) => group.read_failed(&next, &error, ctx),
            }
        }));
    }

    /// Nobody knows what the server has handed out: what is pending comes first, after a pause.
    fn read_failed(&mut self, next: &Next, error: &Error, ctx: &mut Context<Self>) {
        if self.life.is_stopping() {
            return self.finish_if_drained(ctx);
        }
        if let Next::New(partitions, _) = next {
            self.assignment.recover(partitions);
        }
        let reason = outage::chain(error);
        let policy = &self.params.settings.outage;
        if self.delays.is_none() {
            tracing::warn!(actor = self.life.path(), error = %reason, "degraded, trying again until it is back");
        }
        let delay = self.delays.get_or_insert_with(|| Delays::new(policy)).next_delay();
        self.life.set_condition(Condition::Degraded(reason));
        self.reading = true; // until the pause is over
        ctx.run_later(delay, |group, ctx| {
            group.reading = false;
            group.finish_if_drained(ctx);
            group.read(ctx);
        });
    }

    fn take_in(&mut self, next: Next, mut entries: Vec<Delivered>, ctx: &mut Context<Self>) {
        self.life.progress();
        if matches!(next, Next::New(..)) && self.delays.take().is_some() {
            tracing::info!(actor = self.life.path(), "recovered");
            self.life.set_condition(Condition::Healthy);
        }
        self.assignment.took(next, &mut entries);
        if entries.is_empty() {
            self.finish_if_drained(ctx);
            return self.read(ctx);
        }
        let batches = self.batches_of(entries);
        self.reading = true; // until they are delivered: order must hold on the way to each extractor
        let delivery = async move {
            for (extractor, batch) in batches {
                extractor.deliver(batch).await?;
            }
            Ok::<(), factline_supervision::SendError>(())
        };
        ctx.spawn(delivery.into_actor(self).map(|delivered, group, ctx| {
            group.reading = false;
            if let Err(error) = delivered {
                group.life.fail(format_args!("an extractor is gone: {error}"));
            }
            group.finish_if_drained(ctx);
            group.read(ctx);
        }));
    }

    /// One batch for each extractor; a partition always goes to the same one.
    fn batches_of(&mut self, entries: Vec<Delivered>) -> Vec<(Ref<FactExtractor>, ExtractBatch)> {
        let workers = self.params.extractors.len();
        let mut parts: BTreeMap<usize, Vec<Delivered>> = BTreeMap::new();
        for entry in entries {
            parts.entry(usize::from(entry.partition.number) % workers).or_default().push(entry);
        }
        let mut batches = Vec::with_capacity(parts.len());
        for (worker, entries) in parts {
            let batch = self.numbering.next_batch();
            self.in_flight.insert(batch);
            let fences = self.assignment.fences_of(&entries);
            batches.push((self.params.extractors[worker].clone(), ExtractBatch { batch, fences, entries }));
        }
        self.life.set_in_flight(self.in_flight.len());
        batches
    }

    /// Waits until what is under way has become void and the chain is whole; then all that is held is read again.
    fn watch_chain(&mut self, ctx: &mut Context<Self>) {
        let broken_and_mended = self.numbering.broken_and_mended();
        ctx.spawn(broken_and_mended.into_actor(self).map(|(), group, ctx| {
            if group.life.is_stopping() {
                return;
            }
            tracing::warn!(
                group = group.params.settings.group,
                "batches became void: reading again what is pending"
            );
            group.numbering = Numbering::begin(&group.params.chain);
            group.in_flight.clear();
            group.life.set_in_flight(0);
            group.assignment.forget();
            group.watch_chain(ctx);
            group.renew_leases(ctx);
        }));
    }

    fn drain(&mut self, ctx: &mut Context<Self>) {
        self.params.chain.drain();
        // If the writer or an extractor is gone, what it had in hand never comes back; its entries are pending.
        let voided = self.numbering.voided();
        ctx.spawn(voided.into_actor(self).map(|(), group, ctx| {
            group.in_flight.clear();
            group.reading = false;
            group.finish_if_drained(ctx);
        }));
        self.finish_if_drained(ctx);
    }

    fn finish_if_drained(&mut self, ctx: &mut Context<Self>) {
        if !self.life.is_stopping() || !self.in_flight.is_empty() || self.reading {
            return;
        }
        let keeper = self.params.keeper.clone();
        let release = async move { keeper.release().await };
        ctx.spawn(release.into_actor(self).map(|released, _, ctx| {
            if let Err(error) = released {
                tracing::warn!(error = %outage::chain(&error), "partition leases were left to expire");
            }
            ctx.stop();
        }));
    }
}

impl Actor for ConsumerGroup {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.life.on_stop(ctx, Self::drain);
        self.watch_chain(ctx);
        let prepared = prepare(self.params.clone(), self.life.clone());
        ctx.spawn(prepared.into_actor(self).map(|_, group, ctx| {
            group.renew_leases(ctx);
            ctx.run_interval(group.params.keeper.interval(), Self::renew_leases);
        }));
        self.life.ready();
    }
}

impl Handler<BatchRecorded> for ConsumerGroup {
    type Result = ();

    fn handle(&mut self, message: BatchRecorded, ctx: &mut Self::Context) {
        let BatchRecorded { batch, recorded } = message;
        let acknowledgement = acknowledge(self.params.clone(), self.life.clone(), recorded);
        ctx.spawn(acknowledgement.into_actor(self).map(move |acknowledged, group, ctx| {
            if let Err(error) = acknowledged {
                // The entries stay pending; whoever takes them over finds them in the ledger.
                tracing::warn!(error = %outage::chain(&error), "recorded entries were not acknowledged");
            }
            group.in_flight.remove(&batch);
            group.life.set_in_flight(group.in_flight.len());
            group.finish_if_drained(ctx);
            group.read(ctx);
        }));
    }
}

/// Makes the group known to all its partitions, held or not, so that none is trimmed before it was read.
async fn prepare(params: Params, life: Lifeline) -> Result<(), Error> {
    let Params { stream, partitions, settings, .. } = &params;
    outage::ride_out(&life, &settings.outage, || stream.ensure_group(&settings.group, partitions)).await
}

/// Taking over may be tried again and again; reading new entries may not, for nobody knows what a failed read got.
async fn read(params: Params, life: Lifeline, reader: Reader, next: Next) -> Result<Vec<Delivered>, Error> {
    let Params { stream, settings, .. } = &params;
    match &next {
        Next::Pending(partition, after) => {
            let take_over = || stream.take_over_pending(&reader, partition, *after, settings.batch_size);
            outage::ride_out(&life, &settings.outage, take_over).await
        }
        Next::New(partitions, wait) => {
            let share = (settings.batch_size / partitions.len().max(1)).max(LEAST_SHARE);
            stream.read_new(&reader, partitions, share, *wait).await
        }
    }
}

async fn acknowledge(
    params: Params,
    life: Lifeline,
    recorded: Vec<(Partition, Position)>,
) -> Result<(), Error> {
    let mut positions: BTreeMap<Partition, Vec<Position>> = BTreeMap::new();
    for (partition, position) in recorded {
        positions.entry(partition).or_default().push(position);
    }
    let Params { stream, settings, .. } = &params;
    for (partition, positions) in &positions {
        let ack = || stream.acknowledge(&settings.group, partition, positions);
        outage::ride_out(&life, &settings.outage, ack).await?;
    }
    Ok(())
}
