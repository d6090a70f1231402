//! `factline drill`: takes a server away from a running deployment, gives it poison, or has it process the same events
//! again, and says whether everything came through.
//!
//! A drill first makes sure that all is well and asks; then it plays with events of its own, which state no facts; then
//! it tidies up, whatever happened, and gives its verdict.
//!
//! # Layout
//!
//! - `scene`: what must be so before, and the drill's own events; `daemon`: what the daemons say over HTTP; `effects`:
//!   what the ledger says; `letters`: the dead letters it makes; `journal`: what is told;
//! - `outage`, with `server`: redis-failure and postgres-failure; `poison`; `replay`.

use std::time::Duration;

use anyhow::{anyhow, bail};
use chrono::TimeDelta;
use clap::Subcommand;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::{
    journal::Journal,
    outage::{Away, Target},
    scene::Scene,
};
use super::{Verdict, confirmed, measures::duration, run::Signals};
use crate::{app::Opener, config::Config, operator_log::Actor};

mod daemon;
mod effects;
mod events;
mod journal;
mod letters;
mod outage;
mod poison;
mod replay;
mod scene;
mod server;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    drill: Drill,
}

#[derive(Subcommand)]
enum Drill {
    /// Take Redis away: the outbox must hold the events, and drain in order when it is back
    RedisFailure(Outage),
    /// Take PostgreSQL away: the daemon must wait, and go on by itself when it is back
    PostgresFailure(Outage),
    /// Mix poison with good events: it must be set aside, and nothing else be touched
    Poison(Common),
    /// Have events published and letters reprocessed again: nothing may take effect twice
    Replay(Common),
}

/// What every drill takes.
#[derive(clap::Args)]
struct Common {
    /// The topic to write to; a group must read it [default: the first one of the first group]
    #[arg(long)]
    topic: Option<String>,
    /// Everything must have come through in this time
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2min")]
    within: Duration,
    /// Where a daemon answers over HTTP, once for each [default: admin.bind]
    #[arg(long, value_name = "URL")]
    daemon: Vec<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print verdict, checks and figures as JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Outage {
    #[command(flatten)]
    away: Away,
    #[command(flatten)]
    common: Common,
}

impl Drill {
    fn common(&self) -> &Common {
        match self {
            Self::RedisFailure(outage) | Self::PostgresFailure(outage) => &outage.common,
            Self::Poison(common) | Self::Replay(common) => common,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::RedisFailure(_) => "redis-failure",
            Self::PostgresFailure(_) => "postgres-failure",
            Self::Poison(_) => "poison",
            Self::Replay(_) => "replay",
        }
    }

    /// What is asked before anything is done.
    fn question(&self, scene: &Scene<'_>) -> String {
        let topic = &scene.topic;
        match self {
            Self::RedisFailure(outage) => outage.away.question(Target::Redis),
            Self::PostgresFailure(outage) => outage.away.question(Target::Postgres),
            Self::Poison(_) => format!(
                "this writes good events and poison to the topic {topic:?}, and discards its own dead letters. Go on?"
            ),
            Self::Replay(_) => format!(
                "this writes events to the topic {topic:?} and has them published again. A conversation of its own \
                 stays. Go on?"
            ),
        }
    }
}

pub(super) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<Verdict> {
    let Arguments { drill } = arguments;
    let common = drill.common();
    match &drill {
        Drill::RedisFailure(_) => Target::Redis.check(config)?,
        Drill::PostgresFailure(_) => Target::Postgres.check(config)?,
        Drill::Poison(_) | Drill::Replay(_) => {}
    }
    let adapters = Opener::impatient(config).adapters().await?;
    let mut scene = Scene::set(config, adapters, common).await?;
    if !common.yes && !confirmed(&drill.question(&scene))? {
        bail!("nothing was changed");
    }
    let mut end = End::listen()?;
    let mut journal = Journal::begin(drill.name(), scene.events.run(), common.json);
    let played = match &drill {
        Drill::RedisFailure(outage) => {
            outage.away.run(Target::Redis, &mut scene, &mut journal, &mut end).await
        }
        Drill::PostgresFailure(outage) => {
            outage.away.run(Target::Postgres, &mut scene, &mut journal, &mut end).await
        }
        Drill::Poison(_) => poison::run(&mut scene, &mut journal, &mut end).await,
        Drill::Replay(_) => replay::run(&mut scene, &mut journal, &mut end).await,
    };
    journal.finish(played)
}

/// Whoever wants it to end before its time: Ctrl-C, SIGTERM, a terminal that goes away.
pub(super) struct End {
    signals: Signals,
    hangup: Signal,
}

impl End {
    pub(super) fn listen() -> anyhow::Result<Self> {
        Ok(Self { signals: Signals::listen()?, hangup: signal(SignalKind::hangup())? })
    }

    /// Plays until it is over, or somebody wants it to end.
    pub(super) async fn or<T>(&mut self, play: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        tokio::select! {
            played = play => played,
            () = self.signals.next() => Err(anyhow!("it was interrupted")),
            _ = self.hangup.recv() => Err(anyhow!("its terminal went away")),
        }
    }
}

/// How far the store's clock may be from ours.
const CLOCKS_APART: TimeDelta = TimeDelta::minutes(10);

/// Who does it, for the operator log.
fn by() -> Actor {
    Actor::at_prompt(format!("drill by {}", super::whoever_runs_this()))
}
