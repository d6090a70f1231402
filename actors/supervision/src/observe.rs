//! Looking at a running tree from outside.
//!
//! Every child has an [`Entry`] that its supervisor keeps up to date and that lives as long as the tree.
//! A snapshot reads the entries, the lifelines and the mailboxes' gauges; it sends no message and awaits
//! nothing, so a child that hangs can't hang the observer.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use serde::{Serialize, Serializer};
use tokio::{sync::mpsc, time::Instant};

use crate::{
    core::{Phase, Rules},
    exit::Exit,
    host::Body,
    lifeline::{Condition, Lifeline},
    millis,
    spec::Strategy,
    supervisor::Command,
};

/// One child or supervisor in a snapshot. Times serialize as milliseconds, points in time since 1970.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// Ids from the root, separated by `/`.
    pub path: String,
    /// The last part of the path.
    pub id: String,
    /// Actor or supervisor.
    pub kind: NodeKind,
    /// Where it is in its life.
    pub state: NodeState,
    /// How it says it is doing; meaningful while it is up.
    pub condition: Condition,
    /// Since when.
    #[serde(rename = "condition_since_ms", serialize_with = "millis::since_1970")]
    pub condition_since: SystemTime,
    /// Which incarnation is, or was last, running; 0 before the first.
    pub generation: u64,
    /// Restarts its supervisor decided on because it exited.
    pub restarts: u64,
    /// The same, by the [kind](Exit::kind) of exit.
    pub restarts_by_kind: BTreeMap<&'static str, u64>,
    /// Those within its supervisor's restart window.
    pub restarts_in_window: usize,
    /// How it ended last.
    pub last_exit: Option<LastExit>,
    /// When it will be started again, if it waits for that.
    #[serde(rename = "next_restart_ms", serialize_with = "millis::maybe_since_1970")]
    pub next_restart: Option<SystemTime>,
    /// Work it has in flight, by its own count.
    pub in_flight: usize,
    /// How long that work has been without progress.
    #[serde(rename = "in_flight_age_ms", serialize_with = "millis::maybe_span")]
    pub in_flight_age: Option<Duration>,
    /// An actor's mailbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mailbox: Option<MailboxGauge>,
    /// A supervisor's rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supervision: Option<Supervision>,
    /// In start order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Node>,
}

impl Node {
    /// This node or the one below it with this path.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&Node> {
        if self.path == path {
            return Some(self);
        }
        let below = path.strip_prefix(&self.path)?.starts_with('/');
        if below { self.children.iter().find_map(|child| child.find(path)) } else { None }
    }
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// It has a mailbox and no children.
    Actor,
    /// It has children and no mailbox.
    Supervisor,
}

/// Where a node is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Down, waiting for its turn to start.
    Pending,
    /// Started, not ready yet.
    Starting,
    /// Ready.
    Running,
    /// Draining, or being killed.
    Stopping,
    /// Down until its backoff is over.
    BackingOff,
    /// Down because it exhausted its supervisor, retried now and then.
    Parked,
    /// Down until an operator resumes it; its mail waits.
    Paused,
    /// Down for good, by itself.
    Finished,
    /// Down for good, by an operator.
    Stopped,
}

impl From<Phase> for NodeState {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Pending => NodeState::Pending,
            Phase::Waiting { .. } => NodeState::BackingOff,
            Phase::Parked { .. } => NodeState::Parked,
            Phase::Paused => NodeState::Paused,
            Phase::Finished => NodeState::Finished,
            Phase::Stopped => NodeState::Stopped,
            Phase::Starting => NodeState::Starting,
            Phase::Up => NodeState::Running,
            Phase::Stopping => NodeState::Stopping,
        }
    }
}

/// A past exit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LastExit {
    /// Which incarnation ended.
    pub generation: u64,
    /// Why.
    #[serde(serialize_with = "text")]
    pub reason: Exit,
    /// Work it had in flight, lost with it.
    pub in_flight: usize,
    /// When.
    #[serde(rename = "at_ms", serialize_with = "millis::since_1970")]
    pub at: SystemTime,
}

/// How full a mailbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MailboxGauge {
    /// Messages waiting.
    pub depth: usize,
    /// Messages it may hold.
    pub capacity: usize,
}

/// A supervisor's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Supervision {
    /// Which siblings share a child's fate.
    pub strategy: Strategy,
    /// Restarts it tolerates…
    pub max_restarts: u32,
    /// …within this time.
    #[serde(rename = "within_ms", serialize_with = "millis::span")]
    pub within: Duration,
}

/// Where one child is observed and, through its supervisor, controlled.
pub(crate) struct Entry {
    pub(crate) path: Arc<str>,
    pub(crate) id: String,
    pub(crate) children: Vec<Arc<Entry>>,
    supervision: Option<Supervision>,
    body: Option<Arc<dyn Body>>,
    live: Mutex<Live>,
}

/// The part that changes.
pub(crate) struct Live {
    pub(crate) phase: Phase,
    pub(crate) next_restart: Option<Instant>,
    pub(crate) lifeline: Lifeline,
    pub(crate) restarts_by_kind: BTreeMap<&'static str, u64>,
    pub(crate) recent: VecDeque<Instant>,
    pub(crate) last_exit: Option<LastExit>,
    /// Reaches a supervisor while it runs.
    pub(crate) commands: Option<mpsc::Sender<Command>>,
}

impl Entry {
    pub(crate) fn actor(path: String, id: String, body: Arc<dyn Body>) -> Self {
        Entry::new(path, id, Vec::new(), None, Some(body))
    }

    pub(crate) fn supervisor(path: String, id: String, rules: &Rules, children: Vec<Arc<Entry>>) -> Self {
        let Rules { strategy, max_restarts, within, .. } = *rules;
        Entry::new(path, id, children, Some(Supervision { strategy, max_restarts, within }), None)
    }

    fn new(
        path: String,
        id: String,
        children: Vec<Arc<Entry>>,
        supervision: Option<Supervision>,
        body: Option<Arc<dyn Body>>,
    ) -> Self {
        let path: Arc<str> = path.into();
        let live = Live {
            phase: Phase::Pending,
            next_restart: None,
            lifeline: Lifeline::new(Arc::clone(&path), 0),
            restarts_by_kind: BTreeMap::new(),
            recent: VecDeque::new(),
            last_exit: None,
            commands: None,
        };
        Entry { path, id, children, supervision, body, live: Mutex::new(live) }
    }

    pub(crate) fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entry at `path`, with that of its supervisor.
    pub(crate) fn find<'a>(self: &'a Arc<Entry>, path: &str) -> Option<(&'a Arc<Entry>, usize)> {
        self.children
            .iter()
            .enumerate()
            .find_map(|(i, child)| if *child.path == *path { Some((self, i)) } else { child.find(path) })
    }

    /// A snapshot of this child and all below. `window` is that of its supervisor.
    pub(crate) fn observe(&self, window: Duration) -> Node {
        let now = Instant::now();
        let live = self.live();
        let pulse = live.lifeline.pulse();
        let node = Node {
            path: self.path.to_string(),
            id: self.id.clone(),
            kind: if self.supervision.is_some() { NodeKind::Supervisor } else { NodeKind::Actor },
            state: live.phase.into(),
            generation: live.lifeline.generation(),
            restarts: live.restarts_by_kind.values().sum(),
            restarts_by_kind: live.restarts_by_kind.clone(),
            restarts_in_window: live.recent.iter().filter(|at| now.duration_since(**at) <= window).count(),
            last_exit: live.last_exit.clone(),
            next_restart: live
                .next_restart
                .and_then(|due| SystemTime::now().checked_add(due.duration_since(now))),
            in_flight: pulse.in_flight,
            in_flight_age: pulse.age_of_work(now),
            condition: pulse.condition,
            condition_since: pulse.condition_since,
            mailbox: None,
            supervision: self.supervision,
            children: Vec::new(),
        };
        drop(live);
        let below = self.supervision.map_or(Duration::ZERO, |rules| rules.within);
        Node {
            mailbox: self
                .body
                .as_ref()
                .map(|body| MailboxGauge { depth: body.mail().depth(), capacity: body.mail().capacity() }),
            children: self.children.iter().map(|child| child.observe(below)).collect(),
            ..node
        }
    }
}

fn text<S: Serializer>(exit: &Exit, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(exit)
}
