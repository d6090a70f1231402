//! What a child holds of its supervisor: how it says that it is ready, alive, waiting or done, and how it
//! learns that it should drain.
//!
//! One lifeline belongs to one incarnation. A stuck actor that had to be abandoned keeps a lifeline that
//! nobody listens to any more, so it can't speak for its successor.

use std::{
    fmt::Display,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use actix::{Actor, ActorFutureExt as _, AsyncContext as _, Context, fut::wrap_future};
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How a child that is up is doing, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "reason", rename_all = "snake_case")]
pub enum Condition {
    /// Working.
    Healthy,
    /// Waiting for an outage to end, e.g. of a server. Never counts as a stall.
    Degraded(String),
    /// Ready to take over from another process. Never counts as a stall.
    Standby(String),
    /// Holding back on purpose. Never counts as a stall.
    Paused(String),
}

/// One incarnation's connection to its supervisor.
#[derive(Debug, Clone)]
pub struct Lifeline {
    line: Arc<Line>,
}

#[derive(Debug)]
struct Line {
    path: Arc<str>,
    generation: u64,
    ready: CancellationToken,
    drain: CancellationToken,
    failed: CancellationToken,
    failure: OnceLock<String>,
    drains_itself: AtomicBool,
    pulse: Mutex<Pulse>,
}

/// The last signs of life.
#[derive(Debug, Clone)]
pub(crate) struct Pulse {
    pub(crate) condition: Condition,
    pub(crate) condition_since: SystemTime,
    pub(crate) in_flight: usize,
    /// The last progress, or when work came into flight, whichever is later.
    last_sign: Instant,
    /// Since when the actor's code has held its thread.
    on_thread_since: Option<Instant>,
}

impl Pulse {
    fn new() -> Self {
        Pulse {
            condition: Condition::Healthy,
            condition_since: SystemTime::now(),
            in_flight: 0,
            last_sign: Instant::now(),
            on_thread_since: None,
        }
    }

    /// How long work has been in flight without progress; `None` when there is none.
    pub(crate) fn age_of_work(&self, now: Instant) -> Option<Duration> {
        (self.in_flight > 0).then(|| now.saturating_duration_since(self.last_sign))
    }

    /// How long this child has been silent although it should not be. A call that has not returned is work
    /// in flight too, whatever the child says about its condition.
    pub(crate) fn silence(&self, now: Instant) -> Option<Duration> {
        let stuck = self.on_thread_since.map(|since| now.saturating_duration_since(since));
        let idle = self.age_of_work(now).filter(|_| self.condition == Condition::Healthy);
        stuck.max(idle)
    }
}

impl Lifeline {
    pub(crate) fn new(path: Arc<str>, generation: u64) -> Self {
        let line = Line {
            path,
            generation,
            ready: CancellationToken::new(),
            drain: CancellationToken::new(),
            failed: CancellationToken::new(),
            failure: OnceLock::new(),
            drains_itself: AtomicBool::new(false),
            pulse: Mutex::new(Pulse::new()),
        };
        Lifeline { line: Arc::new(line) }
    }

    /// The start succeeded. Siblings that come later start now.
    pub fn ready(&self) {
        self.line.ready.cancel();
    }

    /// The start failed, or the actor gives up: it exits abnormally with this reason, without its `stopping`
    /// and `stopped` hooks. The first reason counts.
    pub fn fail(&self, reason: impl Display) {
        self.line.failure.get_or_init(|| reason.to_string());
        self.line.failed.cancel();
    }

    /// Whether a drain was requested.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.line.drain.is_cancelled()
    }

    /// Resolves when a drain is requested.
    pub async fn stopping(&self) {
        self.line.drain.cancelled().await;
    }

    /// Calls `drain` in the actor when a drain is requested. The actor finishes what it has in flight and
    /// then calls `ctx.stop()`; mail keeps coming until it does.
    ///
    /// Without any `on_stop` a drain request is `ctx.stop()`.
    pub fn on_stop<A>(&self, ctx: &mut Context<A>, drain: impl FnOnce(&mut A, &mut Context<A>) + 'static)
    where
        A: Actor<Context = Context<A>>,
    {
        self.line.drains_itself.store(true, Ordering::Release);
        let requested = self.line.drain.clone().cancelled_owned();
        ctx.spawn(wrap_future::<_, A>(requested).map(move |(), actor, ctx| drain(actor, ctx)));
    }

    /// A sign of life.
    pub fn progress(&self) {
        self.pulse_mut().last_sign = Instant::now();
    }

    /// How much work is in flight. Liveness is watched only while this is above zero; a lower number is
    /// progress.
    pub fn set_in_flight(&self, n: usize) {
        let mut pulse = self.pulse_mut();
        if pulse.in_flight == 0 || n < pulse.in_flight {
            pulse.last_sign = Instant::now();
        }
        pulse.in_flight = n;
    }

    /// Reports how the child is doing. The time since which it holds is kept here.
    pub fn set_condition(&self, condition: Condition) {
        let mut pulse = self.pulse_mut();
        if pulse.condition != condition {
            pulse.condition = condition;
            pulse.condition_since = SystemTime::now();
            // an outage that ended leaves the child its full time to get going again
            pulse.last_sign = Instant::now();
        }
    }

    /// The child's path, e.g. `root/workers/sender`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.line.path
    }

    /// Which incarnation this is; the first is 1.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.line.generation
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.line.ready.is_cancelled()
    }

    pub(crate) async fn became_ready(&self) {
        self.line.ready.cancelled().await;
    }

    pub(crate) fn request_drain(&self) {
        self.line.drain.cancel();
    }

    pub(crate) fn drains_itself(&self) -> bool {
        self.line.drains_itself.load(Ordering::Acquire)
    }

    pub(crate) async fn failed(&self) {
        self.line.failed.cancelled().await;
    }

    pub(crate) fn failure(&self) -> Option<String> {
        self.line.failure.get().cloned()
    }

    pub(crate) fn pulse(&self) -> Pulse {
        self.pulse_mut().clone()
    }

    /// Runs the actor's code, noting since when it holds the thread.
    pub(crate) fn on_thread<R>(&self, code: impl FnOnce() -> R) -> R {
        self.pulse_mut().on_thread_since = Some(Instant::now());
        let result = code();
        self.pulse_mut().on_thread_since = None;
        result
    }

    fn pulse_mut(&self) -> MutexGuard<'_, Pulse> {
        self.line.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
