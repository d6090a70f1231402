//! What the pipeline counts and times: names, units and meanings, all of them here.
//!
//! Instruments are OpenTelemetry's; where the numbers go is whoever's who supplies the meter. Everything is counted in
//! batches, for an event must not cost a counter's lock at every stage.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::Utc;
use opentelemetry::{
    KeyValue, global,
    metrics::{Counter, Histogram, Meter},
};

use crate::{
    dead_letter::{DeadLetter, ErrorKind, Stage},
    event::Event,
    ledger::{Outcome, Recorded, Recording},
    outbox_poller::Refused,
};

/// The group of rows that no group ever saw: the relay set them aside.
pub const RELAY: &str = "relay";

/// From half a millisecond to a minute, in seconds.
const DURATIONS: [f64; 16] =
    [0.0005, 0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];

/// From one event to what no batch should exceed.
const SIZES: [f64; 9] = [1.0, 5.0, 10.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 5000.0];

/// What sets events aside, and for what kinds of reasons.
const WAYS_TO_DIE: [(Stage, ErrorKind); 11] = [
    (Stage::Relay, ErrorKind::Malformed),
    (Stage::Relay, ErrorKind::Refused),
    (Stage::Consume, ErrorKind::Malformed),
    (Stage::Consume, ErrorKind::Crashed),
    (Stage::Extract, ErrorKind::Malformed),
    (Stage::Extract, ErrorKind::Permanent),
    (Stage::Extract, ErrorKind::Exhausted),
    (Stage::Extract, ErrorKind::Panic),
    (Stage::Extract, ErrorKind::TimedOut),
    (Stage::Extract, ErrorKind::Crashed),
    (Stage::Record, ErrorKind::Refused),
];

/// A step that is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Pending rows are read from the outbox.
    Claim,
    /// A batch is appended to the streams.
    Publish,
    /// Its rows are marked.
    Mark,
    /// A batch waits for its extractor.
    Queue,
    /// Its facts are extracted.
    Extract,
    /// It is recorded in one transaction.
    Record,
}

impl Step {
    fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Publish => "publish",
            Self::Mark => "mark",
            Self::Queue => "queue",
            Self::Extract => "extract",
            Self::Record => "record",
        }
    }
}

/// The pipeline's instruments. By default those of the global meter, which counts nothing unless somebody listens.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Instruments>);

#[derive(Debug)]
struct Instruments {
    claimed: Counter<u64>,
    published: Counter<u64>,
    publish_attempts: Counter<u64>,
    consumed: Counter<u64>,
    processed: Counter<u64>,
    dead_lettered: Counter<u64>,
    duplicates: Counter<u64>,
    retried: Counter<u64>,
    reconciled: Counter<u64>,
    facts: Counter<u64>,
    batch_size: Histogram<u64>,
    step_duration: Histogram<f64>,
    latency: Histogram<f64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(&global::meter("factline"))
    }
}

impl Metrics {
    /// Instruments of this meter.
    #[must_use]
    pub fn new(meter: &Meter) -> Self {
        let events =
            |name: &'static str, help: &'static str| meter.u64_counter(name).with_description(help).build();
        let seconds = |name: &'static str, help: &'static str| {
            let histogram = meter.f64_histogram(name).with_unit("s").with_description(help);
            histogram.with_boundaries(DURATIONS.to_vec()).build()
        };
        Self(Arc::new(Instruments {
            claimed: events("factline.events.claimed", "Rows read from the outbox to be published"),
            published: events("factline.events.published", "Events that the streams have"),
            publish_attempts: events(
                "factline.publish.attempts",
                "Events in appends to the streams, by whether the append worked",
            ),
            consumed: events(
                "factline.events.consumed",
                "Entries read from the streams, repeated ones included",
            ),
            processed: events("factline.events.processed", "Events that took effect"),
            dead_lettered: events("factline.events.dead_lettered", "Events that were set aside"),
            duplicates: events("factline.events.duplicate", "Entries whose event had taken effect before"),
            retried: events("factline.events.retried", "Tries that failed for now"),
            reconciled: events(
                "factline.events.reconciled",
                "Events that a stream lost before they were recorded, and that are published again",
            ),
            facts: events("factline.facts.stated", "Facts that events stated, new or repeated"),
            batch_size: meter
                .u64_histogram("factline.batch.size")
                .with_unit("{events}")
                .with_description("Events in a batch")
                .with_boundaries(SIZES.to_vec())
                .build(),
            step_duration: seconds("factline.stage.duration", "How long a stage took for a batch"),
            latency: seconds(
                "factline.event.latency",
                "From an event's insert into the outbox to the commit of what it says",
            ),
        }))
    }

    /// Makes the counters of the relay known before anything happens: a rate needs a beginning.
    pub fn expect_source(&self, source: &str, topics: &[String]) {
        self.0.claimed.add(0, &[KeyValue::new("source", source.to_owned())]);
        self.0.reconciled.add(0, &[]);
        for outcome in ["success", "failure"] {
            self.0.publish_attempts.add(0, &[KeyValue::new("outcome", outcome)]);
        }
        for topic in topics {
            self.0.published.add(0, &[KeyValue::new("topic", topic.clone())]);
            self.expect_deaths(RELAY, topic, |stage| stage == Stage::Relay);
        }
    }

    /// Makes the counters of a group known before anything happens.
    pub fn expect_group(&self, group: &str, topics: &[String]) {
        let of_group = [KeyValue::new("group", group.to_owned())];
        self.0.duplicates.add(0, &of_group);
        self.0.facts.add(0, &of_group);
        for topic in topics {
            for counter in [&self.0.consumed, &self.0.processed, &self.0.retried] {
                counter.add(0, &of(group, topic));
            }
            self.expect_deaths(group, topic, |stage| stage != Stage::Relay);
        }
    }

    fn expect_deaths(&self, group: &str, topic: &str, is_ours: impl Fn(Stage) -> bool) {
        for (stage, kind) in WAYS_TO_DIE.into_iter().filter(|(stage, _)| is_ours(*stage)) {
            self.0.dead_lettered.add(0, &death(group, topic, stage, kind));
        }
    }

    /// Rows were claimed.
    pub(crate) fn claimed(&self, source: &str, rows: usize, took: Duration) {
        // Most claims find nothing, and would say nothing about those that do.
        if rows > 0 {
            self.took(Step::Claim, took);
            self.0.claimed.add(rows as u64, &[KeyValue::new("source", source.to_owned())]);
            self.batch(Step::Claim, rows);
        }
    }

    /// An append worked, or did not.
    pub(crate) fn appended(&self, events: &[Event], worked: bool, took: Duration) {
        let outcome = if worked { "success" } else { "failure" };
        self.0.publish_attempts.add(events.len() as u64, &[KeyValue::new("outcome", outcome)]);
        if worked {
            self.took(Step::Publish, took);
            self.batch(Step::Publish, events.len());
            for (topic, number) in counted(events.iter().map(|event| event.topic.as_str())) {
                self.0.published.add(number, &[KeyValue::new("topic", topic.to_owned())]);
            }
        }
    }

    /// Rows were set aside that can never be published.
    pub(crate) fn refused(&self, refused: &[Refused]) {
        for one in refused {
            self.died(RELAY, &one.letter);
        }
    }

    /// Events that were lost are published again.
    pub(crate) fn reconciled(&self, events: u64) {
        self.0.reconciled.add(events, &[]);
    }

    /// Entries were read.
    pub(crate) fn consumed<'a>(&self, group: &str, topics: impl Iterator<Item = &'a str>) {
        for (topic, number) in counted(topics) {
            self.0.consumed.add(number, &of(group, topic));
        }
    }

    /// A try failed for now.
    pub(crate) fn retried(&self, group: &str, topic: &str) {
        self.0.retried.add(1, &of(group, topic));
    }

    /// A batch was recorded; of those that took effect before nobody knows which they were, only how many.
    pub(crate) fn recorded(&self, group: &str, batch: &[Recording], recorded: Recorded, took: Duration) {
        self.took(Step::Record, took);
        self.batch(Step::Record, batch.len());
        let of_group = [KeyValue::new("group", group.to_owned())];
        self.0.duplicates.add(recorded.duplicates, &of_group);
        let processed = batch.iter().filter(|one| matches!(one.outcome, Outcome::Processed(_)));
        let processed = processed.take(as_size(recorded.new - recorded.dead_lettered));
        for (topic, number) in counted(processed.map(|one| &*one.entry.partition.topic)) {
            self.0.processed.add(number, &of(group, topic));
        }
        let letters = batch.iter().filter_map(|one| match &one.outcome {
            Outcome::DeadLettered(letter) => Some(letter),
            Outcome::Processed(_) => None,
        });
        letters.take(as_size(recorded.dead_lettered)).for_each(|letter| self.died(group, letter));
        if recorded.duplicates > 0 {
            return; // what has come again says nothing of how long it took, nor anything new
        }
        let now = Utc::now();
        let mut facts = 0;
        for one in batch {
            if let Outcome::Processed(said) = &one.outcome {
                facts += said.as_ref().map_or(0, |said| said.facts.len());
            }
            if let Ok(event) = &one.entry.event {
                self.0.latency.record(event.age(now).as_secs_f64(), &of_group);
            }
        }
        self.0.facts.add(facts as u64, &of_group);
    }

    /// A step took so long for one batch.
    pub(crate) fn took(&self, step: Step, duration: Duration) {
        self.0.step_duration.record(duration.as_secs_f64(), &[KeyValue::new("stage", step.as_str())]);
    }

    /// A batch had so many events.
    pub(crate) fn batch(&self, step: Step, events: usize) {
        self.0.batch_size.record(events as u64, &[KeyValue::new("stage", step.as_str())]);
    }

    fn died(&self, group: &str, letter: &DeadLetter) {
        let attributes = death(group, &letter.topic, letter.cause.stage, letter.cause.kind);
        self.0.dead_lettered.add(1, &attributes);
    }
}

fn of(group: &str, topic: &str) -> [KeyValue; 2] {
    [KeyValue::new("group", group.to_owned()), KeyValue::new("topic", topic.to_owned())]
}

fn death(group: &str, topic: &str, stage: Stage, kind: ErrorKind) -> [KeyValue; 4] {
    let [group, topic] = of(group, topic);
    [group, topic, KeyValue::new("stage", stage.as_str()), KeyValue::new("kind", kind.as_str())]
}

/// How often each of them comes.
fn counted<'a>(names: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, u64> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

fn as_size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
