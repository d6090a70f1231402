//! `factline dlq list`: the letters, or their causes.

use uuid::Uuid;

use super::{Selection, Status};
use crate::{
    app::Databases,
    cli::{
        Verdict, print, print_json,
        table::{self, counted, or_dash, shortened, time},
    },
    dead_letters::CauseGroup,
    records::DeadLetterRecord,
};

/// Characters of an error in a table.
const ERROR_WIDTH: usize = 72;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// In this state
    #[arg(long, value_enum, default_value_t = Status::Open)]
    status: Status,
    /// How many at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Go on after this letter, where a listing ended
    #[arg(long, value_name = "ID", conflicts_with = "group")]
    before: Option<Uuid>,
    /// Show causes: letters with equal ones count together
    #[arg(long)]
    group: bool,
    /// Print them as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: &Arguments, databases: &Databases) -> anyhow::Result<Verdict> {
    let mut filter = arguments.selection.filter(arguments.status.as_str(), arguments.limit)?;
    filter.before = arguments.before;
    if arguments.group {
        let causes = databases.dead_letters.causes(&filter).await?;
        match causes.as_slice() {
            _ if arguments.json => print_json(&causes)?,
            [] => print("no dead letters")?,
            causes => print(causes_table(causes))?,
        }
        return Ok(Verdict::Done);
    }
    let letters = databases.records.dead_letters(&filter).await?;
    match letters.as_slice() {
        _ if arguments.json => print_json(&letters)?,
        [] => print("no dead letters")?,
        [.., last] => {
            print(letters_table(&letters))?;
            if letters.len() == arguments.limit as usize {
                print(format!(
                    "{} shown; there may be more: go on with --before {}",
                    counted(letters.len(), "letter"),
                    last.id
                ))?;
            }
        }
    }
    Ok(Verdict::Done)
}

fn letters_table(letters: &[DeadLetterRecord]) -> String {
    let columns =
        ["letter", "status", "group", "topic", "type", "key", "tries", "set aside", "kind", "error"];
    let mut table = table::new(&columns);
    for letter in letters {
        table.add_row([
            letter.id.to_string(),
            letter.status.clone(),
            letter.consumer_group.clone(),
            letter.topic.clone(),
            or_dash(letter.event_type.clone()),
            or_dash(letter.key.clone()),
            letter.attempts.to_string(),
            time(letter.dead_at),
            letter.error_kind.clone(),
            shortened(&letter.error, ERROR_WIDTH),
        ]);
    }
    table.to_string()
}

pub(super) fn causes_table(causes: &[CauseGroup]) -> String {
    let columns =
        ["fingerprint", "letters", "first seen", "last seen", "stage", "kind", "topic", "latest error"];
    let mut table = table::new(&columns);
    for cause in causes {
        table.add_row([
            cause.fingerprint.clone(),
            cause.letters.to_string(),
            time(cause.first_seen),
            time(cause.last_seen),
            cause.stage.clone(),
            cause.error_kind.clone(),
            cause.topic.clone(),
            shortened(&cause.error, ERROR_WIDTH),
        ]);
    }
    table.to_string()
}
