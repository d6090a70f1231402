//! The command line. Each command is a file; `main` parses, loads the configuration and hands over.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 3 degraded.

use std::{
    io::{ErrorKind, IsTerminal, Write, stdin, stdout},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use factline_pipeline::outage;
use serde::Serialize;

use crate::{
    app,
    config::{self, Config, Sources},
    telemetry::{self, Telemetry},
};

mod bench;
mod config_command;
mod daemon;
mod demo;
mod dlq;
mod doctor;
mod drill;
mod emit;
mod event_name;
mod explain;
mod facts;
mod health;
mod ledger;
mod measures;
mod migrate;
mod operator_log;
mod progress;
mod reconcile;
mod run;
mod status;
mod stream;
mod table;
mod token;
mod tree;
mod verify;

/// Drains an application's outbox into ordered streams and turns its events into facts, each exactly once.
#[derive(Parser)]
#[command(name = "factline", version, arg_required_else_help = true)]
struct Arguments {
    /// Configuration file [default: factline.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon; without any configuration on an embedded database, HTTP on 127.0.0.1:8080
    Run(run::Arguments),
    /// See the main job at work: chat messages, poison mixed in, become facts in a temporary database
    Demo,
    /// Create, remove or show the tables of outbox and store
    Migrate(migrate::Arguments),
    /// Write events to the outbox, from arguments, a JSONL file or standard input
    Emit(emit::Arguments),
    /// List facts
    Facts(facts::Arguments),
    /// Tell the whole story of one event
    Explain(explain::Arguments),
    /// Work the dead letters: list, show, edit, reprocess, resolve, discard, report, purge
    Dlq(dlq::Arguments),
    /// Look into the ledger, or delete its old rows
    Ledger(ledger::Arguments),
    /// List who did what, and from where
    OperatorLog(operator_log::Arguments),
    /// Publish again what a stream lost before it was recorded
    Reconcile(reconcile::Arguments),
    /// Compare the outbox with what became of its events; exit code 1 if anything is lost, doubled or out of order
    Verify(verify::Arguments),
    /// Drill a recovery on a running deployment: redis-failure, postgres-failure, poison, replay
    Drill(drill::Arguments),
    /// Measure what these servers can take, and how close the daemon comes to it; on databases of its own
    Bench(bench::Arguments),
    /// Show backlog, lag, leases, and the running daemon's supervisor tree; exit code 3 if something is wrong
    Status(status::Arguments),
    /// Say what is wrong, in words, and what to type next; exit code 3 if anything is
    Doctor(doctor::Arguments),
    /// Delete what is in the streams and no group reads
    Stream(stream::Arguments),
    /// Show the running daemon's supervisor tree; restart, pause, resume or stop one of its children
    Tree(tree::Arguments),
    /// Ask the running daemon whether it lives, or with --ready whether it gets on; exit code 1 if not
    Health(health::Arguments),
    /// Make a bearer token for the HTTP server, and print what the configuration is to have of it
    Token(token::Arguments),
    /// Check the configuration, or show it
    Config(config_command::Arguments),
}

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Done,
    /// It was looked for, found wrong and said.
    Wrong,
    Degraded,
}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run_command(arguments) {
        Ok(Verdict::Done) => ExitCode::SUCCESS,
        Ok(Verdict::Wrong) => ExitCode::FAILURE,
        Ok(Verdict::Degraded) => ExitCode::from(3),
        // Whoever reads our output has heard enough.
        Err(error) if error.is::<ReaderGone>() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", outage::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run_command(arguments: Arguments) -> anyhow::Result<Verdict> {
    let sources = Sources::of_process(arguments.config);
    match &arguments.command {
        Command::Config(command) => return config_command::run(command, &sources),
        Command::Token(command) => return token::run(command),
        Command::Bench(command) if let Some(child) = command.child() => {
            return bench::become_daemon(child).map(|()| Verdict::Done);
        }
        _ => {}
    }
    let config = match &arguments.command {
        // The demonstration is the same everywhere, whatever is configured here.
        Command::Demo => config::load(&Sources::default())?,
        _ => config::load(&sources)?,
    };
    // Commands print their results; only the daemon tells what it is doing.
    if let Command::Run(command) = arguments.command {
        let telemetry = Telemetry::start(&config, "info,actix_server=warn")?;
        return actix::System::new().block_on(run::run(command, config, &telemetry));
    }
    let level = match arguments.command {
        Command::Demo => "error",
        // What is slow there is meant to be, and connections to what is removed end.
        Command::Bench(_) => "warn,sqlx=error",
        _ => "warn",
    };
    telemetry::log(config.telemetry.log_format, level);
    actix::System::new().block_on(async {
        match arguments.command {
            Command::Run(_) => unreachable!("has its own runtime by now"),
            Command::Demo => demo::run(config).await,
            Command::Migrate(command) => migrate::run(command, &config).await,
            Command::Emit(command) => emit::run(command, &config).await,
            Command::Facts(command) => facts::run(command, &config).await,
            Command::Explain(command) => explain::run(command, &config).await,
            Command::Dlq(command) => dlq::run(command, &config).await,
            Command::Ledger(command) => ledger::run(command, &config).await,
            Command::OperatorLog(command) => operator_log::run(command, &config).await,
            Command::Reconcile(command) => reconcile::run(command, &config).await,
            Command::Verify(command) => verify::run(command, &config).await,
            Command::Drill(command) => drill::run(command, &config).await,
            Command::Bench(command) => Box::pin(bench::run(command, &config)).await,
            Command::Status(command) => status::run(command, &config).await,
            Command::Doctor(command) => doctor::run(command, &config).await,
            Command::Stream(command) => stream::run(command, &config).await,
            Command::Tree(command) => tree::run(command, &config).await,
            Command::Health(command) => health::run(command, &config).await,
            Command::Config(_) | Command::Token(_) => {
                unreachable!("was done before the configuration was loaded")
            }
        }
    })
}

/// Nobody reads our output any more.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output any more")]
struct ReaderGone;

/// Who types this, for the operator log.
fn whoever_runs_this() -> String {
    let user = std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned());
    format!("{user}@{}", gethostname::gethostname().to_string_lossy())
}

/// Opens outbox and store as a command at a prompt does.
async fn databases(config: &Config) -> anyhow::Result<app::Databases> {
    Ok(app::Opener::impatient(config).databases().await?)
}

/// Prints a line; a reader that went away is an error, so that the command ends.
fn print(text: impl AsRef<str>) -> anyhow::Result<()> {
    writeln!(stdout().lock(), "{}", text.as_ref()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => ReaderGone.into(),
        _ => error.into(),
    })
}

/// Prints a value as JSON, for programs.
fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(serde_json::to_string_pretty(value).context("cannot be shown as JSON")?)
}

/// Asks; where nobody can answer, the answer is no.
fn confirmed(question: &str) -> anyhow::Result<bool> {
    if !stdin().is_terminal() {
        anyhow::bail!("nobody is there to ask; say --yes if you mean it");
    }
    write!(stdout(), "{question} [y/N] ")?;
    stdout().flush()?;
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
