//! `LedgerWriter`: batches into the ledger, each in one transaction.
//!
//! In: [`RecordBatch`] from the [`FactExtractor`](crate::fact_extractor::FactExtractor)s. Out: [`BatchRecorded`] to
//! the [`ConsumerGroup`].
//!
//! Each extractor has a lane: its batches are recorded one after the other, so that each partition's order holds, while
//! another lane's transaction runs. Batches that wait in their lane share the next one; few events share it with those
//! of the other lanes. During an outage the transaction is tried until the store is back. Data that the store refuses is parted until the guilty event stands alone and
//! becomes a dead letter. A batch under a lost lease changes nothing. A crash loses what is in hand, which is pending in
//! the stream.

use std::{collections::VecDeque, sync::Arc};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use factline_supervision::{BackoffPolicy, Lifeline, Ref};
use tokio::time::Instant;

use crate::{
    batch::{BatchId, Chain, Member},
    consumer_group::{BatchRecorded, ConsumerGroup},
    dead_letter::{Cause, DeadLetter, ErrorKind, Stage},
    event::Event,
    lease::Fence,
    ledger::{Ledger, Outcome, Recording},
    metrics::Metrics,
    outage::{self, Error, Patience},
    trace::RecordingSpans,
    turns::Turn,
};

/// Batches of full size that share a transaction, at most. What many events do to one conversation is written once.
const SHARED: usize = 4;

/// What the writer works with.
#[derive(Clone)]
pub struct Params {
    /// The consumer group.
    pub group: String,
    /// Where it writes.
    pub ledger: Arc<dyn Ledger>,
    /// Who wants to know.
    pub consumer: Ref<ConsumerGroup>,
    /// Events in a batch of full size.
    pub batch_size: usize,
    /// How many there are of those whose batches are recorded independently.
    pub lanes: usize,
    /// Pauses during an outage.
    pub outage: BackoffPolicy,
    /// Shared with the consumer group and the extractors.
    pub chain: Chain,
    /// What it counts.
    pub metrics: Metrics,
}

/// Events to record.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct RecordBatch {
    /// The batch.
    pub batch: BatchId,
    /// Whose it is: batches of one lane are recorded one after the other.
    pub lane: usize,
    /// The leases under which its entries were read.
    pub fences: Vec<Fence>,
    /// What to record, each partition's in order. None, if all of the batch was parked: the group wants to know.
    pub recordings: Vec<Recording>,
    /// In which they were tried, if not in their group's: it ends when they are recorded.
    pub turn: Option<Turn>,
}

/// The actor.
pub struct LedgerWriter {
    params: Params,
    life: Lifeline,
    lanes: Vec<Lane>,
    _member: Member,
}

/// One extractor's batches.
#[derive(Default)]
struct Lane {
    queue: VecDeque<RecordBatch>,
    /// A transaction is under way.
    busy: bool,
}

impl LedgerWriter {
    /// A writer with nothing to do.
    #[must_use]
    pub fn new(params: Params, life: Lifeline) -> Self {
        let lanes = std::iter::repeat_with(Lane::default).take(params.lanes.max(1)).collect();
        Self { _member: params.chain.join(), params, life, lanes }
    }

    fn record_next(&mut self, ctx: &mut Context<Self>) {
        let chain = &self.params.chain;
        for lane in self.lanes.iter_mut().filter(|lane| !lane.busy) {
            // A batch before them may have been void: they would overtake what it held.
            lane.queue.retain(|batch| chain.is_current(batch.batch));
        }
        // Few events are recorded together, one transaction at a time: many small ones only keep each other waiting.
        let worth_its_own = self.params.batch_size.max(1);
        for number in 0..self.lanes.len() {
            if self.lanes[number].waiting() >= worth_its_own {
                self.record(&[number], ctx);
            }
        }
        if self.lanes.iter().all(|lane| !lane.busy) {
            self.record(&(0..self.lanes.len()).collect::<Vec<_>>(), ctx);
        }
        let in_hand = self.lanes.iter().map(|lane| lane.queue.len() + usize::from(lane.busy)).sum();
        self.life.set_in_flight(in_hand);
        if in_hand == 0 && self.life.is_stopping() {
            ctx.stop();
        }
    }

    /// Records what waits in these lanes, as much as fits into one transaction.
    fn record(&mut self, numbers: &[usize], ctx: &mut Context<Self>) {
        let mut share = Share::new(self.params.batch_size);
        let mut taken = Vec::with_capacity(numbers.len());
        for &number in numbers {
            if self.lanes[number].take_into(&mut share) {
                self.lanes[number].busy = true;
                taken.push(number);
            }
        }
        let Some(first) = share.batches.first().map(|batch| batch.batch) else { return };
        let batches = share.batches;
        let work = record_and_report(self.params.clone(), self.life.clone(), batches);
        ctx.spawn(work.into_actor(self).map(move |recorded, writer, ctx| {
            for number in taken {
                writer.lanes[number].busy = false;
            }
            writer.life.progress();
            match recorded {
                Ok(()) => {}
                Err(error @ Error::Fenced { .. }) => {
                    writer.void(first);
                    tracing::warn!(error = %outage::chain(&error), "batch left to the partition's new holder");
                }
                Err(error) if error.is_outage() => {
                    // A shutdown during an outage: all entries are pending.
                    writer.void(first);
                    tracing::warn!(error = %outage::chain(&error), "batches left unrecorded in the stream");
                }
                Err(error) => writer.life.fail(outage::chain(&error)),
            }
            writer.record_next(ctx);
        }));
    }

    /// Voids what is under way with this batch, unless another lane has done so already.
    fn void(&self, batch: BatchId) {
        if self.params.chain.is_current(batch) {
            self.params.chain.void();
        }
    }
}

impl Lane {
    /// How many events could be recorded now.
    fn waiting(&self) -> usize {
        if self.busy { 0 } else { self.queue.iter().map(|batch| batch.recordings.len()).sum() }
    }

    /// As many of the waiting batches as there is room for; says if there was any.
    fn take_into(&mut self, share: &mut Share) -> bool {
        let before = share.batches.len();
        while self.queue.front().is_some_and(|batch| share.has_room_for(batch)) {
            share.batches.extend(self.queue.pop_front());
        }
        share.batches.len() > before
    }
}

/// Batches that share a transaction.
struct Share {
    batches: Vec<RecordBatch>,
    batch_size: usize,
    size: usize,
    most: usize,
}

impl Share {
    fn new(batch_size: usize) -> Self {
        Self { batches: Vec::new(), batch_size, size: 0, most: SHARED * batch_size }
    }

    /// There always is for the first one. Dead letters take longer: with them, no more than a batch of full size.
    fn has_room_for(&mut self, batch: &RecordBatch) -> bool {
        if batch.recordings.iter().any(|one| matches!(one.outcome, Outcome::DeadLettered(_))) {
            self.most = self.batch_size;
        }
        let size = self.size + batch.recordings.len();
        let has_room = self.batches.is_empty() || size <= self.most;
        if has_room {
            self.size = size;
        }
        has_room
    }
}

impl Actor for LedgerWriter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.life.on_stop(ctx, Self::record_next);
        self.life.ready();
    }
}

impl Handler<RecordBatch> for LedgerWriter {
    type Result = ();

    fn handle(&mut self, batch: RecordBatch, ctx: &mut Self::Context) {
        if self.params.chain.is_current(batch.batch) {
            let lane = batch.lane % self.lanes.len();
            self.lanes[lane].queue.push_back(batch);
            self.record_next(ctx);
        }
    }
}

async fn record_and_report(params: Params, life: Lifeline, batches: Vec<RecordBatch>) -> Result<(), Error> {
    let mut reports = Vec::with_capacity(batches.len());
    let mut fences = Vec::new();
    let mut recordings = Vec::new();
    let mut turns = Vec::new();
    for batch in batches {
        let entries = batch.recordings.iter().map(|one| &one.entry);
        let positions = entries.map(|entry| (entry.partition.clone(), entry.position)).collect();
        reports.push(BatchRecorded { batch: batch.batch, recorded: positions });
        fences.extend(batch.fences);
        recordings.extend(batch.recordings);
        turns.extend(batch.turn);
    }
    fences.sort_unstable_by(|a, b| (&a.name, a.token).cmp(&(&b.name, b.token)));
    fences.dedup();
    record(&params, &life, &fences, recordings).await?;
    drop(turns);
    for report in reports {
        if params.consumer.deliver(report).await.is_err() {
            tracing::debug!("no consumer group to report to: its successor finds the entries pending");
        }
    }
    Ok(())
}

/// Records all of it; where the store refuses the data, parts it until the guilty event stands alone.
async fn record(
    params: &Params,
    life: &Lifeline,
    fences: &[Fence],
    mut recordings: Vec<Recording>,
) -> Result<(), Error> {
    let mut ranges: Vec<_> = std::iter::once(0..recordings.len()).collect();
    while let Some(range) = ranges.pop() {
        if range.is_empty() {
            continue;
        }
        let batch = &recordings[range.clone()];
        let spans = RecordingSpans::begin(&params.group, batch);
        let attempt = async || {
            let begun = Instant::now();
            let recorded = params.ledger.record(&params.group, fences, batch).await?;
            params.metrics.recorded(&params.group, batch, recorded, begun.elapsed());
            Ok(recorded)
        };
        let recorded = outage::ride_out(Patience::within(life, &params.chain), &params.outage, attempt).await;
        if let Err(error) = &recorded {
            spans.failed(&outage::chain(error));
        }
        drop(spans);
        match recorded {
            Ok(recorded) => tracing::debug!(
                group = params.group,
                new = recorded.new,
                duplicates = recorded.duplicates,
                dead_lettered = recorded.dead_lettered,
                "batch recorded"
            ),
            Err(Error::Data { .. }) if range.len() > 1 => {
                let middle = range.start + range.len() / 2;
                ranges.push(middle..range.end);
                ranges.push(range.start..middle); // taken first: order holds
            }
            Err(error @ Error::Data { .. }) if set_aside(&mut recordings[range.start], &error) => {
                ranges.push(range);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Turns a recording that the store refuses into a dead letter, which keeps the event as it came; one that is a dead
/// letter already into one that has no more than its payload. Says whether there was anything left to leave out.
fn set_aside(recording: &mut Recording, error: &Error) -> bool {
    let error = outage::chain(error);
    let trace_id = recording.entry.event.as_ref().ok().and_then(Event::trace_id);
    tracing::warn!(event_id = %recording.event_id, trace_id, error, "event set aside");
    recording.entry.trail.failed(ErrorKind::Refused, &error);
    let cause = Cause { stage: Stage::Record, kind: ErrorKind::Refused, error, attempts: recording.attempts };
    match &mut recording.outcome {
        Outcome::Processed(_) => {
            let letter = DeadLetter::of_entry(&recording.entry, cause);
            recording.outcome = Outcome::DeadLettered(Box::new(letter));
            true
        }
        Outcome::DeadLettered(letter) => letter.leave_out_all_but_payload(),
    }
}
