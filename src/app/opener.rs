//! Opens what the configuration names: the adapters.

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use chrono::{TimeDelta, Utc};
use factline_pipeline::{
    lease::Leases,
    ledger::Ledger,
    outage::{self, Error as Outage},
    outbox::{Outbox, Settled},
    stream::EventStream,
};
use tokio::time::Instant;

use crate::{
    config::{Config, Service, service_of},
    dead_letters::DeadLetters,
    evidence::Evidence,
    observation::{DatabaseServer, StreamServer},
    operator_log::OperatorLog,
    postgres,
    records::Records,
    redis, sqlite,
};

/// Connections to each database beside the pipeline's.
const POOL_BESIDE: u32 = 3;

/// How often an unreachable server is tried at the start.
const CONNECT_EVERY: Duration = Duration::from_millis(250);

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A server did not answer in time, or is not set up.
    #[error("{key}: {}{fix}", gave_up(*after))]
    Unreachable {
        /// The configuration key that names the server.
        key: &'static str,
        /// How long it was tried.
        after: Duration,
        /// What to do.
        fix: &'static str,
        /// What it said last.
        #[source]
        source: Outage,
    },
    /// An embedded database that nobody has made.
    #[error(
        "{key}: there is no database here: {} does not exist; go to the folder of your deployment, set {key}, or make \
         one with `factline migrate up`",
        path.display()
    )]
    Nowhere {
        /// The configuration key.
        key: &'static str,
        /// Where it would be.
        path: PathBuf,
    },
    /// A value that no server could be asked with.
    #[error("{key} is unusable")]
    Unusable {
        /// The configuration key.
        key: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Producer and consumer would not meet.
    #[error(
        "stream.partitions is {wanted}, but these streams have {recorded}: set stream.partitions to {recorded}, or \
         choose another stream.prefix"
    )]
    Partitions {
        /// What the configuration says.
        wanted: u16,
        /// What whoever came first has recorded.
        recorded: u16,
    },
}

fn gave_up(after: Duration) -> String {
    if after.is_zero() {
        return String::new();
    }
    format!("gave up after {}; ", humantime::format_duration(after))
}

/// The application's outbox and Factline's store: all that the commands need.
#[derive(Clone)]
pub struct Databases {
    /// The application's outbox.
    pub outbox: Arc<dyn Outbox>,
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// The leases.
    pub leases: Arc<dyn Leases>,
    /// What there is to read.
    pub records: Arc<dyn Records>,
    /// What people do with dead letters.
    pub dead_letters: Arc<dyn DeadLetters>,
    /// What people do to the process.
    pub operator_log: Arc<dyn OperatorLog>,
    /// What there is to verify.
    pub evidence: Arc<dyn Evidence>,
    /// The outbox's server.
    pub source_server: Arc<dyn DatabaseServer>,
    /// The store's server.
    pub store_server: Arc<dyn DatabaseServer>,
}

impl Databases {
    /// The store has all ports but the outbox's.
    fn of<S>(source: Source, store: Arc<S>) -> Self
    where
        S: Ledger + Leases + Records + DeadLetters + OperatorLog + Evidence + DatabaseServer + 'static,
    {
        Self {
            outbox: source.outbox,
            source_server: source.server,
            store_server: store.clone(),
            ledger: store.clone(),
            leases: store.clone(),
            records: store.clone(),
            dead_letters: store.clone(),
            operator_log: store.clone(),
            evidence: store,
        }
    }
}

/// The outbox under both of its ports.
pub(crate) struct Source {
    pub(crate) outbox: Arc<dyn Outbox>,
    pub(crate) server: Arc<dyn DatabaseServer>,
}

/// The store, before it is known under its ports.
pub(crate) enum Store {
    Postgres(Arc<postgres::store::Store>),
    Embedded(Arc<sqlite::Store>),
}

impl Store {
    fn beside(self, source: Source) -> Databases {
        match self {
            Self::Postgres(store) => Databases::of(source, store),
            Self::Embedded(store) => Databases::of(source, store),
        }
    }

    /// What one look at it needs.
    pub(crate) fn to_look_at(&self) -> (Arc<dyn Leases>, Arc<dyn Records>, Arc<dyn DatabaseServer>) {
        match self {
            Self::Postgres(store) => (store.clone(), store.clone(), store.clone()),
            Self::Embedded(store) => (store.clone(), store.clone(), store.clone()),
        }
    }
}

impl Source {
    fn of<O: Outbox + DatabaseServer + 'static>(outbox: O) -> Self {
        let outbox = Arc::new(outbox);
        Self { outbox: outbox.clone(), server: outbox }
    }
}

/// Everything that the pipeline works with.
#[derive(Clone)]
pub struct Adapters {
    /// The databases.
    pub databases: Databases,
    /// The streams.
    pub stream: Arc<dyn EventStream>,
    /// Their server.
    pub stream_server: Arc<dyn StreamServer>,
}

/// Opens what the configuration names, waiting for servers that are not up yet.
pub struct Opener<'a> {
    config: &'a Config,
    patience: Duration,
    /// Whether it makes an embedded database that is not there.
    creates: bool,
    /// One handle for each file, for it serialises the writers.
    files: HashMap<String, sqlite::Database>,
    /// Connections to each database, if not as many as are configured.
    pool: Option<u32>,
}

impl<'a> Opener<'a> {
    /// Waits as long as `startup_timeout` says.
    #[must_use]
    pub fn new(config: &'a Config) -> Self {
        Self { config, patience: config.startup_timeout, creates: true, files: HashMap::new(), pool: None }
    }

    /// Waits only for what is on its way, as a command at a prompt should, and makes nothing: in the wrong folder it
    /// would tell of an empty database.
    #[must_use]
    pub fn impatient(config: &'a Config) -> Self {
        let patience = Duration::from_secs(3).min(config.startup_timeout);
        Self { patience, creates: false, ..Self::new(config) }
    }

    /// Tries once, and makes nothing.
    #[must_use]
    pub(crate) fn at_once(config: &'a Config) -> Self {
        Self { patience: Duration::ZERO, ..Self::impatient(config) }
    }

    /// Makes an embedded database that is not there.
    #[must_use]
    pub fn creating(self) -> Self {
        Self { creates: true, ..self }
    }

    /// Everything once more for those who ask and change things beside the pipeline: with a few connections of their own,
    /// so that whatever they ask for takes none of the pipeline's. The servers are looked at from the pipeline's.
    pub async fn beside(&mut self, pipeline: &Adapters) -> Result<Adapters, Error> {
        self.pool = Some(POOL_BESIDE);
        let mut beside = self.adapters().await?;
        beside.databases.source_server = pipeline.databases.source_server.clone();
        beside.databases.store_server = pipeline.databases.store_server.clone();
        Ok(beside)
    }

    /// Opens everything.
    pub async fn adapters(&mut self) -> Result<Adapters, Error> {
        let databases = self.databases().await?;
        let (stream, stream_server) = self.stream_and_server().await?;
        Ok(Adapters { databases, stream, stream_server })
    }

    /// Opens the outbox and the store.
    pub async fn databases(&mut self) -> Result<Databases, Error> {
        let source = self.source().await?;
        Ok(self.store().await?.beside(source))
    }

    pub(crate) async fn store(&mut self) -> Result<Store, Error> {
        let store = &self.config.store;
        if service_of(&store.url) == Some(Service::Postgres) {
            let pool = postgres::store::pool(&store.url, self.pool.unwrap_or(store.pool))
                .map_err(|error| Error::Unusable { key: "store.url", source: error.into() })?;
            let fix = "check that PostgreSQL runs, that store.url (DATABASE_URL) is right, and that `factline migrate \
                       up` was run";
            self.reached("store.url", fix, || postgres::store::ready(&pool)).await?;
            return Ok(Store::Postgres(Arc::new(postgres::store::Store::new(pool))));
        }
        let database = self.file("store.url", &store.url).await?;
        Ok(Store::Embedded(Arc::new(sqlite::Store::new(database))))
    }

    pub(crate) async fn source(&mut self) -> Result<Source, Error> {
        let source = &self.config.source;
        if service_of(&source.url) == Some(Service::Postgres) {
            let pool = postgres::outbox::pool(&source.url, self.pool.unwrap_or(source.pool))
                .map_err(|error| Error::Unusable { key: "source.url", source: error.into() })?;
            let table = source.outbox_table();
            let fix = "check that PostgreSQL runs, that source.url (SOURCE_DATABASE_URL or DATABASE_URL) is right, \
                       and that the outbox table is as [source] says";
            let open = || postgres::outbox::Outbox::open(pool.clone(), &table);
            return Ok(Source::of(self.reached("source.url", fix, open).await?));
        }
        let database = self.file("source.url", &source.url).await?;
        Ok(Source::of(sqlite::Outbox::new(database, &source.table, &source.name)))
    }

    /// Opens the streams; fails if they have another number of partitions than we think.
    pub async fn stream(&mut self) -> Result<Arc<dyn EventStream>, Error> {
        Ok(self.stream_and_server().await?.0)
    }

    pub(crate) async fn stream_and_server(&mut self) -> Result<Streams, Error> {
        let stream = &self.config.stream;
        let (wanted, recorded, opened): (u16, u16, Streams) =
            if service_of(&stream.url) == Some(Service::Redis) {
                let settings = redis::Settings {
                    prefix: stream.prefix.clone(),
                    partitions: stream.partitions,
                    max_length: stream.max_length,
                };
                let opened = redis::Stream::new(&stream.url, settings)
                    .map_err(|error| Error::Unusable { key: "stream.url", source: error.into() })?;
                let fix = "check that Redis runs and that stream.url (REDIS_URL) is right";
                let recorded = self.reached("stream.url", fix, || opened.recorded_partitions()).await?;
                (stream.partitions, recorded, both(opened))
            } else {
                let database = self.file("stream.url", &stream.url).await?;
                let opened = sqlite::Stream::new(database, stream.partitions, stream.max_length);
                let fix = "check that the file may be written";
                let recorded = self.reached("stream.url", fix, || opened.recorded_partitions()).await?;
                (stream.partitions, recorded, both(opened))
            };
        if wanted != recorded {
            return Err(Error::Partitions { wanted, recorded });
        }
        Ok(opened)
    }

    /// Writes down when the groups began, once.
    pub async fn begin_groups(&self, databases: &Databases) -> Result<(), Error> {
        let fix = "check that the databases are up, and that `factline migrate up` was run";
        self.reached("store.url", fix, || begin_groups(self.config, databases)).await
    }

    /// Opens an embedded database and brings its tables up to date: nobody should have to migrate a file of ours.
    async fn file(&mut self, key: &'static str, url: &str) -> Result<sqlite::Database, Error> {
        if let Some(database) = self.files.get(url) {
            return Ok(database.clone());
        }
        let unusable = |source: Box<dyn std::error::Error + Send + Sync>| Error::Unusable { key, source };
        if !self.creates {
            let path = sqlite::Database::path_of(url).map_err(|error| unusable(error.into()))?;
            if !path.exists() {
                return Err(Error::Nowhere { key, path: std::path::absolute(&path).unwrap_or(path) });
            }
        }
        let database = sqlite::Database::open(url).await.map_err(|error| unusable(error.into()))?;
        database.migrate_up().await.map_err(|error| unusable(error.into()))?;
        self.files.insert(url.to_owned(), database.clone());
        Ok(database)
    }

    /// Tries until it works, or patience ends.
    async fn reached<T, F>(
        &self,
        key: &'static str,
        fix: &'static str,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Outage>>,
    {
        let until = Instant::now() + self.patience;
        let mut said = false;
        loop {
            match attempt().await {
                Ok(reached) => return Ok(reached),
                // Waiting does not change a table.
                Err(error @ Outage::Misconfigured { .. }) => {
                    return Err(Error::Unusable { key, source: Box::new(error) });
                }
                Err(source) if Instant::now() + CONNECT_EVERY >= until => {
                    return Err(Error::Unreachable { key, after: self.patience, fix, source });
                }
                Err(error) if !said => {
                    tracing::warn!(key, error = %outage::chain(&error), "not reachable yet, trying again");
                    said = true;
                }
                Err(_) => {}
            }
            tokio::time::sleep(CONNECT_EVERY).await;
        }
    }
}

/// The streams under both of their ports.
pub(crate) type Streams = (Arc<dyn EventStream>, Arc<dyn StreamServer>);

fn both<S: EventStream + StreamServer + 'static>(stream: S) -> Streams {
    let stream = Arc::new(stream);
    (stream.clone(), stream)
}

/// Writes down when groups began that begin now.
///
/// What was processed before may have been so by another program, and is nothing that they miss; if its clock or its
/// time zone is another one, its newest rows tell.
async fn begin_groups(config: &Config, databases: &Databases) -> Result<(), Outage> {
    let known = databases.ledger.horizons().await?.groups;
    let new: Vec<&str> = config
        .groups
        .iter()
        .map(|group| group.name.as_str())
        .filter(|name| !known.contains_key(*name))
        .collect();
    if new.is_empty() {
        return Ok(());
    }
    let newest = databases.outbox.settled_before(Settled::Processed, None, 1_000).await?;
    let latest =
        newest.iter().filter_map(|row| row.processed_at).filter(|time| *time < Utc::now() + A_DAY).max();
    for group in new {
        databases.ledger.begin_group(group, latest).await?;
    }
    Ok(())
}

/// A time further ahead than any time zone is nobody's.
const A_DAY: TimeDelta = TimeDelta::days(1);
