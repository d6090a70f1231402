//! The supervisor: feeds the core what its cells report and carries out what the core decides.
//!
//! It is a plain task, not an actor: it has no state but the core's, its only messages are its cells' reports
//! and an operator's commands, and as a future it is owned by a cell of its parent like any other child, so
//! that dropping it takes everything below with it. All supervisors of a tree run on the thread that started
//! the tree, wherever their children run: a child that blocks a thread of its own can't block a supervisor.
//!
//! All channels are bounded. A cell sends at most two events, `Started` and `Exited`, and a child has a new
//! cell only after the last one's `Exited`, so events never wait for room.

use std::{future::pending, panic::AssertUnwindSafe, rc::Rc, sync::Arc, time::SystemTime};

use futures_util::FutureExt as _;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    cell::Cell,
    core::{Action, Core, Decision, Event, Past, Phase, Time},
    exit::Exit,
    host::message_of,
    lifeline::Lifeline,
    observe::LastExit,
    spec::Shutdown,
    tree::{Control, ControlError},
    unit::{Branch, Unit},
};

/// Commands waiting for one supervisor.
const COMMANDS: usize = 16;

/// An operator's wish.
pub(crate) struct Command {
    pub(crate) child: usize,
    pub(crate) control: Control,
    pub(crate) answer: oneshot::Sender<Result<(), ControlError>>,
}

/// Runs a supervisor to its end. A drain request on `lifeline` stops its children in order; `killed` kills
/// them all.
pub(crate) async fn run(branch: Rc<Branch>, lifeline: Lifeline, killed: CancellationToken) -> Exit {
    let (commands, orders) = mpsc::channel(COMMANDS);
    branch.entry.live().commands = Some(commands);
    let exit = Supervisor::new(&branch, lifeline, killed).run(orders).await;
    branch.entry.live().commands = None;
    exit
}

struct Supervisor {
    branch: Rc<Branch>,
    lifeline: Lifeline,
    killed: CancellationToken,
    core: Core,
    /// What the core's time counts from.
    origin: Instant,
    cells: JoinSet<()>,
    /// What reaches each child's present or last incarnation.
    reins: Vec<Option<Reins>>,
    events: mpsc::Sender<Event>,
    reports: mpsc::Receiver<Event>,
}

impl Supervisor {
    fn new(branch: &Rc<Branch>, lifeline: Lifeline, killed: CancellationToken) -> Self {
        let children = branch.children.iter().map(|unit| (unit.policy(), past(unit)));
        let (events, reports) = mpsc::channel(2 * branch.children.len() + 1);
        Supervisor {
            branch: Rc::clone(branch),
            lifeline,
            killed,
            core: Core::new(branch.rules.clone(), children),
            origin: Instant::now(),
            cells: JoinSet::new(),
            reins: branch.children.iter().map(|_| None).collect(),
            events,
            reports,
        }
    }

    async fn run(mut self, mut orders: mpsc::Receiver<Command>) -> Exit {
        let mut leaving = false;
        let mut exit = self.step(Event::Boot).exit;
        loop {
            if let Some(exit) = exit {
                return exit;
            }
            let wake = self.core.next_wake(self.now()).and_then(|due| self.origin.checked_add(due));
            exit = tokio::select! {
                biased;
                () = self.killed.cancelled() => Some(self.kill().await),
                // before the reports: children that crash in a loop must not drown it
                () = self.lifeline.stopping(), if !leaving => {
                    leaving = true;
                    self.step(Event::Shutdown).exit
                }
                Some(command) = orders.recv() => self.obey(command),
                Some(event) = self.reports.recv() => self.step(event).exit,
                () = until(wake) => self.step(Event::Tick).exit,
            };
            while self.cells.try_join_next().is_some() {}
        }
    }

    fn now(&self) -> Time {
        self.origin.elapsed()
    }

    /// Waits for the cells, which see the same token, to kill what they own, and takes note of it.
    async fn kill(&mut self) -> Exit {
        while self.cells.join_next().await.is_some() {}
        self.step(Event::Shutdown);
        while let Ok(event) = self.reports.try_recv() {
            self.step(event);
        }
        Exit::Killed
    }

    fn obey(&mut self, Command { child, control, answer }: Command) -> Option<Exit> {
        let outcome = self.step(Event::Control { child, control });
        let path = &self.branch.children[child].entry.path;
        tracing::info!(path = &**path, ?control, refused = outcome.refused, "operator request");
        let reply = if outcome.refused {
            Err(ControlError::Refused { path: path.to_string(), control })
        } else {
            Ok(())
        };
        // an operator who does not wait for the answer does not need it
        let _ = answer.send(reply);
        outcome.exit
    }

    fn step(&mut self, event: Event) -> Outcome {
        let mut outcome = Outcome::default();
        for action in self.core.step(self.now(), event) {
            match action {
                Action::Start { child, generation } => self.start(child, generation),
                Action::Stop { child, .. } => self.stop(child),
                Action::Close { child } => self.branch.children[child].close(),
                Action::Decided { child, generation, exit, decision } => {
                    self.record(child, generation, &exit, &decision);
                }
                Action::Ready => self.lifeline.ready(),
                Action::Refused => outcome.refused = true,
                Action::Exit(exit) => outcome.exit = Some(exit),
            }
        }
        self.publish();
        outcome
    }

    fn start(&mut self, child: usize, generation: u64) {
        let unit = Rc::clone(&self.branch.children[child]);
        let lifeline = Lifeline::new(Arc::clone(&unit.entry.path), generation);
        unit.entry.live().lifeline = lifeline.clone();
        unit.open();
        tracing::debug!(path = &*unit.entry.path, generation, "starting");
        let events = self.events.clone();
        let killed = self.killed.child_token();
        self.reins[child] = Some(Reins { lifeline: lifeline.clone(), killed: killed.clone() });
        self.cells.spawn_local(async move {
            let started = Event::Started { child, generation };
            let life = AssertUnwindSafe(live(&unit, lifeline, killed, &events, started)).catch_unwind();
            let exit = life.await.unwrap_or_else(|panic| Exit::Panicked(message_of(panic.as_ref())));
            report(&events, Event::Exited { child, generation, exit }).await;
        });
    }

    fn stop(&self, child: usize) {
        let Some(Reins { lifeline, killed }) = &self.reins[child] else { return };
        match self.branch.children[child].settings.shutdown {
            Shutdown::Kill => killed.cancel(),
            Shutdown::Timeout(_) | Shutdown::Infinity => lifeline.request_drain(),
        }
    }

    /// Notes an exit where it can be observed, and logs it; this is the one place that does.
    fn record(&self, child: usize, generation: u64, exit: &Exit, decision: &Decision) {
        let entry = &self.branch.children[child].entry;
        let in_flight = self.reins[child].as_ref().map_or(0, |reins| reins.lifeline.pulse().in_flight);
        let mut live = entry.live();
        if let Decision::Restart { .. } | Decision::Park { .. } = decision {
            *live.restarts_by_kind.entry(exit.kind()).or_default() += 1;
            live.recent.push_back(Instant::now());
            let window = self.branch.rules.within;
            while live.recent.front().is_some_and(|at| at.elapsed() > window) {
                live.recent.pop_front();
            }
        }
        live.last_exit =
            Some(LastExit { generation, reason: exit.clone(), in_flight, at: SystemTime::now() });
        drop(live);
        log(&entry.path, &self.branch.entry.path, generation, in_flight, exit, decision);
    }

    fn publish(&self) {
        for (i, unit) in self.branch.children.iter().enumerate() {
            let phase = self.core.phase(i);
            let mut live = unit.entry.live();
            live.phase = phase;
            live.next_restart = match phase {
                Phase::Waiting { due } | Phase::Parked { due } => self.origin.checked_add(due),
                _ => None,
            };
        }
    }
}

/// How to end one incarnation: gently, or at once.
struct Reins {
    lifeline: Lifeline,
    killed: CancellationToken,
}

#[derive(Default)]
struct Outcome {
    exit: Option<Exit>,
    refused: bool,
}

fn past(unit: &Unit) -> Past {
    let live = unit.entry.live();
    let held = matches!(live.phase, Phase::Paused | Phase::Stopped).then_some(live.phase);
    Past { generation: live.lifeline.generation(), held }
}

async fn live(
    unit: &Rc<Unit>,
    lifeline: Lifeline,
    killed: CancellationToken,
    events: &mpsc::Sender<Event>,
    started: Event,
) -> Exit {
    match Cell::new(unit, lifeline, killed) {
        Ok(cell) => cell.run(async || report(events, started).await).await,
        Err(exit) => exit,
    }
}

async fn report(events: &mpsc::Sender<Event>, event: Event) {
    // the supervisor is gone only if it was killed, and then waits for no report
    let _ = events.send(event).await;
}

async fn until(wake: Option<Instant>) {
    match wake {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}

fn log(path: &str, supervisor: &str, generation: u64, in_flight: usize, exit: &Exit, decision: &Decision) {
    let reason = tracing::field::display(exit);
    match decision {
        Decision::Restart { after } => {
            let delay_ms = after.as_millis();
            tracing::warn!(path, generation, %reason, in_flight, delay_ms, "child exited, restarting it");
        }
        Decision::Park { retry_after, cause } => {
            let delay_ms = retry_after.as_millis();
            tracing::error!(path, generation, %reason, in_flight, delay_ms, cause, "child parked");
        }
        Decision::Escalate { cause } => {
            tracing::error!(path, generation, %reason, in_flight, supervisor, cause, "supervisor gives up");
        }
        Decision::UndoStart => {
            tracing::error!(path, generation, %reason, supervisor, "start failed, undoing it");
        }
        Decision::LeaveDown if exit.is_abnormal() => {
            tracing::warn!(path, generation, %reason, in_flight, "child exited and stays down");
        }
        Decision::Expected if exit.is_abnormal() => {
            tracing::warn!(path, generation, %reason, in_flight, "child did not stop cleanly");
        }
        Decision::LeaveDown | Decision::Expected => {
            tracing::info!(path, generation, %reason, in_flight, "child ended");
        }
    }
}
