//! Where it is measured: on the servers that the configuration names, in databases and under a key prefix that are made
//! for this, or in files in a temporary folder. Nothing of the user's is touched.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use anyhow::Context as _;
use factline_pipeline::outage;
use indicatif::ProgressBar;
use tempfile::TempDir;

use super::{
    Common, Shape,
    child::{Child, Only, free_address},
    load::{Load, TOPIC},
};
use crate::{
    app::{Adapters, Opener},
    cli::table,
    config::{Config, Service, service_of},
    migrations::sets,
    outbox_table::Columns,
    postgres, redis, sqlite,
    trial::{About, Trial},
};

/// What all throwaway databases and prefixes begin with.
const PREFIX: &str = "factline_bench_";

/// The throwaway databases, and all that leads there.
pub(super) struct Lab {
    config: Config,
    name: String,
    folder: TempDir,
    grounds: Vec<postgres::trial::Ground>,
    keys: Option<redis::trial::Ground>,
    open: Option<Open>,
    /// Rounds that were begun, for names of files.
    rounds: u32,
}

/// What a round works with.
struct Open {
    adapters: Adapters,
    source: Arc<dyn Trial>,
    store: Arc<dyn Trial>,
}

impl Lab {
    /// Nothing is made yet.
    pub(super) fn new(config: &Config) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir().context("no temporary folder")?;
        let random = uuid::Uuid::new_v4().simple().to_string();
        Ok(Self {
            config: tuned_alike(config),
            name: format!("{PREFIX}{}", &random[..12]),
            folder,
            grounds: Vec::new(),
            keys: None,
            open: None,
            rounds: 0,
        })
    }

    /// Makes databases and prefix. Whatever fails, [`Lab::remove`] removes what was made.
    pub(super) async fn set_up(&mut self) -> anyhow::Result<()> {
        let (source, store) = (self.config.source.url.clone(), self.config.store.url.clone());
        if service_of(&source) == Some(Service::Postgres) {
            self.config.source.url = self.make_database(&source, "").await?;
        }
        if service_of(&store) == Some(Service::Postgres) {
            self.config.store.url = if source == store {
                self.config.source.url.clone()
            } else {
                self.make_database(&store, "_store").await?
            };
        }
        let stream = self.config.stream.url.clone();
        if service_of(&stream) == Some(Service::Redis) {
            let made = redis::trial::Ground::make(&stream, &self.name, TOPIC).await;
            let (keys, gone) = made.context("stream.url: no throwaway keys can be made in Redis")?;
            self.keys = Some(keys);
            tell_of_leftovers(&gone, "keys in Redis");
            self.config.stream.prefix.clone_from(&self.name);
        }
        self.place_files();
        for set in sets(&self.config, false, true).await? {
            set.up().await?;
        }
        Ok(())
    }

    async fn make_database(&mut self, url: &str, suffix: &str) -> anyhow::Result<String> {
        let name = format!("{}{suffix}", self.name);
        let ground = postgres::trial::Ground::new(url, &name)?;
        let url = ground.url.clone();
        // Known before it is made: whoever is ended meanwhile removes it.
        self.grounds.push(ground);
        if let Some(ground) = self.grounds.last_mut() {
            tell_of_leftovers(&ground.make(PREFIX).await?, "databases");
        }
        Ok(url)
    }

    /// Embedded databases get other files for each round, as many as they were.
    fn place_files(&mut self) {
        let Config { source, store, stream, .. } = &mut self.config;
        let mut files: BTreeMap<String, String> = BTreeMap::new();
        for url in [&mut source.url, &mut store.url, &mut stream.url] {
            if service_of(url) == Some(Service::Sqlite) {
                let file = format!("round-{}-{}.db", self.rounds, files.len());
                let file = self.folder.path().join(file);
                let file = format!("sqlite:{}", file.display());
                url.clone_from(files.entry(url.clone()).or_insert(file));
            }
        }
    }

    /// Empty tables and streams: the next round.
    pub(super) async fn fresh(&mut self) -> anyhow::Result<()> {
        if let Some(open) = self.open.take() {
            open.source.empty().await?;
            open.store.empty().await?;
        }
        if let Some(keys) = &mut self.keys {
            keys.empty().await?;
        }
        self.rounds += 1;
        let before = self.files()?;
        self.place_files();
        for file in before {
            fs::remove_file(file)?;
        }
        let mut opener = Opener::impatient(&self.config).creating();
        let adapters = opener.adapters().await?;
        let source = self.trial(&self.config.source.url).await?;
        let store = if self.config.source.url == self.config.store.url {
            source.clone()
        } else {
            self.trial(&self.config.store.url).await?
        };
        self.open = Some(Open { adapters, source, store });
        Ok(())
    }

    /// The next round, with these events in its outbox, as a server has them that had time to tidy up.
    pub(super) async fn fresh_with(&mut self, load: Load, bar: &ProgressBar) -> anyhow::Result<()> {
        self.fresh().await?;
        load.insert(&self.adapters()?.databases, bar).await?;
        self.source()?.settle().await?;
        Ok(())
    }

    async fn trial(&self, url: &str) -> anyhow::Result<Arc<dyn Trial>> {
        Ok(match service_of(url) {
            Some(Service::Postgres) => {
                let pool = postgres::pool(url, 2)?;
                let (has_outbox, has_store) = (url == self.config.source.url, url == self.config.store.url);
                Arc::new(postgres::trial::Trial::new(pool, has_outbox, has_store))
            }
            _ => Arc::new(sqlite::trial::Trial::new(sqlite::Database::open(url).await?)),
        })
    }

    /// The embedded databases that are there.
    fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(self.folder.path())?;
        let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
        let is_database = |path: &PathBuf| path.to_string_lossy().contains("/round-");
        Ok(paths.into_iter().filter(is_database).collect())
    }

    /// Nobody reads the streams while they are filled: they must hold everything.
    pub(super) fn let_streams_hold(&mut self, events: u64) {
        let most = &mut self.config.stream.max_length;
        *most = events.saturating_add(1).max(*most);
    }

    /// How many partitions the streams have.
    pub(super) fn partitions(&self) -> u16 {
        self.config.stream.partitions
    }

    /// How many they have from the next round on.
    pub(super) fn set_partitions(&mut self, partitions: u16) {
        self.config.stream.partitions = partitions;
    }

    /// What databases and prefix are called.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether outbox and store are in the same database.
    pub(super) fn has_one_database(&self) -> bool {
        self.config.source.url == self.config.store.url
    }

    /// Whether outbox and store are on the same PostgreSQL server, as far as their URLs tell.
    pub(super) fn has_one_server(&self) -> bool {
        let server = |url: &str| {
            let url = url::Url::parse(url).ok()?;
            Some((url.host_str()?.to_owned(), url.port()))
        };
        server(&self.config.source.url) == server(&self.config.store.url)
    }

    /// The configuration that leads to the throwaway databases.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// This round's adapters.
    pub(super) fn adapters(&self) -> anyhow::Result<&Adapters> {
        Ok(&self.open()?.adapters)
    }

    /// This round's database of the outbox.
    pub(super) fn source(&self) -> anyhow::Result<&Arc<dyn Trial>> {
        Ok(&self.open()?.source)
    }

    /// This round's database of ledger and facts.
    pub(super) fn store(&self) -> anyhow::Result<&Arc<dyn Trial>> {
        Ok(&self.open()?.store)
    }

    /// The Redis server, if the streams are there.
    pub(super) fn keys(&mut self) -> Option<&mut redis::trial::Ground> {
        self.keys.as_mut()
    }

    fn open(&self) -> anyhow::Result<&Open> {
        self.open.as_ref().context("no round has begun")
    }

    /// Where and with what it is measured.
    pub(super) async fn header(
        &mut self,
        common: impl Into<Option<&Common>>,
    ) -> anyhow::Result<Vec<(String, String)>> {
        let cores = std::thread::available_parallelism()?.get();
        let mut header = vec![
            ("factline".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("processors".to_owned(), cores.to_string()),
        ];
        if let Some(Common { events, shape: Shape { payload_bytes, keys }, .. }) = common.into() {
            header.push(("events".to_owned(), format!("{events} of {payload_bytes} bytes, {keys} keys")));
        }
        let source = self.source()?.about().await?;
        let store = self.store()?.about().await?;
        header.push(("outbox".to_owned(), told(&source)));
        header.push(("store".to_owned(), told(&store)));
        let stream = match self.keys() {
            Some(keys) => told(&keys.about().await?),
            None => format!("in the embedded database in {}", self.folder.path().display()),
        };
        header.push(("stream".to_owned(), stream));
        let Config { relay, groups, stream, .. } = &self.config;
        header.push((
            "relay".to_owned(),
            format!("batch_size {}, in_flight {}", relay.batch_size, relay.in_flight),
        ));
        for group in groups {
            let tuning = format!(
                "batch_size {}, in_flight {}, workers {}, partitions {}",
                group.batch_size, group.in_flight, group.workers, stream.partitions
            );
            header.push((format!("group {}", group.name), tuning));
        }
        Ok(header)
    }

    /// Starts a daemon on the throwaway databases. From the main thread: the child ends with the thread that starts it.
    pub(super) fn daemon(&self, only: Only) -> anyhow::Result<Child> {
        let file = self.folder.path().join("factline.toml");
        // A benchmark that is killed leaves the file behind: no password is in it.
        let mut config = self.config.clone();
        let urls =
            [&mut config.source.url, &mut config.store.url, &mut config.stream.url].map(std::mem::take);
        fs::write(&file, toml::to_string(&config)?)
            .context("the daemon's configuration cannot be written")?;
        let [source, store, stream] = &urls;
        let keys = [
            ("FACTLINE__SOURCE__URL", &**source),
            ("FACTLINE__STORE__URL", store),
            ("FACTLINE__STREAM__URL", stream),
        ];
        Child::start(only, &file, keys, &free_address()?, self.folder.path().join("daemon.log"))
    }

    /// Removes all that was made.
    pub(super) async fn remove(mut self) -> anyhow::Result<()> {
        self.open = None;
        let mut wrong = Vec::new();
        if let Some(mut keys) = self.keys.take()
            && let Err(error) = keys.remove().await
        {
            wrong.push(format!("keys {}:*: {}", self.name, outage::chain(&error)));
        }
        for ground in &self.grounds {
            if let Err(error) = ground.remove().await {
                wrong.push(format!("database {}: {}", ground.name(), outage::chain(&error)));
            }
        }
        if let Err(error) = self.folder.close() {
            wrong.push(format!("the temporary folder: {error}"));
        }
        if wrong.is_empty() { Ok(()) } else { Err(anyhow::anyhow!("{}", wrong.join("; "))) }
    }
}

/// The user's configuration on tables of ours, with one group that reads what we write, and nobody else to tell.
fn tuned_alike(config: &Config) -> Config {
    let mut config = config.clone();
    "outbox_events".clone_into(&mut config.source.table);
    config.source.columns = Columns::default();
    let reads = config.groups.iter().position(|group| group.topics.iter().any(|topic| topic == TOPIC));
    config.groups = config.groups.into_iter().skip(reads.unwrap_or_default()).take(1).collect();
    for group in &mut config.groups {
        group.topics = vec![TOPIC.to_owned()];
    }
    config.admin.tokens.clear();
    config.admin.hosts.clear();
    config.telemetry.otlp_endpoint.clear();
    config
}

/// A server on one line.
fn told(about: &About) -> String {
    let settings: Vec<String> =
        about.settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
    format!("{}; {}", about.version, settings.join(", "))
}

fn tell_of_leftovers(names: &[String], what: &str) {
    if !names.is_empty() {
        let benchmarks = table::counted(names.len() as u64, "benchmark");
        eprintln!("removed the {what} that {benchmarks} left behind when killed: {}", names.join(", "));
    }
}
