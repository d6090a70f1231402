//! `factline explain EVENT_ID`: the whole story of one event, stage by stage.

use anyhow::Context as _;
use uuid::Uuid;

use super::{
    Verdict,
    event_name::{self, event_meant},
    facts::facts_table,
    print, print_json,
    table::{counted, time},
};
use crate::{
    config::Config,
    records::{AttemptRecord, LedgerRecord, OutboxRow},
    story::Story,
};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The event's id, as it is in the outbox or in a dead letter; or the letter's id
    event_id: String,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<Verdict> {
    let databases = super::databases(config).await?;
    let event_id = event_meant(databases.records.as_ref(), &arguments.event_id).await?;
    let story = Story::of_event(&databases, &event_id).await?.with_context(|| {
        let advice = event_name::advice(&event_id);
        format!("no event {event_id} in the outbox, the ledger or the dead letters; {advice}")
    })?;
    if arguments.json {
        print_json(&story)?;
    } else {
        tell(&story)?;
    }
    Ok(Verdict::Done)
}

fn tell(story: &Story) -> anyhow::Result<()> {
    print(format!("event {}", story.event_id))?;
    match &story.outbox {
        Some(row) => tell_outbox(row)?,
        None if Uuid::try_parse(&story.event_id).is_err() => {
            print("  outbox     not looked up: the id is no UUID")?;
        }
        None => print("  outbox     no row: deleted after its retention time, or another producer's event")?,
    }
    for row in &story.ledger {
        tell_ledger(row, story.facts.len())?;
    }
    for attempt in &story.attempts {
        tell_attempt(attempt)?;
    }
    if story.ledger.is_empty() && story.dead_letters.is_empty() && story.attempts.is_empty() {
        print("  ledger     not yet: `factline status` shows where it waits")?;
    }
    for letter in &story.dead_letters {
        print(format!(
            "  dead letter {}  set aside at {} by {} ({}), {}\n             {}",
            letter.id,
            time(letter.dead_at),
            letter.stage,
            letter.error_kind,
            letter.status,
            letter.error
        ))?;
    }
    if !story.facts.is_empty() {
        print(facts_table(&story.facts))?;
    }
    Ok(())
}

fn tell_outbox(row: &OutboxRow) -> anyhow::Result<()> {
    let mut text =
        format!("  outbox     row {}, {} on {} of key {}", row.id, row.event_type, row.topic, row.key);
    if let Some(created) = row.created_at {
        text += &format!("\n             written   {}", time(created));
    }
    match (row.status.as_str(), row.processed_at) {
        ("processed", Some(at)) => text += &format!("\n             published {}", time(at)),
        (status, Some(at)) => text += &format!("\n             {status}    {}", time(at)),
        (status, None) => text += &format!("\n             {status}"),
    }
    if let Some(error) = &row.error {
        text += &format!(": {error}");
    }
    if let Some(trace) = &row.traceparent {
        text += &format!("\n             trace     {trace}");
    }
    print(text)
}

fn tell_attempt(attempt: &AttemptRecord) -> anyhow::Result<()> {
    let mut text =
        format!("  group {:<6} {} failed", attempt.consumer_group, counted(attempt.attempts, "try"));
    if attempt.suspect_count > 0 {
        text += &format!(", {} with it in hand", counted(attempt.suspect_count, "death"));
    }
    if let Some(next) = attempt.next_attempt_at {
        text += &format!("; the next one is due at {}, and its key waits", time(next));
    }
    if let Some(error) = &attempt.last_error {
        text += &format!("\n             {error}");
    }
    print(text)
}

fn tell_ledger(row: &LedgerRecord, stored: usize) -> anyhow::Result<()> {
    let facts = match usize::try_from(row.facts) {
        Ok(0) | Err(_) => String::new(),
        Ok(stated) if stated > stored => {
            format!(", {}, {} of them known before", counted(stated, "fact"), stated - stored)
        }
        Ok(stated) => format!(", {}", counted(stated, "fact")),
    };
    let place = match (row.partition, &row.position) {
        (Some(partition), Some(position)) => format!("read from {}:{partition} at {position}", row.topic),
        (_, Some(position)) => format!("outbox row {position}, never published"),
        _ => String::new(),
    };
    print(format!(
        "  group {:<6} {place}\n             {} {} at attempt {}{facts}",
        row.consumer_group,
        row.outcome,
        time(row.processed_at),
        row.attempts
    ))
}
