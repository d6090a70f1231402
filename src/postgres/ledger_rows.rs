//! The rows of the ledger, which say what became of each event, once.

use std::{borrow::Cow, collections::HashSet};

use chrono::{DateTime, Datelike, Utc};
use factline_pipeline::{
    dead_letter::DeadLetter,
    ledger::{Outcome, Recording},
    outage::Error,
};
use sqlx::{PgConnection, Postgres, Row as _, postgres::PgArguments, query::Query};
use uuid::Uuid;

use super::failed;
use crate::nul::without_nul;

/// The first year of PostgreSQL's calendar that is there as a whole: 4713 BC.
const FIRST_YEAR: i32 = -4712;

/// A row of the ledger.
#[derive(Default)]
struct LedgerRow<'a> {
    event_id: Uuid,
    topic: Cow<'a, str>,
    partition: Option<i32>,
    position: Option<Cow<'a, str>>,
    event_type: Cow<'a, str>,
    outcome: &'static str,
    facts: i32,
    attempts: i32,
    occurred_at: Option<DateTime<Utc>>,
    traceparent: Option<Cow<'a, str>>,
}

/// Rows of one group.
pub(super) struct LedgerRows<'a> {
    rows: Vec<LedgerRow<'a>>,
}

impl<'a> LedgerRows<'a> {
    pub(super) fn of_recordings(batch: &'a [Recording]) -> Self {
        Self { rows: batch.iter().map(LedgerRow::of_recording).collect() }
    }

    pub(super) fn of_letters(letters: &'a [DeadLetter]) -> Self {
        Self { rows: letters.iter().map(LedgerRow::of_letter).collect() }
    }

    pub(super) const fn none() -> Self {
        Self { rows: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Inserts those that are not there; gives their ids.
    pub(super) async fn insert_new(
        &self,
        connection: &mut PgConnection,
        group: &str,
    ) -> Result<HashSet<Uuid>, Error> {
        let insert = sqlx::query(
            "INSERT INTO factline.event_ledger (consumer_group, event_id, topic, partition, position, event_type, \
             outcome, facts, attempts, occurred_at, traceparent) \
             SELECT $1, * FROM unnest($2::uuid[], $3::text[], $4::int[], $5::text[], $6::text[], $7::text[], \
             $8::int[], $9::int[], $10::timestamptz[], $11::text[]) ON CONFLICT DO NOTHING RETURNING event_id",
        );
        let insert = self.bind(insert, group);
        let rows = insert.fetch_all(connection).await.map_err(failed)?;
        rows.iter().map(|row| row.try_get("event_id")).collect::<Result<_, _>>().map_err(failed)
    }

    /// The group, and ten arrays, a column each.
    pub(super) fn bind<'q>(
        &'q self,
        query: Query<'q, Postgres, PgArguments>,
        group: &'q str,
    ) -> Query<'q, Postgres, PgArguments> {
        let rows = &self.rows;
        query
            .bind(group)
            .bind(rows.iter().map(|row| row.event_id).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| &*row.topic).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.partition).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.position.as_deref()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| &*row.event_type).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.outcome).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.facts).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.attempts).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.occurred_at).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.traceparent.as_deref()).collect::<Vec<_>>())
    }
}

impl<'a> LedgerRow<'a> {
    fn of_recording(recording: &'a Recording) -> Self {
        let Recording { event_id, entry, outcome, attempts, .. } = recording;
        let event = entry.event.as_ref().ok();
        let trace = event.and_then(|event| event.trace.as_ref());
        let place = |row| Self {
            event_id: *event_id,
            partition: Some(entry.partition.number.into()),
            position: Some(entry.position.to_string().into()),
            occurred_at: event.map(|event| event.occurred_at).filter(is_in_calendar),
            traceparent: trace.map(|trace| without_nul(&trace.traceparent)),
            ..row
        };
        match outcome {
            Outcome::Processed(said) => place(Self {
                topic: without_nul(&entry.partition.topic),
                event_type: without_nul(event.map_or("", |event| &event.event_type)),
                outcome: "processed",
                facts: capped(said.as_ref().map_or(0, |said| said.facts.len())),
                attempts: capped(*attempts),
                ..Self::default()
            }),
            Outcome::DeadLettered(letter) => place(Self::of_letter(letter)),
        }
    }

    /// A dead letter's own row must not be refused for what the letter is about.
    fn of_letter(letter: &'a DeadLetter) -> Self {
        Self {
            event_id: letter.ledger_id,
            topic: without_nul(&letter.topic),
            partition: letter.partition.map(i32::from),
            position: letter.position.as_deref().map(without_nul),
            event_type: without_nul(letter.event_type.as_deref().unwrap_or_default()),
            outcome: "dead_lettered",
            facts: 0,
            attempts: capped(letter.cause.attempts),
            occurred_at: letter.occurred_at.filter(is_in_calendar),
            traceparent: None,
        }
    }
}

fn capped(number: impl TryInto<i32>) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}

/// Our calendar begins earlier than PostgreSQL's, and ends earlier too.
fn is_in_calendar(time: &DateTime<Utc>) -> bool {
    time.year() >= FIRST_YEAR
}
