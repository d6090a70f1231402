//! The whole story of one event, from the outbox to its facts: what `factline explain` tells, and `/api/v1/events/{id}`.

use factline_pipeline::outage::Error;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    app::Databases,
    records::{
        AttemptRecord, DeadLetterFilter, DeadLetterRecord, FactFilter, FactRecord, LedgerRecord, OutboxRow,
    },
};

/// Letters of one event id that are looked at; there are more only where an id is no id.
const LETTERS: u32 = 100;

/// Facts of one event that are looked at.
const FACTS: u32 = 1000;

/// All that is known of one event.
#[derive(Debug, Serialize, ToSchema)]
pub struct Story {
    /// Its id, as it was asked for.
    pub event_id: String,
    /// The trace that it is part of, where its producer named one.
    pub trace_id: Option<String>,
    /// Its row in the outbox; none if it was deleted after its retention time, or came from another producer.
    pub outbox: Option<OutboxRow>,
    /// What became of it, one row for each group.
    pub ledger: Vec<LedgerRecord>,
    /// What tries left behind, one row for each group that is still at it.
    pub attempts: Vec<AttemptRecord>,
    /// What it stated first.
    pub facts: Vec<FactRecord>,
    /// How it was set aside; their payloads are left out.
    pub dead_letters: Vec<DeadLetterRecord>,
}

impl Story {
    /// What outbox, ledger and dead letters know of the event; nothing if none of them knows it.
    pub async fn of_event(databases: &Databases, event_id: &str) -> Result<Option<Self>, Error> {
        let mut story = Self {
            event_id: event_id.to_owned(),
            trace_id: None,
            outbox: None,
            ledger: Vec::new(),
            attempts: Vec::new(),
            facts: Vec::new(),
            dead_letters: letters_of(databases, event_id).await?,
        };
        // An id that is no UUID never gets further than a dead letter.
        if let Ok(id) = Uuid::try_parse(event_id) {
            story.outbox = databases.outbox.find(id).await?.map(OutboxRow::from);
            story.ledger = databases.records.ledger(id).await?;
            story.attempts = databases.records.attempts(id).await?;
            let facts =
                FactFilter { event_id: Some(id), superseded: true, limit: FACTS, ..FactFilter::default() };
            story.facts = databases.records.facts(&facts).await?;
        }
        let trace_id = story.traceparents().find_map(trace_id).map(str::to_owned);
        story.trace_id = trace_id;
        let known = story.outbox.is_some() || !story.ledger.is_empty() || !story.dead_letters.is_empty();
        Ok(known.then_some(story))
    }

    fn traceparents(&self) -> impl Iterator<Item = &str> {
        let outbox = self.outbox.iter().filter_map(|row| row.traceparent.as_deref());
        let ledger = self.ledger.iter().filter_map(|row| row.traceparent.as_deref());
        let letters = self.dead_letters.iter().filter_map(|letter| letter.header("traceparent"));
        outbox.chain(ledger).chain(letters)
    }
}

/// The trace id in a `traceparent`.
#[must_use]
pub fn trace_id(traceparent: &str) -> Option<&str> {
    traceparent.split('-').nth(1).filter(|id| !id.is_empty())
}

/// The event's own rows in the ledger, and those under an id that was derived because its own could not be read.
pub async fn ledger_rows(databases: &Databases, event_id: &str) -> Result<Vec<LedgerRecord>, Error> {
    let letters = letters_of(databases, event_id).await?;
    let mut ids: Vec<Uuid> = letters.iter().filter_map(DeadLetterRecord::ledger_id).collect();
    ids.extend(Uuid::try_parse(event_id).ok());
    ids.sort_unstable();
    ids.dedup();
    let mut rows = Vec::new();
    for id in ids {
        rows.extend(databases.records.ledger(id).await?);
    }
    Ok(rows)
}

async fn letters_of(databases: &Databases, event_id: &str) -> Result<Vec<DeadLetterRecord>, Error> {
    let of_event = DeadLetterFilter {
        event_id: Some(event_id.to_owned()),
        without_payload: true,
        limit: LETTERS,
        ..DeadLetterFilter::default()
    };
    databases.records.dead_letters(&of_event).await
}
