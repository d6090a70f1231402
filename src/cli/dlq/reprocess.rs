//! `factline dlq reprocess`: extracts and records the letters' events now.

use std::time::{Duration, Instant};

use anyhow::bail;
use clap::ArgGroup;
use serde::Serialize;
use uuid::Uuid;

use super::{Selection, all_named};
use crate::{
    app::Databases,
    cli::{Verdict, measures::rate, print, print_json, progress, table::counted},
    config::Config,
    dead_letters::Selected,
    operator_log::Actor,
    records::{DeadLetterFilter, DeadLetterRecord},
    reprocessing::{Limits, Reprocessor, Tally, Turn},
};

/// So many letters are told of one by one; of more, only those that failed.
const TOLD_ONE_BY_ONE: usize = 20;

#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
#[derive(clap::Args)]
#[command(group(
    ArgGroup::new("which")
        .args(["names", "all", "resume", "topic", "event_type", "fingerprint", "consumer_group", "since", "text"])
        .required(true)
        .multiple(true)
))]
pub(super) struct Arguments {
    /// The letters: their ids, their events' ids, or the beginnings of them
    #[arg(
        value_name = "ID",
        conflicts_with_all =
            ["all", "resume", "topic", "event_type", "fingerprint", "consumer_group", "since", "text"]
    )]
    names: Vec<String>,
    /// All that are open
    #[arg(long, conflicts_with = "resume")]
    all: bool,
    #[command(flatten)]
    selection: Selection,
    /// Go on with what an interrupted run has left
    #[arg(long, conflicts_with_all = ["topic", "event_type", "fingerprint", "consumer_group", "since", "text"])]
    resume: bool,
    /// Try so many first, and no others if one of them fails
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    canary: Option<u32>,
    /// At most so many a second: 5/s
    #[arg(long, value_name = "R/s", value_parser = rate)]
    rate: Option<f64>,
    /// Stop when more than so many have failed
    #[arg(long, value_name = "N")]
    max_failures: Option<u64>,
    /// Only say what would come of it; the extractors run, nothing is recorded
    #[arg(long, conflicts_with = "resume")]
    dry_run: bool,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// What a run came to.
#[derive(Serialize)]
struct Outcome {
    selected: usize,
    #[serde(flatten)]
    tally: Tally,
    stopped: Option<String>,
    seconds: f64,
}

pub(super) async fn run(
    arguments: &Arguments,
    config: &Config,
    databases: &Databases,
    by: &Actor,
) -> anyhow::Result<Verdict> {
    let reprocessor = Reprocessor::new(config, databases.clone(), by);
    if arguments.dry_run {
        return rehearse(arguments, databases, &reprocessor).await;
    }
    let letters = if arguments.resume {
        let left = databases.dead_letters.selected(None).await?;
        let (left, attended) = reprocessor.unattended(left).await?;
        for run in attended {
            eprintln!("run {run} is left alone: somebody is at it");
        }
        left
    } else {
        let Some(filter) = arguments.filter(databases).await? else { return arguments.nothing_to_do() };
        let run = Uuid::now_v7();
        databases.dead_letters.select(by, run, &filter).await?;
        databases.dead_letters.selected(Some(run)).await?
    };
    if letters.is_empty() {
        return arguments.nothing_to_do();
    }
    let started = Instant::now();
    let mut tally = Tally::default();
    let stopped = tokio::select! {
        stopped = take_turns(arguments, &reprocessor, &letters, &mut tally) => stopped?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            bail!("interrupted; go on with `factline dlq reprocess --resume`");
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    tell(arguments, &Outcome { selected: letters.len(), tally, stopped, seconds })
}

async fn take_turns(
    arguments: &Arguments,
    reprocessor: &Reprocessor,
    letters: &[Selected],
    tally: &mut Tally,
) -> anyhow::Result<Option<String>> {
    let few = letters.len() <= TOLD_ONE_BY_ONE;
    let length = (!few).then_some(letters.len() as u64);
    let bar = progress::bar(length, "{bar:40} {pos}/{len}, {eta} to go");
    let mut unheard = Ok(());
    let limits = Limits {
        canary: arguments.canary.map(|letters| letters as usize),
        max_failures: arguments.max_failures,
        interval: arguments.rate.map(|rate| Duration::from_secs_f64(rate.recip())),
    };
    let told = |selected: Selected, turn: &Turn| {
        bar.inc(1);
        let failed = matches!(turn, Turn::Failed(_) | Turn::Unfit(_));
        if unheard.is_ok() && !arguments.json && (few || failed) {
            unheard = bar.suspend(|| print(format!("{} {}", selected.letter, words(turn))));
        }
    };
    let stopped = reprocessor.run(letters, limits, tally, told).await;
    bar.finish_and_clear();
    unheard?;
    match stopped {
        Ok(stopped) => Ok(stopped),
        Err(error) => Err(anyhow::Error::from(error)
            .context("the run stopped; go on with `factline dlq reprocess --resume`")),
    }
}

fn words(turn: &Turn) -> String {
    match turn {
        Turn::Took(facts) => format!("took effect: {}", counted(*facts, "fact")),
        Turn::KnownBefore => "resolved: its event had taken effect before".to_owned(),
        Turn::Republished(id) => format!("waits in the outbox as event {id}"),
        Turn::Failed(failed) => format!("failed again ({}): {}", failed.kind, failed.error),
        Turn::Unfit(reason) => format!("cannot be tried: {reason}"),
        Turn::Settled(state) => format!("left alone: {state}"),
    }
}

fn tell(arguments: &Arguments, outcome: &Outcome) -> anyhow::Result<Verdict> {
    let Outcome { selected, tally, stopped, seconds } = outcome;
    if arguments.json {
        print_json(outcome)?;
    } else {
        print(format!(
            "{} in {seconds:.1} s: {} took effect ({}), {} had before, {} published again, {} failed, \
             {} left alone, {} put back",
            counted(*selected, "letter"),
            tally.took_effect,
            counted(tally.facts, "fact"),
            tally.known_before,
            tally.republished,
            tally.failed,
            tally.settled,
            tally.put_back
        ))?;
        if tally.took_effect > 0 {
            print(
                "later events of the same keys may have been recorded before: their order is given up, and facts \
                 are merged by their times",
            )?;
        }
    }
    if let Some(reason) = stopped {
        bail!("stopped: {reason}; {} untried and open again", counted(tally.put_back, "letter"));
    }
    if tally.failed > 0 {
        bail!("{} failed, open as before; `factline dlq show ID` says why", counted(tally.failed, "letter"));
    }
    Ok(Verdict::Done)
}

async fn rehearse(
    arguments: &Arguments,
    databases: &Databases,
    reprocessor: &Reprocessor,
) -> anyhow::Result<Verdict> {
    let Some(mut filter) = arguments.filter(databases).await? else { return arguments.nothing_to_do() };
    filter.status = Some("open".to_owned());
    filter.without_payload = true;
    let letters = databases.records.dead_letters(&filter).await?;
    let mut tally = Tally::default();
    for id in letters.iter().rev().map(|letter| letter.id) {
        let Some(letter) = databases.dead_letters.letter(id).await? else { continue };
        let turn = reprocessor.rehearse(&letter).await?;
        tally.count(&turn);
        if !arguments.json {
            print(format!("{id} would be: {}", words(&turn)))?;
        }
    }
    if arguments.json {
        let outcome = Outcome { selected: letters.len(), tally, stopped: None, seconds: 0.0 };
        print_json(&outcome)?;
    } else {
        print(format!(
            "{}: {} would take effect or be published again, {} would fail; nothing was changed",
            counted(letters.len(), "letter"),
            tally.took_effect + tally.republished,
            tally.failed
        ))?;
    }
    Ok(Verdict::Done)
}

impl Arguments {
    fn nothing_to_do(&self) -> anyhow::Result<Verdict> {
        if self.json {
            print_json(&Outcome { selected: 0, tally: Tally::default(), stopped: None, seconds: 0.0 })?;
        } else {
            print("nothing to reprocess")?;
        }
        Ok(Verdict::Done)
    }

    /// The letters that are meant; nothing if none of those that were named is open.
    async fn filter(&self, databases: &Databases) -> anyhow::Result<Option<DeadLetterFilter>> {
        if self.names.is_empty() {
            return self.selection.filter(None, u32::MAX).map(Some);
        }
        let letters = all_named(databases.records.as_ref(), &self.names).await?;
        let (open, others): (Vec<_>, Vec<_>) = letters.into_iter().partition(|one| one.status == "open");
        for letter in others.iter().filter(|_| !self.json) {
            print(not_open(letter))?;
        }
        let ids: Vec<Uuid> = open.iter().map(|letter| letter.id).collect();
        let filter = DeadLetterFilter { ids: Some(ids), limit: u32::MAX, ..DeadLetterFilter::default() };
        Ok((!open.is_empty()).then_some(filter))
    }
}

fn not_open(letter: &DeadLetterRecord) -> String {
    match letter.reprocess_run.filter(|_| letter.status == "reprocessing") {
        Some(run) => format!(
            "{} waits in run {run}; if nobody is at it, go on with `factline dlq reprocess --resume`",
            letter.id
        ),
        None => format!("{} is {} already: nothing takes effect twice", letter.id, letter.status),
    }
}
