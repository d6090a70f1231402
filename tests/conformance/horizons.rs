//! What the `Ledger` port promises about the times since when it is known in full.

use chrono::{DateTime, TimeDelta, Utc};
use factline_pipeline::ledger::Horizons;

use super::{
    adapters::StoreFixture,
    ledger::record,
    samples::{malformed, said},
};

for_every_store! {
    [
        a_new_store_knows_everything_from_now_on,
        a_group_begins_once,
        what_is_forgotten_raises_the_horizons,
        a_row_whose_letter_is_open_is_not_forgotten,
    ]
}

async fn horizons(fixture: &StoreFixture) -> Horizons {
    fixture.ledger.horizons().await.unwrap()
}

fn is_now(time: DateTime<Utc>) -> bool {
    (Utc::now() - time).abs() < TimeDelta::minutes(1)
}

async fn a_new_store_knows_everything_from_now_on(fixture: &StoreFixture) {
    let Horizons { ledger, forgotten, groups } = horizons(fixture).await;
    assert!(is_now(ledger.unwrap()) && forgotten.is_none() && groups.is_empty());
}

async fn a_group_begins_once(fixture: &StoreFixture) {
    let ledger = &fixture.ledger;
    let (past, future) = (Utc::now() - TimeDelta::hours(1), Utc::now() + TimeDelta::hours(1));
    ledger.begin_group("a", Some(past)).await.unwrap();
    ledger.begin_group("b", Some(future)).await.unwrap();
    ledger.begin_group("c", None).await.unwrap();
    let first = horizons(fixture).await;
    assert!(is_now(first.groups["a"]) && is_now(first.groups["c"]));
    assert_eq!(first.groups["b"].timestamp_millis(), future.timestamp_millis());
    for group in ["a", "b", "c"] {
        ledger.begin_group(group, Some(future + TimeDelta::hours(1))).await.unwrap();
    }
    assert_eq!(horizons(fixture).await, first);
}

async fn what_is_forgotten_raises_the_horizons(fixture: &StoreFixture) {
    let batch: Vec<_> = (0..5).map(|number| said(number, vec![])).collect();
    record(fixture, &batch).await;
    let (before, after) = (Utc::now() - TimeDelta::hours(1), Utc::now() + TimeDelta::hours(1));
    let known = horizons(fixture).await;
    assert_eq!(fixture.ledger.forgettable_before(before).await.unwrap(), 0);
    assert_eq!(fixture.ledger.forget_before(before, 100).await.unwrap(), 0);
    assert_eq!(horizons(fixture).await, known, "nothing is gone");
    assert_eq!(fixture.ledger.forgettable_before(after).await.unwrap(), 5);
    let mut helpings = Vec::new();
    while helpings.last() != Some(&0) {
        helpings.push(fixture.ledger.forget_before(after, 2).await.unwrap());
        let Horizons { ledger, forgotten, .. } = horizons(fixture).await;
        assert_eq!(ledger.unwrap().timestamp_millis(), after.timestamp_millis());
        assert_eq!(ledger, forgotten);
    }
    assert_eq!(helpings, [2, 2, 1, 0]);
    let ids: Vec<_> = batch.iter().map(|one| one.event_id).collect();
    assert!(fixture.ledger.recorded("facts", &ids).await.unwrap().is_empty());
    // A horizon never falls.
    record(fixture, &[said(9, vec![])]).await;
    let later = Utc::now() + TimeDelta::minutes(1);
    assert_eq!(fixture.ledger.forget_before(later, 2).await.unwrap(), 1);
    assert_eq!(horizons(fixture).await.ledger.unwrap().timestamp_millis(), after.timestamp_millis());
}

async fn a_row_whose_letter_is_open_is_not_forgotten(fixture: &StoreFixture) {
    let letters = [malformed(1, b"x"), malformed(2, b"y"), malformed(3, b"z")];
    record(fixture, &letters).await;
    let deal = "UPDATE dead_letters SET status = CASE position WHEN '1-0' THEN 'open' WHEN '2-0' THEN 'reprocessing' \
                ELSE 'resolved' END";
    let deal_in_schema = "UPDATE factline.dead_letters SET status = CASE position WHEN '1-0' THEN 'open' \
                          WHEN '2-0' THEN 'reprocessing' ELSE 'resolved' END";
    fixture.sql.run(deal, deal_in_schema).await;
    let after = Utc::now() + TimeDelta::hours(1);
    assert_eq!(fixture.ledger.forgettable_before(after).await.unwrap(), 1);
    assert_eq!(fixture.ledger.forget_before(after, 100).await.unwrap(), 1);
    let ids: Vec<_> = letters.iter().map(|one| one.event_id).collect();
    let left = fixture.ledger.recorded("facts", &ids).await.unwrap();
    assert!(left.contains(&ids[0]) && left.contains(&ids[1]) && left.len() == 2);
}
