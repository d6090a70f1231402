//! `OutboxPoller`: the outbox's pending rows, in batches, to the publisher; published rows marked.
//!
//! In: [`BatchPublished`], [`StreamLost`]. Out: [`PublishBatch`] to the [`StreamPublisher`].
//!
//! One relay at a time works on a source: the poller holds the lease `relay:{source}` or stands by for it. Several
//! batches are on their way at once; each row is marked only after the stream has it. A crash at any point leaves
//! rows pending, and pending rows are published again: the ledger knows those that had got through.
//!
//! A cursor keeps the scan short. Because identity values become visible out of commit order, a sweep over all
//! pending rows follows whenever the poller is idle, and at least every half second.
//!
//! When the stream has lost entries, or may have before this relay became active, those that nobody has recorded yet
//! are made pending again before anything else is claimed: they come first.

use std::{collections::HashMap, sync::Arc, time::Duration};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use factline_supervision::{BackoffPolicy, Condition, Lifeline, Ref};
use tokio::time::Instant;

use crate::{
    batch::{BatchId, Chain, Member, Numbering},
    dead_letter::{Cause, DeadLetter, ErrorKind, Stage},
    event::Event,
    lease::{Keeper, Tenure},
    ledger::Ledger,
    metrics::{Metrics, Step},
    outage::{self, Error},
    outbox::{Claim, Outbox, Row, RowId},
    reconcile,
    recovery::{self, Suspicion},
    stream_publisher::{PublishBatch, StreamPublisher},
};

/// How long a row of a transaction that committed late can stay unseen while newer rows keep coming.
const SWEEP_EVERY: Duration = Duration::from_millis(500);

/// The same where a sweep takes long, since somebody's old snapshot keeps what it has to step over: it has a tenth of the
/// time, but a late row is still found within a second.
const SWEEP_SELDOM: Duration = Duration::from_millis(900);

/// Payload that a batch should not exceed by much: with larger ones, the next batches have fewer rows.
const BATCH_BYTES: usize = 8 << 20;

/// How the poller works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Rows in a batch at most.
    pub batch_size: usize,
    /// Batches that may be on their way at once.
    pub in_flight: usize,
    /// Pause after a claim that found something less than a full batch.
    pub poll_min: Duration,
    /// Longest pause while there is nothing to do.
    pub poll_max: Duration,
    /// Pauses during an outage.
    pub outage: BackoffPolicy,
}

/// What the poller works with.
#[derive(Clone)]
pub struct Params {
    /// The application's outbox.
    pub outbox: Arc<dyn Outbox>,
    /// Where unpublishable rows are set aside.
    pub ledger: Arc<dyn Ledger>,
    /// How to find what the stream has lost.
    pub reconcile: reconcile::Params,
    /// Who may publish.
    pub keeper: Keeper,
    /// The source's name.
    pub source: String,
    /// The lease `relay:{source}`.
    pub lease: String,
    /// Where batches go.
    pub publisher: Ref<StreamPublisher>,
    /// Shared with the publisher.
    pub chain: Chain,
    /// What it counts.
    pub metrics: Metrics,
    /// How it works.
    pub settings: Settings,
}

/// A batch is in the stream.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct BatchPublished {
    /// The batch.
    pub batch: BatchId,
    /// The rows whose events the stream has.
    pub published: Vec<RowId>,
    /// The rows whose events the stream will never take.
    pub refused: Vec<Refused>,
}

/// The stream has lost entries. The batch in hand was not appended, and those behind it become void.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct StreamLost {
    /// How it shows.
    pub reason: String,
}

/// A row that can never be published.
#[derive(Debug)]
pub struct Refused {
    /// The row.
    pub row: RowId,
    /// The dead letter that it becomes.
    pub letter: Box<DeadLetter>,
}

/// The actor.
pub struct OutboxPoller {
    params: Params,
    life: Lifeline,
    tenure: Tenure,
    /// Whether the lease is held; nothing is known after a renewal that failed.
    holds: Option<bool>,
    /// The last tenure.
    token: Option<i64>,
    in_flight: HashMap<BatchId, Vec<RowId>>,
    numbering: Numbering,
    _member: Member,
    cursor: Option<i64>,
    last_sweep: Instant,
    sweep_every: Duration,
    sweep_next: bool,
    limit: usize,
    pause: Duration,
    /// A claim, its delivery, a recovery or a pause is under way: whatever ends it polls again.
    busy: bool,
    /// How many batches are being marked.
    marking: usize,
    /// Why nothing may be claimed before what the stream has lost is pending again.
    suspicion: Option<Suspicion>,
    /// Rows that were lost are on their way again.
    republishing: bool,
}

impl OutboxPoller {
    /// An idle poller that holds no lease yet.
    #[must_use]
    pub fn new(params: Params, life: Lifeline) -> Self {
        Self {
            pause: params.settings.poll_min,
            limit: params.settings.batch_size,
            sweep_next: true,
            _member: params.chain.join(),
            numbering: Numbering::begin(&params.chain),
            params,
            life,
            tenure: Tenure::none(),
            holds: None,
            token: None,
            in_flight: HashMap::new(),
            cursor: None,
            last_sweep: Instant::now(),
            sweep_every: SWEEP_EVERY,
            busy: false,
            marking: 0,
            suspicion: None,
            republishing: false,
        }
    }

    fn renew_lease(&mut self, ctx: &mut Context<Self>) {
        let (keeper, lease) = (self.params.keeper.clone(), self.params.lease.clone());
        let renewal = async move { keeper.renew(&[lease]).await };
        ctx.spawn(renewal.into_actor(self).map(|renewed, poller, ctx| {
            match renewed {
                Ok(tenure) => poller.accept(tenure),
                Err(error) => {
                    tracing::warn!(error = %outage::chain(&error), "the relay's lease could not be renewed");
                    poller.life.set_condition(Condition::Degraded(outage::chain(&error)));
                    poller.holds = None;
                }
            }
            ctx.run_later(poller.params.keeper.interval(), Self::renew_lease);
        }));
    }

    fn accept(&mut self, tenure: Tenure) {
        let holds = Some(!tenure.fences.is_empty());
        if self.holds != holds {
            self.holds = holds;
            if let Some(lease) = tenure.fences.first() {
                self.sweep_next = true;
                // The same tenure goes on after a renewal that failed: nobody else has published meanwhile.
                if self.token.replace(lease.token) != Some(lease.token) {
                    tracing::info!(token = lease.token, "this relay is active");
                    self.suspicion.get_or_insert(Suspicion::Activated);
                }
                self.life.set_condition(Condition::Healthy);
            } else {
                self.life.set_condition(Condition::Standby("another relay is active".into()));
            }
        }
        self.tenure = tenure;
    }

    /// Claims the next batch if there is room for it; otherwise whatever ends the lack of room calls again.
    fn poll(&mut self, ctx: &mut Context<Self>) {
        if self.busy || self.life.is_stopping() || self.in_flight.len() >= self.params.settings.in_flight {
            return;
        }
        if self.tenure.remaining().is_zero() {
            return self.poll_after(self.params.settings.poll_max, ctx);
        }
        if self.suspicion.is_some() {
            return self.recover(ctx);
        }
        self.busy = true;
        let sweep = self.cursor.is_none() || self.sweep_next || self.last_sweep.elapsed() >= self.sweep_every;
        let in_flight = if sweep { self.in_flight.values().flatten().cloned().collect() } else { Vec::new() };
        let after = if sweep { None } else { self.cursor };
        let begun = Instant::now();
        let claim = claim(self.params.clone(), self.life.clone(), after, in_flight, self.limit);
        ctx.spawn(claim.into_actor(self).map(move |rows, poller, ctx| {
            if sweep {
                poller.last_sweep = Instant::now();
                poller.sweep_every = (begun.elapsed() * 10).clamp(SWEEP_EVERY, SWEEP_SELDOM);
                poller.sweep_next = false;
            }
            match rows {
                Ok(rows) => poller.claimed(rows, sweep, ctx),
                // An outage that a shutdown cut short: the rows stay pending.
                Err(error) if error.is_outage() => poller.finish_if_drained(ctx),
                Err(error) => poller.life.fail(outage::chain(&error)),
            }
        }));
    }

    /// Nothing that this poller has published is to be marked while it is looked for, nor afterwards: `marked` calls
    /// again.
    fn recover(&mut self, ctx: &mut Context<Self>) {
        if self.marking > 0 {
            return;
        }
        let Some(suspicion) = self.suspicion.take() else { return };
        self.busy = true;
        let (params, life) = (self.params.clone(), self.life.clone());
        let recovery = async move {
            recovery::recover(&params.reconcile, &suspicion, &life, &params.settings.outage).await
        };
        ctx.spawn(recovery.into_actor(self).map(|recovered, poller, ctx| {
            poller.busy = false;
            match recovered {
                Ok(0) if !poller.republishing => poller.life.set_condition(Condition::Healthy),
                Ok(rows) => {
                    poller.republishing |= rows > 0;
                    poller.params.metrics.reconciled(rows);
                }
                Err(error) if error.is_outage() => return poller.finish_if_drained(ctx),
                // Looking once more would not help; the rows are as they were, and so is everything else.
                Err(error) => {
                    let error = outage::chain(&error);
                    tracing::error!(error, "what the stream has lost cannot be published again");
                    poller.life.set_condition(Condition::Degraded(error));
                }
            }
            poller.start_over();
            poller.finish_if_drained(ctx);
            poller.poll(ctx);
        }));
    }

    fn poll_after(&mut self, pause: Duration, ctx: &mut Context<Self>) {
        self.busy = true;
        ctx.run_later(pause, |poller, ctx| {
            poller.busy = false;
            poller.finish_if_drained(ctx);
            poller.poll(ctx);
        });
    }

    fn claimed(&mut self, rows: Vec<Row>, sweep: bool, ctx: &mut Context<Self>) {
        if self.life.is_stopping() {
            return self.finish_if_drained(ctx);
        }
        if self.suspicion.is_some() {
            self.busy = false;
            return self.poll(ctx);
        }
        let settings = &self.params.settings;
        if rows.is_empty() {
            if sweep && self.in_flight.is_empty() && std::mem::take(&mut self.republishing) {
                self.life.set_condition(Condition::Healthy);
            }
            // Nothing behind the cursor does not mean nothing at all: sweep before resting.
            let pause = if sweep { self.pause } else { settings.poll_min };
            self.pause = (self.pause * 2).min(settings.poll_max);
            self.sweep_next = !sweep;
            return self.poll_after(pause, ctx);
        }
        let full = rows.len() >= self.limit;
        self.pause = settings.poll_min;
        self.limit = next_limit(&rows, self.limit, settings.batch_size);
        let batch = self.batch_of(rows);
        let (publisher, pause) = (self.params.publisher.clone(), self.pause);
        let delivery = async move { publisher.deliver(batch).await };
        ctx.spawn(delivery.into_actor(self).map(move |delivered, poller, ctx| {
            if let Err(error) = delivered {
                poller.life.fail(format_args!("the publisher is gone: {error}"));
            }
            if full {
                poller.busy = false;
                poller.poll(ctx);
            } else {
                poller.poll_after(pause, ctx);
            }
        }));
    }

    fn batch_of(&mut self, rows: Vec<Row>) -> PublishBatch {
        let batch = self.numbering.next_batch();
        let ids: Vec<RowId> = rows.iter().map(|row| row.id.clone()).collect();
        let newest =
            ids.iter().filter_map(|id| if let RowId::Number(id) = id { Some(*id) } else { None }).max();
        self.cursor = self.cursor.max(newest);
        self.in_flight.insert(batch, ids);
        self.life.set_in_flight(self.in_flight.len());
        let (events, refused) = sort_out(rows, &self.params.lease);
        PublishBatch { batch, events, refused }
    }

    fn marked(&mut self, batch: BatchId, marked: Result<(), Error>, ctx: &mut Context<Self>) {
        self.marking -= 1;
        self.in_flight.remove(&batch);
        self.life.set_in_flight(self.in_flight.len());
        self.life.progress();
        match marked {
            Ok(()) => {}
            // A shutdown during an outage: the rows stay pending, the ledger will know their events.
            Err(error) if error.is_outage() => {
                tracing::warn!(error = %outage::chain(&error), "batch not marked");
            }
            Err(error) => self.life.fail(outage::chain(&error)),
        }
        self.finish_if_drained(ctx);
        self.poll(ctx);
    }

    /// Waits until what is under way has become void and the chain is whole; then all pending rows are claimed again.
    fn watch_chain(&mut self, ctx: &mut Context<Self>) {
        let broken_and_mended = self.numbering.broken_and_mended();
        ctx.spawn(broken_and_mended.into_actor(self).map(|(), poller, ctx| {
            if poller.life.is_stopping() {
                return;
            }
            poller.numbering = Numbering::begin(&poller.params.chain);
            poller.start_over();
            poller.watch_chain(ctx);
            poller.poll(ctx);
        }));
    }

    /// Nothing is under way: all pending rows are claimed again.
    fn start_over(&mut self) {
        self.in_flight.clear();
        self.life.set_in_flight(0);
        self.cursor = None;
    }

    fn drain(&mut self, ctx: &mut Context<Self>) {
        self.params.chain.drain();
        // If the publisher is gone, what it had in hand never comes back; its rows are pending.
        let voided = self.numbering.voided();
        ctx.spawn(voided.into_actor(self).map(|(), poller, ctx| {
            poller.in_flight.clear();
            poller.finish_if_drained(ctx);
        }));
        self.finish_if_drained(ctx);
    }

    fn finish_if_drained(&mut self, ctx: &mut Context<Self>) {
        if !self.life.is_stopping() || !self.in_flight.is_empty() {
            return;
        }
        let (keeper, lease) = (self.params.keeper.clone(), self.params.lease.clone());
        let release = async move { keeper.release(&[lease]).await };
        ctx.spawn(release.into_actor(self).map(|released, _, ctx| {
            if let Err(error) = released {
                tracing::warn!(error = %outage::chain(&error), "the relay's lease was left to expire");
            }
            actix::ActorContext::stop(ctx);
        }));
    }
}

impl Actor for OutboxPoller {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.life.on_stop(ctx, Self::drain);
        self.watch_chain(ctx);
        self.renew_lease(ctx);
        self.poll(ctx);
        self.life.ready();
    }
}

impl Handler<BatchPublished> for OutboxPoller {
    type Result = ();

    fn handle(&mut self, message: BatchPublished, ctx: &mut Self::Context) {
        let batch = message.batch;
        self.marking += 1;
        let marking = mark(self.params.clone(), self.life.clone(), message);
        ctx.spawn(marking.into_actor(self).map(move |marked, poller, ctx| poller.marked(batch, marked, ctx)));
    }
}

impl Handler<StreamLost> for OutboxPoller {
    type Result = ();

    fn handle(&mut self, message: StreamLost, ctx: &mut Self::Context) {
        self.suspicion = Some(Suspicion::Lost(message.reason));
        self.poll(ctx);
    }
}

async fn claim(
    params: Params,
    life: Lifeline,
    after: Option<i64>,
    in_flight: Vec<RowId>,
    limit: usize,
) -> Result<Vec<Row>, Error> {
    let claim = Claim { after, in_flight: &in_flight, limit };
    let claim = async || {
        let begun = Instant::now();
        let rows = params.outbox.claim_pending(claim).await?;
        params.metrics.claimed(&params.source, rows.len(), begun.elapsed());
        Ok(rows)
    };
    outage::ride_out(&life, &params.settings.outage, claim).await
}

/// How many rows to claim next, so that large payloads do not fill the memory.
fn next_limit(rows: &[Row], limit: usize, batch_size: usize) -> usize {
    let bytes: usize =
        rows.iter().filter_map(|row| row.event.as_ref().ok()).map(|event| event.data.len()).sum();
    if bytes > BATCH_BYTES { (rows.len() * BATCH_BYTES / bytes).max(1) } else { (limit * 2).min(batch_size) }
}

/// Marks what the stream has; sets aside what it will never have, the dead letter before the row's mark.
async fn mark(params: Params, life: Lifeline, message: BatchPublished) -> Result<(), Error> {
    let Params { outbox, ledger, settings, .. } = &params;
    let BatchPublished { published, refused, .. } = &message;
    if !published.is_empty() {
        let begun = Instant::now();
        outage::ride_out(&life, &settings.outage, || outbox.mark_processed(published)).await?;
        params.metrics.took(Step::Mark, begun.elapsed());
    }
    if !refused.is_empty() {
        let letters: Vec<DeadLetter> = refused.iter().map(|refused| (*refused.letter).clone()).collect();
        let failed: Vec<(RowId, String)> =
            refused.iter().map(|refused| (refused.row.clone(), refused.letter.cause.error.clone())).collect();
        tracing::warn!(rows = failed.len(), error = %failed[0].1, "rows that cannot be published were set aside");
        outage::ride_out(&life, &settings.outage, || ledger.record_unpublishable(&letters)).await?;
        params.metrics.refused(refused);
        outage::ride_out(&life, &settings.outage, || outbox.mark_failed(&failed)).await?;
    }
    Ok(())
}

/// Parts the rows that are events from those that never will be.
fn sort_out(rows: Vec<Row>, source: &str) -> (Vec<(RowId, Event)>, Vec<Refused>) {
    let (mut events, mut refused) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        match row.event {
            Ok(event) => events.push((row.id, event)),
            Err(malformed) => {
                let cause = Cause {
                    stage: Stage::Relay,
                    kind: ErrorKind::Malformed,
                    error: outage::chain(&malformed.reason),
                    attempts: 1,
                };
                let place = format!("{source}@{}", row.id);
                let mut letter = DeadLetter::of_malformed(&malformed, &row.topic, &place, cause);
                letter.position = Some(row.id.to_string());
                refused.push(Refused { row: row.id, letter: Box::new(letter) });
            }
        }
    }
    (events, refused)
}
