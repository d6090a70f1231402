//! `factline dlq show`: one letter in full.

use anyhow::Context as _;

use super::named;
use crate::{
    app::Databases,
    cli::{Verdict, print, print_json, table::time},
    dead_letters::Letter,
    story::trace_id,
};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The letter: its id, the beginning of it, or its event's id
    #[arg(value_name = "ID")]
    name: String,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: &Arguments, databases: &Databases) -> anyhow::Result<Verdict> {
    let id = named(databases.records.as_ref(), &arguments.name).await?.id;
    let letter = databases.dead_letters.letter(id).await?.context("it was deleted just now")?;
    if arguments.json {
        print_json(&letter)?;
    } else {
        print(told(&letter))?;
    }
    Ok(Verdict::Done)
}

fn told(letter: &Letter) -> String {
    let record = &letter.record;
    let mut lines = vec![format!("dead letter {}, {}", record.id, record.status)];
    let mut line = |name: &str, value: Option<String>| {
        lines.extend(value.map(|value| format!("  {name:<12} {value}")));
    };
    line("event", Some(record.event_id.clone()).filter(|id| !id.is_empty()));
    line("ledger id", record.ledger_id().map(|id| id.to_string()).filter(|id| *id != record.event_id));
    line("group", Some(record.consumer_group.clone()));
    line("type", record.event_type.clone());
    line("key", record.key.clone());
    line("came from", Some(place(letter)));
    line("failed first", Some(time(record.first_failed_at)));
    line("set aside", Some(format!("{} by {}", time(record.dead_at), record.stage)));
    line("tries", Some(record.attempts.to_string()));
    line("kind", Some(record.error_kind.clone()));
    line("error", Some(record.error.clone()));
    line("fingerprint", Some(record.fingerprint.clone()));
    line("trace", record.header("traceparent").and_then(trace_id).map(str::to_owned));
    line("run", record.reprocess_run.map(|run| run.to_string()));
    let ended = record.resolved_at.map(|at| {
        format!("{} {} by {}", record.status, time(at), record.resolved_by.as_deref().unwrap_or_default())
    });
    line("ended", ended);
    line("note", record.note.clone().filter(|note| !note.is_empty()));
    line("headers", Some(record.headers.to_string()).filter(|headers| headers != "{}"));
    lines.push(format!("payload\n{}", readable(&letter.payload)));
    if let Some(original) = &letter.original_payload {
        lines.push(format!("payload as it came\n{}", readable(original)));
    }
    lines.join("\n")
}

fn place(letter: &Letter) -> String {
    let record = &letter.record;
    match (record.partition, record.position.as_deref()) {
        (Some(partition), Some(position)) => format!("{}:{partition} at {position}", record.topic),
        (None, Some(row)) => format!("outbox row {row}, topic {}", record.topic),
        _ => format!("topic {}", record.topic),
    }
}

/// JSON over several lines, anything else as it is.
pub(super) fn readable(payload: &[u8]) -> String {
    let value = serde_json::from_slice::<serde_json::Value>(payload);
    let pretty = value.ok().and_then(|value| serde_json::to_string_pretty(&value).ok());
    pretty.unwrap_or_else(|| String::from_utf8_lossy(payload).into_owned())
}
