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
    collections::{BTreeMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use factline_supervision::{BackoffPolicy, Condition, Lifeline, Ref};

use crate::{
    batch::{BatchId, Epoch, Member, Numbering},
    fact_extractor::{ExtractBatch, FactExtractor},
    lease::{Fence, Keeper, Tenure},
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
    /// Entries in a read at most, roughly: shared evenly between the partitions, with [`LEAST_SHARE`] for each.
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
    /// The leases [`lease_name`] of those partitions.
    pub keeper: Keeper,
    /// Where batches go.
    pub extractors: Vec<Ref<FactExtractor>>,
    /// Shared with the extractors and the ledger writer.
    pub epoch: Epoch,
    /// How it works.
    pub settings: Settings,
}

/// The lease that makes a process the reader of a partition.
#[must_use]
pub fn lease_name(group: &str, partition: &Partition) -> String {
    format!("partition:{group}:{partition}")
}

/// A batch was recorded, or could not be.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct BatchRecorded {
    /// The batch.
    pub batch: BatchId,
    /// What to acknowledge; `None` if a lease was lost and nothing was recorded.
    pub recorded: Option<Vec<(Partition, Position)>>,
}

/// The actor.
pub struct ConsumerGroup {
    params: Params,
    life: Lifeline,
    tenure: Tenure,
    /// Whether any partition is held; nothing is known after a renewal that failed.
    holds: Option<bool>,
    /// Partitions whose new entries are read.
    live: Vec<Partition>,
    /// Partitions whose pending entries are being finished, and up to where that has come.
    recovering: VecDeque<(Partition, Option<Position>)>,
    in_flight: HashSet<BatchId>,
    numbering: Numbering,
    _member: Member,
    reading: bool,
}

impl ConsumerGroup {
    /// A group that holds no partition yet.
    #[must_use]
    pub fn new(params: Params, life: Lifeline) -> Self {
        Self {
            _member: params.epoch.join(),
            numbering: Numbering::begin(&params.epoch),
            params,
            life,
            tenure: Tenure::none(),
            holds: None,
            live: Vec::new(),
            recovering: VecDeque::new(),
            in_flight: HashSet::new(),
            reading: false,
        }
    }

    fn renew_leases(&mut self, ctx: &mut Context<Self>) {
        let keeper = self.params.keeper.clone();
        let renewal = async move { keeper.renew().await };
        ctx.spawn(renewal.into_actor(self).map(|renewed, group, ctx| {
            match renewed {
                Ok(tenure) => group.accept(tenure, ctx),
                Err(error) => {
                    tracing::warn!(error = %outage::chain(&error), "partition leases could not be renewed");
                    group.life.set_condition(Condition::Degraded(outage::chain(&error)));
                    group.holds = None;
                }
            }
            ctx.run_later(group.params.keeper.interval(), Self::renew_leases);
        }));
    }

    /// Partitions of a new tenure are recovered first; those that are no longer held are left alone.
    fn accept(&mut self, tenure: Tenure, ctx: &mut Context<Self>) {
        let held = |partition: &Partition, tenure: &Tenure| {
            let name = lease_name(&self.params.settings.group, partition);
            tenure.fences.iter().find(|fence| fence.name == name).cloned()
        };
        let gained: Vec<Partition> = (self.params.partitions.iter())
            .filter(|partition| {
                let now = held(partition, &tenure);
                now.is_some() && now != held(partition, &self.tenure)
            })
            .cloned()
            .collect();
        let kept = |partition: &Partition| held(partition, &tenure).is_some() && !gained.contains(partition);
        self.live.retain(kept);
        self.recovering.retain(|(partition, _)| kept(partition));
        if !gained.is_empty() {
            tracing::info!(
                group = self.params.settings.group,
                partitions = gained.len(),
                "partitions taken on"
            );
        }
        self.recovering.extend(gained.into_iter().map(|partition| (partition, None)));
        let holds = Some(!tenure.fences.is_empty());
        if self.holds != holds {
            self.holds = holds;
            self.life.set_condition(match holds {
                Some(true) => Condition::Healthy,
                _ => Condition::Standby("another daemon reads all partitions".into()),
            });
        }
        self.tenure = tenure;
        self.read(ctx);
    }

    /// Reads the next entries if there is room for them; otherwise whatever ends the lack of room calls again.
    fn read(&mut self, ctx: &mut Context<Self>) {
        let full = self.in_flight.len() >= self.params.settings.in_flight;
        if self.reading || full || self.life.is_stopping() || !self.tenure.is_valid() {
            return;
        }
        let next = match self.recovering.front() {
            Some((partition, after)) => Next::Pending(partition.clone(), *after),
            None if self.live.is_empty() => return,
            None => Next::New(self.live.clone()),
        };
        self.reading = true;
        let began_in = self.numbering.epoch();
        let entries = read(self.params.clone(), self.life.clone(), next.clone());
        ctx.spawn(entries.into_actor(self).map(move |entries, group, ctx| match entries {
            // What was read before the group started over is pending, and read again in its turn.
            Ok(_) if began_in != group.numbering.epoch() => group.take_in(Next::New(vec![]), vec![], ctx),
            Ok(entries) => group.take_in(next, entries, ctx),
            Err(error) if error.is_outage() => group.take_in(next, vec![], ctx), // cut short by a shutdown
            Err(error) => group.life.fail(outage::chain(&error)),
        }));
    }

    fn take_in(&mut self, source: Next, mut entries: Vec<Delivered>, ctx: &mut Context<Self>) {
        self.reading = false;
        self.life.progress();
        match source {
            Next::New(_) => entries.retain(|entry| self.live.contains(&entry.partition)),
            Next::Pending(partition, after)
                if self.recovering.front() == Some(&(partition.clone(), after)) =>
            {
                if let Some(last) = entries.last() {
                    self.recovering[0].1 = Some(last.position);
                } else {
                    self.recovering.pop_front();
                    self.live.push(partition);
                }
            }
            // The partition was lost while it was read; if it has been won again, it is read from its beginning.
            Next::Pending(..) => entries.clear(),
        }
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
            let fences = self.fences_of(&entries);
            batches.push((self.params.extractors[worker].clone(), ExtractBatch { batch, fences, entries }));
        }
        self.life.set_in_flight(self.in_flight.len());
        batches
    }

    fn fences_of(&self, entries: &[Delivered]) -> Vec<Fence> {
        let mut partitions: Vec<&Partition> = entries.iter().map(|entry| &entry.partition).collect();
        partitions.sort_unstable();
        partitions.dedup();
        let names = partitions.iter().map(|partition| lease_name(&self.params.settings.group, partition));
        let fence = |name: String| self.tenure.fences.iter().find(|fence| fence.name == name).cloned();
        // A lease that was lost meanwhile leaves a token that no lease ever has: the record is fenced off.
        names.map(|name| fence(name.clone()).unwrap_or(Fence { name, token: 0 })).collect()
    }

    /// Nothing that is under way counts any more: all partitions are read again from what is pending.
    fn start_over(&mut self, ctx: &mut Context<Self>) {
        tracing::warn!(group = self.params.settings.group, "a lease was lost: reading again what is pending");
        self.numbering = Numbering::begin(&self.params.epoch);
        self.in_flight.clear();
        self.life.set_in_flight(0);
        let held = self.live.drain(..).chain(self.recovering.drain(..).map(|(partition, _)| partition));
        self.recovering = held.map(|partition| (partition, None)).collect();
        self.finish_if_drained(ctx);
        self.read(ctx);
    }

    fn drain(&mut self, ctx: &mut Context<Self>) {
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
        self.renew_leases(ctx);
        self.life.ready();
    }
}

impl Handler<BatchRecorded> for ConsumerGroup {
    type Result = ();

    fn handle(&mut self, message: BatchRecorded, ctx: &mut Self::Context) {
        let BatchRecorded { batch, recorded } = message;
        let Some(recorded) = recorded else {
            if self.in_flight.contains(&batch) {
                self.start_over(ctx);
            }
            return;
        };
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

#[derive(Debug, Clone)]
enum Next {
    Pending(Partition, Option<Position>),
    New(Vec<Partition>),
}

async fn read(params: Params, life: Lifeline, next: Next) -> Result<Vec<Delivered>, Error> {
    let Params { stream, keeper, settings, .. } = &params;
    let reader = Reader { group: settings.group.clone(), consumer: keeper.holder.clone() };
    let attempt = || async {
        match &next {
            Next::Pending(partition, after) => {
                if after.is_none() {
                    stream.ensure_group(&reader.group, std::slice::from_ref(partition)).await?;
                }
                stream.take_over_pending(&reader, partition, *after, settings.batch_size).await
            }
            Next::New(partitions) => {
                let share = (settings.batch_size / partitions.len().max(1)).max(LEAST_SHARE);
                stream.read_new(&reader, partitions, share, READ_WAIT).await
            }
        }
    };
    outage::ride_out(&life, &settings.outage, attempt).await
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
