//! `factline dlq list`: the letters, or their causes.

use std::collections::{BTreeMap, BTreeSet};

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

/// Characters of an id in a table at least: as many as tell its millisecond.
const TIME: usize = 13;

/// Characters of a fingerprint in a table at least.
const HASH: usize = 8;

/// Characters of an error in a table.
const ERROR_WIDTH: usize = 72;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// In this state
    #[arg(long, value_enum, default_value_t = Status::Unfinished)]
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
            for (run, waiting) in waiting(&letters) {
                print(format!(
                    "{} in run {run}: if nobody is at it, `factline dlq reprocess --resume` goes on",
                    counted(waiting, "letter")
                ))?;
            }
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
    let columns = [
        "letter",
        "event",
        "fingerprint",
        "status",
        "group",
        "topic",
        "key",
        "tries",
        "set aside",
        "kind",
        "error",
    ];
    let mut table = table::new(&columns);
    let ids = distinct_beginnings(letters.iter().map(|letter| letter.id.to_string()).collect(), TIME);
    let events = distinct_beginnings(letters.iter().map(|letter| letter.event_id.clone()).collect(), TIME);
    let causes = distinct_beginnings(letters.iter().map(|letter| letter.fingerprint.clone()).collect(), HASH);
    for (letter, ((id, event), cause)) in letters.iter().zip(ids.into_iter().zip(events).zip(causes)) {
        table.add_row([
            id,
            or_dash(Some(event)),
            cause,
            letter.status.clone(),
            letter.consumer_group.clone(),
            letter.topic.clone(),
            or_dash(letter.key.clone()),
            letter.attempts.to_string(),
            time(letter.dead_at),
            letter.error_kind.clone(),
            shortened(&letter.error, ERROR_WIDTH),
        ]);
    }
    table.to_string()
}

/// Letters that wait in runs, by run.
fn waiting(letters: &[DeadLetterRecord]) -> BTreeMap<Uuid, usize> {
    let mut waiting = BTreeMap::new();
    for run in
        letters.iter().filter(|letter| letter.status == "reprocessing").filter_map(|one| one.reprocess_run)
    {
        *waiting.entry(run).or_default() += 1;
    }
    waiting
}

/// What each of these begins with and no other one that differs: enough to name it by. So many characters at least.
fn distinct_beginnings(mut names: Vec<String>, least: usize) -> Vec<String> {
    let long_enough = |length: usize| {
        let beginnings: BTreeSet<&str> = names.iter().map(|name| beginning(name, length)).collect();
        beginnings.len() == names.iter().collect::<BTreeSet<_>>().len()
    };
    let longest = names.iter().map(String::len).max().unwrap_or_default();
    let length = (least..longest).find(|length| long_enough(*length)).unwrap_or(longest);
    for name in &mut names {
        name.truncate(beginning(name, length).len());
    }
    names
}

fn beginning(name: &str, length: usize) -> &str {
    let end = name.char_indices().nth(length).map_or(name.len(), |(end, _)| end);
    name[..end].trim_end_matches('-')
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_short_as_tells_them_apart() {
        let short = |names: &[&str]| {
            distinct_beginnings(names.iter().map(|name| (*name).to_owned()).collect(), HASH).join(" ")
        };
        assert_eq!(short(&["673b43a28bfbde09", "673b43a28bfbde09"]), "673b43a2 673b43a2");
        assert_eq!(short(&["673b43a28bfbde09", "673b43a28bfc0000"]), "673b43a28bfb 673b43a28bfc");
        assert_eq!(short(&["01a214ee-4b84-77", "01a214ee-4b85-77"]), "01a214ee-4b84 01a214ee-4b85");
        assert_eq!(short(&["01a214ee-4b84-77", "", "x-ü"]), "01a214ee  x-ü");
        assert_eq!(short(&["01a214ee-4b", "01a214ee-4b-1"]), "01a214ee-4b 01a214ee-4b-1");
        assert_eq!(short(&[]), "");
    }
}
