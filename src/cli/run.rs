//! `factline run`: the daemon.

use std::{net::TcpListener, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::ValueEnum;
use factline_supervision::{Exit, Tree};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Verdict;
use crate::{
    admin,
    app::{self, Opener, Parts, Process, Wiring},
    config::Config,
    stream_users,
    telemetry::Telemetry,
};

/// How long a daemon that stops tries to say so in the store.
const FAREWELL: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Run only one part, for separate containers
    #[arg(long, value_enum)]
    only: Option<Only>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Only {
    /// From the outbox to the streams
    Relay,
    /// From the streams to the facts
    Consumers,
}

pub(super) async fn run(
    arguments: Arguments,
    config: Config,
    telemetry: &Telemetry,
) -> anyhow::Result<Verdict> {
    let mut signals = Signals::listen()?;
    let parts = match arguments.only {
        None => Parts::All,
        Some(Only::Relay) => Parts::Relay,
        Some(Only::Consumers) => Parts::Consumers,
    };
    let process = Process { metrics: telemetry.metrics(), ..Process::new(&config.instance) };
    let (tree, state) = tokio::select! {
        started = start(&config, parts, process.clone(), telemetry) => started?,
        () = signals.next() => return Ok(Verdict::Done), // nothing runs yet: nothing to drain
    };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "factline is running");
    tokio::select! {
        exit = tree.exited() => match exit {
            Exit::Shutdown => {
                tracing::info!("stopped by an operator");
                return Ok(Verdict::Done);
            }
            exit => anyhow::bail!("the supervisor tree gave up: {exit}"),
        },
        () = process.stuck.too_many() => {
            stop(&config, &tree, &state, &mut signals).await?;
            anyhow::bail!("too many extractions never returned, and only the end of the process frees their threads");
        }
        () = signals.next() => {}
    }
    stop(&config, &tree, &state, &mut signals).await
}

async fn start(
    config: &Config,
    parts: Parts,
    process: Process,
    telemetry: &Telemetry,
) -> anyhow::Result<(Tree, Arc<admin::State>)> {
    let listener = listen(&config.admin.bind)?;
    let mut opener = Opener::new(config);
    let adapters = opener.adapters().await?;
    opener.begin_groups(&adapters.databases).await?;
    let beside = opener.beside(&adapters).await?;
    let state = Arc::new(admin::State::new(config, beside, telemetry.exposition(), &process));
    telemetry.watch(&state);
    state.observer.introduce(app::stream_user(config, &adapters.databases, parts, &process));
    warn_of_other_streams(&state).await;
    let admin = admin::Params { listener: listener.map(Arc::new), state: state.clone() };
    let tree =
        factline_supervision::start(app::tree(Wiring { config, adapters, parts, admin, process })).await?;
    state.tree.get_or_init(|| tree.clone());
    Ok((tree, state))
}

/// Two daemons that share a store but not their streams never meet, and nothing else would tell.
async fn warn_of_other_streams(state: &admin::State) {
    state.observer.look().await; // tells the others of us
    if let Ok(leases) = state.adapters.databases.leases.list().await
        && let Some(disagreement) = stream_users::disagreement(&stream_users::uses(&leases))
    {
        tracing::warn!("{disagreement}; set stream.url and stream.prefix alike, see `factline doctor`");
    }
}

/// Listens before anything else starts: a port that is taken is a mistake to report, not to retry.
fn listen(bind: &str) -> anyhow::Result<Option<TcpListener>> {
    if bind.is_empty() {
        return Ok(None);
    }
    let listener = TcpListener::bind(bind).with_context(|| {
        format!(
            "admin.bind: cannot listen on {bind}, where another factline may be running; choose another port \
             (FACTLINE__ADMIN__BIND), or leave it empty"
        )
    })?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "HTTP server listening");
    }
    Ok(Some(listener))
}

/// Drains what is in flight. A second signal, or the deadline, leaves the rest to the next start.
async fn stop(
    config: &Config,
    tree: &Tree,
    state: &admin::State,
    signals: &mut Signals,
) -> anyhow::Result<Verdict> {
    tracing::info!("draining; a second signal exits at once");
    tokio::select! {
        exit = tokio::time::timeout(config.shutdown_timeout, tree.stop()) => match exit {
            Ok(Exit::Shutdown) => tracing::info!("drained"),
            Ok(exit) => tracing::warn!(%exit, "stopped, but not everything was drained"),
            Err(_) => tracing::warn!("shutdown_timeout is over; what was in flight is pending and done at the next start"),
        },
        () = signals.next() => {
            tracing::warn!("second signal: exiting at once; what was in flight is pending and done at the next start");
            std::process::exit(1);
        }
    }
    if let Some(user) = state.observer.user()
        && !matches!(tokio::time::timeout(FAREWELL, user.leave()).await, Ok(Ok(())))
    {
        tracing::debug!("the store was not told that its streams are used no more; it will notice");
    }
    Ok(Verdict::Done)
}

/// SIGTERM and SIGINT.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
