//! `factline migrate`: the tables of outbox and store, up, down, or as they are.

use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde::Serialize;
use sqlx::{PgPool, migrate::Migrator};

use super::{Verdict, confirmed, print, print_json, table};
use crate::{
    config::{Config, Service, service_of},
    migrations::Migration,
    postgres, sqlite,
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

/// One set of tables in one database.
enum Set {
    Postgres { name: &'static str, pool: PgPool, migrator: Box<Migrator> },
    Embedded { database: sqlite::Database },
}

#[derive(Serialize)]
struct Report {
    set: &'static str,
    migrations: Vec<Migration>,
}

pub(super) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<Verdict> {
    match arguments.action {
        Action::Up { json, store_only } => {
            let sets = sets(config, store_only).await?;
            for set in &sets {
                set.up().await?;
            }
            show(&reports(&sets).await?, json)?;
            Ok(Verdict::Done)
        }
        Action::Down { yes, dry_run, store_only } => down(config, yes, dry_run, store_only).await,
        Action::Status { json } => {
            let reports = reports(&sets(config, false).await?).await?;
            show(&reports, json)?;
            let complete =
                reports.iter().flat_map(|report| &report.migrations).all(|migration| migration.applied);
            Ok(if complete { Verdict::Done } else { Verdict::Degraded })
        }
    }
}

async fn down(config: &Config, yes: bool, dry_run: bool, store_only: bool) -> anyhow::Result<Verdict> {
    let sets = sets(config, store_only).await?;
    let mut latest = Vec::new();
    for (set, report) in sets.iter().zip(reports(&sets).await?) {
        if let Some(migration) = report.migrations.into_iter().rfind(|migration| migration.applied) {
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

impl Set {
    async fn up(&self) -> anyhow::Result<()> {
        match self {
            Self::Postgres { name, pool, migrator } => {
                migrator.run(pool).await.with_context(|| format!("the {name} cannot be migrated"))
            }
            Self::Embedded { database } => {
                database.migrate_up().await.context("the embedded database cannot be migrated")?;
                Ok(())
            }
        }
    }

    async fn down(&self, to: i64) -> anyhow::Result<()> {
        match self {
            Self::Postgres { name, pool, migrator } => {
                migrator.undo(pool, to).await.with_context(|| format!("the {name} cannot be taken back"))
            }
            Self::Embedded { database } => {
                database.migrate_down(to).await.context("the embedded database cannot be taken back")?;
                Ok(())
            }
        }
    }

    async fn report(&self) -> anyhow::Result<Report> {
        match self {
            Self::Postgres { name, pool, migrator } => {
                let migrations = postgres::migrations::status(pool, migrator).await;
                let migrations = migrations.with_context(|| {
                    format!(
                        "the {name}'s database does not answer; check that PostgreSQL runs, and DATABASE_URL"
                    )
                })?;
                Ok(Report { set: name, migrations })
            }
            Self::Embedded { database } => {
                Ok(Report { set: "embedded", migrations: database.migration_status().await? })
            }
        }
    }
}

/// The sets that this configuration needs, each once.
async fn sets(config: &Config, store_only: bool) -> anyhow::Result<Vec<Set>> {
    let mut sets = Vec::new();
    let mut files = Vec::new();
    let mut add = |name, url: &str, migrator: Migrator| -> anyhow::Result<()> {
        if service_of(url) == Some(Service::Postgres) {
            let pool = postgres::pool(url, 1).with_context(|| format!("{name}.url is unusable"))?;
            sets.push(Set::Postgres { name, pool, migrator: Box::new(migrator) });
        } else if !files.iter().any(|file| file == url) {
            files.push(url.to_owned());
        }
        Ok(())
    };
    if !store_only {
        add("source", &config.source.url, postgres::migrations::source())?;
    }
    add("store", &config.store.url, postgres::migrations::store())?;
    if service_of(&config.stream.url) == Some(Service::Sqlite) && !files.contains(&config.stream.url) {
        files.push(config.stream.url.clone());
    }
    for file in files {
        let database =
            sqlite::Database::open(&file).await.with_context(|| format!("{file} cannot be opened"))?;
        sets.push(Set::Embedded { database });
    }
    Ok(sets)
}

async fn reports(sets: &[Set]) -> anyhow::Result<Vec<Report>> {
    let mut reports = Vec::new();
    for set in sets {
        reports.push(set.report().await?);
    }
    Ok(reports)
}

fn show(reports: &[Report], json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(&reports);
    }
    let mut table = table::new(&["set", "version", "migration", "applied"]);
    for report in reports {
        for migration in &report.migrations {
            let applied = if migration.applied { "yes" } else { "no" };
            table.add_row([report.set, &migration.version.to_string(), &migration.description, applied]);
        }
    }
    print(table.to_string())
}
