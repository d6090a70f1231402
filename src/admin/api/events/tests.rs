//! What is in the outbox already, while somebody else writes the same events.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use factline_pipeline::outbox::{Backlog, Claim, Row, RowId, Settled, SettledRow, Status};

use super::*;

fn event(number: u128) -> NewEvent {
    NewEvent {
        event_id: Some(Uuid::from_u128(number)),
        topic: "chat".into(),
        key: "c".into(),
        event_type: "chat.message".into(),
        payload: "{}".into(),
        occurred_at: None,
        trace: None,
    }
}

fn row(id: &Uuid) -> Record {
    Record {
        id: "1".into(),
        event_id: id.to_string().to_uppercase(),
        topic: "chat".into(),
        key: "c".into(),
        event_type: "chat.message".into(),
        status: "pending".into(),
        created_at: None,
        processed_at: None,
        error: None,
        traceparent: None,
    }
}

/// An outbox into which somebody else writes one of the events just before us, every time, as often as it says.
struct Contended {
    rivals: usize,
    inserts: AtomicUsize,
}

fn refusal() -> Error {
    Error::Data { service: "test", source: "it is there already, or nobody asks for this".into() }
}

#[async_trait]
impl Outbox for Contended {
    async fn insert(&self, events: &[NewEvent]) -> Result<Vec<Uuid>, Error> {
        if self.inserts.fetch_add(1, Ordering::SeqCst) < self.rivals {
            return Err(refusal());
        }
        Ok(events.iter().filter_map(|event| event.event_id).collect())
    }

    async fn find_many(&self, event_ids: &[Uuid]) -> Result<Vec<Record>, Error> {
        Ok(event_ids.iter().take(1).map(row).collect())
    }

    async fn find(&self, _: Uuid) -> Result<Option<Record>, Error> {
        Err(refusal())
    }

    async fn claim_pending(&self, _: Claim<'_>) -> Result<Vec<Row>, Error> {
        Err(refusal())
    }

    async fn mark_processed(&self, _: &[RowId]) -> Result<(), Error> {
        Err(refusal())
    }

    async fn mark_failed(&self, _: &[(RowId, String)]) -> Result<(), Error> {
        Err(refusal())
    }

    async fn settled_before(
        &self,
        _: Settled,
        _: Option<&RowId>,
        _: usize,
    ) -> Result<Vec<SettledRow>, Error> {
        Err(refusal())
    }

    async fn mark_pending(&self, _: &[RowId]) -> Result<u64, Error> {
        Err(refusal())
    }

    async fn backlog(&self) -> Result<Backlog, Error> {
        Err(refusal())
    }

    async fn list(&self, _: Status, _: Option<&str>, _: u32) -> Result<Vec<Record>, Error> {
        Err(refusal())
    }

    async fn delete_processed(&self, _: DateTime<Utc>, _: usize) -> Result<u64, Error> {
        Err(refusal())
    }
}

/// The duplicates, or the status of the problem.
async fn inserted(rivals: usize, events: u128) -> Result<Vec<Uuid>, u16> {
    let events: Vec<NewEvent> = (0..events).map(event).collect();
    let outbox = Contended { rivals, inserts: AtomicUsize::new(0) };
    insert(&outbox, &events).await.map_err(|problem| problem.status)
}

fn first(events: u128) -> Vec<Uuid> {
    (0..events).map(Uuid::from_u128).collect()
}

#[tokio::test]
async fn what_somebody_else_has_written_is_a_duplicate_even_if_it_was_the_last_look_that_found_it() {
    assert_eq!(inserted(0, 3).await, Ok(Vec::new()));
    assert_eq!(inserted(2, 3).await, Ok(first(2)));
    assert_eq!(inserted(3, 3).await, Ok(first(3)), "nothing is left to be written");
    assert_eq!(inserted(3, 4).await, Err(503), "one is left");
}
