//! `ConsumerGroup`: entries of the partitions that this process holds, in batches, to the extractors; recorded
//! entries acknowledged.
//!
//! In: [`BatchRecorded`] from the [`LedgerWriter`](crate::ledger_writer::LedgerWriter). Out: [`ExtractBatch`] to
//! the [`FactExtractor`]s.
//!
//! A partition is read by the holder of its lease alone; the daemons of a group share its partitions evenly. Whoever
//! has just got a lease first finishes what is pending there, its own or another's, and then reads new entries: so a
//! key's order holds across crashes, restarts and daemons. A partition's batches all go to the same extractor, which
//! keeps them in order. An entry is acknowledged only after the ledger's commit; whatever is lost before that is
//! pending. What a process that is gone had in its hands is suspect, and what was in such hands before goes alone.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use factline_supervision::{BackoffPolicy, Condition, Delays, Lifeline, Ref};
use tokio::time::Instant;

use crate::{
    assignment::{Assignment, Next, lease_name},
    attempts::{Task, Watched},
    batch::{BatchId, Chain, Member, Numbering},
    fact_extractor::{ExtractBatch, FactExtractor},
    in_flight::InFlight,
    lease::{Keeper, Tenure},
    ledger::Ledger,
    metrics::Metrics,
    outage::{self, Error},
    stream::{EventStream, Partition, Position, Reader},
    turns::Turns,
};

mod asking;

use asking::{Read, acknowledge, forget, leave, portions_of, prepare, read, renew};

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
    /// Batches that may be on their way at once. So many batches' entries may be unrecorded, parked ones included.
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
    /// Who may read them, one daemon each.
    pub keeper: Keeper,
    /// What is known of entries that somebody had before.
    pub ledger: Arc<dyn Ledger>,
    /// Where batches go.
    pub extractors: Vec<Ref<FactExtractor>>,
    /// Shared with the extractors and the ledger writer.
    pub chain: Chain,
    /// Shared by all groups of the process.
    pub turns: Turns,
    /// Shared with the extractors: what is looked up before it is worked on.
    pub watched: Watched,
    /// What it counts.
    pub metrics: Metrics,
    /// How it works.
    pub settings: Settings,
}

impl Params {
    /// Whose members share the partitions.
    fn club(&self) -> String {
        format!("group:{}", self.settings.group)
    }

    fn lease_names<'a>(&self, partitions: impl IntoIterator<Item = &'a Partition>) -> Vec<String> {
        partitions.into_iter().map(|partition| lease_name(&self.settings.group, partition)).collect()
    }

    /// Whether the consumer of this name was, or is, one of this process.
    fn is_ours(&self, consumer: &str) -> bool {
        consumer.strip_prefix(&self.keeper.holder).is_some_and(|rest| rest.starts_with('.'))
    }

    /// A partition always goes to the same one.
    fn extractor_of(&self, partition: &Partition) -> usize {
        usize::from(partition.number) % self.extractors.len()
    }
}

/// A batch was recorded, or as much of it as did not have to wait.
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
    in_flight: InFlight,
    numbering: Numbering,
    _member: Member,
    reading: bool,
    /// What the present read is about.
    reads: Vec<Partition>,
    /// What was read and is to be handed on, in this order.
    portions: VecDeque<Portion>,
    renewing: bool,
    giving_back: GivingBack,
    /// Whether leases are being given up; the last time this is for good.
    releasing: bool,
    /// Pauses after reads that went wrong; none, if the last one was right.
    delays: Option<Delays>,
}

/// How far the partitions have come that become another daemon's.
#[derive(Debug, Default)]
enum GivingBack {
    #[default]
    Nothing,
    /// The extractors and the stream are told.
    Forgetting,
    /// The leases are still to be given up.
    Forgotten(Vec<Partition>),
}

/// Tasks of one extractor that go together.
struct Portion {
    extractor: usize,
    tasks: Vec<Task>,
    goes_alone: bool,
}

/// What a renewal found.
struct Renewed {
    tenure: Tenure,
    share: Vec<Partition>,
    stranded: Vec<Partition>,
}

impl ConsumerGroup {
    /// A group that holds no partition yet.
    #[must_use]
    pub fn new(params: Params, life: Lifeline) -> Self {
        Self {
            _member: params.chain.join(),
            numbering: Numbering::begin(&params.chain),
            assignment: Assignment::new(&params.settings.group, params.partitions.clone()),
            in_flight: InFlight::default(),
            params,
            life,
            holds: None,
            reading: false,
            reads: Vec::new(),
            portions: VecDeque::new(),
            renewing: false,
            giving_back: GivingBack::Nothing,
            releasing: false,
            delays: None,
        }
    }

    /// Each incarnation is a consumer of its own: what a former one's read still gets is seen to be stranded.
    fn reader(&self) -> Reader {
        let consumer = format!("{}.{}", self.params.keeper.holder, self.life.generation());
        Reader { group: self.params.settings.group.clone(), consumer }
    }

    fn renew_leases(&mut self, ctx: &mut Context<Self>) {
        // What is renewed while it is given up would be held by nobody.
        if self.releasing || std::mem::replace(&mut self.renewing, true) {
            return;
        }
        let (live, held) = (self.assignment.live().to_vec(), self.assignment.held().cloned().collect());
        let renewal = renew(self.params.clone(), self.reader(), live, held);
        ctx.spawn(renewal.into_actor(self).map(|renewed, group, ctx| {
            group.renewing = false;
            match renewed {
                Ok(renewed) => group.accept(renewed, ctx),
                Err(error) => {
                    tracing::warn!(error = %outage::chain(&error), "partition leases could not be renewed");
                    group.life.set_condition(Condition::Degraded(outage::chain(&error)));
                    group.holds = None;
                }
            }
            group.finish_if_drained(ctx);
        }));
    }

    fn accept(&mut self, renewed: Renewed, ctx: &mut Context<Self>) {
        let Renewed { tenure, share, stranded } = renewed;
        let won = self.assignment.accept(tenure, &share);
        if won > 0 {
            tracing::info!(group = self.params.settings.group, partitions = won, "partitions taken on");
        }
        if !stranded.is_empty() {
            tracing::warn!(
                partitions = stranded.len(),
                "entries went to a reader that is gone: taking them over"
            );
            self.assignment.recover(&stranded);
        }
        let holds = Some(self.assignment.holds_any());
        if self.holds != holds {
            self.holds = holds;
            self.life.set_condition(match holds {
                Some(true) => Condition::Healthy,
                _ => Condition::Standby("other daemons read all partitions".into()),
            });
        }
        self.release_forgotten(ctx);
        self.give_back(ctx);
        self.read(ctx);
    }

    /// Has forgotten what is another daemon's share by now and has nothing moving here any more. What is parked of it is
    /// pending, and counted: the other one goes on with it.
    fn give_back(&mut self, ctx: &mut Context<Self>) {
        if !matches!(self.giving_back, GivingBack::Nothing) {
            return; // whatever ends it looks again
        }
        let is_in_hand = |partition: &Partition| {
            let read = self.portions.iter().flat_map(|portion| &portion.tasks);
            self.reads.contains(partition)
                || self.in_flight.is_moving(partition)
                || read.into_iter().any(|task| task.entry.partition == *partition)
        };
        let leaving = self.assignment.leaving().iter();
        let done: Vec<Partition> = leaving.filter(|partition| !is_in_hand(partition)).cloned().collect();
        if done.is_empty() {
            return;
        }
        self.giving_back = GivingBack::Forgetting;
        let forgotten = forget(self.params.clone(), self.reader(), done.clone());
        ctx.spawn(forgotten.into_actor(self).map(move |(), group, ctx| {
            for partition in &done {
                group.in_flight.forget(partition);
            }
            group.giving_back = GivingBack::Forgotten(done);
            group.release_forgotten(ctx);
        }));
    }

    /// Gives the leases of what was forgotten back, unless it has come back meanwhile. Not while they are renewed: what
    /// a renewal has got would be held by nobody.
    fn release_forgotten(&mut self, ctx: &mut Context<Self>) {
        if self.renewing || self.releasing {
            return;
        }
        let GivingBack::Forgotten(forgotten) = &self.giving_back else { return };
        let leaving = self.assignment.leaving();
        let released: Vec<Partition> =
            forgotten.iter().filter(|partition| leaving.contains(partition)).cloned().collect();
        self.giving_back = GivingBack::Nothing;
        if released.is_empty() {
            return;
        }
        self.assignment.left(&released);
        self.releasing = true;
        let (group, number) = (&self.params.settings.group, released.len());
        tracing::info!(group, partitions = number, "partitions given to another daemon");
        let (keeper, names) = (self.params.keeper.clone(), self.params.lease_names(&released));
        let release = async move { keeper.release(&names).await };
        ctx.spawn(release.into_actor(self).map(|released, group, ctx| {
            group.releasing = false;
            if let Err(error) = released {
                tracing::warn!(error = %outage::chain(&error), "partition leases were left to expire");
            }
            group.finish_if_drained(ctx);
        }));
    }

    /// Reads the next entries if there is room for them; otherwise whatever ends the lack of room calls again.
    fn read(&mut self, ctx: &mut Context<Self>) {
        let Settings { in_flight, batch_size, .. } = self.params.settings;
        let full = self.in_flight.is_full(in_flight, in_flight * batch_size);
        if self.reading || full || self.life.is_stopping() {
            return;
        }
        let Some(next) = self.assignment.next(READ_WAIT) else { return };
        self.reading = true;
        self.reads = match &next {
            Next::Pending(partition, _) => vec![partition.clone()],
            Next::New(partitions, _) => partitions.clone(),
        };
        let began_in = self.numbering.epoch();
        let tasks = read(self.params.clone(), self.life.clone(), self.reader(), next.clone());
        ctx.spawn(tasks.into_actor(self).map(move |tasks, group, ctx| {
            group.reading = false;
            group.reads.clear();
            match tasks {
                // What was read before the group started over is pending, and read again in its turn.
                Ok(_) if began_in != group.numbering.epoch() => group.read(ctx),
                Ok(tasks) => group.take_in(next, tasks, ctx),
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

    fn take_in(&mut self, next: Next, mut read: Read, ctx: &mut Context<Self>) {
        self.life.progress();
        if matches!(next, Next::New(..)) && self.delays.take().is_some() {
            tracing::info!(actor = self.life.path(), "recovered");
            self.life.set_condition(Condition::Healthy);
        }
        let is_recovering = matches!(next, Next::Pending(..));
        self.assignment.took(next, read.last, &mut read.tasks);
        if is_recovering {
            // What is pending may still be in hand here.
            let in_flight = &self.in_flight;
            read.tasks.retain(|task| !in_flight.holds(&task.entry.partition, task.entry.position));
        }
        let Params { settings, metrics, .. } = &self.params;
        metrics.consumed(&settings.group, read.tasks.iter().map(|task| &*task.entry.partition.topic));
        self.portions = portions_of(&self.params, read.tasks);
        self.hand_on(ctx);
    }

    /// Hands on what was read, one portion after the other, each when its turn has come. Then reads on.
    fn hand_on(&mut self, ctx: &mut Context<Self>) {
        if self.life.is_stopping()
            && let Some(first) = self.portions.iter().position(|portion| portion.goes_alone)
        {
            // There may be many, one by one; they, and what comes after them, are pending.
            self.portions.truncate(first);
        }
        let Some(portion) = self.portions.pop_front() else {
            self.finish_if_drained(ctx);
            self.give_back(ctx);
            return self.read(ctx);
        };
        self.reading = true; // until they are delivered: order must hold on the way to each extractor
        let Portion { extractor, tasks, goes_alone } = portion;
        let batch = self.numbering.next_batch();
        self.in_flight.add(batch, tasks.iter().map(|task| (&task.entry.partition, task.entry.position)));
        self.life.set_in_flight(self.in_flight.moving());
        let fences = self.assignment.fences_of(&tasks);
        let (turns, extractor) = (self.params.turns.clone(), self.params.extractors[extractor].clone());
        let delivery = async move {
            let turn = turns.take(goes_alone).await;
            extractor
                .deliver(ExtractBatch { batch, fences, tasks, since: Instant::now() })
                .await
                .map(|()| turn)
        };
        ctx.spawn(delivery.into_actor(self).map(move |delivered, group, ctx| {
            group.reading = false;
            match delivered {
                Ok(turn) => group.in_flight.began(batch, turn),
                Err(error) => group.life.fail(format_args!("an extractor is gone: {error}")),
            }
            group.hand_on(ctx);
        }));
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
            group.forget_all();
            group.assignment.forget();
            group.watch_chain(ctx);
            group.renew_leases(ctx);
        }));
    }

    fn forget_all(&mut self) {
        self.in_flight = InFlight::default();
        self.portions.clear();
        if matches!(self.giving_back, GivingBack::Forgotten(_)) {
            self.giving_back = GivingBack::Nothing;
        }
        self.life.set_in_flight(0);
    }

    fn drain(&mut self, ctx: &mut Context<Self>) {
        self.params.chain.drain();
        // If the writer or an extractor is gone, what it had in hand never comes back; its entries are pending.
        let voided = self.numbering.voided();
        ctx.spawn(voided.into_actor(self).map(|(), group, ctx| {
            group.forget_all();
            group.reading = false;
            group.finish_if_drained(ctx);
        }));
        self.finish_if_drained(ctx);
    }

    /// What is parked is left: it is pending, and its counts are durable.
    fn finish_if_drained(&mut self, ctx: &mut Context<Self>) {
        if !self.life.is_stopping() || self.in_flight.moving() > 0 || self.reading || self.renewing {
            return;
        }
        if std::mem::replace(&mut self.releasing, true) {
            return;
        }
        let held = self.assignment.held().cloned().collect();
        let release = leave(self.params.clone(), self.reader(), held);
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
        let acknowledgement = acknowledge(self.params.clone(), self.life.clone(), recorded.clone());
        ctx.spawn(acknowledgement.into_actor(self).map(move |acknowledged, group, ctx| {
            if let Err(error) = acknowledged {
                // The entries stay pending; whoever takes them over finds them in the ledger.
                tracing::warn!(error = %outage::chain(&error), "recorded entries were not acknowledged");
            }
            group.in_flight.recorded(batch, &recorded);
            group.life.set_in_flight(group.in_flight.moving());
            group.finish_if_drained(ctx);
            group.give_back(ctx);
            group.read(ctx);
        }));
    }
}
