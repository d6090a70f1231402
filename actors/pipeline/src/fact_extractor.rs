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
    batch::{BatchId, Chain, Member},
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
        Self { _member: params.chain.join(), params, life, queue: VecDeque::new(), busy: false }
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
        if self.params.chain.is_current(batch.batch) {
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

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        time::Duration,
    };

    use async_trait::async_trait;
    use factline_supervision::mailbox;

    use super::*;
    use crate::{
        fact::{Extraction, Title},
        stream::{Partition, Position},
    };

    /// Does what the message says.
    #[derive(Default)]
    struct Obedient {
        calls: AtomicU32,
    }

    #[async_trait]
    impl Extractor for Obedient {
        fn name(&self) -> &'static str {
            "obedient"
        }

        async fn extract(&self, _: &Event, message: &chat::Message) -> Result<Extraction, extractor::Error> {
            let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
            match message.content.as_str() {
                "panic" => panic!("as told"),
                "fail" => Err(extractor::Error::Permanent("as told".into())),
                "fail for now" => Err(extractor::Error::Retryable("as told".into())),
                "fail twice" if call <= 2 => Err(extractor::Error::Retryable("as told".into())),
                text => {
                    let title = Title { text: text.to_owned(), source: "obedient" };
                    Ok(Extraction { facts: Vec::new(), title: Some(title) })
                }
            }
        }
    }

    fn params() -> (Params, Arc<Obedient>) {
        let extractor = Arc::new(Obedient::default());
        let params = Params {
            extractors: vec![extractor.clone()],
            writer: mailbox(1).0,
            max_attempts: 3,
            retry: BackoffPolicy { initial: Duration::ZERO, ..BackoffPolicy::default() },
            chain: Chain::of(1),
        };
        (params, extractor)
    }

    fn entry(event_type: &str, data: &str) -> Delivered {
        let event = Event { event_type: event_type.into(), data: data.into(), ..Event::sample() };
        Delivered {
            partition: Partition { topic: "chat".into(), number: 3 },
            position: Position { major: 1, minor: 2 },
            deliveries: 1,
            event: Ok(event),
        }
    }

    /// What becomes of a message, and how often it was tried.
    async fn outcome_of(content: &str) -> (Outcome, u32) {
        let (params, extractor) = params();
        let data = serde_json::json!({ "content": content }).to_string();
        let recording = recording_of(&params, entry(chat::EVENT_TYPE, &data)).await;
        (recording.outcome, extractor.calls.load(Ordering::SeqCst))
    }

    async fn dead_letter_of(content: &str) -> (Cause, u32) {
        let (Outcome::DeadLettered(letter), calls) = outcome_of(content).await else { panic!("processed") };
        assert_eq!((letter.partition, letter.position.as_deref()), (Some(3), Some("1-2")));
        (letter.cause, calls)
    }

    #[tokio::test]
    async fn a_panic_costs_only_the_event_that_caused_it() {
        let (cause, _) = dead_letter_of("panic").await;
        assert_eq!((cause.kind, cause.error.as_str()), (ErrorKind::Panic, "obedient panicked: as told"));
        assert!(
            matches!(outcome_of("hello").await.0, Outcome::Processed(Some(said)) if said.title.is_some())
        );
    }

    #[tokio::test]
    async fn a_permanent_error_is_not_tried_again_and_a_retryable_one_is() {
        let (cause, calls) = dead_letter_of("fail").await;
        assert_eq!((cause.kind, calls), (ErrorKind::Permanent, 1));
        let (cause, calls) = dead_letter_of("fail for now").await;
        assert_eq!((cause.kind, cause.attempts, calls), (ErrorKind::Exhausted, 3, 3));
        let (outcome, calls) = outcome_of("fail twice").await;
        assert!(matches!(outcome, Outcome::Processed(Some(_))) && calls == 3);
    }

    #[tokio::test]
    async fn an_event_that_is_no_chat_message_says_nothing_and_is_recorded() {
        let (params, extractor) = params();
        let recording = recording_of(&params, entry("mail.sent", "not even JSON")).await;
        assert_eq!(recording.outcome, Outcome::Processed(None));
        assert_eq!(extractor.calls.load(Ordering::SeqCst), 0);
    }
}
