//! `factline operator-log`: who did what, and from where.

use super::{
    Verdict, print, print_json,
    table::{self, or_dash, shortened, time},
};
use crate::{
    config::Config,
    operator_log::{Entry, Filter},
};

/// Characters of a detail in a table.
const DETAIL_WIDTH: usize = 60;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Done by this person
    #[arg(long)]
    who: Option<String>,
    /// Of this kind: resolved, edit, restart
    #[arg(long)]
    action: Option<String>,
    /// Done to this: a dead letter's id, a path of the tree
    #[arg(long)]
    target: Option<String>,
    /// How many at most, the latest first
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Print them as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<Verdict> {
    let filter = Filter {
        who: arguments.who,
        action: arguments.action,
        target: arguments.target,
        before: None,
        limit: arguments.limit,
    };
    let entries = super::databases(config).await?.operator_log.entries(&filter).await?;
    match entries.as_slice() {
        _ if arguments.json => print_json(&entries)?,
        [] => print("nothing was done")?,
        entries => print(entries_table(entries))?,
    }
    Ok(Verdict::Done)
}

fn entries_table(entries: &[Entry]) -> String {
    let mut table = table::new(&["at", "who", "from", "action", "target", "detail"]);
    for entry in entries {
        table.add_row([
            time(entry.at),
            entry.who.clone(),
            or_dash(entry.origin.clone()),
            entry.action.clone(),
            entry.target.clone(),
            shortened(&entry.detail.to_string(), DETAIL_WIDTH),
        ]);
    }
    table.to_string()
}
