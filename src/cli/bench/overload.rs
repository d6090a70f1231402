//! `factline bench overload`: what becomes of throughput and memory while twice as many events come as the daemon can
//! take, and how long the rest takes to drain.
//!
//! What the daemon can take is measured first, by draining an outbox that was filled before. While events come, those
//! who insert them share the processors with the daemon and the servers: that alone makes it slower than then.

use std::{
    path::PathBuf,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tokio::time::sleep;

use super::{
    Common, Shape,
    child::{Child, Only},
    end_to_end::through,
    floor::Loop,
    lab::Lab,
    meter::memory,
    pace,
    plot::{self, Across, Chart, Line},
    report::{Report, Samples},
    rounds::{Rounds, count, run_daemon},
    verify,
    watch::Done,
};

/// How many times as many events come as the daemon can take.
const TIMES: f64 = 2.0;

/// How often it is looked at; more often in a short run.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOKS: u32 = 12;

/// A daemon that does nothing for so long will not do more.
const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Arguments {
    /// How long too many events come
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Events that are drained to find out how many can be taken
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    events: u64,
    #[command(flatten)]
    shape: Shape,
    /// Draw throughput and memory over time into this SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// What is to be seen at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Look {
    /// Seconds since the first event came.
    second: f64,
    inserted: u64,
    recorded: u64,
    /// Bytes that the daemon has resident.
    memory: u64,
}

/// What was seen, and when the last event came.
struct Course {
    looks: Vec<Look>,
    end: f64,
}

pub(super) async fn run(lab: &mut Lab, arguments: &Arguments) -> anyhow::Result<Report> {
    let Arguments { events, shape, json, plot, seconds } = arguments.clone();
    plot::check(plot.as_ref())?;
    // The first drain warms up, the second one counts.
    let common = Common { events, rounds: 1, shape, json, plot: plot.clone() };
    let sustainable = sustainable(lab, &common).await?;
    lab.fresh().await?;
    let seconds = Duration::from_secs(seconds.into());
    let course = overload(lab, &common, sustainable * TIMES, seconds).await?;
    let inserted = course.looks.last().map_or(0, |look| look.inserted);
    verify::recorded(lab, inserted).await?;
    if let Some(file) = &plot {
        plot::write(file, &course.charts(sustainable))?;
    }
    let mut samples = Samples::default();
    course.add_to(&mut samples, sustainable);
    let mut report = Report::new("overload", lab.header(&common).await?, samples, json);
    report.notes.push(format!(
        "what the daemon can take was measured while nothing came; then {} events came in {} s, and whoever inserts \
         them shares this host's processors with it; all of them were verified",
        super::report::grouped(count(inserted)),
        seconds.as_secs()
    ));
    Ok(report)
}

/// Events a second of a drained outbox.
async fn sustainable(lab: &mut Lab, common: &Common) -> anyhow::Result<f64> {
    let mut rounds = Rounds::new(common);
    let mut rate = 0.0;
    while rounds.begin() {
        lab.fresh_with(common.load(), rounds.step("filling the outbox")).await?;
        let done = Done::Recorded(common.events);
        run_daemon(lab, Only::Everything, done, rounds.step("what it can take")).await?;
        verify::recorded(lab, common.events).await?;
        rate = through(lab).await?;
    }
    Ok(rate)
}

async fn overload(lab: &Lab, common: &Common, rate: f64, seconds: Duration) -> anyhow::Result<Course> {
    let mut child = lab.daemon(Only::Everything)?;
    child.ready().await?;
    let inserted = Arc::new(AtomicU64::new(0));
    let inserting = pace::in_batches(lab.config(), common.load(), rate, seconds, inserted.clone())?;
    let course = watch(&mut child, inserting, &inserted, LOOK_EVERY.min(seconds / LOOKS)).await?;
    child.stop().await?;
    Ok(course)
}

/// Until all that came is recorded.
async fn watch(
    child: &mut Child,
    inserting: Loop,
    inserted: &AtomicU64,
    every: Duration,
) -> anyhow::Result<Course> {
    let begun = Instant::now();
    let mut looks: Vec<Look> = Vec::new();
    let mut inserting = pin!(inserting.ended());
    let mut end = None;
    let mut last = (0, begun);
    loop {
        let look = look(child, inserted, begun).await?;
        looks.push(look);
        if let Some(end) = end.filter(|_| look.recorded >= look.inserted) {
            return Ok(Course { looks, end });
        }
        if look.recorded > last.0 {
            last = (look.recorded, Instant::now());
        }
        if last.1.elapsed() > PATIENCE {
            bail!(
                "the daemon under test has recorded {} of {} events, and nothing more",
                last.0,
                look.inserted
            );
        }
        tokio::select! {
            ended = &mut inserting, if end.is_none() => {
                ended?;
                end = Some(begun.elapsed().as_secs_f64());
            }
            () = sleep(every) => {}
        }
    }
}

async fn look(child: &mut Child, inserted: &AtomicU64, begun: Instant) -> anyhow::Result<Look> {
    child.lives()?;
    let metrics = child.http().get("/metrics.json").await?.ok()?;
    Ok(Look {
        second: begun.elapsed().as_secs_f64(),
        // In this order: what is recorded was inserted.
        recorded: Done::Recorded(0).so_far(&metrics),
        inserted: inserted.load(Ordering::Relaxed),
        memory: memory(child.id()).context("the daemon is gone")?,
    })
}

impl Course {
    fn add_to(&self, samples: &mut Samples, sustainable: f64) {
        let (first, second) = (self.rate(0.0, self.end / 2.0), self.rate(self.end / 2.0, self.end));
        let [early, late] = [self.end / 4.0, self.end].map(|second| self.memory(second));
        let looks = &self.looks;
        let inserted = count(looks.last().map_or(0, |look| look.inserted)) / self.end;
        samples.add("what the daemon can take", "events/s", sustainable);
        samples.add("inserted", "events/s", inserted);
        samples.add("inserted, times what it can take", "", inserted / sustainable);
        samples.add("recorded, first half", "events/s", first);
        samples.add("recorded, second half", "events/s", second);
        samples.add("second half, of what it can take", "", second / sustainable);
        samples.add("second half, of the first half", "", second / first);
        samples.add("memory after the first quarter", "MiB", mebibytes(early));
        samples.add("memory at the end", "MiB", mebibytes(late));
        samples.add("memory, end to first quarter", "", count(late) / count(early));
        let most = looks.iter().map(|look| look.memory).max().unwrap_or_default();
        samples.add("memory, the most of all looks", "MiB", mebibytes(most));
        let last = looks.last().map_or(self.end, |look| look.second);
        samples.add("draining the rest", "s", (last - self.end).max(0.0));
    }

    /// Events recorded a second between two moments.
    fn rate(&self, from: f64, to: f64) -> f64 {
        (self.recorded(to) - self.recorded(from)) / (to - from)
    }

    /// Events recorded by then, on the line from the look before to the one after.
    fn recorded(&self, second: f64) -> f64 {
        let after = self.looks.partition_point(|look| look.second < second);
        let nothing = Look { second: 0.0, inserted: 0, recorded: 0, memory: 0 };
        let before = after.checked_sub(1).and_then(|index| self.looks.get(index)).unwrap_or(&nothing);
        let Some(after) = self.looks.get(after) else { return count(before.recorded) };
        let passed = after.second - before.second;
        let part = if passed > 0.0 { (second - before.second) / passed } else { 1.0 };
        count(before.recorded) + part * (count(after.recorded) - count(before.recorded))
    }

    /// Bytes resident at the first look from then on.
    fn memory(&self, second: f64) -> u64 {
        let look = self.looks.iter().find(|look| look.second >= second).or(self.looks.last());
        look.map_or(0, |look| look.memory)
    }

    fn charts(&self, sustainable: f64) -> [Chart; 2] {
        let line = |label: &str, points| Line { label: label.into(), points };
        let span = self.looks.last().map_or(self.end, |look| look.second);
        let throughput = Chart {
            title: "factline: throughput while twice as many events come as it can take".into(),
            across_label: "seconds",
            up_label: "events/s",
            across: Across::Evenly,
            lines: vec![
                line("recorded", self.rates(|look| look.recorded)),
                line("inserted", self.rates(|look| look.inserted)),
                line("what it can take", vec![(0.0, sustainable), (span, sustainable)]),
            ],
        };
        let memory = self.looks.iter().map(|look| (look.second, mebibytes(look.memory))).collect();
        let memory = Chart {
            title: "factline: the daemon's resident memory meanwhile".into(),
            across_label: "seconds",
            up_label: "MiB",
            across: Across::Evenly,
            lines: vec![line("resident", memory)],
        };
        [throughput, memory]
    }

    fn rates(&self, of: fn(&Look) -> u64) -> Vec<(f64, f64)> {
        let rate = |pair: &[Look]| {
            let [before, after] = pair else { return None };
            let passed = after.second - before.second;
            let rate = count(of(after).saturating_sub(of(before))) / passed;
            (passed > 0.0).then_some((f64::midpoint(before.second, after.second), rate))
        };
        self.looks.windows(2).filter_map(rate).collect()
    }
}

fn mebibytes(bytes: u64) -> f64 {
    count(bytes) / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_and_quarters_are_those_of_the_time_in_which_events_came() {
        let look = |second, inserted, recorded, memory: u64| Look {
            second,
            inserted,
            recorded,
            memory: memory << 20,
        };
        let looks = vec![
            look(0.0, 0, 0, 10),
            look(1.0, 200, 90, 20),
            look(2.0, 400, 190, 25),
            look(3.0, 600, 280, 26),
            look(4.0, 800, 350, 30),
            look(10.0, 800, 800, 28),
        ];
        let mut samples = Samples::default();
        Course { looks, end: 4.0 }.add_to(&mut samples, 100.0);
        let figures = samples.figures();
        let value = |name: &str| figures.iter().find(|figure| figure.name == name).unwrap().median;
        for (name, wanted) in [
            ("inserted", 200.0),
            ("inserted, times what it can take", 2.0),
            ("recorded, first half", 95.0),
            ("recorded, second half", 80.0),
            ("second half, of what it can take", 0.8),
            ("memory after the first quarter", 20.0),
            ("memory at the end", 30.0),
            ("memory, end to first quarter", 1.5),
            ("draining the rest", 6.0),
        ] {
            assert!((value(name) - wanted).abs() < 1e-9, "{name}: {}", value(name));
        }
    }

    #[test]
    fn what_lies_between_two_looks_is_on_the_line_between_them() {
        let look = |second, recorded| Look { second, inserted: 0, recorded, memory: 0 };
        let course = Course { looks: vec![look(1.0, 100), look(3.0, 300)], end: 3.0 };
        for (second, recorded) in [(0.0, 0.0), (0.5, 50.0), (1.0, 100.0), (2.0, 200.0), (9.0, 300.0)] {
            assert!((course.recorded(second) - recorded).abs() < 1e-9, "{second}");
        }
        assert_eq!(course.rates(|look| look.recorded), [(2.0, 100.0)]);
    }
}
