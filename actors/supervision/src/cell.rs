//! The cell: owns one incarnation of a child, from its start to its end.
//!
//! A cell decides nothing. It starts what it is given, reports when it is ready, passes a drain on, kills
//! what exceeds its time or shows no life, and reports one exit. It never goes through the child's mailbox
//! and never waits for the child without a limit, so it works while the actor is stuck.
//!
//! Killing is dropping the child's future where it runs. A child on a thread of its own may be inside a
//! blocking call; its future can't be dropped then, so after [`KILL_GRACE`] the thread is abandoned.

use std::{future::pending, rc::Rc, time::Duration};

use futures_util::future::LocalBoxFuture;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    exit::Exit,
    lifeline::Lifeline,
    placement::{Thread, until_killed},
    spec::{Settings, Shutdown},
    supervisor,
    unit::{Kind, Unit},
};

/// How long a killed child may take to give its thread back.
const KILL_GRACE: Duration = Duration::from_secs(1);

/// How often within `stall_after` the signs of life are looked at.
const LOOKS_PER_STALL: u32 = 4;

/// One incarnation and the means to end it.
pub(crate) struct Cell {
    settings: Settings,
    lifeline: Lifeline,
    /// Cancelled by the supervisor: end now. Cells below have children of this token.
    killed: CancellationToken,
    /// Cancelled to drop the child's future where it runs.
    kill_body: CancellationToken,
    body: LocalBoxFuture<'static, Exit>,
    thread: Option<Rc<Thread>>,
}

/// What ended a phase of the child's life.
enum Next {
    /// It is ready, and may already have ended again.
    Ready(Option<Exit>),
    /// It was asked to drain.
    Drain,
    Exit(Exit),
}

impl Cell {
    /// Brings up `unit`. `killed` ends it at any time.
    pub(crate) fn new(unit: &Rc<Unit>, lifeline: Lifeline, killed: CancellationToken) -> Result<Cell, Exit> {
        let kill_body = killed.child_token();
        let thread = match (&unit.kind, &unit.place) {
            (Kind::Actor(_), Some(place)) => {
                Some(place.thread().map_err(|error| Exit::StartFailed(error.to_string()))?)
            }
            _ => None,
        };
        let body = body(unit, thread.clone(), lifeline.clone(), kill_body.clone());
        Ok(Cell { settings: unit.settings.clone(), lifeline, killed, kill_body, body, thread })
    }

    /// Lives to the end; `ready` is called if the start succeeds.
    pub(crate) async fn run(mut self, ready: impl AsyncFnOnce()) -> Exit {
        let mut next = self.start().await;
        if let Next::Ready(ended) = next {
            ready().await;
            next = match ended {
                Some(exit) => Next::Exit(exit),
                None => self.work().await,
            };
        }
        match next {
            Next::Exit(exit) => exit,
            Next::Ready(_) | Next::Drain => self.drain().await,
        }
    }

    async fn start(&mut self) -> Next {
        tokio::select! {
            biased;
            () = self.lifeline.became_ready() => Next::Ready(None),
            exit = &mut self.body => if self.lifeline.is_ready() {
                Next::Ready(Some(exit))
            } else {
                Next::Exit(exit.before_ready())
            },
            () = self.killed.cancelled() => Next::Exit(self.kill().await),
            () = abandoned(self.thread.as_ref()) => Next::Exit(neighbour_hung()),
            () = self.lifeline.stopping() => Next::Drain,
            timed_out = limit(self.settings.start_timeout) => {
                self.kill().await;
                Next::Exit(Exit::StartTimedOut(timed_out))
            }
        }
    }

    async fn work(&mut self) -> Next {
        tokio::select! {
            biased;
            exit = &mut self.body => Next::Exit(exit),
            () = self.killed.cancelled() => Next::Exit(self.kill().await),
            () = abandoned(self.thread.as_ref()) => Next::Exit(neighbour_hung()),
            () = self.lifeline.stopping() => Next::Drain,
            stalled = stall(&self.lifeline, self.settings.stall_after) => {
                self.kill().await;
                Next::Exit(stalled)
            }
        }
    }

    async fn drain(&mut self) -> Exit {
        let time = match self.settings.shutdown {
            Shutdown::Timeout(time) => Some(time),
            Shutdown::Kill | Shutdown::Infinity => None,
        };
        tokio::select! {
            biased;
            exit = &mut self.body => exit,
            () = self.killed.cancelled() => self.kill().await,
            () = abandoned(self.thread.as_ref()) => Exit::Killed,
            _ = limit(time) => self.kill().await,
        }
    }

    /// Ends the child without asking; gives its thread up if it does not let go of it.
    async fn kill(&mut self) -> Exit {
        self.kill_body.cancel();
        let Some(thread) = &self.thread else {
            // on this thread it ends at once; a supervisor waits for those below it, each within its grace
            (&mut self.body).await;
            return Exit::Killed;
        };
        if timeout(KILL_GRACE, &mut self.body).await.is_err() {
            tracing::warn!(path = self.lifeline.path(), "child holds its thread, which is abandoned");
            thread.abandon();
        }
        Exit::Killed
    }
}

impl Drop for Cell {
    /// A child on another thread does not end by being forgotten here.
    fn drop(&mut self) {
        self.kill_body.cancel();
    }
}

/// The child's whole life as one future.
fn body(
    unit: &Rc<Unit>,
    thread: Option<Rc<Thread>>,
    lifeline: Lifeline,
    kill: CancellationToken,
) -> LocalBoxFuture<'static, Exit> {
    match (&unit.kind, thread) {
        (Kind::Actor(actor), None) => {
            let life = actor.clone().live(lifeline);
            Box::pin(async move { until_killed(&kill, life).await })
        }
        (Kind::Actor(actor), Some(thread)) => {
            let actor = actor.clone();
            Box::pin(async move {
                let exit = thread.run(kill, || actor.live(lifeline)).await;
                exit.unwrap_or_else(|| Exit::Failed("its arbiter is gone".into()))
            })
        }
        // it sees `kill` itself: what is below must be gone before it is
        (Kind::Supervisor(branch), _) => Box::pin(supervisor::run(Rc::clone(branch), lifeline, kill)),
    }
}

/// Resolves with the exit of a child that shows no life for too long.
async fn stall(lifeline: &Lifeline, stall_after: Option<Duration>) -> Exit {
    let Some(stall_after) = stall_after else { return pending().await };
    loop {
        sleep(stall_after / LOOKS_PER_STALL).await;
        let pulse = lifeline.pulse();
        if let Some(silent_for) = pulse.silence(Instant::now()).filter(|silence| *silence >= stall_after) {
            return Exit::Stalled { silent_for, in_flight: pulse.in_flight };
        }
    }
}

/// The exit of a child whose thread was given up because of another one on it.
fn neighbour_hung() -> Exit {
    Exit::Failed("its thread was abandoned because a neighbour hung on it".into())
}

async fn abandoned(thread: Option<&Rc<Thread>>) {
    match thread {
        Some(thread) => thread.was_abandoned().await,
        None => pending().await,
    }
}

async fn limit(time: Option<Duration>) -> Duration {
    match time {
        Some(time) => {
            sleep(time).await;
            time
        }
        None => pending().await,
    }
}
