//! `factline stream`: what is in the streams and nobody wants.

use anyhow::bail;
use clap::Subcommand;

use super::{Verdict, confirmed, print, table::counted};
use crate::{app::Opener, config::Config};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Delete all entries of a topic that no group reads
    Drop {
        /// The topic
        topic: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Only say how many there are
        #[arg(long)]
        dry_run: bool,
    },
}

pub(super) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<Verdict> {
    let Action::Drop { topic, yes, dry_run } = arguments.action;
    let stream = Opener::impatient(config).stream().await?;
    let readers = stream.lag(std::slice::from_ref(&topic)).await?;
    if let Some(reader) = readers.first() {
        bail!(
            "group {} reads topic {topic:?}: nothing is dropped, the janitor trims what is read",
            reader.group
        );
    }
    let partitions = stream.partitions(&topic);
    let mut entries = 0;
    for partition in &partitions {
        entries += stream.length(partition).await?;
    }
    print(format!("topic {topic:?} holds {} that no group reads", counted(entries, "event")))?;
    if dry_run || entries == 0 {
        print("nothing was changed")?;
        return Ok(Verdict::Done);
    }
    if !yes && !confirmed("delete them?")? {
        bail!("nothing was changed");
    }
    let mut dropped = 0;
    for partition in &partitions {
        dropped += stream.discard_unread(partition).await?;
    }
    print(format!("{} deleted", counted(dropped, "event")))?;
    Ok(Verdict::Done)
}
