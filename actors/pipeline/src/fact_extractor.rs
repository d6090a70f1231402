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

use std::{collections::VecDeque, sync::Arc, time::Duration};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, SpawnHandle, WrapFuture,
};
use factline_supervision::{BackoffPolicy, Delays, Lifeline, Ref};
use tokio::time::Instant;

use uuid::Uuid;

use crate::{
    assignment::lease_name,
    attempts::{FailedTry, Past, Task},
    batch::{BatchId, Chain, Member},
    dead_letter::{Cause, DeadLetter, ErrorKind, Stage},
    extraction::Failure,
    extraction_thread::{ExtractionThread, Fate, Tools},
    lease::Fence,
    ledger::{Ledger, Outcome, Recording},
    ledger_writer::{LedgerWriter, RecordBatch},
    outage::{self, Error, Patience},
    parking::{Lane, Parking, Waiting},
    stream::{Delivered, Partition},
};

/// Parked events of one key that are tried at once, at most.
const LINE_BATCH: usize = 500;

/// What an extractor works with.
#[derive(Clone)]
pub struct Params {
    /// The consumer group.
    pub group: String,
    /// What it extracts with.
    pub tools: Tools,
    /// Where batches go.
    pub writer: Ref<LedgerWriter>,
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
}

/// A partition is given up: what waits there is somebody else's to try.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Forget(pub Partition);

/// The actor.
pub struct FactExtractor {
    params: Params,
    life: Lifeline,
    queue: VecDeque<ExtractBatch>,
    /// Not here while it is in use.
    bench: Option<Bench>,
    /// What was to be forgotten while the bench was in use.
    forget: Vec<Partition>,
    alarm: Option<SpawnHandle>,
    _member: Member,
}

/// What work is done at.
#[derive(Default)]
struct Bench {
    parking: Parking,
    thread: ExtractionThread,
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
        }
    }

    fn work_next(&mut self, ctx: &mut Context<Self>) {
        self.life.set_in_flight(self.queue.len() + usize::from(self.bench.is_none()));
        let Some(mut bench) = self.bench.take() else { return };
        let chain = &self.params.chain;
        bench.parking.retain(|batch| chain.is_current(batch));
        self.forget.drain(..).for_each(|partition| bench.parking.forget(&partition));
        self.queue.retain(|batch| chain.is_current(batch.batch));
        let line = if self.life.is_stopping() { None } else { bench.parking.take_due(Instant::now()) };
        let batch = if line.is_none() { self.queue.pop_front() } else { None };
        if line.is_none() && batch.is_none() {
            self.rest(bench, ctx);
            return;
        }
        let (params, life) = (self.params.clone(), self.life.clone());
        let work = async move {
            let worked = match (line, batch) {
                (Some(line), _) => try_line(&params, &life, &mut bench, line).await,
                (None, Some(batch)) => extract_batch(&params, &life, &mut bench, batch).await,
                (None, None) => Ok(()),
            };
            (bench, worked)
        };
        ctx.spawn(work.into_actor(self).map(|(bench, worked), extractor, ctx| {
            extractor.bench = Some(bench);
            extractor.life.progress();
            if let Err(error) = worked {
                // What it had in hand is pending; nothing behind it may overtake it.
                extractor.params.chain.void();
                tracing::warn!(error, "batches left in the stream");
            }
            extractor.work_next(ctx);
        }));
    }

    /// Nothing to do until something comes, or the time of something parked.
    fn rest(&mut self, bench: Bench, ctx: &mut Context<Self>) {
        if let Some(alarm) = self.alarm.take() {
            ctx.cancel_future(alarm);
        }
        if let Some(due) = bench.parking.next_due() {
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

    fn handle(&mut self, Forget(partition): Forget, ctx: &mut Self::Context) {
        self.forget.push(partition);
        self.work_next(ctx);
    }
}

async fn extract_batch(
    params: &Params,
    life: &Lifeline,
    bench: &mut Bench,
    batch: ExtractBatch,
) -> Result<(), String> {
    let ExtractBatch { batch, fences, tasks } = batch;
    let mut free = Vec::with_capacity(tasks.len());
    for task in tasks {
        let lane = Lane::of(&task.entry);
        let fence = || fence_of(params, &fences, &task.entry.partition);
        match lane {
            // A try that failed in another process may not be due yet.
            Some(lane) if bench.parking.holds(&lane) || !task.past.due_in.is_zero() => {
                // Longer than the longest pause it is only for a clock that was set back.
                let due = Instant::now()
                    + task.past.due_in.min(params.retry.max.mul_f64(1.0 + params.retry.jitter));
                let fence = fence();
                bench.parking.park(lane, Waiting { batch, fence, task }, due);
            }
            _ => free.push(Waiting { batch, fence: None, task }),
        }
    }
    let recordings = try_all(params, life, bench, free, |entry| fence_of(params, &fences, &entry.partition));
    let recordings = recordings.await?.into_iter().map(|(_, recording)| recording).collect();
    deliver(params, RecordBatch { batch, fences, recordings }).await
}

/// Tries what has been waiting for its turn, and what waited behind it.
async fn try_line(
    params: &Params,
    life: &Lifeline,
    bench: &mut Bench,
    mut line: VecDeque<Waiting>,
) -> Result<(), String> {
    let later = line.split_off(line.len().min(LINE_BATCH));
    let fence = line.front().and_then(|first| first.fence.clone());
    let recordings = try_all(params, life, bench, line.into(), |_| fence.clone()).await?;
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
                batches.push(RecordBatch { batch, fences, recordings: vec![recording] });
            }
        }
    }
    for batch in batches {
        deliver(params, batch).await?;
    }
    Ok(())
}

async fn deliver(params: &Params, batch: RecordBatch) -> Result<(), String> {
    params.writer.deliver(batch).await.map_err(|error| format!("the ledger writer is gone: {error}"))
}

/// Tries each of them once. Gives what is to be recorded, in order; what failed for now is parked, with what comes
/// after it of its key.
async fn try_all(
    params: &Params,
    life: &Lifeline,
    bench: &mut Bench,
    all: Vec<Waiting>,
    fence: impl Fn(&Delivered) -> Option<Fence>,
) -> Result<Vec<(BatchId, Recording)>, String> {
    let limit = params.max_attempts.max(2); // whoever was only there when a process died gets a second chance
    let is_condemned = |task: &Task| task.is_suspect && task.deaths() >= limit;
    count_suspects(params, life, all.iter().map(|one| &one.task).filter(|task| !is_condemned(task))).await?;
    let mut plan = Vec::with_capacity(all.len());
    let mut entries = Vec::with_capacity(all.len());
    for Waiting { batch, mut task, .. } in all {
        if is_condemned(&task) {
            plan.push((batch, Planned::SetAside(task)));
        } else {
            task.past.suspected = task.deaths();
            plan.push((batch, Planned::Try(task.past)));
            entries.push(task.entry);
        }
    }
    let mut tried = bench.thread.extract(&params.tools, entries, || life.progress()).await.into_iter();
    let mut recordings = Vec::with_capacity(plan.len());
    for (batch, planned) in plan {
        let settled = match planned {
            Planned::SetAside(task)
                if Lane::of(&task.entry).is_some_and(|lane| bench.parking.holds(&lane)) =>
            {
                Settled::Park(Box::new(task), Duration::ZERO)
            }
            Planned::SetAside(task) => {
                let cause = crash_of(&task);
                Settled::Record(Box::new(set_aside(task, cause)))
            }
            Planned::Try(past) => {
                let Some((entry, fate)) = tried.next() else { break };
                // It was counted, and this process is alive.
                settle(params, life, Task { entry, past, is_suspect: false }, fate).await?
            }
        };
        match settled {
            Settled::Record(recording) => recordings.push((batch, *recording)),
            Settled::Park(task, pause) => {
                if let Some(lane) = Lane::of(&task.entry) {
                    let fence = fence(&task.entry);
                    bench.parking.park(lane, Waiting { batch, fence, task: *task }, Instant::now() + pause);
                }
            }
        }
    }
    Ok(recordings)
}

enum Planned {
    SetAside(Task),
    Try(Past),
}

enum Settled {
    Record(Box<Recording>),
    /// Waits so long, if it is the first of its key to do so.
    Park(Box<Task>, Duration),
}

/// What follows from a try. One that failed for now is counted before anything else happens.
async fn settle(params: &Params, life: &Lifeline, mut task: Task, fate: Fate) -> Result<Settled, String> {
    let attempts = task.past.attempts + 1;
    let failure = match fate {
        Fate::Said(said) => return Ok(Settled::Record(Box::new(processed(task, Outcome::Processed(said))))),
        Fate::Behind => return Ok(Settled::Park(Box::new(task), Duration::ZERO)),
        Fate::Unreadable => {
            let error = task.entry.event.as_ref().err().map(|malformed| outage::chain(&malformed.reason));
            let (stage, kind) = (Stage::Consume, ErrorKind::Malformed);
            let cause = Cause { stage, kind, error: error.unwrap_or_default(), attempts: 1 };
            return Ok(Settled::Record(Box::new(set_aside(task, cause))));
        }
        Fate::Failed(failure) => failure,
    };
    let Ok(event) = &task.entry.event else {
        return Ok(Settled::Record(Box::new(set_aside(task, failure.into_cause(attempts)))));
    };
    if !failure.retryable || attempts >= params.max_attempts {
        return Ok(Settled::Record(Box::new(set_aside(task, failure.into_cause(attempts)))));
    }
    let retry_in = nth_delay(&params.retry, attempts);
    count_failure(params, life, event.id, &failure, retry_in).await?;
    tracing::warn!(
        event_id = %event.id, key = event.key, attempts, error = failure.error,
        "extraction failed for now; its key waits for {retry_in:.1?}"
    );
    task.past.attempts = attempts;
    task.past.due_in = Duration::ZERO;
    Ok(Settled::Park(Box::new(task), retry_in))
}

async fn count_failure(
    params: &Params,
    life: &Lifeline,
    event_id: Uuid,
    failure: &Failure,
    retry_in: Duration,
) -> Result<(), String> {
    let failed = FailedTry { event_id, error: &failure.error, retry_in };
    let count = || params.ledger.count_failure(&params.group, failed);
    outage::ride_out(Patience::within(life, &params.chain), &params.outage, count).await.map_err(told)
}

/// Durable before any of them is tried: whoever finds them after the next death knows.
async fn count_suspects(
    params: &Params,
    life: &Lifeline,
    tasks: impl Iterator<Item = &Task>,
) -> Result<(), String> {
    let suspects = tasks.filter(|task| task.is_suspect).filter_map(|task| task.entry.event.as_ref().ok());
    let suspects: Vec<Uuid> = suspects.map(|event| event.id).collect();
    if suspects.is_empty() {
        return Ok(());
    }
    let count = || params.ledger.count_suspects(&params.group, &suspects);
    outage::ride_out(Patience::within(life, &params.chain), &params.outage, count).await.map_err(told)
}

fn told(error: Error) -> String {
    outage::chain(&error)
}

/// The pause after the n-th attempt, counted from 1.
fn nth_delay(policy: &BackoffPolicy, attempts: u32) -> Duration {
    let mut delays = Delays::new(policy);
    let mut delay = delays.next_delay();
    for _ in 1..attempts {
        delay = delays.next_delay();
    }
    delay
}

fn fence_of(params: &Params, fences: &[Fence], partition: &Partition) -> Option<Fence> {
    let name = lease_name(&params.group, partition);
    fences.iter().find(|fence| fence.name == name).cloned()
}

fn crash_of(task: &Task) -> Cause {
    let deaths = task.deaths();
    Cause {
        stage: Stage::Extract,
        kind: ErrorKind::Crashed,
        error: format!(
            "the process died {deaths} times with this event in its hands, the last times with nothing else"
        ),
        attempts: deaths,
    }
}

fn processed(task: Task, outcome: Outcome) -> Recording {
    let event_id = task.entry.event.as_ref().map_or_else(|_| Uuid::nil(), |event| event.id);
    let (attempts, leaves_traces) = (task.past.attempts + 1, task.leaves_traces());
    Recording { event_id, entry: task.entry, outcome, attempts, leaves_traces }
}

fn set_aside(task: Task, cause: Cause) -> Recording {
    tracing::warn!(
        partition = %task.entry.partition, position = %task.entry.position,
        kind = cause.kind.as_str(), error = cause.error, "event set aside"
    );
    let (attempts, leaves_traces) = (cause.attempts, task.leaves_traces());
    let letter = DeadLetter::of_entry(&task.entry, cause);
    let event_id = letter.ledger_id;
    let outcome = Outcome::DeadLettered(Box::new(letter));
    Recording { event_id, entry: task.entry, outcome, attempts, leaves_traces }
}

#[cfg(test)]
mod tests;
