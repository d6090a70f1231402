//! `factline verify`: compares the outbox with what became of its events.

use serde::Serialize;

use super::{Verdict, print, print_json, table};
use crate::{
    app::{self, Opener},
    config::Config,
    verification::{Count, Verification, verify},
};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    group: &'a str,
    partition: String,
    #[serde(flatten)]
    count: &'a Count,
}

#[derive(Serialize)]
struct Found<'a> {
    lost: u64,
    doubled: u64,
    misordered: u64,
    waiting: u64,
    unknown: u64,
    partitions: Vec<Line<'a>>,
}

pub(super) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<Verdict> {
    let adapters = Opener::impatient(config).adapters().await?;
    let params = app::reconciliation(config, &adapters);
    let found = verify(&params, &*adapters.databases.evidence, &config.source.name).await?;
    let lines = found.counts.iter();
    let partitions =
        lines.map(|((group, partition), count)| Line { group, partition: partition.to_string(), count });
    let Verification { lost, doubled, misordered, waiting, unknown, .. } = found;
    let found = Found { lost, doubled, misordered, waiting, unknown, partitions: partitions.collect() };
    if arguments.json {
        print_json(&found)?;
    } else {
        show(&found)?;
    }
    let right = (lost, doubled, misordered) == (0, 0, 0);
    Ok(if right { Verdict::Done } else { Verdict::Wrong })
}

fn show(found: &Found<'_>) -> anyhow::Result<()> {
    if !found.partitions.is_empty() {
        let columns =
            ["group", "partition", "events", "recorded", "dead", "waiting", "outbox hash", "ledger hash"];
        let mut lines = table::new(&columns);
        for Line { group, partition, count } in &found.partitions {
            lines.add_row([
                (*group).to_owned(),
                partition.clone(),
                count.events.to_string(),
                count.recorded.to_string(),
                count.dead_lettered.to_string(),
                count.waiting.to_string(),
                format!("{:016x}", count.outbox_hash),
                format!("{:016x}", count.ledger_hash),
            ]);
        }
        print(lines.to_string())?;
    }
    if found.unknown > 0 {
        print(format!(
            "{} left aside: nothing is known of them; `factline reconcile --dry-run` says why",
            table::counted(found.unknown, "row")
        ))?;
    }
    let Found { lost, doubled, misordered, waiting, .. } = found;
    print(format!("lost={lost} doubled={doubled} misordered={misordered} waiting={waiting}"))
}
