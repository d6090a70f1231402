//! Why a child is no longer running. One vocabulary for actors and supervisors, for the core's
//! decisions, the log and the snapshot.
//!
//! As in OTP an exit is either expected ([`Exit::Normal`], [`Exit::Shutdown`]) or abnormal. Unlike OTP an
//! exhausted supervisor has a reason of its own, [`Exit::Escalated`], and it is abnormal: in OTP a transient
//! child supervisor that melts down exits as `shutdown` and is silently never restarted.

use std::time::Duration;

/// Why a child, or the whole tree, ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Exit {
    /// It stopped by itself: the actor called `ctx.stop()` without having been asked to.
    #[error("finished")]
    Normal,
    /// It was asked to drain, and did.
    #[error("shut down")]
    Shutdown,
    /// It did not end within its shutdown time, or was stopped without being asked first.
    #[error("killed")]
    Killed,
    /// Its own code panicked; the panic's message.
    #[error("panicked: {0}")]
    Panicked(String),
    /// It gave up through [`Lifeline::fail`](crate::Lifeline::fail).
    #[error("failed: {0}")]
    Failed(String),
    /// It ended before it was ready.
    #[error("start failed: {0}")]
    StartFailed(String),
    /// It was not ready within its start timeout.
    #[error("not ready within {0:?}")]
    StartTimedOut(Duration),
    /// It had work in flight and reported no progress for this long.
    #[error("no progress for {silent_for:?} with {in_flight} in flight")]
    Stalled {
        /// Time since the last sign of life.
        silent_for: Duration,
        /// Work that was in flight, now lost.
        in_flight: usize,
    },
    /// A supervisor whose children failed more often than it tolerates.
    #[error("escalated: {0}")]
    Escalated(String),
}

impl Exit {
    /// The kind of exit, without its circumstances: what exits are counted by.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Exit::Normal => "finished",
            Exit::Shutdown => "shut_down",
            Exit::Killed => "killed",
            Exit::Panicked(_) => "panicked",
            Exit::Failed(_) => "failed",
            Exit::StartFailed(_) => "start_failed",
            Exit::StartTimedOut(_) => "start_timed_out",
            Exit::Stalled { .. } => "stalled",
            Exit::Escalated(_) => "escalated",
        }
    }

    /// Whether a [transient](crate::Restart::Transient) child is restarted after it.
    #[must_use]
    pub fn is_abnormal(&self) -> bool {
        !matches!(self, Exit::Normal | Exit::Shutdown)
    }

    /// The exit of a child that ended with `self` before it was ready.
    pub(crate) fn before_ready(self) -> Exit {
        match self {
            Exit::Normal => Exit::StartFailed("it stopped before it was ready".into()),
            Exit::Panicked(why) => Exit::StartFailed(format!("panicked: {why}")),
            Exit::Failed(why) => Exit::StartFailed(why),
            other => other,
        }
    }
}
