//! `factline doctor`: what is wrong, in words, with the next command to type.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::{
    Verdict,
    daemon::{Answer, Daemon as Client, Unanswered},
    print, print_json,
};
use crate::{
    config::Config,
    doctor::{self, Daemon, Finding, Limits, NoTree, Severity},
};

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Print it as JSON
    #[arg(long)]
    json: bool,
    /// Time between the two looks that tell whether anything grows
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    watch: Duration,
    /// Transactions that are open for longer than this are worth a word
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    old_transaction: Duration,
}

#[derive(Serialize)]
struct Report<'a> {
    healthy: bool,
    findings: &'a [Finding],
}

pub(super) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<Verdict> {
    let limits = Limits { transaction: arguments.old_transaction };
    let scene = Box::pin(doctor::examine(config, limits, arguments.watch, ask(config))).await;
    let findings = doctor::diagnose(&scene);
    let healthy = findings.iter().all(|finding| finding.severity == Severity::Ok);
    if arguments.json {
        print_json(&Report { healthy, findings: &findings })?;
    } else {
        show(&findings)?;
    }
    Ok(if healthy { Verdict::Done } else { Verdict::Degraded })
}

async fn ask(config: &Config) -> Daemon {
    let client = match Client::of(config) {
        Ok(Some(client)) => client,
        Ok(None) => return Daemon::NotConfigured,
        Err(error) => return Daemon::Silent(format!("{error:#}")),
    };
    let asked = async { tokio::join!(deployment_of(&client), client.get("/api/v1/tree")) };
    let Ok((deployment, tree)) = tokio::time::timeout(PATIENCE, asked).await else {
        return Daemon::Silent(format!("no answer within {PATIENCE:?}"));
    };
    match tree {
        Err(error) if error.is::<Unanswered>() => Daemon::Silent(cause(&error)),
        tree => Daemon::Answers { tree: told(tree), deployment },
    }
}

fn told(tree: anyhow::Result<Answer>) -> Result<Value, NoTree> {
    let answer = tree.map_err(|error| NoTree::Other(format!("{error:#}")))?;
    let why = if answer.wants_token() { NoTree::WantsToken } else { NoTree::Other };
    answer.ok().map_err(|error| why(format!("{error:#}")))
}

/// Which deployment the daemon works on, if it says so.
pub(super) async fn deployment_of(daemon: &Client) -> Option<String> {
    daemon.get("/health").await.ok()?.body["deployment"].as_str().map(str::to_owned)
}

/// The finding says already where nobody answers.
fn cause(error: &anyhow::Error) -> String {
    error.root_cause().to_string()
}

fn show(findings: &[Finding]) -> anyhow::Result<()> {
    let (well, unwell): (Vec<&Finding>, Vec<&Finding>) =
        findings.iter().partition(|finding| finding.severity == Severity::Ok);
    for finding in unwell {
        let severity = if finding.severity == Severity::Problem { "problem" } else { "warning" };
        print(format!("{severity}  {}", finding.sentence))?;
        if let Some(next) = &finding.next {
            print(format!("         next: {next}"))?;
        }
    }
    for finding in well {
        print(format!("ok       {}", finding.sentence))?;
    }
    Ok(())
}
