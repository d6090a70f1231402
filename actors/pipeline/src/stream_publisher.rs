//! `StreamPublisher`: batches of events into their streams, in the order in which they came.
//!
//! In: [`PublishBatch`] from the [`OutboxPoller`]. Out: [`BatchPublished`] back to it, or [`StreamLost`].
//!
//! One batch is appended at a time, all or nothing: a second one on its way could get through while the first
//! fails, and a key's later event would overtake its earlier one. During an outage the batch in hand is tried until
//! the stream is back; a stream at its cap is waited for. If the stream has lost entries, the batches in hand
//! are given up, for what was lost comes first. A crash loses the batch in hand, whose rows are still pending in the
//! outbox.

use std::{collections::VecDeque, ops::Range, sync::Arc, time::Duration};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use factline_supervision::{BackoffPolicy, Condition, Lifeline, Ref};
use tokio::time::Instant;

use crate::{
    batch::{BatchId, Chain, Member},
    dead_letter::{Cause, DeadLetter, ErrorKind, Stage},
    event::Event,
    metrics::Metrics,
    outage::{self, Error, Patience},
    outbox::RowId,
    outbox_poller::{BatchPublished, OutboxPoller, Refused, StreamLost},
    stream::{AtCap, EventStream},
    trace::Publishing,
};

/// How often a stream at its cap is looked at.
const CAP_POLL: Duration = Duration::from_millis(100);

/// Payload in one append at most, unless a single event has more: the stream answers nobody else meanwhile.
const PORTION_BYTES: usize = 8 << 20;

/// What the publisher works with.
#[derive(Clone)]
pub struct Params {
    /// Where events go.
    pub stream: Arc<dyn EventStream>,
    /// Who wants to know.
    pub poller: Ref<OutboxPoller>,
    /// Shared with the poller.
    pub chain: Chain,
    /// Pauses during an outage.
    pub outage: BackoffPolicy,
    /// What it counts.
    pub metrics: Metrics,
}

/// Events to publish.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct PublishBatch {
    /// The batch.
    pub batch: BatchId,
    /// The events and their rows, in outbox order.
    pub events: Vec<(RowId, Event)>,
    /// Rows that are no events, to be reported together with the batch.
    pub refused: Vec<Refused>,
}

/// The actor.
pub struct StreamPublisher {
    params: Params,
    life: Lifeline,
    queue: VecDeque<PublishBatch>,
    busy: bool,
    _member: Member,
}

impl StreamPublisher {
    /// A publisher with nothing to do.
    #[must_use]
    pub fn new(params: Params, life: Lifeline) -> Self {
        Self { _member: params.chain.join(), params, life, queue: VecDeque::new(), busy: false }
    }

    fn publish_next(&mut self, ctx: &mut Context<Self>) {
        self.life.set_in_flight(self.queue.len() + usize::from(self.busy));
        if self.busy {
            return;
        }
        // A batch before them may have become void: they would overtake what it held.
        self.queue.retain(|batch| self.params.chain.is_current(batch.batch));
        let Some(batch) = self.queue.pop_front() else {
            if self.life.is_stopping() {
                ctx.stop();
            }
            return;
        };
        self.busy = true;
        let work = publish_and_report(self.params.clone(), self.life.clone(), batch);
        ctx.spawn(work.into_actor(self).map(|published, publisher, ctx| {
            publisher.busy = false;
            publisher.life.progress();
            if let Err(error) = published {
                // A shutdown during an outage, or the stream is not what it was: all rows are still pending.
                publisher.params.chain.void();
                tracing::warn!(error = %outage::chain(&error), "batches left unpublished in the outbox");
            }
            publisher.publish_next(ctx);
        }));
    }
}

impl Actor for StreamPublisher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.life.on_stop(ctx, Self::publish_next);
        self.life.ready();
    }
}

impl Handler<PublishBatch> for StreamPublisher {
    type Result = ();

    fn handle(&mut self, batch: PublishBatch, ctx: &mut Self::Context) {
        if self.params.chain.is_current(batch.batch) {
            self.queue.push_back(batch);
            self.publish_next(ctx);
        }
    }
}

async fn publish_and_report(params: Params, life: Lifeline, batch: PublishBatch) -> Result<(), Error> {
    let PublishBatch { batch, events, mut refused } = batch;
    let (rows, mut events): (Vec<RowId>, Vec<Event>) = events.into_iter().unzip();
    let spans = Publishing::begin(&mut events);
    let published = publish(&params, &life, &rows, &events).await;
    if let Err(error) = &published {
        spans.failed(&outage::chain(error));
    }
    drop(spans);
    let published = match published {
        Err(error @ Error::Lost { .. }) => {
            // Before this batch is voided: the poller starts over only when what was lost is pending again.
            let lost = StreamLost { reason: outage::chain(&error) };
            if params.poller.deliver(lost).await.is_err() {
                tracing::debug!("no poller to tell: its successor looks for what was lost");
            }
            return Err(error);
        }
        published => published?,
    };
    refused.extend(published.refused);
    let report = BatchPublished { batch, published: published.rows, refused };
    if params.poller.deliver(report).await.is_err() {
        tracing::debug!(?batch, "no poller to report to: its successor publishes the batch again");
    }
    if let Some(full) = published.at_cap {
        wait_below_cap(&params, &life, full).await?;
    }
    Ok(())
}

#[derive(Default)]
struct Published {
    rows: Vec<RowId>,
    refused: Vec<Refused>,
    at_cap: Option<AtCap>,
}

/// Appends the events; where the stream refuses the data, parts the batch until the guilty event stands alone.
async fn publish(
    params: &Params,
    life: &Lifeline,
    rows: &[RowId],
    events: &[Event],
) -> Result<Published, Error> {
    let mut published = Published::default();
    let mut ranges = portions(events);
    while let Some(range) = ranges.pop() {
        if range.is_empty() {
            continue;
        }
        let append = async || {
            let begun = Instant::now();
            let appended = params.stream.append(&events[range.clone()]).await;
            params.metrics.appended(&events[range.clone()], appended.is_ok(), begun.elapsed());
            appended
        };
        match outage::ride_out(Patience::within(life, &params.chain), &params.outage, append).await {
            Ok(at_cap) => {
                published.rows.extend_from_slice(&rows[range]);
                published.at_cap = at_cap.or(published.at_cap);
            }
            Err(error @ Error::Lost { .. }) => return Err(error),
            Err(error) if error.is_outage() => return Err(error),
            Err(error) if range.len() == 1 => {
                let (row, event) = (rows[range.start].clone(), &events[range.start]);
                published.refused.push(refusal(row, event, &error));
            }
            Err(_) => {
                let middle = range.start + range.len() / 2;
                ranges.push(middle..range.end);
                ranges.push(range.start..middle); // taken first: order holds
            }
        }
    }
    Ok(published)
}

/// The events in portions of [`PORTION_BYTES`], the last of which is to be taken first.
fn portions(events: &[Event]) -> Vec<Range<usize>> {
    let mut portions = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, event) in events.iter().enumerate() {
        bytes += event.data.len();
        if bytes > PORTION_BYTES && index > start {
            portions.push(start..index);
            (start, bytes) = (index, event.data.len());
        }
    }
    portions.push(start..events.len());
    portions.reverse();
    portions
}

fn refusal(row: RowId, event: &Event, error: &Error) -> Refused {
    let (stage, kind) = (Stage::Relay, ErrorKind::Refused);
    let cause = Cause { stage, kind, error: outage::chain(error), attempts: 1 };
    let mut letter = DeadLetter::of_event(event, cause);
    letter.position = Some(row.to_string());
    Refused { row, letter: Box::new(letter) }
}

/// Rests while the stream holds as much as it may: the pressure travels back until the outbox holds the rows.
async fn wait_below_cap(params: &Params, life: &Lifeline, full: AtCap) -> Result<(), Error> {
    let patience = Patience::within(life, &params.chain);
    let mut full = Some(full);
    while let Some(AtCap { partition, length }) = full {
        let reason =
            format!("stream {partition} is at its cap with {length} entries that a group still needs");
        life.set_condition(Condition::Paused(reason));
        life.progress();
        tokio::select! {
            () = tokio::time::sleep(CAP_POLL) => {}
            () = patience.over() => return Ok(()),
        }
        let look = || params.stream.at_cap(&partition);
        full = outage::ride_out(patience, &params.outage, look).await?;
    }
    life.set_condition(Condition::Healthy);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(bytes: usize) -> Event {
        Event { data: "x".repeat(bytes), ..Event::sample() }
    }

    #[test]
    fn large_batches_are_appended_in_portions_in_order() {
        let half = PORTION_BYTES / 2;
        let events: Vec<Event> = [half, half, 1, 2 * PORTION_BYTES, 1].into_iter().map(event).collect();
        let mut taken = portions(&events);
        taken.reverse();
        assert_eq!(taken, [0..2, 2..3, 3..4, 4..5]);
        assert_eq!(portions(&events[..1]).len(), 1);
    }
}
