//! `bench extract`: what reading a message costs, from the event's payload to its facts and its title, on one core.
//!
//! Needs no server. The example conversations are always read, a file of one's own if one is named, and messages made to
//! slow extraction down.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use chrono::DateTime;
use factline_pipeline::{event::Event, extraction, extractor::Extractor, outbox::NewEvent};
use uuid::Uuid;

use super::report::{Report, Samples};
use crate::{
    cli::{demo, emit},
    config::Config,
    extract::{self, adversarial},
};

/// The extractors that a daemon has by default.
const EXTRACTORS: [&str; 2] = ["patterns", "title"];

/// Messages in a round at least: fewer are read several times.
const LEAST_MESSAGES: usize = 20_000;

/// How long each message is that is made to be slow, in KiB: as much as any extractor considers.
const ADVERSARIAL_KIB: usize = 64;

/// Nothing takes that long.
const DEADLINE: Duration = Duration::from_mins(1);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Read these events as well, a JSON object a line, as `emit --file` takes them
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Rounds that count; one more warms up before them
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: &Arguments, config: &Config) -> anyhow::Result<Report> {
    let extractors: Vec<_> = EXTRACTORS.iter().filter_map(|kind| extract::build(kind)).collect();
    let mut sets = vec![Set::of_examples(config)?];
    if let Some(path) = &arguments.file {
        sets.push(Set::of_file(path, config)?);
    }
    let slow: Vec<(String, Event)> = adversarial::payloads(ADVERSARIAL_KIB * 1024)
        .into_iter()
        .map(|(name, payload)| (name, event_of_payload(payload)))
        .collect();
    let (mut samples, mut worst) = (Samples::default(), "");
    for round in 0..=arguments.rounds {
        if round == 1 {
            samples.clear(); // that was the warm-up
        }
        for set in &sets {
            samples.add(set.figure, "µs", set.mean(&extractors).await);
        }
        let mut most = 0.0;
        for (name, event) in &slow {
            let micros = micros_of(&extractors, event).await;
            if micros > most {
                (most, worst) = (micros, name.as_str());
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a small constant")]
        samples.add("adversarial, the worst, per KiB", "µs", most / ADVERSARIAL_KIB as f64);
        tokio::task::yield_now().await; // so that it can be ended
    }
    let mut header = vec![("extractors".to_owned(), EXTRACTORS.join(", "))];
    for set in &sets {
        header.push((set.figure.to_owned(), set.described(&extractors).await));
    }
    let mut report = Report::new("extract", header, samples, arguments.json);
    report.notes.push(format!(
        "{} adversarial messages of {ADVERSARIAL_KIB} KiB; the worst of the last round: {worst}",
        slow.len()
    ));
    Ok(report)
}

/// Messages that are measured together.
struct Set {
    figure: &'static str,
    events: Vec<Event>,
}

impl Set {
    fn of_examples(config: &Config) -> anyhow::Result<Self> {
        let events = demo::CONVERSATIONS.lines().map(|line| emit::event_of_line(line, &config.source));
        let events = events.map(|event| Ok(of_outbox(event?))).collect::<anyhow::Result<_>>();
        Ok(Self { figure: "a message of the examples", events: events.context("the examples are broken")? })
    }

    fn of_file(path: &Path, config: &Config) -> anyhow::Result<Self> {
        let shown = path.display();
        let file = File::open(path).with_context(|| format!("{shown} cannot be read"))?;
        let mut events = Vec::new();
        for (index, line) in BufReader::new(file).lines().enumerate() {
            let line = line.with_context(|| format!("{shown} cannot be read"))?;
            if line.trim().is_empty() {
                continue;
            }
            let event = emit::event_of_line(&line, &config.source);
            events.push(of_outbox(event.with_context(|| format!("line {} of {shown}", index + 1))?));
        }
        if events.is_empty() {
            bail!("{shown} has no events; write one a line, as `factline emit --file` takes them");
        }
        Ok(Self { figure: "a message of the file", events })
    }

    /// Microseconds.
    async fn mean(&self, extractors: &[Arc<dyn Extractor>]) -> f64 {
        let passes = LEAST_MESSAGES.div_ceil(self.events.len());
        let begun = Instant::now();
        for _ in 0..passes {
            for event in &self.events {
                // What came of it is told once, by `described`.
                std::hint::black_box(extraction::try_once(extractors, event, DEADLINE).await.ok());
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of messages are small")]
        let messages = (passes * self.events.len()) as f64;
        begun.elapsed().as_secs_f64() * 1e6 / messages
    }

    async fn described(&self, extractors: &[Arc<dyn Extractor>]) -> String {
        let (mut messages, mut facts, mut titles, mut failed) = (0, 0, 0, 0);
        for event in &self.events {
            match extraction::try_once(extractors, event, DEADLINE).await {
                Ok(Some(said)) => {
                    messages += 1;
                    facts += said.facts.len();
                    titles += usize::from(said.title.is_some());
                }
                Ok(None) => {}
                Err(_) => failed += 1,
            }
        }
        format!("{messages} messages, {facts} facts, {titles} titles, {failed} failed")
    }
}

/// Microseconds.
async fn micros_of(extractors: &[Arc<dyn Extractor>], event: &Event) -> f64 {
    let begun = Instant::now();
    // Some are no messages, which costs something as well.
    std::hint::black_box(extraction::try_once(extractors, event, DEADLINE).await.ok());
    begun.elapsed().as_secs_f64() * 1e6
}

fn of_outbox(event: NewEvent) -> Event {
    Event {
        id: event.event_id.unwrap_or(Uuid::nil()),
        source: "bench".to_owned(),
        event_type: event.event_type,
        topic: event.topic,
        key: event.key,
        occurred_at: event.occurred_at.unwrap_or(DateTime::UNIX_EPOCH),
        created_at: None,
        sequence: None,
        trace: None,
        data: event.payload,
    }
}

fn event_of_payload(payload: String) -> Event {
    of_outbox(NewEvent {
        event_id: None,
        topic: "chat".to_owned(),
        key: "bench".to_owned(),
        event_type: factline_pipeline::chat::EVENT_TYPE.to_owned(),
        payload,
        occurred_at: None,
        trace: None,
    })
}
