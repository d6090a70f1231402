//! `factline drill redis-failure` and `postgres-failure`: a server goes away and comes back, and nothing is lost,
//! doubled, out of order or restarted.
//!
//! While Redis is away events are written on and on, and wait in the outbox. While PostgreSQL is away nobody can write
//! any; a drill measures that what was under way comes through, and what is written afterwards.

use std::time::Duration;

use anyhow::bail;
use factline_pipeline::{outage::Error, outbox::NewEvent};
use tokio::time::{Instant, sleep};

use super::{
    End,
    journal::Journal,
    scene::{LOOK_EVERY, Scene},
    server::Server,
};
use crate::{
    cli::measures::{duration, rate},
    config::{Config, Service, service_of},
};

/// How long events are written before the server goes away.
const STEADY: Duration = Duration::from_secs(2);

/// Keys that the events are spread over.
const KEYS: u32 = 16;

/// How often the daemon is asked how it does.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Who goes away.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Redis,
    Postgres,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Redis => "Redis",
            Self::Postgres => "PostgreSQL",
        }
    }

    fn service(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Postgres => "postgres",
        }
    }

    /// An embedded database cannot be taken away.
    pub(super) fn check(self, config: &Config) -> anyhow::Result<()> {
        let (key, url, wanted) = match self {
            Self::Redis => ("stream.url", &config.stream.url, Service::Redis),
            Self::Postgres => ("store.url", &config.store.url, Service::Postgres),
        };
        if service_of(url) != Some(wanted) {
            bail!(
                "{key} is an embedded database: there is no {} to take away; use the daemon's configuration",
                self.name()
            );
        }
        Ok(())
    }

    /// Whether it is away, as far as we can see.
    async fn is_away(self, scene: &Scene<'_>) -> Result<bool, Error> {
        let asked = match self {
            Self::Redis => scene.adapters.stream.topics().await.map(drop),
            Self::Postgres => scene.adapters.databases.leases.list().await.map(drop),
        };
        match asked {
            Ok(()) => Ok(false),
            Err(error) if error.is_outage() => Ok(true),
            Err(error) => Err(error),
        }
    }
}

#[derive(clap::Args)]
pub(super) struct Away {
    /// The command that stops the server [default: docker compose stop redis, or postgres]
    #[arg(long, value_name = "COMMAND")]
    stop: Option<String>,
    /// The command that starts it again; it is run whatever happens [default: docker compose start redis, or postgres]
    #[arg(long, value_name = "COMMAND")]
    start: Option<String>,
    /// How long it is away
    #[arg(long = "for", value_name = "TIME", value_parser = duration, default_value = "10s")]
    time: Duration,
    /// Events written a second
    #[arg(long, value_name = "R/s", value_parser = rate, default_value = "50/s")]
    rate: f64,
}

/// What was seen while the server was away.
#[derive(Default)]
struct Seen {
    /// It did not answer us.
    was_away: bool,
    /// What the daemons said first that were not well.
    degraded: Option<String>,
    /// Rows that waited in the outbox, at most.
    backlog_peak: u64,
    /// Rows that waited when it was about to come back.
    backlog: u64,
    /// Events written.
    written: usize,
}

impl Away {
    fn stop(&self, target: Target) -> String {
        self.stop.clone().unwrap_or_else(|| format!("docker compose stop {}", target.service()))
    }

    fn start(&self, target: Target) -> String {
        self.start.clone().unwrap_or_else(|| format!("docker compose start {}", target.service()))
    }

    pub(super) fn question(&self, target: Target) -> String {
        format!(
            "this takes {} away from everybody who uses it for {}, with `{}`, and brings it back with `{}`. Go on?",
            target.name(),
            humantime::format_duration(self.time),
            self.stop(target),
            self.start(target)
        )
    }

    pub(super) async fn run(
        &self,
        target: Target,
        scene: &mut Scene<'_>,
        journal: &mut Journal,
        end: &mut End,
    ) -> anyhow::Result<()> {
        let mut server = Server::new(&self.stop(target), &self.start(target));
        let played = end.or(self.play(target, scene, journal, &mut server)).await;
        // An interrupted drill has left it away; nothing interrupts this.
        server.bring_back().await?;
        played
    }

    async fn play(
        &self,
        target: Target,
        scene: &mut Scene<'_>,
        journal: &mut Journal,
        server: &mut Server,
    ) -> anyhow::Result<()> {
        let mut events = scene.probe(journal).await?;
        let before = scene.look().await?;
        journal.step(format!("writing {} events a second while all is well", self.rate));
        self.write_for(STEADY, scene, &mut events).await?;
        let backlog_before = scene.adapters.databases.outbox.backlog().await?.pending;

        journal.step(format!("taking {} away: {}", target.name(), self.stop(target)));
        server.take_away().await?;
        let away_since = Instant::now();
        journal.step(format!("{} is away", target.name()));
        let seen = self.wait_it_out(target, scene, &mut events).await?;
        journal.step(format!("bringing {} back: {}", target.name(), self.start(target)));
        server.bring_back().await?;
        let back_since = Instant::now();
        let deadline = back_since + scene.within;
        journal.seconds("outage_seconds", away_since.elapsed().as_secs_f64());

        journal.step("waiting until everything is recorded");
        if target == Target::Postgres {
            events.extend(self.write_when_it_is_back(scene, deadline).await?);
            journal.seconds("seconds_to_first_write", back_since.elapsed().as_secs_f64());
        }
        let all = scene.recorded_by(deadline, &events).await?;
        let took = back_since.elapsed().as_secs_f64();
        let limit = humantime::format_duration(scene.within);
        journal.check(format!("it recovered within {limit}"), all, format!("{took:.1} s"));
        if all {
            journal.seconds("seconds_to_recover", took);
        }
        self.judge(target, scene, journal, &seen, backlog_before).await?;
        scene.check_effects(journal, &events).await?;
        scene.check_restarts(journal, &before).await?;
        scene.tell_remains(journal, events.len());
        Ok(())
    }

    /// What must have been seen while it was away.
    async fn judge(
        &self,
        target: Target,
        scene: &Scene<'_>,
        journal: &mut Journal,
        seen: &Seen,
        backlog_before: u64,
    ) -> anyhow::Result<()> {
        let found = if seen.was_away { "it did not answer" } else { "it answered all the time" };
        journal.check(format!("{} was away", target.name()), seen.was_away, found);
        let what = "the daemon said that it was degraded";
        match (&seen.degraded, scene.daemons.look().await.silence()) {
            (Some(reason), _) => journal.check(what, true, reason),
            (None, Some(silence)) => journal.unchecked(what, silence),
            (None, None) => journal.check(what, false, "it said that all was well"),
        }
        if target == Target::Redis {
            let waited = seen.backlog >= seen.written as u64;
            let found = format!("{backlog_before} rows before, {} at most", seen.backlog_peak);
            journal.check("the outbox held the events", waited, found);
            journal.figure("backlog_peak", seen.backlog_peak);
        }
        Ok(())
    }

    /// Writes events at the rate for so long.
    async fn write_for(
        &self,
        time: Duration,
        scene: &mut Scene<'_>,
        events: &mut Vec<NewEvent>,
    ) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut written = 0;
        while began.elapsed() < time {
            sleep(LOOK_EVERY).await;
            written += self.write_due(began, written, scene, events).await?;
        }
        Ok(())
    }

    /// Writes what is due by now; says how many events.
    async fn write_due(
        &self,
        began: Instant,
        written: u32,
        scene: &mut Scene<'_>,
        events: &mut Vec<NewEvent>,
    ) -> anyhow::Result<u32> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates")]
        let due = (began.elapsed().as_secs_f64() * self.rate) as u32;
        let batch: Vec<NewEvent> = (written..due).map(|number| scene.events.plain(number % KEYS)).collect();
        if !batch.is_empty() {
            scene.adapters.databases.outbox.insert(&batch).await?;
        }
        events.extend(batch);
        Ok(due.saturating_sub(written))
    }

    /// Writes on, if that is possible, and watches.
    async fn wait_it_out(
        &self,
        target: Target,
        scene: &mut Scene<'_>,
        events: &mut Vec<NewEvent>,
    ) -> anyhow::Result<Seen> {
        let (began, before) = (Instant::now(), events.len());
        let mut seen = Seen::default();
        let (mut written, mut asked) = (0, None::<Instant>);
        while began.elapsed() < self.time {
            sleep(LOOK_EVERY).await;
            if target == Target::Redis {
                written += self.write_due(began, written, scene, events).await?;
            }
            if asked.is_some_and(|asked| asked.elapsed() < ASK_EVERY) {
                continue;
            }
            asked = Some(Instant::now());
            seen.look(target, scene).await?;
        }
        seen.written = events.len() - before;
        seen.look(target, scene).await?;
        Ok(seen)
    }

    /// Writes a second's worth of events as soon as that is possible. What could not be written may be there all the
    /// same, and is not counted on.
    async fn write_when_it_is_back(
        &self,
        scene: &mut Scene<'_>,
        deadline: Instant,
    ) -> anyhow::Result<Vec<NewEvent>> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates")]
        let number = self.rate.ceil() as u32;
        loop {
            let batch: Vec<NewEvent> =
                (0..number).map(|number| scene.events.plain(KEYS + number % KEYS)).collect();
            match scene.adapters.databases.outbox.insert(&batch).await {
                Ok(_) => return Ok(batch),
                Err(error) if error.is_outage() && Instant::now() < deadline => sleep(LOOK_EVERY).await,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Seen {
    async fn look(&mut self, target: Target, scene: &Scene<'_>) -> anyhow::Result<()> {
        self.was_away |= target.is_away(scene).await?;
        if self.degraded.is_none() {
            self.degraded = scene.daemons.look().await.unwell().into_iter().next();
        }
        if target == Target::Redis {
            self.backlog = scene.adapters.databases.outbox.backlog().await?.pending;
            self.backlog_peak = self.backlog_peak.max(self.backlog);
        }
        Ok(())
    }
}
