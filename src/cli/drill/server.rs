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
    stopping: Option<Child>,
    /// It may be away: it must be brought back.
    away: bool,
}

impl Server {
    pub(super) fn new(stop: &str, start: &str) -> Self {
        Self { stop: stop.to_owned(), start: start.to_owned(), stopping: None, away: false }
    }

    /// Runs the command that stops it.
    pub(super) async fn take_away(&mut self) -> anyhow::Result<()> {
        self.away = true;
        let child = self.stopping.insert(begin(&self.stop)?);
        let status = ended(child).await?;
        self.stopping = None;
        succeeded(&self.stop, status)
    }

    /// Runs the command that starts it, if it may be away; not before the other one is through.
    pub(super) async fn bring_back(&mut self) -> anyhow::Result<()> {
        if !std::mem::take(&mut self.away) {
            return Ok(());
        }
        if let Some(mut child) = self.stopping.take() {
            ended(&mut child).await?;
        }
        let start = async { succeeded(&self.start, ended(&mut begin(&self.start)?).await?) };
        start.await.with_context(|| format!("the server may still be away: run `{}` by hand", self.start))
    }
}

impl Drop for Server {
    /// Only if something went wrong that nobody expected.
    fn drop(&mut self) {
        if self.away
            && let Err(error) = begin(&self.start).and_then(|mut child| Ok(child.wait()?))
        {
            eprintln!("the server may still be away: {error:#}; run `{}` by hand", self.start);
        }
    }
}

/// Starts a command in a process group of its own, for Ctrl-C is ours alone. What it says goes to standard error.
fn begin(command: &str) -> anyhow::Result<Child> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stdout(stderr()).process_group(0);
    shell.spawn().with_context(|| format!("`{command}` cannot be run"))
}

async fn ended(child: &mut Child) -> anyhow::Result<ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            child.kill()?;
            bail!("a command had not ended after {}", humantime::format_duration(PATIENCE));
        }
        sleep(LOOK_EVERY).await;
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
    }
}
