//! A server from which no answer comes any more, on connections that look alive: an outage, and not for ever.

use std::{
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

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
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
};

use super::{adapters, samples::said};

/// Long enough for a busy machine, short enough for a test.
const LIMIT: Duration = Duration::from_secs(1);

/// Between clients and a server: a firewall that forgets the connections it has, and lets new ones through.
struct Firewall {
    port: u16,
    forgotten: std::sync::Mutex<Arc<AtomicBool>>,
}

impl Firewall {
    async fn before(server: String) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let firewall = Arc::new(Self { port, forgotten: std::sync::Mutex::default() });
        let this = firewall.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = TcpStream::connect(&server).await.unwrap().into_split();
                let forgotten = this.forgotten.lock().unwrap().clone();
                tokio::spawn(forward(from_client, to_server, forgotten.clone()));
                tokio::spawn(forward(from_server, to_client, forgotten));
            }
        });
        firewall
    }

    fn forget(&self) {
        std::mem::take(&mut *self.forgotten.lock().unwrap()).store(true, Ordering::SeqCst);
    }
}

/// A forgotten connection stays open: neither side hears that the other is gone.
async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, forgotten: Arc<AtomicBool>) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if !forgotten.load(Ordering::SeqCst) && to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// A pool of one connection, so that a connection that is lost for the pool ends the test.
async fn behind_a_firewall() -> (Arc<Firewall>, PgPool) {
    let mut url = url::Url::parse(&adapters::postgres_url().await).unwrap();
    let direct = postgres::pool(url.as_str(), 1).unwrap();
    postgres::migrations::source().run(&direct).await.unwrap();
    postgres::migrations::store().run(&direct).await.unwrap();
    let server = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let firewall = Firewall::before(server).await;
    url.set_port(Some(firewall.port)).unwrap();
    (firewall, postgres::pool(url.as_str(), 1).unwrap())
}

async fn until_idle(pool: &PgPool) {
    while pool.num_idle() == 0 {
        tokio::task::yield_now().await;
    }
}

/// Fails as an outage while nothing comes back, and the next call works.
async fn is_an_outage<T: std::fmt::Debug>(
    (firewall, pool): &(Arc<Firewall>, PgPool),
    call: impl AsyncFn() -> Result<T, Error>,
) {
    call().await.unwrap();
    until_idle(pool).await;
    firewall.forget();
    let error = call().await.unwrap_err();
    assert!(error.is_outage() && outage::chain(&error).ends_with("no answer within 1s"), "{error:?}");
    call().await.unwrap();
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_an_outage() {
    let behind = behind_a_firewall().await;
    let store = Store::new(Database::with_limit(behind.1.clone(), LIMIT));
    is_an_outage(&behind, async || store.list().await).await;
    is_an_outage(&behind, async || store.record("facts", &[], &[said(1, vec![])]).await).await;
    is_an_outage(&behind, async || store.totals().await).await;
}

#[tokio::test]
async fn an_outbox_that_does_not_answer_is_an_outage() {
    let behind = behind_a_firewall().await;
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
    let (firewall, pool) = behind_a_firewall().await;
    let store = Store::new(Database::with_limit(pool.clone(), Duration::from_mins(1)));
    store.list().await.unwrap();
    until_idle(&pool).await;
    firewall.forget();
    assert!(tokio::time::timeout(Duration::from_millis(50), store.list()).await.is_err());
    store.list().await.unwrap();
}
