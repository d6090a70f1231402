//! `factline dlq`: working the dead letters, with the daemon up or down.

use std::time::Duration;

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use clap::{Subcommand, ValueEnum};
use uuid::Uuid;

use super::{Verdict, measures::duration};
use crate::{
    config::Config,
    dead_letters,
    operator_log::Actor,
    records::{DeadLetterFilter, DeadLetterRecord, Records},
};

mod edit;
mod end;
mod list;
mod report;
mod reprocess;
mod show;

/// Letters that are listed when a name means several.
const CANDIDATES: usize = 10;

/// Letters that are counted then.
const COUNTED: u32 = 1_000;

/// A shorter name is no beginning of an event's id.
const LEAST_OF_EVENT: usize = 4;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
    /// Who does it, for the operator log [default: $USER@host]
    #[arg(long, global = true, value_name = "WHO")]
    by: Option<String>,
}

#[derive(Subcommand)]
enum Action {
    /// List dead letters, the newest first, or their causes
    List(list::Arguments),
    /// Show one in full
    Show(show::Arguments),
    /// Change the payload of one; the first payload is kept
    Edit(edit::Arguments),
    /// Extract and record their events now; each takes effect once, however often this is run
    Reprocess(reprocess::Arguments),
    /// Say that their events have been dealt with
    Resolve(end::Resolve),
    /// Say that nobody will ever deal with their events
    Discard(end::Discard),
    /// Tell what came and went in the last hours
    Report(report::Arguments),
    /// Delete letters that were resolved or discarded long ago
    Purge(end::Purge),
}

pub(super) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<Verdict> {
    let databases = super::databases(config).await?;
    let by = Actor::at_prompt(arguments.by.unwrap_or_else(super::whoever_runs_this));
    match arguments.action {
        Action::List(command) => list::run(&command, &databases).await,
        Action::Show(command) => show::run(&command, &databases).await,
        Action::Edit(command) => edit::run(&command, &databases, &by).await,
        Action::Reprocess(command) => reprocess::run(&command, config, &databases, &by).await,
        Action::Resolve(command) => command.run(&databases, &by).await,
        Action::Discard(command) => command.run(&databases, &by).await,
        Action::Report(command) => report::run(&command, &databases).await,
        Action::Purge(command) => command.run(&databases, &by).await,
    }
}

/// Which letters.
#[derive(clap::Args)]
struct Selection {
    /// Of this topic
    #[arg(long)]
    topic: Option<String>,
    /// Of this event type
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// With this cause, as the listings show it, or one that begins so
    #[arg(long)]
    fingerprint: Option<String>,
    /// Of this consumer group; "relay" for rows that were never published
    #[arg(long, value_name = "NAME")]
    consumer_group: Option<String>,
    /// Set aside in this time: 90min, 24h, 7d
    #[arg(long, value_name = "TIME", value_parser = duration)]
    since: Option<Duration>,
    /// With this text in the error, the payload, the key or the event's id
    #[arg(long)]
    text: Option<String>,
}

impl Selection {
    fn filter(&self, status: Option<&str>, limit: u32) -> anyhow::Result<DeadLetterFilter> {
        Ok(DeadLetterFilter {
            status: status.map(str::to_owned),
            topic: self.topic.clone(),
            event_type: self.event_type.clone(),
            fingerprint: self.fingerprint.clone(),
            consumer_group: self.consumer_group.clone(),
            since: self.since.map(ago).transpose()?,
            text: self.text.clone(),
            limit,
            ..DeadLetterFilter::default()
        })
    }
}

/// In which state.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Status {
    /// Open, or reprocessing
    Unfinished,
    /// Nobody has dealt with it
    Open,
    /// It waits in a reprocessing run
    Reprocessing,
    /// Its event has been dealt with
    Resolved,
    /// Nobody will
    Discarded,
    /// Any of these
    All,
}

impl Status {
    fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Unfinished => Some("unfinished"),
            Self::Open => Some("open"),
            Self::Reprocessing => Some("reprocessing"),
            Self::Resolved => Some("resolved"),
            Self::Discarded => Some("discarded"),
            Self::All => None,
        }
    }
}

/// The time so long ago.
fn ago(time: Duration) -> anyhow::Result<DateTime<Utc>> {
    dead_letters::ago(time).context("that is too long ago: a hundred years at most")
}

/// The letter that a name means: its id or its event's id, or the beginning of one of them.
pub(super) async fn named(records: &dyn Records, name: &str) -> anyhow::Result<DeadLetterRecord> {
    let mut found = all_meant(records, name).await?;
    match found.len() {
        0 => bail!("no dead letter {name:?}; `factline dlq list --status all` shows what there is"),
        1 => found.pop().context("there is one"),
        number => {
            let letters = found.iter().take(CANDIDATES);
            let letters: Vec<_> =
                letters.map(|one| format!("{} ({}, {})", one.id, one.consumer_group, one.status)).collect();
            let most = if number >= COUNTED as usize { " or more" } else { "" };
            let these = if number > CANDIDATES { "the latest of them" } else { "they" };
            bail!(
                "{name:?} may be any of {number}{most} letters, name one by its id; {these} are: {}",
                letters.join(", ")
            )
        }
    }
}

/// All letters that a name may mean.
pub(super) async fn all_meant(records: &dyn Records, name: &str) -> anyhow::Result<Vec<DeadLetterRecord>> {
    let counted = || DeadLetterFilter { limit: COUNTED, ..DeadLetterFilter::default() };
    let of_event = DeadLetterFilter { event_id: Some(name.to_owned()), ..counted() };
    let mut found = records.dead_letters(&of_event).await?;
    if let Some(between) = ids_that_begin_with(name) {
        let of_ids = DeadLetterFilter { between: Some(between), ..counted() };
        found.extend(records.dead_letters(&of_ids).await?);
    }
    if found.is_empty() && name.len() >= LEAST_OF_EVENT {
        let with_text = DeadLetterFilter { text: Some(name.to_owned()), ..counted() };
        found = records.dead_letters(&with_text).await?;
        found.retain(|letter| letter.event_id.starts_with(name));
    }
    found.sort_by_key(|letter| std::cmp::Reverse(letter.id));
    found.dedup_by_key(|letter| letter.id);
    Ok(found)
}

async fn all_named(records: &dyn Records, names: &[String]) -> anyhow::Result<Vec<DeadLetterRecord>> {
    let mut letters = Vec::with_capacity(names.len());
    for name in names {
        letters.push(named(records, name).await?);
    }
    letters.sort_by_key(|letter| letter.id);
    letters.dedup_by_key(|letter| letter.id);
    Ok(letters)
}

/// The first and the last id that begins so; nothing if none does.
fn ids_that_begin_with(name: &str) -> Option<(Uuid, Uuid)> {
    let digits: String = name.chars().filter(|character| *character != '-').collect();
    if digits.is_empty() || digits.len() > 32 {
        return None;
    }
    let padded =
        |with: &str| u128::from_str_radix(&format!("{digits}{}", with.repeat(32 - digits.len())), 16);
    Some((Uuid::from_u128(padded("0").ok()?), Uuid::from_u128(padded("f").ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_an_id_means_all_ids_that_begin_so() {
        let (first, last) = ids_that_begin_with("0198c0de-0").unwrap();
        assert_eq!(first.to_string(), "0198c0de-0000-0000-0000-000000000000");
        assert_eq!(last.to_string(), "0198c0de-0fff-ffff-ffff-ffffffffffff");
        for none in ["", "chat-1", "-", "0198c0de00000000000000000000000000"] {
            assert_eq!(ids_that_begin_with(none), None, "{none}");
        }
    }
}
