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

use super::{
    copy::{CopyRows, WORTH_COPYING},
    failed,
};
use crate::nul::without_nul;

/// The first year of PostgreSQL's calendar that is there as a whole: 4713 BC.
const FIRST_YEAR: i32 = -4712;

/// A row of the ledger.
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

    /// Whether [`copy`](Self::copy) is worth trying.
    pub(super) fn are_worth_copying(&self) -> bool {
        self.rows.len() >= WORTH_COPYING
    }

    /// Inserts all of them, or says that one is there already: then the transaction is aborted.
    pub(super) async fn copy(self, connection: &mut PgConnection, group: &str) -> Result<bool, Error> {
        let mut copied = CopyRows::of(11);
        for row in &self.rows {
            row.encode(group, &mut copied).map_err(failed)?;
        }
        let sent = copied
            .send(
                connection,
                "COPY factline.event_ledger (consumer_group, event_id, topic, partition, position, event_type, \
                 outcome, facts, attempts, occurred_at, traceparent) FROM STDIN (FORMAT binary)",
            )
            .await;
        match sent {
            Ok(()) => Ok(true),
            Err(sqlx::Error::Database(refusal)) if refusal.constraint() == Some("event_ledger_pkey") => {
                Ok(false)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Inserts those that are not there; gives their ids.
    pub(super) async fn insert(
        self,
        connection: &mut PgConnection,
        group: &str,
    ) -> Result<HashSet<Uuid>, Error> {
        let rows = &self.rows;
        let inserted: Vec<Uuid> = sqlx::query_scalar(
            "INSERT INTO factline.event_ledger (consumer_group, event_id, topic, partition, position, event_type, \
             outcome, facts, attempts, occurred_at, traceparent) \
             SELECT $1, * FROM unnest($2::uuid[], $3::text[], $4::int[], $5::text[], $6::text[], $7::text[], \
             $8::int[], $9::int[], $10::timestamptz[], $11::text[]) ON CONFLICT DO NOTHING RETURNING event_id",
        )
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
        .fetch_all(connection)
        .await
        .map_err(failed)?;
        Ok(inserted.into_iter().collect())
    }
}

impl<'a> LedgerRow<'a> {
    fn of_recording(recording: &'a Recording) -> Self {
        let Recording { event_id, entry, outcome, attempts, .. } = recording;
        let event = entry.event.as_ref().ok();
        let trace = event.and_then(|event| event.trace.as_ref());
        let (topic, event_type, outcome, facts, attempts) = match outcome {
            Outcome::Processed(said) => {
                let event_type = event.map_or("", |event| &event.event_type);
                let facts = said.as_ref().map_or(0, |said| said.facts.len());
                (&*entry.partition.topic, event_type, "processed", facts, *attempts)
            }
            Outcome::DeadLettered(letter) => of_dead_letter(letter),
        };
        Self {
            event_id: *event_id,
            topic: without_nul(topic),
            partition: Some(entry.partition.number.into()),
            position: Some(entry.position.to_string().into()),
            event_type: without_nul(event_type),
            outcome,
            facts: i32::try_from(facts).unwrap_or(i32::MAX),
            attempts: i32::try_from(attempts).unwrap_or(i32::MAX),
            occurred_at: event.map(|event| event.occurred_at).filter(is_in_calendar),
            traceparent: trace.map(|trace| without_nul(&trace.traceparent)),
        }
    }

    fn of_letter(letter: &'a DeadLetter) -> Self {
        let (topic, event_type, outcome, _, attempts) = of_dead_letter(letter);
        Self {
            event_id: letter.ledger_id,
            topic: without_nul(topic),
            partition: letter.partition.map(i32::from),
            position: letter.position.as_deref().map(without_nul),
            event_type: without_nul(event_type),
            outcome,
            facts: 0,
            attempts: i32::try_from(attempts).unwrap_or(i32::MAX),
            occurred_at: letter.occurred_at.filter(is_in_calendar),
            traceparent: None,
        }
    }

    fn encode(&self, group: &str, copied: &mut CopyRows) -> Result<(), sqlx::Error> {
        copied.begin_row();
        copied.value(group)?;
        copied.value(self.event_id)?;
        copied.value(&*self.topic)?;
        copied.value(self.partition)?;
        copied.value(self.position.as_deref())?;
        copied.value(&*self.event_type)?;
        copied.value(self.outcome)?;
        copied.value(self.facts)?;
        copied.value(self.attempts)?;
        copied.value(self.occurred_at)?;
        copied.value(self.traceparent.as_deref())
    }
}

/// Topic, event type, outcome, facts and attempts. A dead letter's own row must not be refused for what the letter is
/// about.
fn of_dead_letter(letter: &DeadLetter) -> (&str, &str, &'static str, usize, u32) {
    let event_type = letter.event_type.as_deref().unwrap_or_default();
    (&letter.topic, event_type, "dead_lettered", 0, letter.cause.attempts)
}

/// Our calendar begins earlier than PostgreSQL's, and ends earlier too.
fn is_in_calendar(time: &DateTime<Utc>) -> bool {
    time.year() >= FIRST_YEAR
}
