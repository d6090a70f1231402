//! The loop that somebody writes in an afternoon, without any guarantee: two threads, a thousand events at a time, one
//! search in the text for a fact. What the daemon does beyond it should cost nothing.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use uuid::Uuid;

use super::{floor::Loop, lab::Lab, rounds::rate};
use crate::{
    config::{Service, service_of},
    postgres::handwritten::{self as tables, Batch},
    redis::handwritten as stream,
};

/// Events in a batch.
const BATCH: usize = 1_000;

/// How a fact begins.
const FACTS: [(&str, &str); 4] =
    [("my name is ", "name"), ("i live in ", "lives_in"), ("i work at ", "works_at"), ("i like ", "likes")];

#[derive(Deserialize)]
struct Message {
    conversation_id: String,
    content: String,
}

/// Whether it can be run here: it is written for PostgreSQL and Redis.
pub(super) fn fits(lab: &Lab) -> bool {
    let config = lab.config();
    lab.has_one_database()
        && service_of(&config.source.url) == Some(Service::Postgres)
        && service_of(&config.stream.url) == Some(Service::Redis)
}

/// Events a second of both threads at once, on the events that are in the outbox.
pub(super) async fn run(lab: &Lab, events: u64) -> anyhow::Result<f64> {
    let config = lab.config();
    let (database, redis, prefix) = (&config.source.url, &config.stream.url, &config.stream.prefix);
    let mut tables = tables::Handwritten::connect(database).await?;
    tables.fill().await?;
    stream::Handwritten::connect(redis, prefix).await?.empty().await?;
    lab.source()?.settle().await?;
    let all = usize::try_from(events)?;
    let start = |work: fn(Ends, usize, &AtomicBool) -> Work<'_>| {
        let (database, redis, prefix) = (database.clone(), redis.clone(), prefix.clone());
        Loop::start(async move |stop: &AtomicBool| {
            let tables = tables::Handwritten::connect(&database).await?;
            let stream = stream::Handwritten::connect(&redis, &prefix).await?;
            work(Ends { tables, stream }, all, stop).await
        })
    };
    let consuming = start(|ends, all, stop| Box::pin(consume(ends, all, stop)))?;
    let relaying = start(|ends, all, stop| Box::pin(relay(ends, all, stop)))?;
    relaying.ended().await?;
    consuming.ended().await?;
    let (recorded, first, last): (i64, Option<DateTime<Utc>>, Option<DateTime<Utc>>) =
        tables.window().await?;
    anyhow::ensure!(recorded.unsigned_abs() == events, "the hand-written loop lost events");
    rate(events, first, last)
}

type Work<'a> = std::pin::Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

/// A connection to each server.
struct Ends {
    tables: tables::Handwritten,
    stream: stream::Handwritten,
}

async fn relay(mut ends: Ends, all: usize, stop: &AtomicBool) -> anyhow::Result<()> {
    let mut left = all;
    while left > 0 && !stop.load(Ordering::Relaxed) {
        let (transaction, rows) = ends.tables.claim(i64::try_from(BATCH)?).await?;
        let events = rows.iter().map(|(_, id, key, data)| (id.to_string(), key.as_str(), data.as_str()));
        ends.stream.append(events).await?;
        tables::commit(transaction).await?;
        left = left.saturating_sub(rows.len());
    }
    Ok(())
}

async fn consume(mut ends: Ends, all: usize, stop: &AtomicBool) -> anyhow::Result<()> {
    let mut left = all;
    while left > 0 && !stop.load(Ordering::Relaxed) {
        let entries = ends.stream.read(BATCH).await?;
        if entries.is_empty() {
            continue;
        }
        let mut batch = Batch::default();
        for entry in &entries {
            let id: String = entry.get("id").context("an entry without an id")?;
            let data: Vec<u8> = entry.get("data").context("an entry without data")?;
            add(&mut batch, Uuid::parse_str(&id)?, entry.id.clone(), &serde_json::from_slice(&data)?);
        }
        ends.tables.record(batch).await?;
        ends.stream.acknowledge(&entries).await?;
        left = left.saturating_sub(entries.len());
    }
    Ok(())
}

fn add(batch: &mut Batch, event_id: Uuid, position: String, message: &Message) {
    batch.event_ids.push(event_id);
    batch.positions.push(position);
    let text = message.content.to_ascii_lowercase();
    for (begins, predicate) in FACTS {
        if let Some((_, rest)) = text.split_once(begins) {
            let end = rest.find(['.', ',', '!', '?']).unwrap_or(rest.len());
            batch.fact_events.push(event_id);
            batch.subjects.push(message.conversation_id.clone());
            batch.predicates.push(predicate.to_owned());
            batch.objects.push(rest[..end].to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_a_fact_in_the_simplest_way() {
        let mut batch = Batch::default();
        let message = |content: &str| Message { conversation_id: "c1".into(), content: content.into() };
        add(&mut batch, Uuid::nil(), "1-0".into(), &message("Hello, I like green tea. Bye"));
        add(&mut batch, Uuid::nil(), "2-0".into(), &message("Hello"));
        assert_eq!(batch.positions, ["1-0", "2-0"]);
        assert_eq!(
            (&*batch.subjects, &*batch.predicates, &*batch.objects),
            (&["c1".to_owned()][..], &["likes".to_owned()][..], &["green tea".to_owned()][..])
        );
    }
}
