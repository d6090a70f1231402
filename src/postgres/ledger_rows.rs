//! The rows of the ledger, which say what became of each event, once.

use std::{borrow::Cow, collections::HashSet};

use chrono::{DateTime, Datelike, Utc};
use factline_pipeline::{
    dead_letter::DeadLetter,
    ledger::{Outcome, Recording},
    outage::Error,
};
use sqlx::PgConnection;
use uuid::Uuid;

use super::failed;
use crate::nul::without_nul;

/// The first year of PostgreSQL's calendar that is there as a whole: 4713 BC.
const FIRST_YEAR: i32 = -4712;

/// The columns of ledger rows, each an array.
#[derive(Default)]
pub(super) struct LedgerRows<'a> {
    event_ids: Vec<Uuid>,
    topics: Vec<Cow<'a, str>>,
    partitions: Vec<Option<i32>>,
    positions: Vec<Option<Cow<'a, str>>>,
    event_types: Vec<Cow<'a, str>>,
    outcomes: Vec<&'static str>,
    facts: Vec<i32>,
    attempts: Vec<i32>,
    times: Vec<Option<DateTime<Utc>>>,
    traces: Vec<Option<Cow<'a, str>>>,
}

impl<'a> LedgerRows<'a> {
    pub(super) fn of_recordings(batch: &'a [Recording]) -> Self {
        let mut rows = Self::default();
        for Recording { event_id, entry, outcome, attempts, .. } in batch {
            let event = entry.event.as_ref().ok();
            rows.event_ids.push(*event_id);
            rows.partitions.push(Some(entry.partition.number.into()));
            rows.positions.push(Some(entry.position.to_string().into()));
            match outcome {
                Outcome::Processed(said) => {
                    rows.topics.push(without_nul(&entry.partition.topic));
                    rows.event_types.push(without_nul(event.map_or("", |event| &event.event_type)));
                    let facts = said.as_ref().map_or(0, |said| said.facts.len());
                    rows.push_outcome("processed", facts, *attempts);
                }
                Outcome::DeadLettered(letter) => rows.push_letter(letter),
            }
            rows.times.push(event.map(|event| event.occurred_at).filter(is_in_calendar));
            let trace = event.and_then(|event| event.trace.as_ref());
            rows.traces.push(trace.map(|trace| without_nul(&trace.traceparent)));
        }
        rows
    }

    pub(super) fn of_letters(letters: &'a [DeadLetter]) -> Self {
        let mut rows = Self::default();
        for letter in letters {
            rows.event_ids.push(letter.ledger_id);
            rows.partitions.push(letter.partition.map(i32::from));
            rows.positions.push(letter.position.as_deref().map(without_nul));
            rows.push_letter(letter);
            rows.times.push(letter.occurred_at.filter(is_in_calendar));
            rows.traces.push(None);
        }
        rows
    }

    /// A dead letter's own row must not be refused for what the letter is about.
    fn push_letter(&mut self, letter: &'a DeadLetter) {
        self.topics.push(without_nul(&letter.topic));
        self.event_types.push(without_nul(letter.event_type.as_deref().unwrap_or_default()));
        self.push_outcome("dead_lettered", 0, letter.cause.attempts);
    }

    fn push_outcome(&mut self, outcome: &'static str, facts: usize, attempts: u32) {
        self.outcomes.push(outcome);
        self.facts.push(i32::try_from(facts).unwrap_or(i32::MAX));
        self.attempts.push(i32::try_from(attempts).unwrap_or(i32::MAX));
    }

    /// Inserts those that are not there; gives their ids.
    pub(super) async fn insert(
        self,
        connection: &mut PgConnection,
        group: &str,
    ) -> Result<HashSet<Uuid>, Error> {
        let inserted: Vec<Uuid> = sqlx::query_scalar(
            "INSERT INTO factline.event_ledger (consumer_group, event_id, topic, partition, position, event_type, \
             outcome, facts, attempts, occurred_at, traceparent) \
             SELECT $1, * FROM unnest($2::uuid[], $3::text[], $4::int[], $5::text[], $6::text[], $7::text[], \
             $8::int[], $9::int[], $10::timestamptz[], $11::text[]) ON CONFLICT DO NOTHING RETURNING event_id",
        )
        .bind(group)
        .bind(self.event_ids)
        .bind(self.topics)
        .bind(self.partitions)
        .bind(self.positions)
        .bind(self.event_types)
        .bind(self.outcomes)
        .bind(self.facts)
        .bind(self.attempts)
        .bind(self.times)
        .bind(self.traces)
        .fetch_all(connection)
        .await
        .map_err(failed)?;
        Ok(inserted.into_iter().collect())
    }
}

/// Our calendar begins earlier than PostgreSQL's, and ends earlier too.
fn is_in_calendar(time: &DateTime<Utc>) -> bool {
    time.year() >= FIRST_YEAR
}
