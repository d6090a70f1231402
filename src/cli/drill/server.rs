//! A server that commands take away and bring back: whatever happens in between, it is brought back.

use std::{
    io::stderr,
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::time::{Instant, sleep};

/// How long a command may take; Docker alone waits ten seconds for a server to stop.
const PATIENCE: Duration = Duration::from_mins(2);

/// How often a running command is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A server, and the commands for it.
pub(super) struct Server {
    stop: String,
    start: String,
    /// The stop command, while it runs.
    stopping: Option<Running>,
    /// The start command, while it runs.
    starting: Option<Running>,
    /// It may be away: it must be brought back.
    away: bool,
    patience: Duration,
}

/// A command, and those that it has started: a process group of their own, for Ctrl-C is ours alone.
struct Running(Child);

impl Server {
    pub(super) fn new(stop: &str, start: &str) -> Self {
        let (stop, start) = (stop.to_owned(), start.to_owned());
        Self { stop, start, stopping: None, starting: None, away: false, patience: PATIENCE }
    }

    /// Runs the command that stops it.
    pub(super) async fn take_away(&mut self) -> anyhow::Result<()> {
        self.away = true;
        let running = self.stopping.insert(Running::begin(&self.stop)?);
        let status = running.ended(self.patience).await;
        self.stopping = None;
        succeeded(&self.stop, status.with_context(|| format!("`{}`", self.stop))?)
    }

    /// Runs the command that starts it, if it may be away; not while the other one still runs. It stays away, and is
    /// started again by whoever asks next, until that has succeeded.
    pub(super) async fn bring_back(&mut self) -> anyhow::Result<()> {
        if !self.away {
            return Ok(());
        }
        if let Some(mut running) = self.stopping.take()
            && let Err(error) = running.ended(self.patience).await
        {
            // How it ended changes nothing: the server must come back.
            eprintln!("`{}`: {error:#}", self.stop);
        }
        let started = self.started().await;
        started.with_context(|| format!("the server may still be away: run `{}` by hand", self.start))?;
        self.away = false;
        Ok(())
    }

    /// Runs the start command, or waits for the one that was begun.
    async fn started(&mut self) -> anyhow::Result<()> {
        if self.starting.is_none() {
            self.starting = Some(Running::begin(&self.start)?);
        }
        let Some(running) = &mut self.starting else { return Ok(()) };
        let status = running.ended(self.patience).await;
        self.starting = None;
        succeeded(&self.start, status.with_context(|| format!("`{}`", self.start))?)
    }
}

impl Drop for Server {
    /// Only if something went wrong that nobody expected.
    fn drop(&mut self) {
        if !self.away {
            return;
        }
        let begun = self.starting.take().map_or_else(|| Running::begin(&self.start), Ok);
        let ended = begun.and_then(|mut running| running.ended_here(self.patience));
        if let Err(error) = ended.and_then(|status| succeeded(&self.start, status)) {
            eprintln!("the server may still be away: {error:#}; run `{}` by hand", self.start);
        }
    }
}

impl Running {
    /// What it says goes to standard error.
    fn begin(command: &str) -> anyhow::Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).stdin(Stdio::null()).stdout(stderr()).process_group(0);
        Ok(Self(shell.spawn().with_context(|| format!("`{command}` cannot be run"))?))
    }

    async fn ended(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.ended_by(deadline, patience)? {
                return Ok(status);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// The same for who cannot wait otherwise.
    fn ended_here(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.ended_by(deadline, patience)? {
                return Ok(status);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// How it ended, if it has; once the time is over it is ended.
    fn ended_by(&mut self, deadline: Instant, patience: Duration) -> anyhow::Result<Option<ExitStatus>> {
        let status = self.0.try_wait()?;
        if status.is_none() && Instant::now() >= deadline {
            self.kill()?;
            bail!("it had not ended after {}", humantime::format_duration(patience));
        }
        Ok(status)
    }

    /// The shell alone would leave what it waits for behind, which might stop the server later.
    fn kill(&mut self) -> anyhow::Result<()> {
        let group = format!("-{}", self.0.id());
        let killed = Command::new("sh").args(["-c", "kill -s KILL -- \"$1\"", "sh", &group]).status();
        if !killed.is_ok_and(|status| status.success()) {
            self.0.kill()?;
        }
        self.0.wait()?;
        Ok(())
    }
}

fn succeeded(command: &str, status: ExitStatus) -> anyhow::Result<()> {
    if !status.success() {
        bail!("`{command}` failed: {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_is_brought_back_whether_it_could_be_stopped_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("started");
        let start = format!("touch {}", mark.display());
        for stop in ["true", "false", "exec sleep 0.05"] {
            let mut server = Server::new(stop, &start);
            assert_eq!(server.take_away().await.is_ok(), stop != "false");
            server.bring_back().await.unwrap();
            assert!(mark.exists(), "{stop}");
            std::fs::remove_file(&mark).unwrap();
            server.bring_back().await.unwrap();
            assert!(!mark.exists(), "it was there already");
        }
        let mut server = Server::new("true", &start);
        server.take_away().await.unwrap();
        drop(server);
        assert!(mark.exists());
        let mut server = Server::new("true", "exit 3");
        server.take_away().await.unwrap();
        let error = format!("{:#}", server.bring_back().await.unwrap_err());
        assert!(error.contains("run `exit 3` by hand"), "{error}");
        assert!(server.away, "whoever asks next tries again");
    }

    #[tokio::test]
    async fn a_stop_command_that_hangs_is_ended_with_all_that_it_began() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        // The lock is free when nobody is left.
        let (lock, ready, mark) = (path("lock"), path("ready"), path("started"));
        let stop =
            format!("exec 9>{}; flock 9; sleep 1000 & touch {}; wait", lock.display(), ready.display());
        let mut server = Server::new(&stop, &format!("touch {}", mark.display()));
        tokio::select! {
            ended = server.take_away() => panic!("{ended:?}"),
            () = async { while !ready.exists() { sleep(LOOK_EVERY).await } } => {}
        }
        server.patience = Duration::from_millis(50);
        server.bring_back().await.unwrap();
        assert!(mark.exists() && !server.away);
        let free = Command::new("flock").args(["--timeout", "10"]).arg(&lock).arg("true").status().unwrap();
        assert!(free.success());

        let error = server.take_away().await.unwrap_err();
        assert!(format!("{error:#}").ends_with("it had not ended after 50ms"), "{error:#}");
        std::fs::remove_file(&mark).unwrap();
        server.bring_back().await.unwrap();
        assert!(mark.exists());
    }
}
