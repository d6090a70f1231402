//! The configuration: defaults, file, environment, checked before anything starts.
//!
//! `config/default.toml` is the documentation and the defaults. Every error names the key and what to do.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::outbox_table::{Columns, OutboxTable};

mod check;
mod load;
mod secrets;
mod supervision;

pub use check::{Backend, Service, service_of};
pub use load::{DEFAULTS, Error, Sources, load};
pub use supervision::{Policies, Policy};

/// All of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How this daemon is called.
    pub instance: String,
    /// How long to wait for servers at the start.
    #[serde(with = "humantime_serde")]
    pub startup_timeout: Duration,
    /// How long a stop may take.
    #[serde(with = "humantime_serde")]
    pub shutdown_timeout: Duration,
    /// The outbox.
    pub source: Source,
    /// Factline's own tables.
    pub store: Store,
    /// The streams.
    pub stream: Stream,
    /// From the outbox to the streams.
    pub relay: Relay,
    /// The consumer groups.
    pub groups: Vec<Group>,
    /// What finds facts.
    pub extractors: BTreeMap<String, Extractor>,
    /// Pauses while a server is away.
    pub outage: Outage,
    /// Clearing up.
    pub janitor: Janitor,
    /// Supervisors and children by path.
    pub supervision: BTreeMap<String, Policy>,
    /// The HTTP server.
    pub admin: Admin,
    /// Logs, traces and metrics.
    pub telemetry: Telemetry,
}

/// The outbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Names it.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// Connections.
    pub pool: u32,
    /// The table.
    pub table: String,
    /// For a table without the column.
    pub default_topic: String,
    /// For a table without the column.
    pub default_event_type: String,
    /// What its columns are called.
    pub columns: Columns,
}

/// How long `auto` keeps processed rows of our own table.
const OWN_RETENTION: Duration = Duration::from_hours(7 * 24);

impl Config {
    /// How long processed rows are kept in the outbox; `None`: for ever.
    #[must_use]
    pub fn outbox_retention(&self) -> Option<Duration> {
        let ours = self.source.table == "outbox_events" && self.source.columns == Columns::default();
        match self.relay.retention {
            Retention::For(time) => Some(time),
            Retention::Auto if ours => Some(OWN_RETENTION),
            Retention::Auto | Retention::Forever => None,
        }
    }
}

impl Janitor {
    /// How long ledger rows are kept; `None`: for ever.
    #[must_use]
    pub fn ledger_retention(&self) -> Option<Duration> {
        match self.ledger_retention {
            Retention::For(time) => Some(time),
            Retention::Auto | Retention::Forever => None,
        }
    }
}

impl Source {
    /// The table, as the adapters want it.
    #[must_use]
    pub fn outbox_table(&self) -> OutboxTable {
        OutboxTable {
            table: self.table.clone(),
            columns: self.columns.clone(),
            source: self.name.clone(),
            default_topic: self.default_topic.clone(),
            default_event_type: self.default_event_type.clone(),
        }
    }
}

/// Factline's own tables.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// Where they are.
    pub url: String,
    /// Connections.
    pub pool: u32,
    /// How long a lease lasts.
    #[serde(with = "humantime_serde")]
    pub lease_ttl: Duration,
}

/// The streams.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// `auto`, `embedded` or `redis`.
    pub backend: Backend,
    /// Where they are.
    pub url: String,
    /// What Redis keys begin with.
    pub prefix: String,
    /// Partitions of a topic.
    pub partitions: u16,
    /// Entries of a partition.
    pub max_length: u64,
}

/// From the outbox to the streams.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relay {
    /// Rows in a batch.
    pub batch_size: usize,
    /// Batches at once.
    pub in_flight: usize,
    /// Shortest pause.
    #[serde(with = "humantime_serde")]
    pub poll_min: Duration,
    /// Longest pause.
    #[serde(with = "humantime_serde")]
    pub poll_max: Duration,
    /// How long processed rows are kept.
    pub retention: Retention,
}

/// How long processed rows are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Retention {
    /// `auto`: a week in the table that `migrate up` makes, for ever in one that was there before us.
    Auto,
    /// `forever`.
    Forever,
    /// A duration.
    For(Duration),
}

impl TryFrom<String> for Retention {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "auto" => Ok(Self::Auto),
            "forever" => Ok(Self::Forever),
            text => humantime::parse_duration(text)
                .map(Self::For)
                .map_err(|error| format!("{error}; write \"7d\", \"forever\" or \"auto\"")),
        }
    }
}

impl From<Retention> for String {
    fn from(retention: Retention) -> Self {
        match retention {
            Retention::Auto => "auto".into(),
            Retention::Forever => "forever".into(),
            Retention::For(time) => humantime::format_duration(time).to_string(),
        }
    }
}

/// A consumer group. Its defaults are those of the group in `config/default.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// What it reads.
    pub topics: Vec<String>,
    /// What finds facts.
    pub extractors: Vec<String>,
    /// Events extracted at once.
    pub workers: usize,
    /// Entries in a read.
    pub batch_size: usize,
    /// Batches at once.
    pub in_flight: usize,
    /// Attempts at an event.
    pub max_attempts: u32,
    /// First pause between them.
    #[serde(with = "humantime_serde")]
    pub retry_initial: Duration,
    /// Longest pause between them.
    #[serde(with = "humantime_serde")]
    pub retry_max: Duration,
    /// How long one extractor may take for one event.
    #[serde(with = "humantime_serde")]
    pub extract_timeout: Duration,
}

impl Default for Group {
    fn default() -> Self {
        Self {
            name: "facts".into(),
            topics: vec!["chat".into()],
            extractors: vec!["patterns".into(), "title".into()],
            workers: 2,
            batch_size: 1000,
            in_flight: 8,
            max_attempts: 5,
            retry_initial: Duration::from_millis(100),
            retry_max: Duration::from_secs(10),
            extract_timeout: Duration::from_secs(30),
        }
    }
}

/// What finds facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extractor {
    /// Which of the built-in ones.
    pub kind: String,
}

/// Pauses while a server is away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    /// The first.
    #[serde(with = "humantime_serde")]
    pub initial: Duration,
    /// The longest.
    #[serde(with = "humantime_serde")]
    pub max: Duration,
}

/// Clearing up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Janitor {
    /// Time between two turns.
    #[serde(with = "humantime_serde")]
    pub every: Duration,
    /// Time between two turns of reconciling.
    #[serde(with = "humantime_serde")]
    pub reconcile_every: Duration,
    /// How long ledger rows are kept.
    pub ledger_retention: Retention,
}

/// The HTTP server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Where it listens; empty: nowhere.
    pub bind: String,
    /// Names by which it may be called.
    pub hosts: Vec<String>,
    /// Bytes of a request's body.
    pub max_body: usize,
    /// Requests of one token, or one address, in a second.
    pub rate: u32,
    /// How long a part may be unwell before the daemon is not ready.
    #[serde(with = "humantime_serde")]
    pub unready_after: Duration,
    /// Who may ask what, by name.
    pub tokens: BTreeMap<String, Token>,
}

/// A bearer token, as far as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// What its bearer may do.
    pub role: Role,
    /// Its SHA-256, in hex.
    pub sha256: String,
}

/// What somebody may do over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Read.
    Viewer,
    /// Write events, and neither read nor change anything else.
    Producer,
    /// All of it.
    Operator,
}

/// Logs, traces and metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// `auto`, `human` or `json`.
    pub log_format: LogFormat,
    /// Where traces and metrics are sent; empty: nowhere.
    pub otlp_endpoint: String,
    /// How.
    pub otlp_protocol: OtlpProtocol,
    /// The share of traces that are recorded.
    pub sample_ratio: f64,
    /// Time between two deliveries of metrics.
    #[serde(with = "humantime_serde")]
    pub metrics_interval: Duration,
    /// Time between two looks at backlog, lag and servers.
    #[serde(with = "humantime_serde")]
    pub observe_every: Duration,
}

/// How traces and metrics are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtlpProtocol {
    /// gRPC.
    Grpc,
    /// Protobuf over HTTP.
    Http,
}

/// What log lines look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Human,
    /// For machines.
    Json,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn defaults() -> Config {
        // A folder without factline.toml would do as well, but tests share theirs.
        let table: toml::Table = DEFAULTS.parse().unwrap();
        table.try_into().unwrap()
    }

    /// All keys of a table, with their paths.
    fn keys(table: &toml::Table, path: &str, into: &mut BTreeSet<String>) {
        for (key, value) in table {
            let path = format!("{path}.{key}");
            match value {
                toml::Value::Table(table) => keys(table, &path, into),
                toml::Value::Array(items) if items.iter().all(toml::Value::is_table) => {
                    items.iter().filter_map(toml::Value::as_table).for_each(|item| keys(item, &path, into));
                }
                _ => drop(into.insert(path)),
            }
        }
    }

    #[test]
    fn every_key_stands_in_the_default_file() {
        let (mut known, mut documented) = (BTreeSet::new(), BTreeSet::new());
        keys(&toml::Table::try_from(defaults()).unwrap(), "", &mut known);
        keys(&DEFAULTS.parse().unwrap(), "", &mut documented);
        assert_eq!(known, documented);
    }

    #[test]
    fn the_keys_of_a_policy_and_their_defaults_stand_in_the_default_file() {
        let all = Policy {
            strategy: Some(supervision::StrategyName::OneForAll),
            max_restarts: Some(1),
            within: Some(Duration::ZERO),
            on_exhausted: Some(supervision::Exhausted::Exit),
            auto_shutdown: Some(supervision::AutoShutdownName::Never),
            significant: Some(true),
            max_consecutive_failures: Some(1),
            restart: Some(supervision::RestartName::Permanent),
            shutdown: Some(Duration::ZERO),
            start_timeout: Some(Duration::ZERO),
            stall_after: Some(Duration::ZERO),
            mailbox: Some(1),
            backoff_initial: Some(Duration::ZERO),
            backoff_max: Some(Duration::ZERO),
            backoff_jitter: Some(0.5),
            backoff_reset_after: Some(Duration::ZERO),
        };
        for key in toml::Table::try_from(all).unwrap().keys() {
            assert!(DEFAULTS.contains(&format!("#   {key} ")), "{key}");
        }
    }

    #[test]
    fn a_group_that_leaves_keys_out_has_those_of_the_default_group() {
        assert_eq!(defaults().groups, [Group::default()]);
    }

    #[test]
    fn the_defaults_are_right() {
        assert_eq!(defaults().check(), Ok(()));
    }
}
