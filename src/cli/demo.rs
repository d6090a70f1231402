//! `factline demo`: the main job, embedded, on the example conversations, with poison mixed in.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use factline_pipeline::{chat, outbox::NewEvent};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Verdict, facts::facts_table, print, status::tree_lines, table};
use crate::{
    admin,
    app::{self, Adapters, Opener, Parts, Wiring},
    config::Config,
    records::{DeadLetterFilter, FactFilter},
    telemetry::Exposition,
};

pub(super) const CONVERSATIONS: &str = include_str!("../../examples/conversations.jsonl");

/// Longer than this it never takes unless something is broken.
const DEADLINE: Duration = Duration::from_secs(12);

/// Events written at once, so that there is something to see on the way.
const SLICE: usize = 8;

pub(super) async fn run(mut config: Config) -> anyhow::Result<Verdict> {
    let folder = tempfile::tempdir().context("no temporary folder for the demonstration")?;
    let file = format!("sqlite:{}", folder.path().join("factline.db").display());
    (config.source.url, config.store.url, config.stream.url) = (file.clone(), file.clone(), file);
    config.admin.bind = String::new();
    let adapters = Opener::new(&config).adapters().await?;
    let process = app::Process::new(&config.instance);
    let state = admin::State::new(&config, adapters.clone(), Exposition::default(), &process);
    let wiring = Wiring {
        config: &config,
        adapters: adapters.clone(),
        parts: Parts::All,
        admin: admin::Params { listener: None, state: Arc::new(state) },
        process,
    };
    let tree = factline_supervision::start(app::tree(wiring)).await?;

    let events = events()?;
    let begun = Instant::now();
    feed(&adapters, &events).await?;
    let took = begun.elapsed();
    let observed = serde_json::to_value(tree.observe())?;
    tree.stop().await;
    report(&adapters, events.len(), took, &observed).await?;
    Ok(Verdict::Done)
}

/// The example messages, and among them what has brought other pipelines down.
fn events() -> anyhow::Result<Vec<NewEvent>> {
    let mut events = Vec::new();
    for line in CONVERSATIONS.lines() {
        let message: Value = serde_json::from_str(line).context("the examples are broken")?;
        let key = message["conversation_id"].as_str().unwrap_or_default().to_owned();
        events.push(event(key, line.to_owned()));
    }
    let place = events.len() / 3;
    let key = events[place].key.clone();
    let poison = [
        json!({ "conversation_id": key, "message_id": "no-content", "role": "user" }).to_string(),
        json!(["not", "a", "message"]).to_string(),
        // Not poison at all: a float is a time, too.
        json!({
            "conversation_id": key, "message_id": "float-time", "role": "user", "speaker": "Robin",
            "content": "My favourite season is autumn.", "sent_at": 1_769_067_099.568,
        })
        .to_string(),
        format!("{}1{}", "[".repeat(500), "]".repeat(500)),
    ];
    for (index, payload) in poison.into_iter().enumerate() {
        events.insert(place + index * 3, event(key.clone(), payload));
    }
    Ok(events)
}

fn event(key: String, payload: String) -> NewEvent {
    NewEvent {
        event_id: None,
        topic: "chat".into(),
        key,
        event_type: chat::EVENT_TYPE.into(),
        payload,
        occurred_at: None,
        trace: None,
    }
}

/// Writes the events to the outbox and watches them arrive in the ledger.
async fn feed(adapters: &Adapters, events: &[NewEvent]) -> anyhow::Result<()> {
    let Adapters { databases, .. } = adapters;
    let bar = ProgressBar::new(events.len() as u64);
    let style = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} events recorded");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("█▌░"));
    bar.set_message("outbox → stream → facts");
    let deadline = Instant::now() + DEADLINE;
    let mut slices = events.chunks(SLICE);
    loop {
        if let Some(slice) = slices.next() {
            databases.outbox.insert(slice).await?;
        }
        let totals = databases.records.totals().await?;
        let recorded = u64::try_from(totals.processed + totals.dead_lettered).unwrap_or(0);
        bar.set_position(recorded);
        if recorded >= events.len() as u64 {
            bar.finish();
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("only {recorded} of {} events were recorded in time; this is a bug", events.len());
        }
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
}

async fn report(adapters: &Adapters, events: usize, took: Duration, tree: &Value) -> anyhow::Result<()> {
    let records = Arc::clone(&adapters.databases.records);
    let mut facts =
        records.facts(&FactFilter { superseded: true, limit: 1000, ..FactFilter::default() }).await?;
    facts.sort_by(|a, b| {
        (&a.subject, &a.predicate, a.valid_from).cmp(&(&b.subject, &b.predicate, b.valid_from))
    });
    let titles = records.conversations(100).await?;
    let totals = records.totals().await?;
    let letters =
        records.dead_letters(&DeadLetterFilter { limit: 100, ..DeadLetterFilter::default() }).await?;

    let counted: i64 = titles.iter().map(|conversation| conversation.message_count).sum();
    let recorded = usize::try_from(totals.processed + totals.dead_lettered).unwrap_or_default();
    if (recorded, counted) != (events, totals.processed) {
        bail!("{events} events, {recorded} in the ledger, {counted} counted in conversations; this is a bug");
    }

    print("\nfacts")?;
    print(facts_table(&facts))?;
    let mut conversations = table::new(&["conversation", "title", "messages"]);
    for one in &titles {
        let title = table::or_dash(one.title.clone());
        conversations.add_row([one.conversation_id.clone(), title, one.message_count.to_string()]);
    }
    print("\nconversations")?;
    print(conversations.to_string())?;
    let mut set_aside = table::new(&["set aside by", "kind", "why", "payload"]);
    for letter in &letters {
        let payload: String = letter.payload.iter().flat_map(|payload| payload.chars()).take(60).collect();
        set_aside.add_row([&letter.stage, &letter.error_kind, &letter.error, &payload]);
    }
    print("\nset aside: what could not be understood, kept byte for byte")?;
    print(set_aside.to_string())?;
    print("\nsupervisor tree")?;
    print(tree_lines(tree))?;
    print(format!(
        "\n{events} events in {:.1} s: {} facts, {} set aside, none lost, each recorded once",
        took.as_secs_f64(),
        facts.len(),
        letters.len(),
    ))
}
