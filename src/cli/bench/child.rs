//! The daemon under test: a child process that never outlives the benchmark.
//!
//! It has a process group of its own, for Ctrl-C is the benchmark's, and asks the kernel to be ended with its parent.

use std::{
    fs::{self, File},
    net::TcpListener,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child as Process, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use rustix::process::{Pid, Signal, getppid, kill_process_group, set_parent_process_death_signal};
use tokio::time::{Instant, sleep};

use super::Log;
use crate::cli::daemon::Daemon;

/// How long a daemon may take to be ready, and to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The last lines that a daemon said which died.
const LAST_WORDS: usize = 20;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The benchmark's process
    parent: i32,
    /// What the daemon is told
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Makes this process the daemon, which ends when its parent does.
pub(in crate::cli) fn become_daemon(arguments: &Arguments) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot be ended with the benchmark")?;
    if getppid() != Pid::from_raw(arguments.parent) {
        bail!("the benchmark is no more");
    }
    Err(Command::new(std::env::current_exe()?).args(&arguments.arguments).exec().into())
}

/// Which part of the pipeline runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Only {
    /// From the outbox to the streams.
    Relay,
    /// From the streams to the facts.
    Consumers,
    /// All of it.
    Everything,
}

/// A running daemon; dropped, it is killed.
pub(super) struct Child {
    process: Process,
    log: Log,
    http: Daemon,
    begun: Instant,
}

impl Child {
    /// Starts it, with this configuration file, these keys beside it, and this address.
    pub(super) fn start(
        only: Only,
        config: &Path,
        keys: [(&str, &str); 3],
        bind: &str,
        log: Log,
    ) -> anyhow::Result<Self> {
        let only: &[&str] = match only {
            Only::Relay => &["--only", "relay"],
            Only::Consumers => &["--only", "consumers"],
            Only::Everything => &[],
        };
        let said = File::create(&log).context("the daemon's log cannot be made")?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "child", &std::process::id().to_string(), "run", "--config"]).arg(config);
        command.args(only);
        // File and keys have everything that the environment said.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            let configures = ["DATABASE_URL", "SOURCE_DATABASE_URL", "REDIS_URL"].contains(&&*name);
            if configures || name.starts_with("FACTLINE_") || name.starts_with("OTEL_") {
                command.env_remove(&*name);
            }
        }
        command.envs(keys).env("RUST_LOG", "warn").env("FACTLINE__ADMIN__BIND", bind);
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said).process_group(0);
        let begun = Instant::now();
        let process = command.spawn().context("the daemon cannot be started")?;
        Ok(Self { process, log, http: Daemon::at(&format!("http://{bind}")), begun })
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Where it is asked.
    pub(super) fn http(&self) -> &Daemon {
        &self.http
    }

    /// Waits until it is ready; says how long that took from its start.
    pub(super) async fn ready(&mut self) -> anyhow::Result<Duration> {
        while !self.http.get("/health/ready").await.is_ok_and(|answer| answer.status == 200) {
            self.lives()?;
            if self.begun.elapsed() > PATIENCE {
                bail!("the daemon is not ready after {}", humantime::format_duration(PATIENCE));
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(self.begun.elapsed())
    }

    /// An error if it has ended, with what it said last.
    pub(super) fn lives(&mut self) -> anyhow::Result<()> {
        match self.process.try_wait()? {
            None => Ok(()),
            Some(status) => Err(self.obituary(status)),
        }
    }

    /// Has it drain what is in flight and end.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.process.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.obituary(status)),
                None if Instant::now() > deadline => {
                    bail!("the daemon has not stopped after {}", humantime::format_duration(PATIENCE))
                }
                None => sleep(LOOK_EVERY).await,
            }
        }
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let group = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        kill_process_group(group.context("the daemon has no process id")?, signal)?;
        Ok(())
    }

    fn obituary(&self, status: ExitStatus) -> anyhow::Error {
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n");
        anyhow!("the daemon under test ended ({status}); the last that it said:\n{last}")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Ok(None) = self.process.try_wait()
            && let Err(error) = self.signal(Signal::KILL)
        {
            eprintln!("the daemon under test cannot be ended: {error}");
        }
        if let Err(error) = self.process.wait() {
            eprintln!("the daemon under test is lost: {error}");
        }
    }
}

/// A loopback address that nobody listens on now.
pub(super) fn free_address() -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no port is free for the daemon under test")?;
    Ok(listener.local_addr()?.to_string())
}
