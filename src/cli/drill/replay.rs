//! `factline drill replay`: events are published again, appended again, and a dead letter is reprocessed again. Each
//! takes effect once.
//!
//! The drill's events are messages of one conversation, for only a conversation tells how often a message counted. They
//! say nothing that anybody would take for a fact.

use anyhow::{Context as _, bail};
use chrono::Utc;
use factline_pipeline::{
    event::Event,
    outbox::{NewEvent, RowId, Settled},
};
use serde_json::json;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{
    CLOCKS_APART, End, by,
    journal::Journal,
    scene::{Before, LOOK_EVERY, Scene},
};
use crate::{
    dead_letters::{Edit, Selected},
    records::{DeadLetterFilter, DeadLetterRecord},
    reprocessing::{Limits, Reprocessor, Tally},
};

/// Events that are published again.
const EVENTS: usize = 20;

/// The key of the conversation.
const KEY: u32 = 1;

/// Rows looked at in one step, and steps at most, to find the drill's own among the newest ones.
const PAGE: usize = 1_000;
const PAGES: usize = 100;

/// Conversations looked at, the latest first, to find the drill's own.
const CONVERSATIONS: u32 = 10_000;

pub(super) async fn run(scene: &mut Scene<'_>, journal: &mut Journal, end: &mut End) -> anyhow::Result<()> {
    let began = Utc::now() - CLOCKS_APART;
    let played = end.or(play(scene, journal)).await;
    if played.is_err() {
        scene.discard_own_letters(journal, began).await?;
    }
    played
}

async fn play(scene: &mut Scene<'_>, journal: &mut Journal) -> anyhow::Result<()> {
    scene.probe(journal).await?;
    let before = scene.look().await?;
    journal.step(format!("writing {EVENTS} messages of one conversation"));
    let messages: Vec<NewEvent> = (0..EVENTS).map(|_| message(scene, true)).collect();
    scene.adapters.databases.outbox.insert(&messages).await?;
    if !scene.recorded(&messages).await? {
        bail!("they were not recorded in time");
    }
    scene.check_effects(journal, &messages).await?;

    republish(scene, journal, &messages).await?;
    check_duplicates(scene, journal, &before).await;
    reprocess(scene, journal).await?;
    scene.check_restarts(journal, &before).await?;
    journal.remains(format!(
        "the conversation {}, without a title, and a dead letter that is resolved",
        scene.events.key(KEY)
    ));
    scene.tell_remains(journal, EVENTS + 3);
    Ok(())
}

/// The next message of the conversation; without content it is none.
fn message(scene: &mut Scene<'_>, with_content: bool) -> NewEvent {
    let payload = json!({ "conversation_id": scene.events.key(KEY), "role": "system" });
    let payload = if with_content { said(payload) } else { payload };
    scene.events.message(KEY, payload.to_string())
}

fn said(mut payload: serde_json::Value) -> serde_json::Value {
    payload["content"] = "drill".into();
    payload
}

/// Publishes the messages again, twice: from the outbox, and past it.
async fn republish(
    scene: &mut Scene<'_>,
    journal: &mut Journal,
    messages: &[NewEvent],
) -> anyhow::Result<()> {
    let effects = scene.effects(messages).await?;
    let counted = counted(scene).await?;
    journal.step("making their rows in the outbox pending again");
    let rows = rows_of(scene, messages).await?;
    let pending = scene.adapters.databases.outbox.mark_pending(&rows).await?;
    let published = published_again(scene, messages).await?;
    journal.check(
        "they were published again",
        published && pending == messages.len() as u64,
        format!("{pending} rows"),
    );
    journal.step("appending them to the stream once more");
    scene.adapters.stream.append(&entries(scene, messages)).await?;
    // What is recorded after them says that they have been read: a key's events are in order.
    let last = [message(scene, true)];
    scene.adapters.databases.outbox.insert(&last).await?;
    let read = scene.recorded(&last).await?;
    journal.check("they were read again", read, "an event of their key came after them");
    let unchanged = scene.effects(messages).await? == effects;
    journal.check("the ledger has not changed", unchanged, format!("{EVENTS} rows in each group"));
    let now = self::counted(scene).await?;
    let twice = grown(counted, now) - groups(scene);
    let found = format!("{} messages, with the last one {}", told(counted), told(now));
    journal.check("no message counts twice", twice == 0 && counted.is_some(), found);
    journal.figure("published_again", pending);
    journal.figure("appended_again", messages.len());
    journal.figure("took_effect_twice", twice);
    Ok(())
}

/// Whoever read them again must have noticed.
async fn check_duplicates(scene: &Scene<'_>, journal: &mut Journal, before: &Before) {
    let what = "the daemon counted them as duplicates";
    let expected = 2 * EVENTS * scene.groups.len();
    match scene.duplicates_since(before).await {
        None => journal.unchecked(what, "no daemon said how many it counted"),
        Some(0) => {
            journal.unchecked(what, "those that were asked have not read them; name all with --daemon");
        }
        Some(counted) => {
            journal.check(
                what,
                counted >= expected as u64,
                format!("{counted}, of {expected} that came again"),
            );
        }
    }
}

/// Messages that a message counts as: each group that reads the topic counts it.
fn groups(scene: &Scene<'_>) -> i64 {
    i64::try_from(scene.groups.len()).unwrap_or(i64::MAX)
}

fn grown(before: Option<i64>, now: Option<i64>) -> i64 {
    now.unwrap_or_default() - before.unwrap_or_default()
}

/// The rows of these events, which are among the newest ones.
async fn rows_of(scene: &Scene<'_>, events: &[NewEvent]) -> anyhow::Result<Vec<RowId>> {
    let outbox = &scene.adapters.databases.outbox;
    let (mut found, mut cursor) = (Vec::new(), None);
    for _ in 0..PAGES {
        let rows = outbox.settled_before(Settled::Processed, cursor.as_ref(), PAGE).await?;
        let Some(last) = rows.last() else { break };
        cursor = Some(last.id.clone());
        let is_ours = |id: Option<Uuid>| id.is_some() && events.iter().any(|event| event.event_id == id);
        found.extend(rows.iter().filter(|row| is_ours(row.event_id)).map(|row| row.id.clone()));
        if found.len() == events.len() {
            break;
        }
    }
    Ok(found)
}

/// Waits until the relay has marked all of these again.
async fn published_again(scene: &Scene<'_>, events: &[NewEvent]) -> anyhow::Result<bool> {
    let deadline = Instant::now() + scene.within;
    for id in events.iter().filter_map(|event| event.event_id) {
        while scene.adapters.databases.outbox.find(id).await?.is_some_and(|row| row.status == "pending") {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            sleep(LOOK_EVERY).await;
        }
    }
    Ok(true)
}

/// The events as another producer would append them.
fn entries(scene: &Scene<'_>, events: &[NewEvent]) -> Vec<Event> {
    let entry = |event: &NewEvent| {
        Some(Event {
            id: event.event_id?,
            source: scene.config.source.name.clone(),
            event_type: event.event_type.clone(),
            topic: event.topic.clone(),
            key: event.key.clone(),
            occurred_at: Utc::now(),
            created_at: None,
            sequence: None,
            trace: None,
            data: event.payload.clone(),
        })
    };
    events.iter().filter_map(entry).collect()
}

/// Messages that the drill's conversation has counted.
async fn counted(scene: &Scene<'_>) -> anyhow::Result<Option<i64>> {
    let conversations = scene.adapters.databases.records.conversations(CONVERSATIONS).await?;
    let key = scene.events.key(KEY);
    let ours = conversations.into_iter().find(|conversation| conversation.conversation_id == key);
    Ok(ours.map(|conversation| conversation.message_count))
}

fn told(counted: Option<i64>) -> String {
    counted.map_or_else(|| "unknown".to_owned(), |counted| counted.to_string())
}

/// Mends a dead letter and has it reprocessed, again and again.
async fn reprocess(scene: &mut Scene<'_>, journal: &mut Journal) -> anyhow::Result<()> {
    let counted = counted(scene).await?;
    journal.step("writing a message without content, which becomes a dead letter");
    let event = message(scene, false);
    scene.adapters.databases.outbox.insert(std::slice::from_ref(&event)).await?;
    if !scene.recorded(std::slice::from_ref(&event)).await? {
        bail!("it was not set aside in time");
    }
    let letters = scene.letters_of(&event).await?;
    journal.step("mending it, and reprocessing it three times");
    for letter in &letters {
        mend(scene, letter).await?;
    }
    let letters: Vec<Uuid> = letters.into_iter().map(|letter| letter.id).collect();
    let reprocessor = Reprocessor::new(scene.config, scene.adapters.databases.clone(), &by());
    let first = select(scene, &letters).await?;
    let took = turns(&reprocessor, &first).await?;
    let second = select(scene, &letters).await?;
    let third = turns(&reprocessor, &first).await?;
    let right = took.took_effect == letters.len() as u64 && second.is_empty() && third.took_effect == 0;
    journal.check(
        "a reprocessed letter takes effect once",
        right && !letters.is_empty(),
        format!(
            "{} of {}, then {}, then {}",
            took.took_effect,
            letters.len(),
            second.len(),
            third.took_effect
        ),
    );
    let now = self::counted(scene).await?;
    let found = format!("{} messages, then {}", told(counted), told(now));
    journal.check("its message counts once", grown(counted, now) == groups(scene), found);
    journal.figure("letters_reprocessed", letters.len());
    Ok(())
}

async fn mend(scene: &Scene<'_>, letter: &DeadLetterRecord) -> anyhow::Result<()> {
    let letters = &scene.adapters.databases.dead_letters;
    let payload = letters.letter(letter.id).await?.context("it was deleted")?.payload;
    let mended = said(serde_json::from_slice(&payload)?).to_string();
    let edit = Edit { from: &payload, to: mended.as_bytes() };
    if !letters.edit(&by(), letter.id, edit).await? {
        bail!("somebody else works on the drill's dead letter {}", letter.id);
    }
    Ok(())
}

async fn select(scene: &Scene<'_>, letters: &[Uuid]) -> anyhow::Result<Vec<Selected>> {
    let run = Uuid::now_v7();
    let filter =
        DeadLetterFilter { ids: Some(letters.to_vec()), limit: u32::MAX, ..DeadLetterFilter::default() };
    let port = &scene.adapters.databases.dead_letters;
    port.select(&by(), run, &filter).await?;
    Ok(port.selected(Some(run)).await?)
}

async fn turns(reprocessor: &Reprocessor, letters: &[Selected]) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    reprocessor.run(letters, Limits::default(), &mut tally, |_, _| {}).await?;
    Ok(tally)
}
