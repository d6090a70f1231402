//! `factline emit`: events into the outbox.

use std::{
    fs::File,
    io::{BufRead, BufReader, IsTerminal, stdin},
    path::PathBuf,
    sync::Arc,
};

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use factline_pipeline::{
    chat,
    event::TraceContext,
    outbox::{NewEvent, Outbox},
    time,
};
use indicatif::ProgressBar;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use uuid::Uuid;

use super::{Verdict, print, print_json, progress, table::counted};
use crate::{
    app::Opener,
    config::{self, Config},
    incoming,
};

/// No doc comment, for help shows backticks as they are.
const FILE_HELP: &str = "Read events from a file, a JSON object a line: a payload, a CloudEvent, or {\"topic\", \"key\", \
    \"event_type\", \"payload\", \"event_id\", \"occurred_at\", \"traceparent\", \"tracestate\"}, of which only the \
    payload must be there";

/// Events in one transaction.
const BATCH: usize = 1000;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The payload: a JSON object. Without it, and without --file, events are read from standard input
    payload: Option<String>,
    #[arg(long, value_name = "FILE", conflicts_with = "payload", help = FILE_HELP)]
    file: Option<PathBuf>,
    /// Begin with this line, where an earlier attempt ended
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "payload")]
    from_line: usize,
    /// Topic of events that name none
    #[arg(long, default_value = "chat")]
    topic: String,
    #[arg(long, help = "Key of events that name none [default: the payload's conversation_id]")]
    key: Option<String>,
    /// Type of events that name none
    #[arg(long = "type", value_name = "TYPE", default_value = chat::EVENT_TYPE)]
    event_type: String,
    /// The event's id, a UUID, with a payload as argument
    #[arg(long, requires = "payload")]
    event_id: Option<Uuid>,
    /// Print the ids as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<Verdict> {
    let outbox = Opener::impatient(config).creating().databases().await?.outbox;
    let incoming =
        incoming::Reader { default_topic: &arguments.topic, ..incoming::Reader::new(&config.source) };
    if let Some(payload) = &arguments.payload {
        let mut event = arguments.event_of(&incoming, payload).context("nothing was written")?;
        event.event_id = arguments.event_id.or(event.event_id);
        let ids = outbox.insert(&[event]).await.context("nothing was written")?;
        return report(&arguments, &ids);
    }
    let (lines, length): (Box<dyn BufRead>, Option<u64>) = if let Some(path) = &arguments.file {
        let file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let length = file.metadata().ok().map(|metadata| metadata.len());
        (Box::new(BufReader::new(file)), length)
    } else {
        if stdin().is_terminal() {
            eprintln!("reading events from standard input, a JSON object a line; end with Ctrl-D");
        }
        (Box::new(BufReader::new(stdin())), None)
    };
    let ids = emit_lines(&arguments, &incoming, &outbox, lines, length).await?;
    report(&arguments, &ids)
}

fn report(arguments: &Arguments, ids: &[Uuid]) -> anyhow::Result<Verdict> {
    if arguments.json {
        print_json(&ids)?;
    } else if let [id] = ids {
        print(format!("1 event written to the outbox: {id}"))?;
    } else {
        print(format!("{} written to the outbox", counted(ids.len(), "event")))?;
    }
    Ok(Verdict::Done)
}

/// Writes line by line, in batches; an unreadable line ends it there, everything before it is written.
async fn emit_lines(
    arguments: &Arguments,
    incoming: &incoming::Reader<'_>,
    outbox: &Arc<dyn Outbox>,
    mut lines: Box<dyn BufRead>,
    length: Option<u64>,
) -> anyhow::Result<Vec<Uuid>> {
    let progress = progress_bar(length);
    let (mut ids, mut batch, mut text) = (Vec::new(), Vec::new(), String::new());
    let (mut number, mut first_of_batch) = (0, arguments.from_line);
    loop {
        text.clear();
        number += 1;
        let read = lines.read_line(&mut text);
        let ended = matches!(read, Ok(0));
        let event = match read {
            Ok(0) => None,
            Ok(length) => {
                progress.inc(length as u64);
                let skipped = number < arguments.from_line || text.trim().is_empty();
                (!skipped).then(|| arguments.event_of(incoming, &text))
            }
            Err(error) => Some(Err(error.into())),
        };
        let unreadable = match event {
            Some(Ok(event)) => {
                batch.push(event);
                None
            }
            Some(Err(error)) => Some(error),
            None => None,
        };
        if ended || unreadable.is_some() || batch.len() == BATCH {
            let written = outbox.insert(&batch).await.with_context(|| {
                format!(
                    "written so far: {}; go on with --from-line {first_of_batch}",
                    counted(ids.len(), "event")
                )
            })?;
            ids.extend(written);
            batch.clear();
            first_of_batch = number + 1;
        }
        if let Some(error) = unreadable {
            let fix = format!(
                "written before it: {}; mend it and go on with --from-line {number}",
                counted(ids.len(), "event")
            );
            return Err(error.context(format!("line {number}; {fix}")));
        }
        if ended {
            progress.finish_and_clear();
            return Ok(ids);
        }
    }
}

/// Bytes, of how many where that is known.
fn progress_bar(length: Option<u64>) -> ProgressBar {
    let style = match length {
        Some(_) => "{bar:40} {bytes}/{total_bytes}, {eta} to go",
        None => "{spinner} {bytes}",
    };
    progress::bar(length, style)
}

/// An event as it may be written out; a line that is no such thing is a payload.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    payload: Box<RawValue>,
    topic: Option<String>,
    key: Option<String>,
    event_type: Option<String>,
    event_id: Option<Uuid>,
    #[serde(default, deserialize_with = "time::deserialize_optional")]
    occurred_at: Option<DateTime<Utc>>,
    traceparent: Option<String>,
    tracestate: Option<String>,
}

/// One line of a file of events, as `emit --file` takes it without any other option.
pub(super) fn event_of_line(text: &str, source: &config::Source) -> anyhow::Result<NewEvent> {
    let arguments = Arguments {
        payload: None,
        file: None,
        from_line: 1,
        topic: "chat".to_owned(),
        key: None,
        event_type: chat::EVENT_TYPE.to_owned(),
        event_id: None,
        json: false,
    };
    arguments.event_of(&incoming::Reader::new(source), text)
}

impl Arguments {
    fn event_of(&self, incoming: &incoming::Reader<'_>, text: &str) -> anyhow::Result<NewEvent> {
        let value: Value = serde_json::from_str(text).context("not JSON")?;
        let Some(fields) = value.as_object() else { bail!("not a JSON object") };
        if fields.contains_key("specversion") {
            return Ok(incoming.structured(text)?);
        }
        let mut event = NewEvent {
            event_id: None,
            topic: self.topic.clone(),
            key: String::new(),
            event_type: self.event_type.clone(),
            payload: text.trim().to_owned(),
            occurred_at: None,
            trace: None,
        };
        let mut key = None;
        let mut payload = &value;
        if let Some(inner) = fields.get("payload") {
            let line: Line = serde_json::from_str(text).context("not an event")?;
            event.topic = line.topic.unwrap_or(event.topic);
            event.event_type = line.event_type.unwrap_or(event.event_type);
            event.event_id = line.event_id;
            event.occurred_at = line.occurred_at;
            line.payload.get().clone_into(&mut event.payload);
            event.trace =
                line.traceparent.map(|traceparent| TraceContext { traceparent, tracestate: line.tracestate });
            key = line.key;
            payload = inner;
        }
        let conversation = payload.get("conversation_id").map(|id| match id {
            Value::String(id) => id.clone(),
            other => other.to_string(),
        });
        let key = key.or_else(|| self.key.clone()).or(conversation);
        event.key = key.context("no key: order is kept by key; name one with --key")?;
        Ok(event)
    }
}
