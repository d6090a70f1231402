//! What the `Outbox` port promises about rows that the relay has done with.

use chrono::{TimeDelta, Utc};
use factline_pipeline::outbox::{Claim, NewEvent, Outbox, RowId, Settled, SettledRow};
use uuid::Uuid;

use super::adapters::OutboxFixture;

for_every_outbox! {
    [
        settled_rows_are_paged_newest_first_with_what_they_say,
        processed_rows_alone_become_pending_again,
        a_settled_row_that_says_nothing_useful_is_there_all_the_same,
    ]
}

async fn insert(outbox: &dyn Outbox, count: usize) -> (Vec<Uuid>, Vec<RowId>) {
    let event = |number| NewEvent {
        event_id: None,
        topic: "chat".into(),
        key: format!("key-{number}"),
        event_type: "t".into(),
        payload: "{}".into(),
        occurred_at: None,
        trace: None,
    };
    let inserted = outbox.insert(&(0..count).map(event).collect::<Vec<_>>()).await.unwrap();
    (inserted, pending(outbox).await)
}

async fn pending(outbox: &dyn Outbox) -> Vec<RowId> {
    let rows = outbox.claim_pending(Claim { after: None, in_flight: &[], limit: 100 }).await.unwrap();
    rows.into_iter().map(|row| row.id).collect()
}

async fn pages(outbox: &dyn Outbox, status: Settled, limit: usize) -> Vec<Vec<SettledRow>> {
    let mut pages: Vec<Vec<SettledRow>> = Vec::new();
    loop {
        let cursor = pages.last().and_then(|page| page.last()).map(|row| row.id.clone());
        let page = outbox.settled_before(status, cursor.as_ref(), limit).await.unwrap();
        if page.is_empty() {
            return pages;
        }
        pages.push(page);
    }
}

async fn settled_rows_are_paged_newest_first_with_what_they_say(fixture: &OutboxFixture) {
    let outbox = &*fixture.outbox;
    assert!(pages(outbox, Settled::Processed, 2).await.is_empty());
    let (events, rows) = insert(outbox, 7).await;
    outbox.mark_failed(&[(rows[2].clone(), "why".into())]).await.unwrap();
    outbox.mark_processed(&rows[..6]).await.unwrap();

    let pages_of_two = pages(outbox, Settled::Processed, 2).await;
    assert_eq!(pages_of_two.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    let processed = pages_of_two.concat();
    let newest_first: Vec<_> = [5, 4, 3, 1, 0].into_iter().map(|index| Some(events[index])).collect();
    assert_eq!(processed.iter().map(|row| row.event_id).collect::<Vec<_>>(), newest_first);
    let row = &processed[0];
    assert_eq!((&row.id, row.topic.as_str(), row.key.as_str()), (&rows[5], "chat", "key-5"));
    let recently = Utc::now() - TimeDelta::minutes(1)..Utc::now() + TimeDelta::minutes(1);
    assert!(recently.contains(&row.processed_at.unwrap()) && recently.contains(&row.created_at.unwrap()));

    let failed = pages(outbox, Settled::Failed, 2).await.concat();
    assert_eq!((failed.len(), &failed[0].id, failed[0].event_id), (1, &rows[2], Some(events[2])));
}

async fn processed_rows_alone_become_pending_again(fixture: &OutboxFixture) {
    let outbox = &*fixture.outbox;
    let (events, rows) = insert(outbox, 4).await;
    outbox.mark_failed(&[(rows[0].clone(), "why".into())]).await.unwrap();
    outbox.mark_processed(&rows[1..3]).await.unwrap();
    assert_eq!(outbox.mark_pending(&rows).await.unwrap(), 2);
    assert_eq!(outbox.mark_pending(&rows).await.unwrap(), 0);
    assert_eq!(outbox.mark_pending(&[RowId::Number(404), RowId::Text("x".into())][..1]).await.unwrap(), 0);
    assert_eq!(pending(outbox).await, rows[1..]);
    let record = outbox.find(events[1]).await.unwrap().unwrap();
    assert_eq!((record.status.as_str(), record.processed_at), ("pending", None));
    outbox.mark_processed(&rows[1..2]).await.unwrap();
    assert!(outbox.find(events[1]).await.unwrap().unwrap().processed_at.is_some());
}

async fn a_settled_row_that_says_nothing_useful_is_there_all_the_same(fixture: &OutboxFixture) {
    let outbox = &*fixture.outbox;
    let (_, rows) = insert(outbox, 2).await;
    outbox.mark_processed(&rows).await.unwrap();
    let spoil = "UPDATE outbox_events SET processed_at = NULL";
    fixture.sql.run(spoil, spoil).await;
    fixture
        .sql
        .run(
            "UPDATE outbox_events SET event_id = 'chat-1769035355992' WHERE id = 2",
            "ALTER TABLE outbox_events ALTER event_id DROP DEFAULT, ALTER event_id TYPE text; \
             UPDATE outbox_events SET event_id = 'chat-1769035355992' WHERE id = 2",
        )
        .await;
    let settled = outbox.settled_before(Settled::Processed, None, 10).await.unwrap();
    assert_eq!(settled.len(), 2);
    assert!(settled.iter().all(|row| row.processed_at.is_none()));
    assert!(settled[0].event_id.is_none() && settled[1].event_id.is_some());
}
