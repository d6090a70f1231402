//! How a deployment does: a verdict on one look at it, part by part, each with since when and a sentence.
//!
//! A verdict is a pure function of what was seen now and what is remembered of earlier looks, so that the daemon, its
//! tests and the commands all judge alike. Three things make it one that a machine can act upon:
//!
//! - Whoever has nothing to do is well. *Stuck* is only what has work and does not get on with it: something waits, and
//!   neither has it become less nor is the oldest of it another one, for a while.
//! - A part that recovers must stay well for [`RECOVERED`] before its trouble counts as over: one that crashes again and
//!   again has been in trouble from the first time on.
//! - A daemon is *ready* or not for its own sake: about a backlog, neither the relay's standby can do anything nor a
//!   daemon that only consumes. A part that does not [hold it up](Part::holds_up) is told, and no more.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use factline_supervision::Node;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::observation::Observation;

mod memory;
mod parts;
mod tree;

#[cfg(test)]
mod tests;

pub use memory::Memory;

/// How long a part must be well before its trouble is over.
pub const RECOVERED: TimeDelta = TimeDelta::seconds(15);

/// How a part does. Later is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should.
    Ok,
    /// It could not be asked, because of another part that failed.
    Unknown,
    /// It works badly, or not at the moment.
    Degraded,
    /// It does not work.
    Failed,
}

/// One part, and how it does.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Part {
    /// What it is: `store`, `backlog`, `groups/facts`, `root/relay/outbox_poller`.
    pub part: String,
    /// How it does.
    pub state: State,
    /// Since when, as far as this process knows.
    pub since: DateTime<Utc>,
    /// The same in words. It names nothing that is not everybody's business.
    pub sentence: String,
    /// What it said itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Figures.
    pub data: Value,
    /// Whether this daemon is not ready when it stays like this.
    pub holds_up: bool,
}

/// The verdict.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Health {
    /// When it was looked.
    pub at: DateTime<Utc>,
    /// How the worst part does.
    pub state: State,
    /// Whether it gets on, or has nothing to do.
    pub ready: bool,
    /// All parts.
    pub parts: Vec<Part>,
    /// How long a part may be in trouble.
    #[serde(skip)]
    unready_after: TimeDelta,
}

impl Health {
    /// The parts that keep it from being ready.
    pub fn reasons(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| part.has_held_up_for(self.unready_after, self.at))
    }
}

impl Part {
    /// What must be known, and is not, holds up at once.
    fn has_held_up_for(&self, limit: TimeDelta, now: DateTime<Utc>) -> bool {
        let for_long = match self.state {
            State::Ok => false,
            State::Unknown => true,
            State::Degraded | State::Failed => now - self.since >= limit,
        };
        self.holds_up && for_long
    }
}

/// What there is to judge.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// The deployment.
    pub observation: &'a Observation,
    /// The tree of this process; none while it starts, or for somebody who has none.
    pub tree: Option<&'a Node>,
    /// The lease that makes a daemon the relay.
    pub relay_lease: &'a str,
    /// How long a part may be in trouble.
    pub unready_after: Duration,
}

impl Seen<'_> {
    /// How long a part may be in trouble.
    fn limit(&self) -> TimeDelta {
        TimeDelta::from_std(self.unready_after).unwrap_or(TimeDelta::MAX)
    }

    /// So long it may take until something has moved that waits; one slow event should not look like a standstill.
    fn patience(&self) -> TimeDelta {
        self.limit() / 2
    }
}

/// Judges, and remembers what the next verdict needs.
pub fn judge(seen: &Seen<'_>, memory: &mut Memory) -> Health {
    let mut found = Vec::new();
    parts::of_outbox(seen, memory, &mut found);
    parts::of_store(seen, memory, &mut found);
    parts::of_streams(seen, memory, &mut found);
    tree::of_tree(seen, memory, &mut found);
    let at = seen.observation.at;
    let parts: Vec<Part> = found.into_iter().filter_map(|finding| memory.date(finding, at)).collect();
    memory.forget_unseen();
    let state = parts.iter().map(|part| part.state).max().unwrap_or(State::Unknown);
    let mut health = Health { at, state, ready: true, parts, unready_after: seen.limit() };
    let ready = health.reasons().next().is_none();
    health.ready = ready;
    health
}

/// What was found of a part, before it is known since when.
struct Finding {
    part: String,
    state: State,
    since: Since,
    sentence: String,
    reason: Option<String>,
    data: Value,
    holds_up: bool,
    /// Told only when it is not well.
    quiet: bool,
}

/// Where the time comes from since which a part does as it does.
enum Since {
    /// From earlier looks.
    Looks,
    /// From earlier looks, and it was so before the first of them.
    Before(DateTime<Utc>),
    /// It is known.
    Known(DateTime<Utc>),
}

impl Finding {
    fn new(part: impl Into<String>, state: State, sentence: impl Into<String>) -> Self {
        Self {
            part: part.into(),
            state,
            since: Since::Looks,
            sentence: sentence.into(),
            reason: None,
            data: Value::Null,
            holds_up: false,
            quiet: false,
        }
    }

    fn holding_up(self, holds_up: bool) -> Self {
        Self { holds_up, ..self }
    }

    fn with(self, data: impl Serialize) -> Self {
        // What cannot be shown as JSON is shown as nothing.
        Self { data: serde_json::to_value(data).unwrap_or_default(), ..self }
    }

    fn because(self, reason: Option<&str>) -> Self {
        Self { reason: reason.map(str::to_owned), ..self }
    }

    fn since(self, since: Since) -> Self {
        Self { since, ..self }
    }
}

/// A time span in words, to the second.
fn span(time: TimeDelta) -> String {
    humantime::format_duration(Duration::from_secs(time.num_seconds().max(0).unsigned_abs())).to_string()
}

/// What waits in several places, by place.
type Waits<K> = BTreeMap<K, memory::Moving>;
