//! Traces: what becomes of one event, span by span, for those events whose trace is recorded at all.
//!
//! The producer's `traceparent` is the parent of `publish`; the entry carries the context of `publish` in its stead, which
//! is the parent of `process`; `extract` and `record` are its children. What is done to many at once is a span of its
//! own, with a link to each of them. A try after the first is a `process` of its own, linked to the one before; what only
//! waits behind another event of its key is no try. Names and attributes are OpenTelemetry's for messaging.
//!
//! Spans go to one target, which nobody listens to unless traces are sent somewhere; then nothing here costs anything.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering},
};

use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use tracing::{Span, field, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{
    attempts::Task,
    dead_letter::ErrorKind,
    event::{Event, TraceContext},
    ledger::{Outcome, Recording},
    stream::{Delivered, Partition},
};

/// Where spans go.
pub const TARGET: &str = "factline::trace";

/// What messages go through, as OpenTelemetry names it.
const SYSTEM: &str = "factline";

/// Links of one span at most: what is beyond that is in the other spans' parents.
const MOST_LINKS: usize = 128;

/// What is traced of an entry's being processed: a try that is to come, the span of the one that is made, which ends when
/// the last of its clones is dropped, and the context of the one before.
///
/// Equal to every other one: what is told of an entry changes nothing about it.
#[derive(Debug, Clone, Default)]
pub struct Trail {
    plan: Option<Box<Plan>>,
    span: OnceLock<Span>,
    before: Option<SpanContext>,
}

/// A try that is to come.
#[derive(Debug, Clone)]
struct Plan {
    group: String,
    attempt: u32,
    message: SpanContext,
}

impl PartialEq for Trail {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Trail {
    /// The entry is tried now: begins its `process`, and gives the `extract` in it, if its trace is recorded.
    pub(crate) fn begin(&self, event: &Event, partition: &Partition) -> Option<Span> {
        let plan = self.plan.as_ref()?;
        let process = self.span.get_or_init(|| plan.process(event, partition, self.before.as_ref()));
        Some(info_span!(target: TARGET, parent: process, "extract", otel.kind = "internal"))
    }

    /// What was tried has failed.
    pub(crate) fn failed(&self, kind: ErrorKind, error: &str) {
        if let Some(process) = self.span.get() {
            fail(process, kind.as_str(), error);
        }
    }

    /// The try is over, whatever comes next; one that was never made leaves nothing behind.
    pub(crate) fn end(&mut self) {
        self.plan = None;
        if let Some(process) = self.span.take() {
            self.before = Some(context_of(&process));
        }
    }
}

impl Plan {
    fn process(&self, event: &Event, partition: &Partition, before: Option<&SpanContext>) -> Span {
        let span = info_span!(
            target: TARGET, parent: None, "process",
            otel.name = format_args!("process {}", event.topic),
            otel.kind = "consumer",
            otel.status_code = field::Empty,
            otel.status_description = field::Empty,
            error.type = field::Empty,
            messaging.system = SYSTEM,
            messaging.operation.name = "process",
            messaging.operation.type = "process",
            messaging.destination.name = event.topic,
            messaging.destination.partition.id = partition.number,
            messaging.consumer.group.name = self.group,
            messaging.message.id = %event.id,
            messaging.message.body.size = event.data.len(),
            factline.attempt = self.attempt,
        );
        descend(&span, self.message.clone());
        if self.attempt > 1 {
            // A try in another process left no span to link to; the message itself is the next best.
            link(&span, std::iter::once(before.unwrap_or(&self.message).clone()));
        }
        span
    }
}

/// Whether anybody listens. Not asked of `tracing`: with filters by layer, its `enabled!` swallows the thread's next event.
static IS_RECORDING: AtomicBool = AtomicBool::new(false);

/// Says that somebody listens from now on.
pub fn record() {
    IS_RECORDING.store(true, Ordering::Relaxed);
}

fn is_recording() -> bool {
    IS_RECORDING.load(Ordering::Relaxed)
}

fn fail(span: &Span, kind: &str, error: &str) {
    span.record("error.type", kind);
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", error);
}

fn context_of(span: &Span) -> SpanContext {
    span.context().span().span_context().clone()
}

impl TraceContext {
    /// The context, if it is one, and if its trace is recorded.
    fn sampled(&self) -> Option<SpanContext> {
        let mut parts = self.traceparent.split('-');
        let (_version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
        let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
        let state = self.tracestate.as_deref().and_then(|state| state.parse::<TraceState>().ok());
        let context = SpanContext::new(trace, span, flags, true, state.unwrap_or_default());
        (context.is_valid() && context.is_sampled()).then_some(context)
    }

    fn of(context: &SpanContext) -> Self {
        let (trace, span, flags) = (context.trace_id(), context.span_id(), context.trace_flags().to_u8() & 1);
        let state = context.trace_state().header();
        Self {
            traceparent: format!("00-{trace}-{span}-{flags:02x}"),
            tracestate: Some(state).filter(|state| !state.is_empty()),
        }
    }
}

/// Makes the span the child of a remote one.
fn descend(span: &Span, parent: SpanContext) {
    if let Err(error) = span.set_parent(Context::new().with_remote_span_context(parent)) {
        tracing::debug!(%error, "a span without its parent");
    }
}

fn link(span: &Span, to: impl Iterator<Item = SpanContext>) {
    to.take(MOST_LINKS).for_each(|context| span.add_link(context));
}

/// A batch on its way into the streams: a `send` with a link to each `publish`.
#[derive(Debug, Default)]
pub(crate) struct Publishing {
    events: Vec<Span>,
    send: Option<Span>,
}

impl Publishing {
    /// Begins the spans, and has the events carry their contexts.
    pub(crate) fn begin(events: &mut [Event]) -> Self {
        if !is_recording() {
            return Self::default();
        }
        let spans: Vec<Span> = events.iter_mut().filter_map(publish).collect();
        if spans.is_empty() {
            return Self::default();
        }
        let send = info_span!(
            target: TARGET, parent: None, "send",
            otel.kind = "client",
            otel.status_code = field::Empty,
            otel.status_description = field::Empty,
            error.type = field::Empty,
            messaging.system = SYSTEM,
            messaging.operation.name = "send",
            messaging.operation.type = "send",
            messaging.batch.message_count = events.len(),
        );
        link(&send, spans.iter().map(context_of));
        Self { events: spans, send: Some(send) }
    }

    /// It did not work.
    pub(crate) fn failed(&self, error: &str) {
        self.events.iter().chain(&self.send).for_each(|span| fail(span, "publish", error));
    }
}

/// The event's `publish`, if its trace is recorded. An event without a trace may begin one here.
fn publish(event: &mut Event) -> Option<Span> {
    let parent = match &event.trace {
        Some(trace) => Some(trace.sampled()?),
        None => None,
    };
    let span = info_span!(
        target: TARGET, parent: None, "publish",
        otel.name = format_args!("publish {}", event.topic),
        otel.kind = "producer",
        otel.status_code = field::Empty,
        otel.status_description = field::Empty,
        error.type = field::Empty,
        messaging.system = SYSTEM,
        messaging.operation.name = "publish",
        messaging.operation.type = "send",
        messaging.destination.name = event.topic,
        messaging.message.id = %event.id,
        messaging.message.body.size = event.data.len(),
        factline.key = event.key,
    );
    if let Some(parent) = parent {
        descend(&span, parent);
    }
    let context = Some(context_of(&span)).filter(SpanContext::is_sampled)?;
    event.trace = Some(TraceContext::of(&context));
    Some(span)
}

/// Has the entry's next try traced, if its trace is recorded.
pub(crate) fn plan(group: &str, task: &mut Task) {
    task.entry.trail.end();
    if !is_recording() {
        return;
    }
    let message = task.entry.event.as_ref().ok().and_then(|event| event.trace.as_ref()?.sampled());
    let attempt = task.past.attempts + 1;
    let plan = message.map(|message| Plan { group: group.to_owned(), attempt, message });
    task.entry.trail.plan = plan.map(Box::new);
}

/// A batch in the hands of an extractor: a `process` with a link to each of its messages.
pub(crate) fn process_batch<'a>(group: &str, entries: impl Iterator<Item = &'a Delivered>) -> Option<Span> {
    let message = |entry: &Delivered| entry.trail.plan.as_ref().map(|plan| plan.message.clone());
    batch("process batch", "process", group, entries, message)
}

fn batch<'a>(
    name: &'static str,
    operation: &'static str,
    group: &str,
    entries: impl Iterator<Item = &'a Delivered>,
    to: impl Fn(&Delivered) -> Option<SpanContext>,
) -> Option<Span> {
    if !is_recording() {
        return None;
    }
    let mut count = 0;
    let contexts: Vec<SpanContext> = entries.inspect(|_| count += 1).filter_map(to).collect();
    if contexts.is_empty() {
        return None;
    }
    let span = info_span!(
        target: TARGET, parent: None, "batch",
        otel.name = name,
        otel.kind = "consumer",
        otel.status_code = field::Empty,
        otel.status_description = field::Empty,
        error.type = field::Empty,
        messaging.system = SYSTEM,
        messaging.operation.name = operation,
        messaging.operation.type = "process",
        messaging.consumer.group.name = group,
        messaging.batch.message_count = count,
    );
    link(&span, contexts.into_iter());
    Some(span)
}

/// A transaction: a span with a link to the `process` of each of its entries, and a `record` in each of those.
#[derive(Debug, Default)]
pub(crate) struct RecordingSpans {
    records: Vec<Span>,
    batch: Option<Span>,
}

impl RecordingSpans {
    pub(crate) fn begin(group: &str, recordings: &[Recording]) -> Self {
        let process = |entry: &Delivered| entry.trail.span.get().map(context_of);
        let entries = recordings.iter().map(|one| &one.entry);
        let Some(batch) = batch("record batch", "record", group, entries, process) else {
            return Self::default();
        };
        let records = recordings.iter().filter_map(|one| {
            let process = one.entry.trail.span.get()?;
            let (outcome, facts) = match &one.outcome {
                Outcome::Processed(said) => ("processed", said.as_ref().map_or(0, |said| said.facts.len())),
                Outcome::DeadLettered(_) => ("dead_lettered", 0),
            };
            Some(info_span!(
                target: TARGET, parent: process, "record",
                otel.kind = "client",
                otel.status_code = field::Empty,
                otel.status_description = field::Empty,
                error.type = field::Empty,
                factline.outcome = outcome,
                factline.facts = facts,
            ))
        });
        Self { records: records.collect(), batch: Some(batch) }
    }

    pub(crate) fn failed(&self, error: &str) {
        self.records.iter().chain(&self.batch).for_each(|span| fail(span, "record", error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(traceparent: &str) -> TraceContext {
        TraceContext { traceparent: traceparent.into(), tracestate: Some("vendor=1".into()) }
    }

    #[test]
    fn only_a_sampled_trace_context_is_followed_and_it_reads_back_as_it_was_written() {
        let sampled = trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let context = sampled.sampled().unwrap();
        assert_eq!(TraceContext::of(&context), sampled);
        assert_eq!(sampled.trace_id(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        for odd in [
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-01",
            "",
            "é-é-é-é",
        ] {
            assert_eq!(trace(odd).sampled(), None, "{odd}");
        }
    }
}
