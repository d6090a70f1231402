//! `factline bench`: what these servers, or this disk, can take, and how close the daemon comes to it.
//!
//! The daemon under test is a child process with the user's own configuration, on databases and a key prefix that are
//! made for the measurement and removed after it. In the same round the same statements and commands are issued bare,
//! by a plain loop: the floor. What is reported is the ratio, for absolute figures do not carry from machine to
//! machine. After each run the daemon's work is verified; where that fails there are no figures.
//!
//! # Layout
//!
//! - `lab`: the throwaway databases and the configuration that leads there; `load`: the events; `child`: the daemon;
//! - `meter`: processor time, memory and log bytes; `verify`: whether everything was done once and in order;
//! - `floor`, with `handwritten`: the bare loops;
//! - `rounds`, `report`: what is repeated, and what is made of it; `watch`: how far a daemon has got;
//! - `pace`: events that come by the clock; `plot`: charts;
//! - the benchmarks: `relay`, `consume`, `end_to_end`, `backlog`, `idle`, `latency`, `overload`, `flat`;
//!   without a lab `extract`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;

use self::{lab::Lab, load::Load};
use super::{Verdict, drill::End};
use crate::config::{Config, Service, service_of};

mod backlog;
mod child;
mod consume;
mod end_to_end;
mod extract;
mod flat;
mod floor;
mod handwritten;
mod idle;
mod lab;
mod latency;
mod load;
mod meter;
mod overload;
mod pace;
mod plot;
mod relay;
mod report;
mod rounds;
mod verify;
mod watch;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// From the outbox to the stream, marked
    Relay(Common),
    /// From the stream to the ledger and the facts
    Consume(Common),
    /// From the outbox to the facts, all stages at once
    EndToEnd(Common),
    /// The daemon's memory while it drains a backlog of a million rows
    Backlog(backlog::Arguments),
    /// What an idle daemon costs, and how soon it is ready
    Idle(idle::Arguments),
    /// What reading a message costs, from its payload to its facts and title; needs no server
    Extract(extract::Arguments),
    /// How long an event takes at a steady rate, from commit to commit
    Latency(latency::Arguments),
    /// Throughput and memory while twice as many events come as the daemon can take
    Overload(overload::Arguments),
    /// What an event costs in a large deployment, against a small one
    Flat(flat::Arguments),
    /// Becomes the daemon under test; for the benchmarks themselves
    #[command(hide = true)]
    Child(child::Arguments),
}

/// What the events look like.
#[derive(Debug, Clone, Copy, clap::Args)]
struct Shape {
    /// Bytes of a payload
    #[arg(long, value_name = "N", default_value_t = 300)]
    payload_bytes: usize,
    /// Keys, and so conversations, that the events are spread over
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
}

/// What every benchmark takes.
#[derive(Debug, Clone, clap::Args)]
struct Common {
    /// Events in a round
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    events: u64,
    /// Rounds that count; one more warms up before them
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[command(flatten)]
    shape: Shape,
    /// Draw the rounds over time into this SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

impl Common {
    fn load(&self) -> Load {
        let Shape { payload_bytes, keys } = self.shape;
        Load { events: self.events, payload_bytes, keys }
    }
}

impl Arguments {
    /// What is to become of this process, if it is the child of a benchmark.
    pub(super) fn child(&self) -> Option<&child::Arguments> {
        if let Bench::Child(child) = &self.bench { Some(child) } else { None }
    }
}

pub(super) use self::child::become_daemon;

pub(super) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<Verdict> {
    let mut end = End::listen()?;
    let mut lab = None;
    let measured = end.or(measure(&arguments.bench, config, &mut lab)).await;
    // Whatever happened: nothing of ours stays behind.
    let removed = match lab {
        Some(lab) => {
            lab.remove().await.context("the benchmark's own databases and keys could not be removed")
        }
        None => Ok(()),
    };
    measured.and_then(|verdict| removed.map(|()| verdict))
}

/// The lab is kept by the caller, who tidies up when this was ended half-way.
async fn measure(bench: &Bench, config: &Config, lab: &mut Option<Lab>) -> anyhow::Result<Verdict> {
    if let Bench::Extract(arguments) = bench {
        extract::run(arguments, config).await?.print()?;
        return Ok(Verdict::Done);
    }
    let lab = lab.insert(Lab::new(config)?);
    lab.set_up().await?;
    let mut report = match bench {
        Bench::Relay(common) => relay::run(lab, common).await?,
        Bench::Consume(common) => consume::run(lab, common).await?,
        Bench::EndToEnd(common) => end_to_end::run(lab, common).await?,
        Bench::Backlog(arguments) => backlog::run(lab, arguments).await?,
        Bench::Idle(arguments) => idle::run(lab, arguments).await?,
        Bench::Latency(arguments) => latency::run(lab, arguments).await?,
        Bench::Overload(arguments) => overload::run(lab, arguments).await?,
        Bench::Flat(arguments) => flat::run(lab, arguments).await?,
        Bench::Extract(_) | Bench::Child(_) => unreachable!("needs no lab"),
    };
    let Config { source, store, stream, .. } = config;
    let elsewhere = "the server is not on this host";
    let counts_processors = !matches!(bench, Bench::Latency(_) | Bench::Overload(_) | Bench::Flat(_));
    if counts_processors
        && [&source.url, &store.url].into_iter().any(|url| service_of(url) == Some(Service::Postgres))
    {
        report.note_missing("processor, PostgreSQL", elsewhere);
    }
    if counts_processors && service_of(&stream.url) == Some(Service::Redis) {
        report.note_missing("processor, Redis", elsewhere);
    }
    report.print()?;
    Ok(Verdict::Done)
}

/// A file in the lab's folder.
type Log = PathBuf;
