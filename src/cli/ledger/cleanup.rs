//! `factline ledger cleanup`: old rows deleted, in small batches.

use std::time::Duration;

use anyhow::Context as _;
use chrono::{TimeDelta, Utc};

use crate::cli::{
    Verdict, databases,
    measures::duration,
    print,
    table::{counted, time},
};
use crate::config::Config;

/// Rows deleted in one transaction.
const BATCH: usize = 5_000;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Delete what was recorded before this time, 30d say
    #[arg(long, value_parser = duration)]
    older_than: Duration,
    /// Only say how many rows there are
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<Verdict> {
    let ledger = databases(config).await?.ledger;
    let age = TimeDelta::from_std(arguments.older_than).unwrap_or(TimeDelta::MAX);
    let before =
        Utc::now().checked_sub_signed(age).context("--older-than is longer than time itself; write 30d")?;
    if arguments.dry_run {
        let rows = ledger.forgettable_before(before).await?;
        print(format!("{} recorded before {}; nothing was changed", counted(rows, "row"), time(before)))?;
        return Ok(Verdict::Done);
    }
    let mut rows = 0;
    loop {
        let deleted = ledger.forget_before(before, BATCH).await?;
        rows += deleted;
        if deleted < BATCH as u64 {
            break;
        }
    }
    print(format!("deleted {} recorded before {}", counted(rows, "row"), time(before)))?;
    Ok(Verdict::Done)
}
