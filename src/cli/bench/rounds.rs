//! One run of the daemon under test with all that is measured on the way, and how runs are repeated.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use indicatif::ProgressBar;

use super::{
    Common,
    child::Only,
    lab::Lab,
    meter::{Server, Stat, peak_memory},
    plot::{self, Line},
    report::Samples,
    watch::{self, Done},
};
use crate::{
    cli::progress,
    config::{Service, service_of},
    trial::{Tenth, Window},
};

/// SQLite's clock: less than this is no time at all.
const TICK: f64 = 0.001;

/// What one run of the daemon took.
pub(super) struct Run {
    daemon: Option<f64>,
    postgres: Option<f64>,
    redis: Option<f64>,
    log_bytes: Option<u64>,
    peak: Option<u64>,
    /// Events in a batch, by step.
    batches: BTreeMap<String, f64>,
}

/// The servers on this host, and what they had used before the run.
pub(super) struct Before {
    postgres: Vec<(Server, f64)>,
    redis: Option<(Server, f64)>,
    log: Option<u64>,
}

/// Starts a daemon, waits until it has done its work, and ends it.
pub(super) async fn run_daemon(
    lab: &mut Lab,
    only: Only,
    done: Done,
    bar: &ProgressBar,
) -> anyhow::Result<Run> {
    let before = Before::look(lab).await?;
    let mut child = lab.daemon(only)?;
    watch::until(&mut child, done, bar).await?;
    if let Done::Published(_) = done {
        watch::until_marked(&mut child, lab).await?;
    }
    let run = Run {
        daemon: Stat::of(child.id()).map(|stat| stat.own),
        peak: peak_memory(child.id()),
        postgres: before.postgres(),
        redis: before.redis(),
        log_bytes: log_position(lab)
            .await?
            .zip(before.log)
            .map(|(after, before)| after.saturating_sub(before)),
        batches: watch::mean_batches(&child).await?,
    };
    child.stop().await?;
    Ok(run)
}

impl Before {
    pub(super) async fn look(lab: &mut Lab) -> anyhow::Result<Self> {
        let (postgres, redis) = lab.servers().await?;
        let counted = |server: Server| server.seconds().map(|seconds| (server, seconds));
        Ok(Self {
            postgres: postgres.into_iter().filter_map(counted).collect(),
            redis: redis.and_then(counted),
            log: log_position(lab).await?,
        })
    }

    /// Seconds of processor time since then.
    pub(super) fn postgres(&self) -> Option<f64> {
        let spent = self.postgres.iter().map(|(server, before)| Some(server.seconds()? - before));
        spent.sum::<Option<f64>>().filter(|_| !self.postgres.is_empty())
    }

    /// The same of Redis.
    pub(super) fn redis(&self) -> Option<f64> {
        self.redis.and_then(|(server, before)| Some(server.seconds()? - before))
    }
}

/// Bytes that the servers have written to their logs of changes so far.
async fn log_position(lab: &Lab) -> anyhow::Result<Option<u64>> {
    let source = lab.source()?.log_position().await?;
    let store = if lab.has_one_database() { None } else { lab.store()?.log_position().await? };
    Ok(match (source, store) {
        (None, None) => None,
        // Of one server with two databases this is twice the same log.
        (source, store) if lab.has_one_server() => source.or(store),
        (source, store) => Some(source.unwrap_or_default() + store.unwrap_or_default()),
    })
}

impl Run {
    /// Everything that is told for each thousand events, or each one.
    pub(super) fn add_to(&self, samples: &mut Samples, events: u64) {
        let events = count(events);
        let for_thousand = |seconds: Option<f64>| seconds.map(|seconds| seconds / events * 1_000.0 * 1_000.0);
        samples.add_known("processor, daemon", "ms/1,000 events", for_thousand(self.daemon));
        samples.add_known("processor, PostgreSQL", "ms/1,000 events", for_thousand(self.postgres));
        samples.add_known("processor, Redis", "ms/1,000 events", for_thousand(self.redis));
        samples.add_known("log of changes", "bytes/event", self.log_bytes.map(|bytes| count(bytes) / events));
        self.add_peak_to(samples);
        for (step, name) in
            [("claim", "batch, claimed"), ("publish", "batch, published"), ("record", "batch, recorded")]
        {
            samples.add_known(name, "events", self.batches.get(step).copied());
        }
    }

    /// Seconds of processor time of the daemon and of those servers that are here.
    pub(super) fn processor(&self) -> Option<f64> {
        let servers = [self.postgres, self.redis].into_iter().flatten();
        self.daemon.map(|daemon| daemon + servers.sum::<f64>())
    }

    /// The most memory that the daemon had.
    pub(super) fn add_peak_to(&self, samples: &mut Samples) {
        add_peak(samples, self.peak);
    }
}

/// The most memory that a daemon had.
pub(super) fn add_peak(samples: &mut Samples, peak: Option<u64>) {
    samples.add_known(
        "memory, daemon at its peak",
        "MiB",
        peak.map(|bytes| count(bytes) / f64::from(1 << 20)),
    );
}

/// A count as a figure.
#[expect(clippy::cast_precision_loss, reason = "far from where that matters")]
pub(super) fn count(number: u64) -> f64 {
    number as f64
}

/// Events a second from one moment to another.
pub(super) fn rate(
    events: u64,
    first: Option<DateTime<Utc>>,
    last: Option<DateTime<Utc>>,
) -> anyhow::Result<f64> {
    let (Some(first), Some(last)) = (first, last) else { anyhow::bail!("no event was processed") };
    let seconds = (last - first).as_seconds_f64().max(TICK);
    Ok(count(events) / seconds)
}

impl Window {
    /// Rows a second.
    pub(super) fn rate(&self) -> anyhow::Result<f64> {
        rate(self.rows, self.first, self.last)
    }
}

/// The rounds of a benchmark: one that warms up, and those that count.
pub(super) struct Rounds {
    pub(super) samples: Samples,
    bar: ProgressBar,
    /// Counted from 1; 0 warms up.
    next: u32,
    now: u32,
    last: u32,
    /// One for each round that counts.
    lines: Vec<Line>,
}

impl Rounds {
    pub(super) fn new(common: &Common) -> Self {
        let bar = progress::bar(Some(common.events), "{msg} {bar:30} {pos}/{len} events");
        Self { samples: Samples::default(), bar, next: 0, now: 0, last: common.rounds, lines: Vec::new() }
    }

    /// All of them count.
    pub(super) fn without_warm_up(common: &Common) -> Self {
        Self { next: 1, ..Self::new(common) }
    }

    /// Whether there is another one. What was measured while warming up is forgotten.
    pub(super) fn begin(&mut self) -> bool {
        if self.next == 1 {
            self.samples.clear();
        }
        (self.now, self.next) = (self.next, self.next + 1);
        let more = self.now <= self.last;
        if !more {
            self.bar.finish_and_clear();
        }
        more
    }

    /// What this round has done when, for the chart.
    pub(super) fn keep(&mut self, tenths: &[Tenth]) {
        if self.now > 0 {
            self.lines.push(Line { label: format!("round {}", self.now), points: plot::over_time(tenths) });
        }
    }

    /// Draws what was kept, if that is wanted.
    pub(super) fn draw(&mut self, common: &Common, what: &str) -> anyhow::Result<()> {
        let Some(file) = &common.plot else { return Ok(()) };
        plot::write(file, &[plot::throughput(what, std::mem::take(&mut self.lines))])
    }

    /// Says what goes on.
    pub(super) fn step(&self, what: &str) -> &ProgressBar {
        self.bar.set_message(match self.now {
            0 => format!("warm-up, {what}"),
            round => format!("round {round} of {}, {what}", self.last),
        });
        self.bar.set_position(0);
        &self.bar
    }
}

impl Lab {
    /// The servers that run on this host.
    async fn servers(&mut self) -> anyhow::Result<(Vec<Server>, Option<Server>)> {
        let mut postgres: Vec<Server> = Vec::new();
        for (trial, url) in
            [(self.source()?, &self.config().source.url), (self.store()?, &self.config().store.url)]
        {
            let Some(process) = trial.about().await?.process else { continue };
            if service_of(url) != Some(Service::Postgres) {
                continue;
            }
            let server = Server::postgres(process, self.name());
            postgres.extend(server.filter(|server| !postgres.contains(server)));
        }
        let redis = match self.keys() {
            Some(keys) => keys.about().await?.process.and_then(Server::redis),
            None => None,
        };
        Ok((postgres, redis))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Shape, *};

    #[test]
    fn the_first_round_is_forgotten() {
        let shape = Shape { payload_bytes: 1, keys: 1 };
        let common = Common { events: 1, rounds: 2, shape, json: false, plot: None };
        let run = |mut rounds: Rounds| {
            while rounds.begin() {
                rounds.samples.add("round", "", f64::from(rounds.now));
            }
            rounds.samples.figures().remove(0).rounds
        };
        assert_eq!(run(Rounds::new(&common)), [1.0, 2.0]);
        assert_eq!(run(Rounds::without_warm_up(&common)), [1.0, 2.0]);
    }

    #[test]
    fn a_rate_is_of_the_time_between_the_first_and_the_last() {
        let at = |text: &str| Some(text.parse::<DateTime<Utc>>().unwrap());
        let (first, last) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T00:00:02.5Z"));
        assert!((rate(1_000, first, last).unwrap() - 400.0).abs() < 1e-9);
        assert!((rate(10, first, first).unwrap() - 10_000.0).abs() < 1e-6, "less than a tick is a tick");
        assert!(rate(0, None, None).is_err());
    }
}
