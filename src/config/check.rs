//! Values that cannot stand, alone or together.

use std::{collections::BTreeSet, fmt::Display, net::SocketAddr};

use serde::{Deserialize, Serialize};

use super::{Config, Retention};
use crate::{extract, outbox_table::Columns};

/// What the streams are kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// What the URL says.
    Auto,
    /// SQLite.
    Embedded,
    /// Redis Streams.
    Redis,
}

/// What a URL leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// A file.
    Sqlite,
    /// A PostgreSQL server.
    Postgres,
    /// A Redis server.
    Redis,
}

/// What the URL leads to, by its scheme.
#[must_use]
pub fn service_of(url: &str) -> Option<Service> {
    match url.split_once(':')?.0 {
        "sqlite" => Some(Service::Sqlite),
        "postgres" | "postgresql" => Some(Service::Postgres),
        "redis" | "rediss" => Some(Service::Redis),
        _ => None,
    }
}

impl Config {
    /// Everything that is wrong, each with its key and what to do.
    pub(super) fn check(&self) -> Result<(), Vec<String>> {
        let mut wrong = Vec::new();
        self.check_urls(&mut wrong);
        self.check_numbers(&mut wrong);
        self.check_groups(&mut wrong);
        self.check_admin(&mut wrong);
        self.check_telemetry(&mut wrong);
        self.check_policies(&mut wrong);
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    fn check_urls(&self, wrong: &mut Vec<String>) {
        for (key, url) in [("source.url", &self.source.url), ("store.url", &self.store.url)] {
            if !matches!(service_of(url), Some(Service::Sqlite | Service::Postgres)) {
                wrong.push(format!(
                    "{key} is no database: write sqlite:PATH or postgres://USER@HOST/DATABASE"
                ));
            }
        }
        match (self.stream.backend, service_of(&self.stream.url)) {
            (_, None | Some(Service::Postgres)) => {
                wrong.push("stream.url is no stream: write sqlite:PATH or redis://HOST:PORT".into());
            }
            (Backend::Redis, Some(Service::Sqlite)) => wrong.push(
                "stream.backend is \"redis\", but stream.url is a file: set REDIS_URL or stream.url".into(),
            ),
            (Backend::Embedded, Some(Service::Redis)) => wrong.push(
                "stream.backend is \"embedded\", but stream.url is a Redis server: unset REDIS_URL, or set \
                 stream.backend to \"redis\""
                    .into(),
            ),
            _ => {}
        }
        let embedded = service_of(&self.source.url) == Some(Service::Sqlite);
        if embedded && self.source.columns != Columns::default() {
            wrong.push(
                "source.columns is for PostgreSQL, but source.url is a file: leave it out, or set source.url"
                    .into(),
            );
        }
        for (key, url) in [
            ("source.url", &self.source.url),
            ("store.url", &self.store.url),
            ("stream.url", &self.stream.url),
        ] {
            if url.contains(":memory:") {
                wrong.push(format!("{key} is in memory, where nothing outlives the process: name a file"));
            }
        }
    }

    fn check_numbers(&self, wrong: &mut Vec<String>) {
        at_least_one("source.pool", self.source.pool, wrong);
        at_least_one("store.pool", self.store.pool, wrong);
        at_least_one("stream.partitions", self.stream.partitions, wrong);
        at_least_one("stream.max_length", self.stream.max_length, wrong);
        at_least_one("relay.batch_size", self.relay.batch_size, wrong);
        at_least_one("relay.in_flight", self.relay.in_flight, wrong);
        if self.store.lease_ttl < std::time::Duration::from_millis(300) {
            wrong.push("store.lease_ttl is too short to be renewed in time: write \"1s\" or more".into());
        }
        if self.relay.poll_min > self.relay.poll_max {
            wrong.push("relay.poll_min is longer than relay.poll_max: swap them".into());
        }
        if self.outage.initial > self.outage.max || self.outage.initial.is_zero() {
            wrong.push("outage.initial must be above 0 and not longer than outage.max".into());
        }
        if self.janitor.every.is_zero() {
            wrong.push("janitor.every must be above 0: write \"1s\"".into());
        }
        if self.janitor.reconcile_every.is_zero() {
            wrong.push("janitor.reconcile_every must be above 0: write \"1m\"".into());
        }
        if self.janitor.ledger_retention == Retention::Auto {
            wrong.push(
                "janitor.ledger_retention is for nobody else to choose: write \"forever\" or \"400d\"".into(),
            );
        }
        for (key, name) in [("source.name", &self.source.name), ("stream.prefix", &self.stream.prefix)] {
            if name.is_empty() {
                wrong.push(format!("{key} is empty: give it a name"));
            }
        }
    }

    fn check_groups(&self, wrong: &mut Vec<String>) {
        let mut names = BTreeSet::new();
        for group in &self.groups {
            let name = &group.name;
            if name.is_empty() || name.contains(['/', ':']) || name == crate::postgres::store::RELAY {
                wrong.push(format!(
                    "groups: {name:?} is no name for a group: use letters, digits, - and _, and not \"relay\""
                ));
            }
            if !names.insert(name) {
                wrong.push(format!("groups: there are two groups {name:?}: rename one"));
            }
            if group.topics.is_empty() || group.topics.iter().any(String::is_empty) {
                wrong.push(format!("groups.{name}.topics: name at least one topic"));
            }
            at_least_one(format_args!("groups.{name}.workers"), group.workers, wrong);
            at_least_one(format_args!("groups.{name}.batch_size"), group.batch_size, wrong);
            at_least_one(format_args!("groups.{name}.in_flight"), group.in_flight, wrong);
            at_least_one(format_args!("groups.{name}.max_attempts"), group.max_attempts, wrong);
            if group.retry_initial > group.retry_max {
                wrong.push(format!("groups.{name}.retry_initial is longer than retry_max: swap them"));
            }
            if group.extract_timeout.is_zero() {
                wrong.push(format!("groups.{name}.extract_timeout is 0: write \"30s\" or so"));
            }
            for extractor in &group.extractors {
                if !self.extractors.contains_key(extractor) {
                    let known: Vec<&str> = self.extractors.keys().map(String::as_str).collect();
                    wrong.push(format!(
                        "groups.{name}.extractors: there is no [extractors.{extractor}], only {}",
                        known.join(", ")
                    ));
                }
            }
        }
        self.check_that_facts_are_stated_once(wrong);
        for (name, extractor) in &self.extractors {
            if extract::build(&extractor.kind).is_none() {
                wrong.push(format!(
                    "extractors.{name}.kind: there is no {:?}, only {}",
                    extractor.kind,
                    extract::KINDS.join(", ")
                ));
            }
        }
    }

    /// Facts and conversations belong to no group: two groups would count every message twice.
    fn check_that_facts_are_stated_once(&self, wrong: &mut Vec<String>) {
        for (index, group) in self.groups.iter().enumerate() {
            let others = self.groups[..index].iter().filter(|other| !other.extractors.is_empty());
            let shared = others.flat_map(|other| other.topics.iter().map(move |topic| (other, topic)));
            for (other, topic) in shared {
                if !group.extractors.is_empty() && group.topics.contains(topic) {
                    wrong.push(format!(
                        "groups {} and {} both extract facts from topic {topic:?}: let one of them do it",
                        other.name, group.name
                    ));
                }
            }
        }
    }

    fn check_admin(&self, wrong: &mut Vec<String>) {
        at_least_one("admin.rate", self.admin.rate, wrong);
        at_least_one("admin.max_body", self.admin.max_body, wrong);
        for host in &self.admin.hosts {
            if host.is_empty() || host.contains(['/', ' ', '*', '@']) {
                wrong.push(format!(
                    "admin.hosts: {host:?} is no name: write it as a Host header has it, factline.internal"
                ));
            }
        }
        for (name, token) in &self.admin.tokens {
            let is_hash =
                token.sha256.len() == 64 && token.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !is_hash {
                wrong.push(format!(
                    "admin.tokens.{name}.sha256 is no SHA-256 in hex: `factline token {name}` makes a token and \
                     prints its hash"
                ));
            }
        }
        if self.admin.bind.is_empty() {
            return;
        }
        match self.admin.bind.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() || !self.admin.tokens.is_empty() => {}
            Ok(_) => wrong.push(
                "admin.bind is reachable from outside, where everybody could do everything: make a token with \
                 `factline token NAME --role operator` and write it to [admin.tokens], or use 127.0.0.1"
                    .into(),
            ),
            Err(_) => wrong.push("admin.bind is no address: write 127.0.0.1:8080, or leave it empty".into()),
        }
    }

    fn check_telemetry(&self, wrong: &mut Vec<String>) {
        let telemetry = &self.telemetry;
        if !telemetry.otlp_endpoint.is_empty() && !telemetry.otlp_endpoint.starts_with("http://") {
            wrong.push(
                "telemetry.otlp_endpoint is not where a collector could be: write http://HOST:4317 (grpc) or \
                 http://HOST:4318 (http); for a collector behind TLS, run one beside the daemon that sends on"
                    .into(),
            );
        }
        if !(0.0..=1.0).contains(&telemetry.sample_ratio) {
            wrong.push("telemetry.sample_ratio is no share: write a number from 0.0 to 1.0".into());
        }
        if telemetry.metrics_interval.is_zero() || telemetry.observe_every.is_zero() {
            wrong.push("telemetry.metrics_interval and observe_every must be above 0: write \"15s\"".into());
        }
    }
}

fn at_least_one<N: Copy + Default + PartialEq>(key: impl Display, number: N, wrong: &mut Vec<String>) {
    if number == N::default() {
        wrong.push(format!("{key} is 0: write 1 or more"));
    }
}
