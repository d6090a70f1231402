//! `factline bench latency`: how long an event takes from the commit of its insert to the commit of its ledger row, at
//! a steady rate far below what the daemon can do.
//!
//! A time counts from the moment at which the database said that the insert is committed, and, beside it, from the
//! moment at which the insert was due: a producer that the servers keep waiting hides nothing there. All times are of
//! one clock, the benchmark's.

mod sight;

use std::{
    path::PathBuf,
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hdrhistogram::Histogram;

use self::sight::Seen;
use super::{
    Common, Shape,
    child::Only,
    floor::Prepared,
    lab::Lab,
    load::Load,
    pace,
    plot::{self, Across, Chart, Line},
    report::{Report, Samples},
    rounds::{Rounds, count},
    verify,
};

/// Events of the floor.
const FLOOR_EVENTS: u64 = 500;

/// How many nines a curve is drawn to at the most.
const MOST_NINES: f64 = 5.0;

/// Of how many seconds a point of the chart over time is.
const WINDOW: f64 = 0.25;

/// What a round has come to: the curve, and the events behind it.
type Measured = (Histogram<u64>, Vec<Seen>);

type Shares = [(f64, &'static str); 5];

const COMMIT: Shares = [
    (0.5, "commit to commit, p50"),
    (0.9, "commit to commit, p90"),
    (0.99, "commit to commit, p99"),
    (0.999, "commit to commit, p99.9"),
    (1.0, "commit to commit, max"),
];

const DUE: Shares = [
    (0.5, "from when the insert was due, p50"),
    (0.9, "from when the insert was due, p90"),
    (0.99, "from when the insert was due, p99"),
    (0.999, "from when the insert was due, p99.9"),
    (1.0, "from when the insert was due, max"),
];

const FLOOR: [(f64, &str); 2] =
    [(0.5, "floor: one event by hand, p50"), (0.99, "floor: one event by hand, p99")];

const DOUBT: [(f64, &str); 2] =
    [(0.5, "of it the look's, at most, p50"), (0.99, "of it the look's, at most, p99")];

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Arguments {
    /// Events a second, each in a transaction of its own
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Seconds in a round
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Seconds before them that do not count
    #[arg(long, value_name = "N", default_value_t = 3)]
    warm_up: u32,
    /// Rounds
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[command(flatten)]
    shape: Shape,
    /// Draw the percentiles into this SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

impl Arguments {
    fn common(&self) -> Common {
        let events = u64::from(self.rate) * u64::from(self.seconds + self.warm_up);
        let Self { rounds, shape, json, .. } = *self;
        Common { events, rounds, shape, json, plot: self.plot.clone() }
    }

    /// Events that warm up.
    fn uncounted(&self) -> usize {
        usize::try_from(u64::from(self.rate) * u64::from(self.warm_up)).unwrap_or(usize::MAX)
    }
}

pub(super) async fn run(lab: &mut Lab, arguments: &Arguments) -> anyhow::Result<Report> {
    let common = arguments.common();
    plot::check(common.plot.as_ref())?;
    let mut rounds = Rounds::without_warm_up(&common);
    let mut curves = Vec::new();
    while rounds.begin() {
        lab.fresh().await?;
        rounds.step("latency");
        let mut seen = round(lab, arguments, &common).await?;
        verify::recorded(lab, common.events).await?;
        seen.sort_by_key(|seen| seen.commit.due);
        let counted = seen.split_off(arguments.uncounted());
        let curve = add(&mut rounds.samples, &counted)?;
        let floor = floor(lab, common.load(), &rounds).await?;
        add_floor(&mut rounds.samples, &curve, &floor)?;
        curves.push((curve, counted));
    }
    if let Some(file) = &common.plot {
        plot::write(file, &charts(arguments.rate, &curves))?;
    }
    let mut report = Report::new("latency", lab.header(&common).await?, rounds.samples, common.json);
    report.aim("commit to commit, p50", "≤ 3");
    report.aim("commit to commit, p99", "≤ 7");
    report.notes.extend(notes(arguments));
    Ok(report)
}

fn notes(arguments: &Arguments) -> [String; 3] {
    let Arguments { rate, warm_up, .. } = arguments;
    [
        format!("{rate} events a second, each in a transaction of its own; the first {warm_up} seconds do not count"),
        "a time counts from the database's word that the insert is committed until a look of another connection finds \
         the ledger row; it looks again half a millisecond after each look, and so tells too late by what is said above \
         at the most"
            .into(),
        "the floor is claim, publish, read and the ledger's transaction of one event at a time, by one loop".into(),
    ]
}

/// The daemon with all stages, and events by the clock.
async fn round(lab: &Lab, arguments: &Arguments, common: &Common) -> anyhow::Result<Vec<Seen>> {
    let events = usize::try_from(common.events)?;
    let mut child = lab.daemon(Only::Everything)?;
    child.ready().await?;
    let (tell, commits) = mpsc::sync_channel(events);
    let (looking, seen) = sight::watch(lab.config(), commits, events)?;
    let inserting = pace::one_by_one(lab.config(), common.load(), arguments.rate.into(), tell)?;
    inserting.ended().await?;
    let looked = looking.ended().await;
    child.lives()?;
    looked?;
    child.stop().await?;
    seen.await.context("nobody has looked")
}

/// The figures of one round.
fn add(samples: &mut Samples, seen: &[Seen]) -> anyhow::Result<Histogram<u64>> {
    let curve = histogram(seen.iter().map(Seen::after))?;
    let due = histogram(seen.iter().map(|seen| seen.at.saturating_duration_since(seen.commit.due)))?;
    add_shares(samples, &curve, &COMMIT);
    add_shares(samples, &due, &DUE);
    add_shares(samples, &histogram(seen.iter().map(Seen::doubt))?, &DOUBT);
    if let (Some(first), Some(last)) = (seen.first(), seen.last()) {
        let seconds = (last.commit.made - first.commit.made).as_secs_f64();
        let rate = count(seen.len().saturating_sub(1) as u64) / seconds;
        samples.add_known("inserted", "events/s", Some(rate).filter(|rate| rate.is_finite()));
    }
    Ok(curve)
}

fn add_floor(samples: &mut Samples, curve: &Histogram<u64>, floor: &Histogram<u64>) -> anyhow::Result<()> {
    add_shares(samples, floor, &FLOOR);
    let [daemon, floor] = [curve, floor].map(|curve| millis(curve, 0.5));
    anyhow::ensure!(floor > 0.0, "the floor took no time");
    samples.add("ratio of the p50 to the floor's", "", daemon / floor);
    Ok(())
}

fn add_shares(samples: &mut Samples, curve: &Histogram<u64>, shares: &[(f64, &'static str)]) {
    for (share, name) in shares {
        samples.add(name, "ms", millis(curve, *share));
    }
}

/// In microseconds, with three digits that are right.
fn histogram(times: impl Iterator<Item = Duration>) -> anyhow::Result<Histogram<u64>> {
    let mut histogram = Histogram::new(3)?;
    for time in times {
        histogram.record(u64::try_from(time.as_micros())?)?;
    }
    Ok(histogram)
}

fn millis(curve: &Histogram<u64>, share: f64) -> f64 {
    count(curve.value_at_quantile(share)) / 1_000.0
}

/// One event at a time, by hand.
async fn floor(lab: &mut Lab, load: Load, rounds: &Rounds) -> anyhow::Result<Histogram<u64>> {
    let load = Load { events: FLOOR_EVENTS, ..load };
    lab.fresh_with(load, rounds.step("filling the outbox")).await?;
    let mut prepared = Prepared::of(lab).await?;
    rounds.step("floor");
    let inserts = (load.events..2 * load.events).map(|number| load.event(number)).collect();
    let (stepping, times) = prepared.one_by_one(inserts)?;
    stepping.ended().await?;
    histogram(times.await.context("the floor was not measured")?.into_iter())
}

fn charts(rate: u32, rounds: &[Measured]) -> [Chart; 2] {
    let lines = |points: fn(&Measured) -> Vec<(f64, f64)>| {
        let line = |(number, round)| Line { label: format!("round {}", number + 1), points: points(round) };
        rounds.iter().enumerate().map(line).collect()
    };
    let title = |what: &str| format!("factline: {what} at {rate} events/s, commit to commit");
    let percentiles = Chart {
        title: title("latency"),
        across_label: "share of the events",
        up_label: "at most so many ms",
        across: Across::Nines,
        lines: lines(|(curve, _)| percentiles(curve)),
    };
    let over_time = Chart {
        title: title("p99 of each quarter of a second"),
        across_label: "seconds",
        up_label: "p99 in ms",
        across: Across::Evenly,
        lines: lines(|(_, seen)| over_time(seen)),
    };
    [percentiles, over_time]
}

/// As far as there are events: of a thousand, the last point is at 99.9 per cent.
fn percentiles(curve: &Histogram<u64>) -> Vec<(f64, f64)> {
    let most = plot::nines(1.0 - 1.0 / count(curve.len().max(2))).min(MOST_NINES);
    let steps = (0..=100).map(|step| most * f64::from(step) / 100.0);
    steps.map(|nines| (nines, millis(curve, 1.0 - 10_f64.powf(-nines)))).collect()
}

/// Of each window in which an event was due.
fn over_time(seen: &[Seen]) -> Vec<(f64, f64)> {
    let Some(begun) = seen.first().map(|seen| seen.commit.due) else { return Vec::new() };
    let window = |seen: &Seen| {
        let after: Instant = seen.commit.due;
        (after.saturating_duration_since(begun).as_secs_f64() / WINDOW).floor()
    };
    let windows = seen.chunk_by(|one, next| window(one).total_cmp(&window(next)).is_eq());
    windows
        .filter_map(|events| {
            let curve = histogram(events.iter().map(Seen::after)).ok()?;
            Some(((window(events.first()?) + 0.5) * WINDOW, millis(&curve, 0.99)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Event `n` of a thousand, due and made at the n-th millisecond, seen after so many.
    fn seen(after: impl Fn(u64) -> u64) -> Vec<Seen> {
        let begun = Instant::now();
        let at = |number: u64| begun + Duration::from_millis(number);
        let one = |number: u64| Seen {
            commit: pace::Commit {
                event: uuid::Uuid::from_u128(number.into()),
                due: at(number),
                made: at(number + 1),
            },
            at: at(number + 1 + after(number)),
            missed: None,
        };
        (0..1_000).map(one).collect()
    }

    #[test]
    fn the_figures_are_the_shares_of_the_events() {
        let mut samples = Samples::default();
        let curve = add(&mut samples, &seen(|number| 1 + number / 100)).unwrap();
        let figures = samples.figures();
        let value = |name: &str| figures.iter().find(|figure| figure.name == name).unwrap().median;
        let near = |value: f64, wanted: f64| (value - wanted).abs() < wanted * 0.01;
        assert!(near(value("commit to commit, p50"), 5.0), "{}", value("commit to commit, p50"));
        assert!(near(value("commit to commit, max"), 10.0));
        assert!(near(value("from when the insert was due, p50"), 6.0));
        assert!(near(value("inserted"), 1_000.0));
        let points = percentiles(&curve);
        let last = points.last().unwrap();
        assert!(near(last.0, 3.0) && near(last.1, 10.0), "{last:?}");
    }

    #[test]
    fn a_stall_shows_where_it_was() {
        let points = over_time(&seen(|number| if number < 250 { 9 } else { 2 }));
        assert_eq!(points.len(), 4);
        assert!((points[0].1 - 9.0).abs() < 0.1 && (points[1].1 - 2.0).abs() < 0.1, "{points:?}");
        assert!((points[0].0 - WINDOW / 2.0).abs() < 1e-9);
    }
}
