//! `factline bench flat`: what an event costs in a large deployment, against a small one in the same run.
//!
//! Both begin empty; the large one is laden first. The rounds of either follow each other in the same tables. What is
//! laden is an hour old and known to nobody, so each round's own events alone are measured and verified.

mod case;

use factline_pipeline::outbox::NewEvent;

use self::case::{Case, Spread};
use super::{
    Common, Shape,
    child::Only,
    lab::Lab,
    load::Load,
    report::{Report, Samples, median},
    rounds::{Rounds, rate, run_daemon},
    verify,
    watch::Done,
};
use crate::{
    config::{Service, service_of},
    trial::{Ballast, Snapshot, Subject},
};

/// Rows that are laden, and events that are inserted, in one step.
const STEP: u64 = 50_000;
const BATCH: u64 = 5_000;

/// Partitions of the large deployment.
const PARTITIONS: u16 = 64;

/// Of a deployment's rounds.
const THROUGHPUT: &str = "throughput";
const PROCESSOR: &str = "processor";

/// What may be lost before somebody has to explain it.
const TARGET: &str = "≥ 0.7";

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Arguments {
    /// Only this case; may be given again
    #[arg(long = "case", value_name = "NAME", value_enum)]
    cases: Vec<Case>,
    /// Makes everything that is large so many times as large
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = positive)]
    scale: f64,
    /// Events in a round
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    events: u64,
    /// Rounds that count, of either deployment; one more warms up before them
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[command(flatten)]
    shape: Shape,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    if number.is_finite() && number > 0.0 { Ok(number) } else { Err("it must be greater than 0".into()) }
}

impl Arguments {
    fn cases(&self) -> Vec<Case> {
        let mut cases = if self.cases.is_empty() { Case::ALL.to_vec() } else { self.cases.clone() };
        cases.sort_unstable();
        cases.dedup();
        cases
    }

    fn common(&self) -> Common {
        let Self { events, rounds, shape, json, .. } = *self;
        Common { events, rounds, shape, json, plot: None }
    }
}

/// What one deployment has come to.
#[derive(Default)]
struct Measured {
    /// Events a second, by round.
    throughput: Vec<f64>,
    /// Seconds of all processes' processor time, by round.
    processor: Vec<f64>,
}

pub(super) async fn run(lab: &mut Lab, arguments: &Arguments) -> anyhow::Result<Report> {
    let common = arguments.common();
    let (mut samples, mut notes) = (Samples::default(), Vec::new());
    let mut cases = arguments.cases();
    if service_of(&lab.config().source.url) == Some(Service::Sqlite) && cases.contains(&Case::DeadTuples) {
        cases.retain(|case| *case != Case::DeadTuples);
        notes.push(
            "dead-tuples is left out: an embedded database keeps no old versions in its tables".to_owned(),
        );
    }
    lab.fresh().await?;
    tell_of_space(arguments, &cases);
    for case in &cases {
        notes.extend(measure(lab, *case, arguments, &common, &mut samples).await?);
    }
    let mut report = Report::new("flat", lab.header(&common).await?, samples, common.json);
    for case in cases {
        report.aim(case.names().throughput, TARGET);
    }
    report.notes = notes;
    Ok(report)
}

/// Before anything is made.
fn tell_of_space(arguments: &Arguments, cases: &[Case]) {
    let most = cases.iter().map(|case| {
        let rows = case.rows(arguments.scale);
        (rows + arguments.events * u64::from(arguments.rounds + 1))
            * case.bytes_of_row(arguments.shape.payload_bytes)
    });
    eprintln!(
        "the largest case takes about {} MB where the database is, and for a while as much in its log of changes; it is \
         given back",
        most.max().unwrap_or_default().div_ceil(1_000_000)
    );
}

/// Both deployments of a case.
async fn measure(
    lab: &mut Lab,
    case: Case,
    arguments: &Arguments,
    common: &Common,
    samples: &mut Samples,
) -> anyhow::Result<Option<String>> {
    lab.fresh().await?;
    let small = deployment(lab, common, Spread::Evenly, "small").await?;
    let subject = lab.store()?.most_stated().await?;
    let partitions = lab.partitions();
    if case == Case::Partitions {
        lab.set_partitions(PARTITIONS);
    }
    lab.fresh().await?;
    let held = laden(lab, case, arguments, subject).await?;
    let large = deployment(lab, common, Spread::of(case, arguments.scale), case.names().large).await?;
    drop(held);
    lab.set_partitions(partitions);
    add(samples, case, &small, &large);
    let rows = case.rows(arguments.scale);
    let size = lab.source()?.size().await?.max(lab.store()?.size().await?);
    Ok((rows > 0).then(|| {
        let (rows, megabytes) = (super::report::grouped(super::rounds::count(rows)), size / 1_000_000);
        format!("{}: {rows} rows beforehand, and a database of {megabytes} MB at the end", case.names().large)
    }))
}

fn add(samples: &mut Samples, case: Case, small: &Measured, large: &Measured) {
    let names = case.names();
    for (name, measured) in [(names.small, small), (names.large, large)] {
        measured.throughput.iter().for_each(|rate| samples.add(name, "events/s", *rate));
    }
    samples.add(names.throughput, "", median(&large.throughput) / median(&small.throughput));
    let (small, large) = (median(&small.processor), median(&large.processor));
    samples.add_known(names.processor, "", (small > 0.0).then_some(large / small));
}

/// Fills the tables. What is given back is to be kept while it is measured.
async fn laden(
    lab: &Lab,
    case: Case,
    arguments: &Arguments,
    subject: Option<Subject>,
) -> anyhow::Result<Option<Snapshot>> {
    let group = lab.config().groups.first().map_or("", |group| &group.name);
    let Some(ballast) = case.ballast(arguments.common().load(), group, subject) else { return Ok(None) };
    let held = if case == Case::DeadTuples { lab.source()?.hold_snapshot().await? } else { None };
    let place = match ballast {
        Ballast::Processed(_) | Ballast::Marked(_) => lab.source()?,
        Ballast::Recorded(_) | Ballast::Facts(_) => lab.store()?,
    };
    let rows = case.rows(arguments.scale);
    let bar = crate::cli::progress::bar(Some(rows), "{msg} {bar:30} {pos}/{len} rows");
    bar.set_message(case.names().large);
    for from in (0..rows).step_by(usize::try_from(STEP)?) {
        let step = STEP.min(rows - from);
        place.add(&ballast, i64::try_from(from)?, i64::try_from(step)?).await?;
        bar.inc(step);
    }
    bar.finish_and_clear();
    Ok(held)
}

/// The rounds of one deployment, each with events that none before had.
async fn deployment(lab: &mut Lab, common: &Common, spread: Spread, what: &str) -> anyhow::Result<Measured> {
    let mut rounds = Rounds::new(common);
    let mut first = 0;
    while rounds.begin() {
        let before = lab.source()?.mark_now().await?;
        insert(lab, common.load(), spread, first, &rounds).await?;
        first += common.events;
        lab.source()?.settle().await?;
        let begun = lab.store()?.mark_now().await?;
        let done = Done::Recorded(common.events);
        let run = run_daemon(lab, Only::Everything, done, rounds.step(what)).await?;
        verify::recorded_since(lab, common.events, begun).await?;
        let marked = lab.source()?.marked_since(before).await?;
        let recorded = lab.store()?.recorded_since(begun).await?;
        let throughput = rate(common.events, marked.first, recorded.last)?;
        rounds.samples.add(THROUGHPUT, "events/s", throughput);
        rounds.samples.add_known(PROCESSOR, "s", run.processor());
    }
    let mut measured = Measured::default();
    for figure in rounds.samples.figures() {
        match figure.name {
            THROUGHPUT => measured.throughput = figure.rounds,
            _ => measured.processor = figure.rounds,
        }
    }
    Ok(measured)
}

async fn insert(lab: &Lab, load: Load, spread: Spread, first: u64, rounds: &Rounds) -> anyhow::Result<()> {
    let bar = rounds.step("filling the outbox");
    for from in (0..load.events).step_by(usize::try_from(BATCH)?) {
        let numbers = first + from..first + load.events.min(from + BATCH);
        let events: Vec<NewEvent> = numbers.map(|number| spread.event(load, number)).collect();
        lab.adapters()?.databases.outbox.insert(&events).await?;
        bar.inc(events.len() as u64);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_is_told_against_small() {
        let measured = |throughput: [f64; 3], processor: &[f64]| Measured {
            throughput: throughput.to_vec(),
            processor: processor.to_vec(),
        };
        let mut samples = Samples::default();
        add(&mut samples, Case::Keys, &measured([100.0, 90.0, 200.0], &[2.0]), &measured([80.0; 3], &[3.0]));
        let figures = samples.figures();
        let value = |name: &str| figures.iter().find(|figure| figure.name == name).unwrap().median;
        assert!((value("keys: throughput, large to small") - 0.8).abs() < 1e-9);
        assert!((value("keys: processor time, large to small") - 1.5).abs() < 1e-9);
        assert_eq!(figures[0].rounds, [100.0, 90.0, 200.0]);
    }

    #[test]
    fn a_scale_is_a_positive_number() {
        assert!(positive("0.01").is_ok());
        for wrong in ["0", "-1", "inf", "much"] {
            assert!(positive(wrong).is_err(), "{wrong}");
        }
    }
}
