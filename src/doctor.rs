//! `factline doctor`: a diagnosis in words, each finding with the next command to type.
//!
//! A check looks at what was seen and says what it thinks of it; it asks nobody, so that each can be told apart and
//! tried by itself. What could not be looked at is a finding, and the other checks go on without it.
//!
//! # Layout
//!
//! - `examination`: how everything is looked at, in a few seconds, whatever is away;
//! - the checks: `daemon`, `relay`, `groups`, `streams`, `letters`, `postgres`, `redis`, `schema`.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    config::Config,
    migrations::SetStatus,
    observation::{Look, Observation, StoreView, StreamView},
};

mod daemon;
mod examination;
mod groups;
mod letters;
mod postgres;
mod redis;
mod relay;
mod schema;
mod streams;
#[cfg(test)]
mod tests;

pub use examination::examine;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Nothing stands still yet.
    Warning,
    /// Events wait for it, or may be lost.
    Problem,
}

/// What is at work has moved on within this time, in seconds, however far the looks are apart.
const LONG: f64 = 5.0;

/// What one check found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// Which check.
    pub check: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub sentence: String,
    /// The command to type next.
    pub next: Option<String>,
    /// The same for programs.
    pub data: Value,
}

impl Finding {
    fn new(check: &'static str, severity: Severity, sentence: impl Into<String>) -> Self {
        Self { check, severity, sentence: sentence.into(), next: None, data: Value::Null }
    }

    fn problem(check: &'static str, sentence: impl Into<String>) -> Self {
        Self::new(check, Severity::Problem, sentence)
    }

    fn warning(check: &'static str, sentence: impl Into<String>) -> Self {
        Self::new(check, Severity::Warning, sentence)
    }

    fn ok(check: &'static str, sentence: impl Into<String>) -> Self {
        Self::new(check, Severity::Ok, sentence)
    }

    fn next(self, command: impl Into<String>) -> Self {
        Self { next: Some(command.into()), ..self }
    }

    fn data(self, data: impl Serialize) -> Self {
        Self { data: json!(data), ..self }
    }
}

/// What a daemon on `admin.bind` says.
#[derive(Debug, Clone, PartialEq)]
pub enum Daemon {
    /// Nobody is to be asked there.
    NotConfigured,
    /// It could not be asked, and why.
    Silent(String),
    /// It answers.
    Answers {
        /// Its supervisor tree, or why it is not told.
        tree: Result<Value, NoTree>,
        /// Which deployment it works on, if it says so.
        deployment: Option<String>,
    },
}

/// Why a daemon does not tell of its tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoTree {
    /// It wants to see another token than the one in `FACTLINE_TOKEN`, or one at all.
    WantsToken(String),
    /// Something else.
    Other(String),
}

/// From when on something is worth a word.
#[derive(Debug, Clone)]
pub struct Limits {
    /// A transaction that is open for so long keeps too many dead rows.
    pub transaction: Duration,
}

/// All that the checks look at.
pub struct Scene<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// From when on something is worth a word.
    pub limits: Limits,
    /// The first look.
    pub before: Observation,
    /// The second look, a few seconds later.
    pub now: Observation,
    /// The daemon.
    pub daemon: Daemon,
    /// The tables of each database, or why they are not known.
    pub schemas: Vec<(&'static str, Look<SetStatus>)>,
    /// Whether there are dead letters of rows that were never published, and nobody has dealt with them.
    pub unpublished: Look<bool>,
}

impl Scene<'_> {
    fn store(&self) -> Option<&StoreView> {
        self.now.store.as_ref().ok()
    }

    fn streams(&self) -> Option<&StreamView> {
        self.now.streams.as_ref().ok()
    }

    /// The time between the two looks, in seconds.
    fn seconds(&self) -> f64 {
        (self.now.at - self.before.at).as_seconds_f64().max(0.001)
    }

    /// For how long something has waited that began by a server's clock, in seconds.
    fn age(&self, began: DateTime<Utc>, clock_ahead_ms: Option<i64>) -> f64 {
        let now = self.now.at + TimeDelta::milliseconds(clock_ahead_ms.unwrap_or_default());
        (now - began).as_seconds_f64()
    }

    /// Whether what has waited for so long did so at the first look already, or for longer than anything should.
    fn is_long(&self, age: f64) -> bool {
        age > self.seconds().min(LONG)
    }
}

/// What a check is: it says nothing of what could not be looked at, for `reach` has said so.
type Check = fn(&Scene<'_>, &mut Vec<Finding>);

/// All checks, the most pressing first.
const CHECKS: [Check; 19] = [
    reach,
    schema::migrations,
    daemon::answers,
    daemon::works_on_this_deployment,
    daemon::parts,
    streams::same_for_all,
    relay::is_active,
    relay::backlog,
    relay::failed_rows,
    groups::are_read,
    groups::vanished_consumers,
    groups::lag,
    groups::blocked_keys,
    streams::unread_topics,
    letters::dead_letters,
    postgres::transactions,
    postgres::connections,
    redis::memory,
    redis::persistence,
];

/// Runs all checks; the worst findings come first.
#[must_use]
pub fn diagnose(scene: &Scene<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for check in CHECKS {
        check(scene, &mut findings);
    }
    clocks(scene, &mut findings);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity)); // stable: the order of the checks is kept
    findings
}

/// What could not be looked at.
fn reach(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let parts = [
        ("outbox", "source.url", scene.now.outbox.as_ref().err()),
        ("store", "store.url", scene.now.store.as_ref().err()),
        ("streams", "stream.url", scene.now.streams.as_ref().err()),
    ];
    for (part, key, error) in parts {
        let sentence = match error {
            None => {
                let answers = if part == "streams" { "answer" } else { "answers" };
                findings.push(Finding::ok("reach", format!("the {part} {answers}")));
                continue;
            }
            Some(error) => format!("the {part} cannot be looked at: {error}"),
        };
        let finding = Finding::problem("reach", sentence).next("factline config check");
        findings.push(finding.data(json!({ "part": part, "key": key, "error": error })));
    }
}

/// Leases run on the database's clock, and times in listings on whoever's wrote them.
fn clocks(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    let database = |server: Option<&crate::observation::PostgresServer>| server.map(|one| one.clock_ahead_ms);
    let outbox = scene.now.outbox.as_ref().ok().and_then(|view| database(view.server.as_ref()));
    let store = scene.store().and_then(|view| database(view.server.as_ref()));
    let streams = scene.streams().and_then(|view| view.server.as_ref()).map(|server| server.clock_ahead_ms);
    let lease = i64::try_from(scene.config.store.lease_ttl.as_millis()).unwrap_or(i64::MAX);
    let known: Vec<_> = [("outbox", outbox), ("store", store), ("streams", streams)]
        .into_iter()
        .filter_map(|(part, ahead)| Some((part, ahead?)))
        .collect();
    for &(part, ahead) in known.iter().filter(|(_, ahead)| ahead.abs() > 1_000) {
        let direction = if ahead > 0 { "ahead of" } else { "behind" };
        #[expect(clippy::cast_precision_loss, reason = "told to a tenth of a second")]
        let seconds = ahead.abs() as f64 / 1000.0;
        let sentence =
            format!("the clock of the server of the {part} is {seconds:.1} s {direction} this machine's");
        let far = ahead.abs() > (lease / 3).max(1_000);
        let finding = if far {
            Finding::problem(
                "clocks",
                format!("{sentence}, and leases last {:?}", scene.config.store.lease_ttl),
            )
        } else {
            Finding::warning("clocks", sentence)
        };
        findings.push(finding.next("timedatectl status").data(json!({ "part": part, "ahead_ms": ahead })));
    }
    if !known.is_empty() && known.iter().all(|(_, ahead)| ahead.abs() <= 1_000) {
        findings.push(Finding::ok("clocks", "the servers' clocks agree with this machine's"));
    }
}

/// `1 row`, `2 rows`, `about 20000 rows`.
fn counted(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// A duration in words.
fn duration(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds.max(0.0).round()).unwrap_or_default();
    humantime::format_duration(whole).to_string()
}
