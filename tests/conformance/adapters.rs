//! The adapters under test: each opened on a database, or under a key prefix, of its own.

use std::{sync::Arc, time::Duration};

use factline::{
    dead_letters::DeadLetters,
    outbox_table::{Columns, OutboxTable},
    postgres,
    records::Records,
    redis, sqlite,
};
use factline_pipeline::{
    lease::Leases,
    ledger::Ledger,
    outbox::Outbox,
    stream::{EventStream, Partition},
};
use sqlx::{PgPool, SqlitePool, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use crate::servers::{Postgres, Redis};

/// The CloudEvents source of every event in these suites.
pub(super) const SOURCE: &str = "shop";

/// Partitions of every topic in these suites.
pub(super) const PARTITIONS: u16 = 4;

/// The database beneath an adapter, for what applications, and time, do to it.
pub(super) enum Sql {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Sql {
    /// Runs what has to be said differently in the two databases.
    pub(super) async fn run(&self, sqlite: &'static str, postgres: &'static str) {
        match self {
            Self::Sqlite(pool) => drop(sqlx::raw_sql(sqlite).execute(pool).await.unwrap()),
            Self::Postgres(pool) => drop(sqlx::raw_sql(postgres).execute(pool).await.unwrap()),
        }
    }

    /// The first column of the first row, as bytes.
    pub(super) async fn bytes(&self, sqlite: &'static str, postgres: &'static str) -> Vec<u8> {
        match self {
            Self::Sqlite(pool) => sqlx::query_scalar(sqlite).fetch_one(pool).await.unwrap(),
            Self::Postgres(pool) => sqlx::query_scalar(postgres).fetch_one(pool).await.unwrap(),
        }
    }
}

/// An outbox, and the database that it shares with its application.
pub(super) struct OutboxFixture {
    pub(super) outbox: Arc<dyn Outbox>,
    pub(super) sql: Sql,
    _folder: Option<TempDir>,
}

pub(super) async fn outbox_on_sqlite() -> OutboxFixture {
    let (folder, database, sql) = sqlite_database().await;
    let outbox = Arc::new(sqlite::Outbox::new(database, "outbox_events", SOURCE));
    OutboxFixture { outbox, sql, _folder: Some(folder) }
}

pub(super) async fn outbox_on_postgres() -> OutboxFixture {
    let (url, pool) = postgres_database().await;
    let table = OutboxTable {
        table: "outbox_events".into(),
        columns: Columns::default(),
        source: SOURCE.into(),
        default_topic: String::new(),
        default_event_type: String::new(),
    };
    let outbox = Arc::new(
        postgres::outbox::Outbox::open(postgres::outbox::pool(&url, 8).unwrap(), &table).await.unwrap(),
    );
    OutboxFixture { outbox, sql: Sql::Postgres(pool), _folder: None }
}

/// A store: its ports, and the database beneath.
pub(super) struct StoreFixture {
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) leases: Arc<dyn Leases>,
    pub(super) records: Arc<dyn Records>,
    pub(super) dead_letters: Arc<dyn DeadLetters>,
    pub(super) sql: Sql,
    _folder: Option<TempDir>,
}

pub(super) async fn store_on_sqlite() -> StoreFixture {
    let (folder, database, sql) = sqlite_database().await;
    let store = Arc::new(sqlite::Store::new(database));
    StoreFixture::of(store, sql, Some(folder))
}

pub(super) async fn store_on_postgres() -> StoreFixture {
    let (url, pool) = postgres_database().await;
    let store = Arc::new(postgres::store::Store::new(postgres::store::pool(&url, 8).unwrap()));
    let sql = Sql::Postgres(pool);
    StoreFixture::of(store, sql, None)
}

impl StoreFixture {
    fn of<S>(store: Arc<S>, sql: Sql, folder: Option<TempDir>) -> Self
    where
        S: Ledger + Leases + Records + DeadLetters + 'static,
    {
        Self {
            ledger: store.clone(),
            leases: store.clone(),
            records: store.clone(),
            dead_letters: store,
            sql,
            _folder: folder,
        }
    }
}

/// A stream, and where to open it once more.
pub(super) struct StreamFixture {
    pub(super) stream: Arc<dyn EventStream>,
    backend: StreamBackend,
}

enum StreamBackend {
    Sqlite { path: String, _folder: TempDir },
    Redis { url: String, prefix: String },
}

pub(super) async fn stream_on_sqlite() -> StreamFixture {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("factline.db").to_str().unwrap().to_owned();
    StreamFixture::new(StreamBackend::Sqlite { path, _folder: folder }).await
}

pub(super) async fn stream_on_redis() -> StreamFixture {
    let server = Redis::shared();
    StreamFixture::new(StreamBackend::Redis { url: server.url(), prefix: server.prefix() }).await
}

impl StreamFixture {
    async fn new(backend: StreamBackend) -> Self {
        let stream = backend.open(u64::MAX).await;
        Self { stream, backend }
    }

    /// The same stream as another process would open it, which allows so many entries a partition.
    pub(super) async fn open_elsewhere(&self, max_length: u64) -> Arc<dyn EventStream> {
        self.backend.open(max_length).await
    }

    /// For how many partitions the stream was made, asked by somebody who wants so many.
    pub(super) async fn recorded_partitions(&self, wanted: u16) -> u16 {
        match &self.backend {
            StreamBackend::Sqlite { path, .. } => {
                let database = sqlite::Database::open(path).await.unwrap();
                sqlite::Stream::new(database, wanted, u64::MAX).recorded_partitions().await.unwrap()
            }
            StreamBackend::Redis { url, prefix } => {
                redis_stream(url, prefix, wanted, u64::MAX).recorded_partitions().await.unwrap()
            }
        }
    }

    /// Appends an entry as another program would, with whatever it takes for an event.
    pub(super) async fn append_by_hand(&self, partition: &Partition, attributes: &[(&str, &[u8])]) {
        match &self.backend {
            StreamBackend::Sqlite { path, .. } => insert_entry(path, partition, attributes).await,
            StreamBackend::Redis { url, prefix } => {
                let client = ::redis::Client::open(url.as_str()).unwrap();
                let mut connection = client.get_multiplexed_async_connection().await.unwrap();
                let mut add = ::redis::cmd("XADD");
                add.arg(format!("{prefix}:{}:{}", partition.topic, partition.number)).arg("*");
                for (name, value) in attributes {
                    add.arg(name).arg(value);
                }
                add.query_async::<String>(&mut connection).await.unwrap();
            }
        }
    }
}

impl StreamBackend {
    async fn open(&self, max_length: u64) -> Arc<dyn EventStream> {
        match self {
            Self::Sqlite { path, .. } => {
                let database = sqlite::Database::open(path).await.unwrap();
                database.migrate_up().await.unwrap();
                Arc::new(sqlite::Stream::new(database, PARTITIONS, max_length))
            }
            Self::Redis { url, prefix } => Arc::new(redis_stream(url, prefix, PARTITIONS, max_length)),
        }
    }
}

fn redis_stream(url: &str, prefix: &str, partitions: u16, max_length: u64) -> redis::Stream {
    let settings = redis::Settings { prefix: prefix.to_owned(), partitions, max_length };
    redis::Stream::new(url, settings).unwrap()
}

/// Attributes that the table has no column for are left out, as is everything that is not said.
async fn insert_entry(path: &str, partition: &Partition, attributes: &[(&str, &[u8])]) {
    let value =
        |wanted: &str| attributes.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.to_vec());
    let insert = sqlx::query(
        "INSERT INTO stream_entries (topic, partition, id, type, partitionkey, time, data) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    );
    let insert = insert.bind(partition.topic.to_string()).bind(partition.number);
    let insert = insert.bind(value("id")).bind(value("type")).bind(value("partitionkey"));
    insert.bind(value("time")).bind(value("data")).execute(&raw_sqlite(path)).await.unwrap();
}

async fn sqlite_database() -> (TempDir, sqlite::Database, Sql) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("factline.db").to_str().unwrap().to_owned();
    let database = sqlite::Database::open(&path).await.unwrap();
    database.migrate_up().await.unwrap();
    (folder, database, Sql::Sqlite(raw_sqlite(&path)))
}

fn raw_sqlite(path: &str) -> SqlitePool {
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(Duration::from_secs(30));
    SqlitePool::connect_lazy_with(options)
}

/// A new PostgreSQL database without any tables.
pub(super) async fn postgres_url() -> String {
    tokio::task::spawn_blocking(|| Postgres::shared().database()).await.unwrap()
}

async fn postgres_database() -> (String, PgPool) {
    let url = postgres_url().await;
    let pool = postgres::pool(&url, 8).unwrap();
    postgres::migrations::source().run(&pool).await.unwrap();
    postgres::migrations::store().run(&pool).await.unwrap();
    (url, pool)
}
