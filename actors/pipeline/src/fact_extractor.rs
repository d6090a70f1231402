//! `FactExtractor`: the facts of every event in a batch; what cannot be understood becomes a dead letter.
//!
//! In: [`ExtractBatch`] from the [`ConsumerGroup`](crate::consumer_group::ConsumerGroup). Out: [`RecordBatch`] to
//! the [`LedgerWriter`].
//!
//! One of a pool; each has a thread of its own, for extraction is the work that may be slow. A panic or an error
//! costs the event that caused it, nothing else: neighbours go on, the actor lives. Batches leave in the order in
//! which they came. A crash loses the batch in hand, whose entries are pending in the stream.

use std::{any::Any, collections::VecDeque, panic::AssertUnwindSafe, sync::Arc};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use factline_supervision::{BackoffPolicy, Delays, Lifeline, Ref};
use futures_util::FutureExt;

use crate::{
    batch::{BatchId, Epoch, Member},
    chat,
    dead_letter::{Cause, DeadLetter, ErrorKind, Stage},
    event::Event,
    extractor::{self, Extractor},
    lease::Fence,
    ledger::{Outcome, Recording, Said},
    ledger_writer::{LedgerWriter, RecordBatch},
    outage,
    stream::Delivered,
};

/// What an extractor works with.
#[derive(Clone)]
pub struct Params {
    /// What finds facts, in order; the first title wins.
    pub extractors: Vec<Arc<dyn Extractor>>,
    /// Where batches go.
    pub writer: Ref<LedgerWriter>,
    /// How often an event is tried whose extraction fails for now.
    pub max_attempts: u32,
    /// Pauses between those attempts.
    pub retry: BackoffPolicy,
    /// Shared with the consumer group and the ledger writer.
    pub epoch: Epoch,
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
    pub entries: Vec<Delivered>,
}

/// The actor.
pub struct FactExtractor {
    params: Params,
    life: Lifeline,
    queue: VecDeque<ExtractBatch>,
    busy: bool,
    _member: Member,
}

impl FactExtractor {
    /// An extractor with nothing to do.
    #[must_use]
    pub fn new(params: Params, life: Lifeline) -> Self {
        Self { _member: params.epoch.join(), params, life, queue: VecDeque::new(), busy: false }
    }

    fn extract_next(&mut self, ctx: &mut Context<Self>) {
        self.life.set_in_flight(self.queue.len() + usize::from(self.busy));
        if self.busy {
            return;
        }
        let Some(batch) = self.queue.pop_front() else {
            if self.life.is_stopping() {
                ctx.stop();
            }
            return;
        };
        self.busy = true;
        let work = extract_batch(self.params.clone(), self.life.clone(), batch);
        ctx.spawn(work.into_actor(self).map(|(), extractor, ctx| {
            extractor.busy = false;
            extractor.extract_next(ctx);
        }));
    }
}

impl Actor for FactExtractor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.life.on_stop(ctx, Self::extract_next);
        self.life.ready();
    }
}

impl Handler<ExtractBatch> for FactExtractor {
    type Result = ();

    fn handle(&mut self, batch: ExtractBatch, ctx: &mut Self::Context) {
        if self.params.epoch.is_current(batch.batch) {
            self.queue.push_back(batch);
            self.extract_next(ctx);
        }
    }
}

async fn extract_batch(params: Params, life: Lifeline, batch: ExtractBatch) {
    let ExtractBatch { batch, fences, entries } = batch;
    let mut recordings = Vec::with_capacity(entries.len());
    for entry in entries {
        recordings.push(recording_of(&params, entry).await);
        life.progress();
    }
    if let Err(error) = params.writer.deliver(RecordBatch { batch, fences, recordings }).await {
        life.fail(format_args!("the ledger writer is gone: {error}"));
    }
}

/// What is to be recorded of one entry, whatever happens while it is read and extracted.
async fn recording_of(params: &Params, entry: Delivered) -> Recording {
    let outcome = match &entry.event {
        Ok(event) => said(params, event).await.map(Outcome::Processed),
        Err(malformed) => Err(Cause {
            stage: Stage::Consume,
            kind: ErrorKind::Malformed,
            error: outage::chain(&malformed.reason),
            attempts: 1,
        }),
    };
    let outcome = outcome.unwrap_or_else(|cause| {
        tracing::warn!(
            partition = %entry.partition, position = %entry.position,
            kind = cause.kind.as_str(), error = cause.error, "event set aside"
        );
        Outcome::DeadLettered(Box::new(DeadLetter::of_entry(&entry, cause)))
    });
    let event_id = match (&entry.event, &outcome) {
        (_, Outcome::DeadLettered(letter)) => letter.ledger_id,
        (Ok(event), Outcome::Processed(_)) => event.id,
        (Err(_), Outcome::Processed(_)) => unreachable!("only an event is processed"),
    };
    Recording { event_id, entry, outcome }
}

/// What the event says, or why that will never be known. An event that is no chat message says nothing.
async fn said(params: &Params, event: &Event) -> Result<Option<Box<Said>>, Cause> {
    if event.event_type != chat::EVENT_TYPE {
        return Ok(None);
    }
    let failed = |kind, error, attempts| Cause { stage: Stage::Extract, kind, error, attempts };
    let message = chat::Message::parse(event)
        .map_err(|error| failed(ErrorKind::Malformed, outage::chain(&error), 1))?;
    let mut said = Said {
        conversation_id: message.conversation_id.clone(),
        message_id: message.message_id.clone(),
        sent_at: message.sent_at,
        title: None,
        facts: Vec::new(),
    };
    for extractor in &params.extractors {
        let mut delays = Delays::new(&params.retry);
        let mut attempts = 1;
        let extraction = loop {
            // One event's panic is one event's failure: nothing that it may have left half done is used again.
            let attempt = AssertUnwindSafe(extractor.extract(event, &message)).catch_unwind().await;
            match attempt {
                Ok(Ok(extraction)) => break extraction,
                Ok(Err(extractor::Error::Retryable(_))) if attempts < params.max_attempts => {
                    tokio::time::sleep(delays.next_delay()).await;
                    attempts += 1;
                }
                Ok(Err(error @ extractor::Error::Retryable(_))) => {
                    return Err(failed(ErrorKind::Exhausted, error.to_string(), attempts));
                }
                Ok(Err(error)) => return Err(failed(ErrorKind::Permanent, error.to_string(), attempts)),
                Err(panic) => {
                    let error = format!("{} panicked: {}", extractor.name(), panic_text(panic.as_ref()));
                    return Err(failed(ErrorKind::Panic, error, attempts));
                }
            }
        };
        said.title = said.title.or(extraction.title);
        said.facts.extend(extraction.facts);
    }
    Ok(Some(Box::new(said)))
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
