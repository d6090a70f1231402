//! The core: every decision of one supervisor, as a plain state machine. `step(now, event) -> actions`, no
//! I/O, no actix, no clock of its own, so all of it can be tested in virtual time.
//!
//! ```text
//!            Start            Started
//!  Pending ─────────▶ Starting ─────▶ Up ──── drain ───▶ Stopping
//!     ▲ ▲                 │            │                     │
//!     │ └─ due ─ Waiting ◀┴── Exited ──┤                     │ Exited
//!     │          Parked  ◀─ exhausted ─┤                     ▼
//!     │                                └──▶ Finished   Pending | Paused | Stopped
//!     └──────────────────────────── resumed, restarted with its group
//! ```
//!
//! Each event changes phases; then [`Core::advance`] brings the children towards what is wanted: it stops
//! those flagged, in reverse order and one at a time, and starts those due, in order. Whoever waits for
//! another's turn simply is not due yet, so a shutdown is honoured at any point in between.
//!
//! Three decisions that OTP leaves to its synchronous start:
//! - under `one_for_one` children restart independently of each other, so one that takes its time to become
//!   ready does not hold up its siblings; at the first start, and under the other strategies, order holds;
//! - the restart window counts a failure when it happens, not when its backoff is over;
//! - a child that is being stopped anyway and crashes while it does is just down: nothing is counted.

mod exits;

mod requests;

mod advance;

mod child;

mod window;

#[cfg(test)]
mod tests;

#[cfg(test)]
mod model;

use std::{mem, time::Duration};

use child::{Child, Then};
pub(crate) use child::{Past, Phase, Policy};
use window::Window;

use crate::{
    exit::Exit,
    spec::{AutoShutdown, OnExhausted, Strategy},
    tree::Control,
};

/// Time since the supervisor was started.
pub(crate) type Time = Duration;

/// What the core must know of its supervisor's spec.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) strategy: Strategy,
    pub(crate) max_restarts: u32,
    pub(crate) within: Duration,
    pub(crate) on_exhausted: OnExhausted,
    pub(crate) auto_shutdown: AutoShutdown,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// Start the children.
    Boot,
    /// A child is ready.
    Started { child: usize, generation: u64 },
    /// A child is gone.
    Exited { child: usize, generation: u64, exit: Exit },
    /// An operator's request.
    Control { child: usize, control: Control },
    /// Some child may be due.
    Tick,
    /// Stop everything.
    Shutdown,
}

/// What is to be done. Actions are carried out in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Bring up an incarnation.
    Start { child: usize, generation: u64 },
    /// Stop it the way its spec says.
    Stop { child: usize, generation: u64 },
    /// It is down for good: close its mailbox.
    Close { child: usize },
    /// What became of an exit, for the log and the snapshot; exactly one per exit.
    Decided { child: usize, generation: u64, exit: Exit, decision: Decision },
    /// Every child has been up: the supervisor itself is ready.
    Ready,
    /// The request can't be fulfilled in the child's state.
    Refused,
    /// All children are down: the supervisor is gone.
    Exit(Exit),
}

/// The answer to an exit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is restarted after a delay, with the siblings its strategy says.
    Restart { after: Duration },
    /// It exhausted its supervisor and is retried after a delay.
    Park { retry_after: Duration, cause: String },
    /// It exhausted its supervisor, which ends.
    Escalate { cause: String },
    /// The supervisor's first start has failed and is undone.
    UndoStart,
    /// It stays down, as its restart type says.
    LeaveDown,
    /// It was being stopped; nothing to decide.
    Expected,
}

/// One supervisor's state.
#[derive(Debug)]
pub(crate) struct Core {
    rules: Rules,
    children: Vec<Child>,
    mode: Mode,
    window: Window,
    actions: Vec<Action>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Mode {
    New,
    /// Until every child has been up.
    Booting,
    Running,
    /// Stopping the children, to exit with this reason.
    Leaving(Exit),
    Gone,
}

impl Core {
    pub(crate) fn new(rules: Rules, children: impl IntoIterator<Item = (Policy, Past)>) -> Self {
        let window = Window::new(rules.max_restarts, rules.within);
        let children = children.into_iter().map(|(policy, past)| Child::new(policy, past)).collect();
        Core { rules, children, mode: Mode::New, window, actions: Vec::new() }
    }

    /// Takes in what happened and says what is to be done.
    pub(crate) fn step(&mut self, now: Time, event: Event) -> Vec<Action> {
        match event {
            Event::Boot => self.mode = Mode::Booting,
            Event::Started { child, generation } => self.started(now, child, generation),
            Event::Exited { child, generation, exit } => self.exited(now, child, generation, exit),
            Event::Control { child, control } => self.control(child, control),
            Event::Tick => {}
            Event::Shutdown => self.leave(Exit::Shutdown),
        }
        self.advance(now);
        mem::take(&mut self.actions)
    }

    /// When the next [`Event::Tick`] is needed.
    pub(crate) fn next_wake(&self, now: Time) -> Option<Time> {
        match self.mode {
            Mode::Booting | Mode::Running => {
                self.children.iter().filter_map(Child::due).filter(|due| *due > now).min()
            }
            _ => None,
        }
    }

    /// Where a child is in its life.
    pub(crate) fn phase(&self, child: usize) -> Phase {
        self.children[child].phase
    }

    fn started(&mut self, now: Time, i: usize, generation: u64) {
        let child = &mut self.children[i];
        if child.generation == generation && child.phase == Phase::Starting {
            child.came_up(now);
        }
    }
}
