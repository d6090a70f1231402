//! One try at each of some events, and what follows from it.

use std::time::Duration;

use factline_supervision::{BackoffPolicy, Delays, Lifeline};
use tokio::time::Instant;
use uuid::Uuid;

use super::{Bench, Params, Stop};
use crate::{
    attempts::{FailedTry, Past, Task},
    batch::BatchId,
    dead_letter::{Cause, DeadLetter, ErrorKind, Stage},
    event::Event,
    extraction_thread::Fate,
    lease::Fence,
    ledger::{Outcome, Recording},
    metrics::Step,
    outage::{self, Patience},
    parking::{Lane, Waiting},
    stream::Delivered,
    trace,
};

/// Tries each of them once. Gives what is to be recorded, in order; what failed for now is parked, with what comes
/// after it of its key.
pub(super) async fn try_all(
    params: &Params,
    life: &Lifeline,
    bench: &mut Bench,
    all: Vec<Waiting>,
    fence: impl Fn(&Delivered) -> Option<Fence>,
) -> Result<Vec<(BatchId, Recording)>, Stop> {
    let limit = params.max_attempts.max(2); // whoever was only there when a process died gets a second chance
    let is_condemned = |task: &Task| task.is_suspect && task.deaths() >= limit;
    count_suspects(params, life, all.iter().map(|one| &one.task).filter(|task| !is_condemned(task))).await?;
    let mut plan = Vec::with_capacity(all.len());
    let mut entries = Vec::with_capacity(all.len());
    for Waiting { batch, mut task, .. } in all {
        if is_condemned(&task) {
            plan.push((batch, Planned::SetAside(Box::new(task))));
        } else {
            trace::plan(&params.group, &mut task);
            let (before, is_known) = (task.past.suspected, task.leaves_traces());
            task.past.suspected = task.deaths();
            plan.push((batch, Planned::Try { past: task.past, before, is_known }));
            entries.push(task.entry);
        }
    }
    let (begun, number) = (Instant::now(), entries.len());
    let span = trace::process_batch(&params.group, entries.iter());
    let mut tried = bench.thread.extract(&params.tools, entries, || life.progress()).await.into_iter();
    drop(span);
    if number > 0 {
        params.metrics.took(Step::Extract, begun.elapsed());
        params.metrics.batch(Step::Extract, number);
    }
    let (mut recordings, mut absolved) = (Vec::with_capacity(plan.len()), Vec::new());
    for (batch, planned) in plan {
        let settled = match planned {
            Planned::SetAside(task) if bench.holds(&task.entry) => Settled::Park(task, Duration::ZERO),
            Planned::SetAside(task) => {
                let cause = crash_of(&task);
                Settled::Record(Box::new(set_aside(params, *task, cause)))
            }
            Planned::Try { past, before, is_known } => {
                let Some((entry, fate)) = tried.next() else { break };
                // It was counted, and this process is alive.
                let task = Task { entry, past, is_suspect: false, is_known };
                // Whatever came of it does not count before the head of its key has come through.
                let fate = if bench.holds(&task.entry) { Fate::Behind } else { fate };
                // Whoever waits from now on is not in hand: if the process dies, it was not this one.
                let remains = if fate == Fate::Behind { before } else { 0 };
                let settled = settle(params, life, task, fate).await?;
                absolved_of(settled, remains, &mut absolved)
            }
        };
        match settled {
            Settled::Record(recording) => recordings.push((batch, *recording)),
            Settled::Park(mut task, pause) => {
                task.entry.trail.end();
                if let Some(lane) = Lane::of(&task.entry) {
                    let fence = fence(&task.entry);
                    bench.parking.park(lane, Waiting { batch, fence, task: *task }, Instant::now() + pause);
                }
            }
        }
    }
    if !absolved.is_empty() {
        let absolve = || params.ledger.absolve(&params.group, &absolved);
        outage::ride_out(Patience::within(life, &params.chain), &params.outage, absolve).await?;
    }
    Ok(recordings)
}

/// What is parked keeps so much suspicion.
fn absolved_of(settled: Settled, remains: u32, absolved: &mut Vec<(Uuid, u32)>) -> Settled {
    let Settled::Park(mut task, pause) = settled else { return settled };
    if let Some(event) = task.entry.event.as_ref().ok().filter(|_| task.past.suspected != remains) {
        absolved.push((event.id, remains));
        task.past.suspected = remains;
    }
    Settled::Park(task, pause)
}

enum Planned {
    SetAside(Box<Task>),
    Try {
        past: Past,
        /// The deaths that it was part of, the last one not included.
        before: u32,
        is_known: bool,
    },
}

enum Settled {
    Record(Box<Recording>),
    /// Waits so long, if it is the first of its key to do so.
    Park(Box<Task>, Duration),
}

/// What follows from a try. One that failed for now is counted before anything else happens.
async fn settle(params: &Params, life: &Lifeline, mut task: Task, fate: Fate) -> Result<Settled, Stop> {
    let attempts = task.past.attempts + 1;
    let failure = match fate {
        Fate::Said(said) => {
            let recording = processed(params, task, Outcome::Processed(said));
            return Ok(Settled::Record(Box::new(recording)));
        }
        Fate::Behind => return Ok(Settled::Park(Box::new(task), Duration::ZERO)),
        Fate::Unreadable => {
            let error = task.entry.event.as_ref().err().map(|malformed| outage::chain(&malformed.reason));
            let (stage, kind) = (Stage::Consume, ErrorKind::Malformed);
            let cause = Cause { stage, kind, error: error.unwrap_or_default(), attempts: 1 };
            return Ok(Settled::Record(Box::new(set_aside(params, task, cause))));
        }
        Fate::Failed(failure) => failure,
    };
    task.entry.trail.failed(failure.kind, &failure.error);
    let Ok(event) = &task.entry.event else {
        return Ok(Settled::Record(Box::new(set_aside(params, task, failure.into_cause(attempts)))));
    };
    if !failure.retryable || attempts >= params.max_attempts {
        return Ok(Settled::Record(Box::new(set_aside(params, task, failure.into_cause(attempts)))));
    }
    let retry_in = nth_delay(&params.retry, attempts);
    let failed = FailedTry { event_id: event.id, attempt: attempts, error: &failure.error, retry_in };
    count_failure(params, life, failed).await?;
    params.metrics.retried(&params.group, &event.topic);
    tracing::warn!(
        event_id = %event.id, trace_id = event.trace_id(), key = event.key, group = params.group, attempts,
        error = failure.error, "extraction failed for now; its key waits for {retry_in:.1?}"
    );
    task.past.attempts = attempts;
    task.is_known = true;
    task.past.due_in = Duration::ZERO;
    Ok(Settled::Park(Box::new(task), retry_in))
}

async fn count_failure(params: &Params, life: &Lifeline, failed: FailedTry<'_>) -> Result<(), Stop> {
    params.watched.watch([failed.event_id]);
    let count = || params.ledger.count_failure(&params.group, failed);
    outage::ride_out(Patience::within(life, &params.chain), &params.outage, count).await.map_err(Stop::from)
}

/// Durable before any of them is tried: whoever finds them after the next death knows.
async fn count_suspects(
    params: &Params,
    life: &Lifeline,
    tasks: impl Iterator<Item = &Task>,
) -> Result<(), Stop> {
    let suspects = tasks.filter(|task| task.is_suspect);
    let suspects = suspects.filter_map(|task| Some((task.entry.event.as_ref().ok()?.id, task.deaths())));
    let suspects: Vec<(Uuid, u32)> = suspects.collect();
    if suspects.is_empty() {
        return Ok(());
    }
    params.watched.watch(suspects.iter().map(|(event, _)| *event));
    let count = || params.ledger.count_suspects(&params.group, &suspects);
    outage::ride_out(Patience::within(life, &params.chain), &params.outage, count).await.map_err(Stop::from)
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

fn crash_of(task: &Task) -> Cause {
    let deaths = task.deaths();
    Cause {
        stage: Stage::Extract,
        kind: ErrorKind::Crashed,
        error: format!(
            "the process died {deaths} times with this event in its hands; from the third time on with nothing else"
        ),
        attempts: deaths,
    }
}

fn processed(params: &Params, task: Task, outcome: Outcome) -> Recording {
    let event_id = task.entry.event.as_ref().map_or_else(|_| Uuid::nil(), |event| event.id);
    let (attempts, leaves_traces) = (task.past.attempts + 1, task.leaves_traces());
    if leaves_traces {
        params.watched.forget(event_id);
    }
    Recording { event_id, entry: task.entry, outcome, attempts, leaves_traces }
}

fn set_aside(params: &Params, task: Task, cause: Cause) -> Recording {
    let event = task.entry.event.as_ref();
    tracing::warn!(
        event_id = event.map_or_else(|malformed| malformed.event_id.clone(), |event| event.id.to_string()),
        trace_id = event.ok().and_then(Event::trace_id),
        group = params.group, partition = %task.entry.partition, position = %task.entry.position,
        kind = cause.kind.as_str(), error = cause.error, "event set aside"
    );
    let (attempts, leaves_traces) = (cause.attempts, task.leaves_traces());
    let letter = DeadLetter::of_entry(&task.entry, cause);
    let event_id = letter.ledger_id;
    if letter.cause.kind.is_dangerous() {
        params.watched.watch([event_id]); // it may stand in the stream a second time
    }
    let outcome = Outcome::DeadLettered(Box::new(letter));
    Recording { event_id, entry: task.entry, outcome, attempts, leaves_traces }
}
