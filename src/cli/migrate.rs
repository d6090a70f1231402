//! `factline migrate`: the tables of outbox and store, up, down, or as they are.

use anyhow::bail;
use clap::Subcommand;
use serde::Serialize;

use super::{Verdict, confirmed, print, print_json, table};
use crate::{
    config::Config,
    migrations::{Set, SetStatus, sets},
};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Apply what is missing
    Up {
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
        /// Leave the application's database alone: its outbox table is not ours
        #[arg(long)]
        store_only: bool,
    },
    /// Take back the latest migration of each set, and all that its tables hold
    Down {
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Only say what would be taken back
        #[arg(long)]
        dry_run: bool,
        /// Leave the application's database alone
        #[arg(long)]
        store_only: bool,
    },
    /// Show which migrations each database has; exit code 3 if one is missing
    Status {
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Serialize)]
struct Report {
    set: &'static str,
    #[serde(flatten)]
    status: SetStatus,
}

pub(super) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<Verdict> {
    match arguments.action {
        Action::Up { json, store_only } => {
            let sets = sets(config, store_only, true).await?;
            for set in &sets {
                set.up().await?;
            }
            show(&reports(&sets).await?, json)?;
            Ok(Verdict::Done)
        }
        Action::Down { yes, dry_run, store_only } => down(config, yes, dry_run, store_only).await,
        Action::Status { json } => {
            let reports = reports(&sets(config, false, false).await?).await?;
            show(&reports, json)?;
            let complete = reports.iter().all(|report| report.status.is_complete());
            Ok(if complete { Verdict::Done } else { Verdict::Degraded })
        }
    }
}

async fn down(config: &Config, yes: bool, dry_run: bool, store_only: bool) -> anyhow::Result<Verdict> {
    let sets = sets(config, store_only, false).await?;
    let mut latest = Vec::new();
    for (set, report) in sets.iter().zip(reports(&sets).await?) {
        if let Some(migration) = report.status.migrations.into_iter().rfind(|migration| migration.applied) {
            print(format!("{}: {} {}", report.set, migration.version, migration.description))?;
            latest.push((set, migration));
        }
    }
    if latest.is_empty() {
        print("nothing is applied")?;
        return Ok(Verdict::Done);
    }
    if dry_run {
        print("nothing was changed")?;
        return Ok(Verdict::Done);
    }
    if !yes && !confirmed("take these back and delete all that their tables hold?")? {
        bail!("nothing was changed");
    }
    for (set, migration) in latest {
        set.down(migration.version - 1).await?;
    }
    show(&reports(&sets).await?, false)?;
    Ok(Verdict::Done)
}

async fn reports(sets: &[Set]) -> anyhow::Result<Vec<Report>> {
    let mut reports = Vec::new();
    for set in sets {
        reports.push(Report { set: set.name, status: set.status().await? });
    }
    Ok(reports)
}

fn show(reports: &[Report], json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(&reports);
    }
    let mut table = table::new(&["set", "version", "migration", "applied"]);
    for report in reports {
        for migration in &report.status.migrations {
            let applied = match (migration.applied, report.status.foreign) {
                (true, _) => "yes",
                (false, false) => "no",
                (false, true) => "not wanted: the table is the application's own",
            };
            table.add_row([report.set, &migration.version.to_string(), &migration.description, applied]);
        }
    }
    print(table.to_string())
}
