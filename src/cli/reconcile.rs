//! `factline reconcile`: publishes again what a stream lost before it was recorded.

use factline_pipeline::reconcile::{self, Extent, Lost, Report};
use serde::Serialize;

use super::{
    Verdict, print, print_json,
    table::{self, counted},
};
use crate::{
    app::{self, Opener},
    config::Config,
};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Only show what is lost
    #[arg(long)]
    dry_run: bool,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Outcome {
    #[serde(flatten)]
    report: Report,
    /// How many rows are pending again.
    republished: u64,
}

pub(super) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<Verdict> {
    let adapters = Opener::impatient(config).adapters().await?;
    let params = app::reconciliation(config, &adapters);
    let report = reconcile::find_lost(&params, &Extent::All, |_| {}).await?;
    let republished = if arguments.dry_run { 0 } else { reconcile::put_back(&params, &report).await? };
    let outcome = Outcome { report, republished };
    if arguments.json {
        print_json(&outcome)?;
    } else {
        show(&outcome, arguments.dry_run)?;
    }
    Ok(Verdict::Done)
}

fn show(outcome: &Outcome, dry_run: bool) -> anyhow::Result<()> {
    let report = &outcome.report;
    print(format!("examined {}", counted(report.examined, "processed row")))?;
    let counts = [
        (report.recorded, "recorded"),
        (report.carried, "waiting in a stream"),
        (report.lost, "lost: neither in a stream nor recorded"),
        (
            report.before_horizon,
            "left alone: processed before the ledger or its group began, perhaps by others",
        ),
        (report.unknown_time, "left alone: not recorded, and nobody knows when they were processed"),
        (report.unreadable, "left alone: their id is no UUID"),
        (report.unread, "left alone: no configured group reads their topic"),
    ];
    for (count, meaning) in
        counts.iter().filter(|(count, meaning)| *count > 0 || !meaning.starts_with("left"))
    {
        print(format!("  {count:>9}  {meaning}"))?;
    }
    if !report.newest_lost.is_empty() {
        let mut rows = table::new(&["ROW", "EVENT", "TOPIC", "KEY"]);
        for Lost { row, event_id, topic, key } in &report.newest_lost {
            rows.add_row([row, &event_id.to_string(), topic, key]);
        }
        print(rows.to_string())?;
    }
    let described = report.newest_lost.len() as u64;
    if report.lost > described {
        print(format!("… and {} more", report.lost - described))?;
    }
    match (report.lost, dry_run) {
        (0, _) => Ok(()),
        (_, true) => print("nothing was changed; run `factline reconcile` to have them published again"),
        _ => {
            print(format!("made pending, for the relay to publish: {}", counted(outcome.republished, "row")))
        }
    }
}
