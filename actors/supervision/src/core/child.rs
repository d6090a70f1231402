//! One child as the core sees it.

use crate::{
    backoff::{BackoffPolicy, Delays},
    exit::Exit,
    spec::Restart,
};

use super::Time;

/// What the core must know of a child's spec.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) id: String,
    pub(crate) restart: Restart,
    pub(crate) significant: bool,
    pub(crate) backoff: BackoffPolicy,
    pub(crate) max_consecutive_failures: Option<u32>,
}

/// What a child keeps over a restart of its supervisor.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Past {
    pub(crate) generation: u64,
    /// `Paused` or `Stopped` if an operator said so: a decision of a person outlives a crash.
    pub(crate) held: Option<Phase>,
}

/// Where a child is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Down, to be started when it is its turn.
    Pending,
    /// Down until its backoff is over.
    Waiting { due: Time },
    /// Down because it exhausted its supervisor; retried at `due`.
    Parked { due: Time },
    /// Down until an operator resumes it; its mail waits.
    Paused,
    /// Down for good, by itself.
    Finished,
    /// Down for good, by an operator.
    Stopped,
    /// Started, not ready yet.
    Starting,
    /// Ready.
    Up,
    /// Asked to drain, or being killed.
    Stopping,
}

/// Why a child is being stopped, which is what comes after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// A sibling failed: restart it with the group.
    RestartWithGroup,
    /// An operator wants a fresh one.
    RestartAlone,
    Pause,
    Stop,
    /// The supervisor itself is ending.
    Leave,
}

#[derive(Debug)]
pub(super) struct Child {
    pub(super) policy: Policy,
    pub(super) phase: Phase,
    pub(super) generation: u64,
    /// Set from the decision to stop it until it is down.
    pub(super) then: Option<Then>,
    /// Whether it was ready once under this supervisor.
    pub(super) been_up: bool,
    /// Whether its last failure exhausted the supervisor.
    pub(super) on_parole: bool,
    up_since: Option<Time>,
    /// Restarts in a row without a stable time in between.
    failures: u32,
    delays: Delays,
}

impl Child {
    pub(super) fn new(policy: Policy, past: Past) -> Self {
        let delays = Delays::new(&policy.backoff);
        Child {
            policy,
            phase: past.held.unwrap_or(Phase::Pending),
            generation: past.generation,
            then: None,
            been_up: false,
            on_parole: false,
            up_since: None,
            failures: 0,
            delays,
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        matches!(self.phase, Phase::Starting | Phase::Up | Phase::Stopping)
    }

    /// Whether children that come after it in start order may start.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Up | Phase::Paused | Phase::Finished | Phase::Stopped)
    }

    /// When it is to be started again, if it waits for that.
    pub(super) fn due(&self) -> Option<Time> {
        match self.phase {
            Phase::Waiting { due } | Phase::Parked { due } => Some(due),
            _ => None,
        }
    }

    pub(super) fn wants_start(&self, now: Time) -> bool {
        self.phase == Phase::Pending || self.due().is_some_and(|due| due <= now)
    }

    pub(super) fn start(&mut self) {
        self.phase = Phase::Starting;
        self.generation += 1;
        self.up_since = None;
    }

    pub(super) fn came_up(&mut self, now: Time) {
        self.phase = Phase::Up;
        self.been_up = true;
        self.up_since = Some(now);
    }

    /// Whether its restart type calls for a restart after `exit`.
    pub(super) fn restarts_after(&self, exit: &Exit) -> bool {
        match self.policy.restart {
            Restart::Permanent => true,
            Restart::Transient => exit.is_abnormal(),
            Restart::Temporary => false,
        }
    }

    /// Counts a failure, after forgetting the earlier ones if it had been up long enough; false if it is
    /// one in a row too many.
    pub(super) fn count_failure(&mut self, now: Time) -> bool {
        let stable = self.policy.backoff.reset_after;
        if self.up_since.take().is_some_and(|since| now.saturating_sub(since) >= stable) {
            self.forgive();
        }
        self.failures = self.failures.saturating_add(1);
        self.policy.max_consecutive_failures.is_none_or(|limit| self.failures <= limit)
    }

    pub(super) fn next_delay(&mut self) -> Time {
        self.delays.next_delay()
    }

    pub(super) fn forgive(&mut self) {
        self.failures = 0;
        self.on_parole = false;
        self.delays.reset();
    }
}
