//! `factline tree`: the running daemon's supervisor tree, and what can be asked of its children.

use clap::Subcommand;

use super::{
    Verdict, confirmed,
    daemon::{Answer, Daemon},
    print, print_json,
    status::tree_lines,
};
use crate::config::Config;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// Print it as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Action {
    /// Stop a child and start it again at once; brings back one that is down, too
    Restart(Child),
    /// Stop a child until it is resumed; its mail waits
    Pause(Child),
    /// Start a paused child
    Resume(Child),
    /// Stop a child for good
    Stop {
        #[command(flatten)]
        child: Child,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(clap::Args)]
struct Child {
    #[arg(help = "Its path, as the tree shows it from the root: root/relay/outbox_poller")]
    path: String,
}

pub(super) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<Verdict> {
    let Some(daemon) = Daemon::of(config)? else {
        anyhow::bail!("admin.bind is empty, so the daemon cannot be asked: set it to 127.0.0.1:8080");
    };
    let answer = match arguments.action {
        None => daemon.get("/api/v1/tree").await?,
        Some(Action::Restart(child)) => ask(&daemon, "restart", &child).await?,
        Some(Action::Pause(child)) => ask(&daemon, "pause", &child).await?,
        Some(Action::Resume(child)) => ask(&daemon, "resume", &child).await?,
        Some(Action::Stop { child, yes }) => {
            if !yes && !confirmed(&format!("stop {} for good, until it is restarted?", child.path))? {
                return Ok(Verdict::Done);
            }
            ask(&daemon, "stop", &child).await?
        }
    };
    let tree = answer.ok()?;
    if arguments.json {
        print_json(&tree)?;
    } else {
        print(tree_lines(&tree))?;
    }
    Ok(Verdict::Done)
}

async fn ask(daemon: &Daemon, verb: &str, child: &Child) -> anyhow::Result<Answer> {
    let path = child.path.trim_matches('/');
    daemon.post(&format!("/api/v1/tree/{path}/{verb}")).await
}
