//! `FactExtractor`: the facts of every event in a batch; what cannot be understood becomes a dead letter.
//!
//! In: [`ExtractBatch`] from the [`ConsumerGroup`](crate::consumer_group::ConsumerGroup). Out: [`RecordBatch`] to
//! the [`LedgerWriter`].
//!
//! One of a pool; each has a thread of its own to extract on, for that is the work that may be slow, or never end. A
//! panic or an error costs the event that caused it, nothing else: neighbours go on, the actor lives. An event that
//! fails for now is counted durably and parked until its next try, and what comes of its key waits behind it; other
//! keys go on. A suspect, which may have brought a process down, is counted durably before it is tried. Batches leave
//! in the order in which they came. A crash loses what is in hand and parked, all of which is pending in the stream.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, SpawnHandle, WrapFuture,
};
use factline_supervision::{BackoffPolicy, Lifeline, Ref};
use tokio::{sync::oneshot, time::Instant};

use crate::{
    assignment::lease_name,
    attempts::{Task, Watched},
    batch::{BatchId, Chain, Member},
    extraction_thread::{ExtractionThread, Tools},
    lease::Fence,
    ledger::Ledger,
    ledger_writer::{LedgerWriter, RecordBatch},
    metrics::{Metrics, Step},
    outage::{self, Error},
    parking::{Lane, Parking, Waiting},
    stream::{Delivered, Partition},
    turns::{Turn, Turns},
};

/// Parked events of one key that are tried at once, at most.
const DUE_BATCH: usize = 500;

/// What an extractor works with.
#[derive(Clone)]
pub struct Params {
    /// The consumer group.
    pub group: String,
    /// What it extracts with.
    pub tools: Tools,
    /// Where batches go.
    pub writer: Ref<LedgerWriter>,
    /// Its number in the pool, from 0: the lane in which they are recorded.
    pub lane: usize,
    /// Where tries that fail are counted.
    pub ledger: Arc<dyn Ledger>,
    /// How often an event is tried whose extraction fails for now, or that brings the process down.
    pub max_attempts: u32,
    /// Pauses between those attempts.
    pub retry: BackoffPolicy,
    /// Pauses during an outage.
    pub outage: BackoffPolicy,
    /// Shared with the consumer group and the ledger writer.
    pub chain: Chain,
    /// Shared by all groups of the process.
    pub turns: Turns,
    /// Shared with the consumer group: what it looks up before it is worked on.
    pub watched: Watched,
    /// What it counts.
    pub metrics: Metrics,
}

/// Entries to extract facts from.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ExtractBatch {
    /// The batch.
    pub batch: BatchId,
    /// The leases under which its entries were read.
    pub fences: Vec<Fence>,
    /// The entries, each partition's in order.
    pub tasks: Vec<Task>,
    /// Since when it is under way.
    pub since: Instant,
}

/// A partition is given up: what waits there is somebody else's to try. Answered when nothing of it is being tried.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Forget {
    /// Which one.
    pub partition: Partition,
    /// Dropped when it is forgotten.
    pub forgotten: oneshot::Sender<()>,
}

/// Why work was left undone.
#[derive(Debug)]
enum Stop {
    /// Somebody else's outage: what was in hand is pending, and done when it is over.
    Outage(String),
    /// It would end like that every time.
    Broken(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        let reason = outage::chain(&error);
        if error.is_outage() { Self::Outage(reason) } else { Self::Broken(reason) }
    }
}

/// The actor.
pub struct FactExtractor {
    params: Params,
    life: Lifeline,
    queue: VecDeque<ExtractBatch>,
    /// Not here while it is in use.
    bench: Option<Bench>,
    /// What was to be forgotten while the bench was in use.
    forget: Vec<Forget>,
    alarm: Option<SpawnHandle>,
    /// For what is due.
    turn: Option<Turn>,
    asks_for_turn: bool,
    _member: Member,
}

/// What work is done at.
#[derive(Default)]
struct Bench {
    parking: Parking,
    thread: ExtractionThread,
}

impl Bench {
    /// Whether an earlier event of this one's key waits.
    fn holds(&self, entry: &Delivered) -> bool {
        Lane::of(entry).is_some_and(|lane| self.parking.holds(&lane))
    }
}

impl FactExtractor {
    /// An extractor with nothing to do.
    #[must_use]
    pub fn new(params: Params, life: Lifeline) -> Self {
        Self {
            _member: params.chain.join(),
            params,
            life,
            queue: VecDeque::new(),
            bench: Some(Bench::default()),
            forget: Vec::new(),
            alarm: None,
            turn: None,
            asks_for_turn: false,
        }
    }

    fn work_next(&mut self, ctx: &mut Context<Self>) {
        self.life.set_in_flight(self.queue.len() + usize::from(self.bench.is_none()));
        let Some(mut bench) = self.bench.take() else { return };
        let chain = &self.params.chain;
        bench.parking.retain(|batch| chain.is_current(batch));
        self.forget.drain(..).for_each(|Forget { partition, .. }| bench.parking.forget(&partition));
        self.queue.retain(|batch| chain.is_current(batch.batch));
        let due = if self.life.is_stopping() { None } else { self.take_due(&mut bench, ctx) };
        let batch = if due.is_none() { self.queue.pop_front() } else { None };
        if due.is_none() && batch.is_none() {
            self.rest(bench, ctx);
            return;
        }
        let (params, life) = (self.params.clone(), self.life.clone());
        let work = async move {
            let worked = match (due, batch) {
                (Some((due, turn)), _) => try_due(&params, &life, &mut bench, due, turn).await,
                (None, Some(batch)) => extract_batch(&params, &life, &mut bench, batch).await,
                (None, None) => Ok(()),
            };
            (bench, worked)
        };
        ctx.spawn(work.into_actor(self).map(|(bench, worked), extractor, ctx| {
            extractor.bench = Some(bench);
            extractor.life.progress();
            match worked {
                Ok(()) => {}
                Err(Stop::Outage(error)) => {
                    // What it had in hand is pending; nothing behind it may overtake it.
                    extractor.params.chain.void();
                    tracing::warn!(error, "batches left in the stream");
                }
                Err(Stop::Broken(error)) => extractor.life.fail(error),
            }
            extractor.work_next(ctx);
        }));
    }

    /// What is due, once there is a turn to try it in: alone, if it may bring the process down. Until then batches are
    /// worked on, for those whose turns end before it may be among them.
    fn take_due(&mut self, bench: &mut Bench, ctx: &mut Context<Self>) -> Option<(VecDeque<Waiting>, Turn)> {
        let now = Instant::now();
        let goes_alone = bench.parking.due_goes_alone(now);
        let turn = self.turn.take().filter(|turn| Some(turn.is_alone()) == goes_alone);
        let goes_alone = goes_alone?;
        if let Some(turn) = turn {
            return Some((bench.parking.take_due(now)?, turn));
        }
        if !std::mem::replace(&mut self.asks_for_turn, true) {
            let turns = self.params.turns.clone();
            let asked = async move { turns.take(goes_alone).await };
            ctx.spawn(asked.into_actor(self).map(|turn, extractor, ctx| {
                extractor.asks_for_turn = false;
                extractor.turn = Some(turn);
                extractor.work_next(ctx);
            }));
        }
        None
    }

    /// Nothing to do until something comes, or the time of something parked.
    fn rest(&mut self, bench: Bench, ctx: &mut Context<Self>) {
        if let Some(alarm) = self.alarm.take() {
            ctx.cancel_future(alarm);
        }
        // What is due already has asked for its turn, which wakes us as well.
        if let Some(due) = bench.parking.next_due().filter(|_| !self.asks_for_turn) {
            let pause = due.saturating_duration_since(Instant::now());
            self.alarm = Some(ctx.run_later(pause, |extractor, ctx| {
                extractor.alarm = None;
                extractor.work_next(ctx);
            }));
        }
        self.bench = Some(bench);
        self.life.set_in_flight(0);
        if self.life.is_stopping() {
            ctx.stop(); // what is parked is pending, and its count is durable
        }
    }
}

impl Actor for FactExtractor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.life.on_stop(ctx, Self::work_next);
        self.life.ready();
    }
}

impl Handler<ExtractBatch> for FactExtractor {
    type Result = ();

    fn handle(&mut self, batch: ExtractBatch, ctx: &mut Self::Context) {
        if self.params.chain.is_current(batch.batch) {
            self.queue.push_back(batch);
            self.work_next(ctx);
        }
    }
}

impl Handler<Forget> for FactExtractor {
    type Result = ();

    fn handle(&mut self, forget: Forget, ctx: &mut Self::Context) {
        self.forget.push(forget);
        self.work_next(ctx);
    }
}

async fn extract_batch(
    params: &Params,
    life: &Lifeline,
    bench: &mut Bench,
    batch: ExtractBatch,
) -> Result<(), Stop> {
    let ExtractBatch { batch, fences, tasks, since } = batch;
    params.metrics.took(Step::Queue, since.elapsed());
    let (mut free, mut held, mut lanes) = (Vec::with_capacity(tasks.len()), Vec::new(), HashSet::new());
    for task in tasks {
        let lane = Lane::of(&task.entry);
        // A try that failed in another process may not be due yet.
        let waits =
            |lane: &Lane| bench.parking.holds(lane) || lanes.contains(lane) || !task.past.due_in.is_zero();
        if let Some(lane) = lane.filter(waits) {
            lanes.insert(lane.clone());
            held.push((lane, task));
        } else {
            free.push(Waiting { batch, fence: None, task });
        }
    }
    let recordings = try_all(params, life, bench, free, |entry| fence_of(params, &fences, &entry.partition));
    let recordings = recordings.await?.into_iter().map(|(_, recording)| recording).collect();
    // After the free ones, for one of those may be an earlier one of the same key.
    for (lane, task) in held {
        // Longer than the longest pause it is only for a clock that was set back.
        let longest = params.retry.max.mul_f64(1.0 + params.retry.jitter);
        let due = Instant::now() + task.past.due_in.min(longest);
        let fence = fence_of(params, &fences, &task.entry.partition);
        bench.parking.park(lane, Waiting { batch, fence, task }, due);
    }
    deliver(params, RecordBatch { batch, lane: params.lane, fences, recordings, turn: None }).await
}

/// Tries what has been waiting for its turn, and what waited behind it.
async fn try_due(
    params: &Params,
    life: &Lifeline,
    bench: &mut Bench,
    mut due: VecDeque<Waiting>,
    turn: Turn,
) -> Result<(), Stop> {
    let together = due.iter().skip(1).take_while(|waiting| !waiting.task.goes_alone()).count();
    let alone = due.front().is_some_and(|waiting| waiting.task.goes_alone());
    let later = due.split_off(if alone { 1 } else { (1 + together).min(DUE_BATCH).min(due.len()) });
    let fence = due.front().and_then(|first| first.fence.clone());
    let recordings = try_all(params, life, bench, due.into(), |_| fence.clone()).await?;
    for waiting in later {
        if let Some(lane) = Lane::of(&waiting.task.entry) {
            bench.parking.park(lane, waiting, Instant::now());
        }
    }
    let mut batches: Vec<RecordBatch> = Vec::new();
    for (batch, recording) in recordings {
        match batches.last_mut() {
            Some(last) if last.batch == batch => last.recordings.push(recording),
            _ => {
                let fences = fence.iter().cloned().collect();
                let (lane, recordings) = (params.lane, vec![recording]);
                batches.push(RecordBatch { batch, lane, fences, recordings, turn: None });
            }
        }
    }
    // Until the last of them is recorded.
    if let Some(last) = batches.last_mut() {
        last.turn = Some(turn);
    }
    for batch in batches {
        deliver(params, batch).await?;
    }
    Ok(())
}

async fn deliver(params: &Params, batch: RecordBatch) -> Result<(), Stop> {
    let delivered = params.writer.deliver(batch).await;
    delivered.map_err(|error| Stop::Broken(format!("the ledger writer is gone: {error}")))
}

fn fence_of(params: &Params, fences: &[Fence], partition: &Partition) -> Option<Fence> {
    let name = lease_name(&params.group, partition);
    fences.iter().find(|fence| fence.name == name).cloned()
}

mod tries;

use tries::try_all;

#[cfg(test)]
mod tests;
