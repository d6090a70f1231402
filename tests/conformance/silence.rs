//! A server from which no answer comes any more, on connections that look alive: an outage, and not for ever.

use std::time::Duration;

use factline::{
    outbox_table::{Columns, OutboxTable},
    postgres::{self, Database, outbox::Outbox, store::Store},
    records::Records as _,
};
use factline_pipeline::{
    lease::Leases as _,
    ledger::Ledger as _,
    outage::{self, Error},
    outbox::{Claim, Outbox as _},
};
use sqlx::PgPool;

use super::{adapters, samples::said};
use crate::servers::Proxy;

/// Long enough for a busy machine, short enough for a test.
const LIMIT: Duration = Duration::from_secs(1);

/// How a pool is made.
type Pooling = fn(&str, u32) -> Result<PgPool, sqlx::Error>;

/// A pool of one connection, so that a connection that is lost for the pool ends the test.
async fn behind_a_firewall(pool: Pooling) -> (Proxy, PgPool) {
    let url = adapters::postgres_url().await;
    let direct = postgres::pool(&url, 1).unwrap();
    postgres::migrations::source().run(&direct).await.unwrap();
    postgres::migrations::store().run(&direct).await.unwrap();
    let firewall = Proxy::before(&url).await;
    let pool = pool(&firewall.of(&url), 1).unwrap();
    (firewall, pool)
}

/// Fails as an outage while nothing comes back, and the next call works.
async fn is_an_outage<T: std::fmt::Debug>(
    (firewall, _): &(Proxy, PgPool),
    call: impl AsyncFn() -> Result<T, Error>,
) {
    call().await.unwrap();
    firewall.forget();
    let error = call().await.unwrap_err();
    assert!(error.is_outage() && outage::chain(&error).ends_with("no answer within 1s"), "{error:?}");
    call().await.unwrap();
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_an_outage() {
    let behind = behind_a_firewall(postgres::store::pool).await;
    let store = Store::new(Database::with_limit(behind.1.clone(), LIMIT));
    is_an_outage(&behind, async || store.list().await).await;
    is_an_outage(&behind, async || store.record("facts", &[], &[said(1, vec![])]).await).await;
    is_an_outage(&behind, async || store.totals().await).await;
}

#[tokio::test]
async fn an_outbox_that_does_not_answer_is_an_outage() {
    let behind = behind_a_firewall(postgres::outbox::pool).await;
    let table = OutboxTable {
        table: "outbox_events".into(),
        columns: Columns::default(),
        source: adapters::SOURCE.into(),
        default_topic: String::new(),
        default_event_type: String::new(),
    };
    let outbox = Outbox::open(Database::with_limit(behind.1.clone(), LIMIT), &table).await.unwrap();
    let claim = Claim { after: None, in_flight: &[], limit: 9 };
    is_an_outage(&behind, async || outbox.claim_pending(claim).await).await;
    is_an_outage(&behind, async || outbox.mark_processed(&[]).await).await;
    is_an_outage(&behind, async || outbox.backlog().await).await;
}

#[tokio::test]
async fn a_connection_that_nobody_waits_for_any_more_is_not_used_again() {
    let (firewall, pool) = behind_a_firewall(postgres::store::pool).await;
    let store = Store::new(Database::with_limit(pool.clone(), Duration::from_mins(1)));
    store.list().await.unwrap();
    firewall.forget();
    assert!(tokio::time::timeout(Duration::from_millis(50), store.list()).await.is_err());
    store.list().await.unwrap();
}

#[tokio::test]
async fn whoever_waits_for_the_only_connection_gets_it() {
    let (_firewall, pool) = behind_a_firewall(postgres::store::pool).await;
    let store = Store::new(Database::with_limit(pool, LIMIT));
    let calls = (0..100).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.list().await })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
}
