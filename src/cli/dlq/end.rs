//! `factline dlq resolve`, `discard` and `purge`: the ends of a letter's story.

use std::time::Duration;

use anyhow::bail;
use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::{ago, all_named};
use crate::{
    app::Databases,
    cli::{Verdict, confirmed, measures::duration, print, print_json, table::counted},
    dead_letters::End,
    operator_log::{Actor, check_note},
    records::DeadLetterRecord,
};

/// Letters deleted in one transaction.
const BATCH: u32 = 500;

/// Which letters, and why.
#[derive(clap::Args)]
struct Ending {
    /// The letters: their ids, the beginnings of them, or their events' ids
    #[arg(value_name = "ID", required = true)]
    names: Vec<String>,
    /// What was done, or why nothing will be: at most 4096 bytes
    #[arg(long, value_parser = note)]
    note: String,
    /// Only say which they are
    #[arg(long)]
    dry_run: bool,
}

#[derive(clap::Args)]
pub(super) struct Resolve {
    #[command(flatten)]
    ending: Ending,
}

#[derive(clap::Args)]
pub(super) struct Discard {
    #[command(flatten)]
    ending: Ending,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(clap::Args)]
pub(super) struct Purge {
    /// Those that were resolved or discarded longer ago than this: 30d, 12h
    #[arg(long, value_name = "TIME", value_parser = duration)]
    older_than: Duration,
    /// Only say how many they are
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// What a purge came to.
#[derive(Serialize)]
struct Purged {
    /// Letters that ended before then.
    ended: u64,
    before: DateTime<Utc>,
    deleted: u64,
}

/// A note that can be kept.
fn note(text: &str) -> Result<String, String> {
    check_note(text).map(|()| text.to_owned())
}

impl Resolve {
    pub(super) async fn run(&self, databases: &Databases, by: &Actor) -> anyhow::Result<Verdict> {
        self.ending.run(databases, by, End::Resolved, true).await
    }
}

impl Discard {
    pub(super) async fn run(&self, databases: &Databases, by: &Actor) -> anyhow::Result<Verdict> {
        self.ending.run(databases, by, End::Discarded, self.yes).await
    }
}

impl Ending {
    async fn run(&self, databases: &Databases, by: &Actor, end: End, sure: bool) -> anyhow::Result<Verdict> {
        let letters = all_named(databases.records.as_ref(), &self.names).await?;
        let (unfinished, ended): (Vec<_>, Vec<_>) =
            letters.into_iter().partition(DeadLetterRecord::is_unfinished);
        for letter in &ended {
            print(format!("{} is {} already", letter.id, letter.status))?;
        }
        for letter in &unfinished {
            print(format!("{} {} of {}: {}", letter.id, letter.status, letter.consumer_group, letter.error))?;
        }
        if unfinished.is_empty() || self.dry_run {
            print("nothing was changed")?;
            return Ok(Verdict::Done);
        }
        let what = counted(unfinished.len(), "letter");
        if !sure && !confirmed(&format!("discard {what}? nobody will ever process their events"))? {
            bail!("nothing was changed");
        }
        let ids: Vec<Uuid> = unfinished.iter().map(|letter| letter.id).collect();
        let done = databases.dead_letters.end(by, &ids, end, &self.note).await?;
        print(format!("{} {}", counted(done.len(), "letter"), end.as_str()))?;
        Ok(Verdict::Done)
    }
}

impl Purge {
    pub(super) async fn run(&self, databases: &Databases, by: &Actor) -> anyhow::Result<Verdict> {
        let before = ago(self.older_than)?;
        let there = databases.dead_letters.ended_before(before).await?;
        if !self.json {
            let time = humantime::format_duration(self.older_than);
            print(format!("{} ended more than {time} ago", counted(there, "letter")))?;
        }
        if there == 0 || self.dry_run {
            return self.tell(&Purged { ended: there, before, deleted: 0 });
        }
        if !self.yes && !confirmed("delete them for good?")? {
            bail!("nothing was changed");
        }
        let mut deleted = 0;
        loop {
            let batch = databases.dead_letters.purge(by, before, BATCH).await?;
            deleted += batch;
            if batch < u64::from(BATCH) {
                break;
            }
        }
        self.tell(&Purged { ended: there, before, deleted })
    }

    fn tell(&self, purged: &Purged) -> anyhow::Result<Verdict> {
        match purged.deleted {
            _ if self.json => print_json(purged)?,
            0 => print("nothing was changed")?,
            deleted => print(format!("{} deleted", counted(deleted, "letter")))?,
        }
        Ok(Verdict::Done)
    }
}
