//! `factline health`: whether the daemon here lives, for the health check of a container that has no other client.

use super::{Verdict, daemon::Daemon, print, print_json};
use crate::config::Config;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Ask whether it makes progress, or has nothing to do, and not only whether it lives
    #[arg(long)]
    ready: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<Verdict> {
    let Some(daemon) = Daemon::of(config)? else {
        anyhow::bail!("admin.bind is empty, so the daemon cannot be asked: set it to 127.0.0.1:8080");
    };
    let path = if arguments.ready { "/health/ready" } else { "/health" };
    let answer = daemon.get(path).await?;
    if arguments.json {
        print_json(&answer.body)?;
    } else {
        print(answer.body["status"].as_str().or(answer.body["detail"].as_str()).unwrap_or("no status"))?;
        for reason in answer.body["reasons"].as_array().into_iter().flatten() {
            let text = |field: &str| reason[field].as_str().unwrap_or_default();
            print(format!("{}: {} (since {})", text("part"), text("sentence"), text("since")))?;
        }
    }
    Ok(if answer.status == 200 { Verdict::Done } else { Verdict::Wrong })
}
