//! `factline ledger`: what became of an event, and for how long that is known.

use anyhow::Context as _;
use clap::Subcommand;

use super::{
    Verdict,
    event_name::{self, event_meant},
    print, print_json,
    table::{self, or_dash, time},
};
use crate::{config::Config, records::LedgerRecord, story};

mod cleanup;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show the rows of one event: one for each consumer group that has it
    Show {
        /// The event's id, as it is in the outbox or in a dead letter; or the letter's id
        event_id: String,
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Delete old rows; an event that comes once more after that takes effect once more
    Cleanup(cleanup::Arguments),
}

pub(super) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<Verdict> {
    match arguments.action {
        Action::Show { event_id, json } => show(&event_id, json, config).await,
        Action::Cleanup(arguments) => cleanup::run(arguments, config).await,
    }
}

async fn show(event_id: &str, json: bool, config: &Config) -> anyhow::Result<Verdict> {
    let databases = super::databases(config).await?;
    let event_id = &event_meant(databases.records.as_ref(), event_id).await?;
    let rows = story::ledger_rows(&databases, event_id).await?;
    if json {
        print_json(&rows)?;
        return Ok(Verdict::Done);
    }
    (!rows.is_empty()).then_some(()).with_context(|| {
        let advice = event_name::advice(event_id);
        format!("the ledger has no event {event_id}; {advice}, or see `factline explain {event_id}`")
    })?;
    print(rows_table(&rows))?;
    Ok(Verdict::Done)
}

fn rows_table(rows: &[LedgerRecord]) -> String {
    let columns =
        ["group", "ledger id", "outcome", "facts", "tries", "type", "topic", "position", "recorded"];
    let mut table = table::new(&columns);
    for row in rows {
        let partition = row.partition.map(|partition| format!(":{partition}")).unwrap_or_default();
        table.add_row([
            row.consumer_group.clone(),
            row.event_id.to_string(),
            row.outcome.clone(),
            row.facts.to_string(),
            row.attempts.to_string(),
            row.event_type.clone(),
            format!("{}{partition}", row.topic),
            or_dash(row.position.clone()),
            time(row.processed_at),
        ]);
    }
    table.to_string()
}
