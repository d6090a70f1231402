//! What the tests share: a test actor that does what its messages say, and waiting on states.

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::{Actor, ActorContext as _, AsyncContext as _, Context, Handler, Message};
use factline_supervision::{
    BackoffPolicy, ChildSpec, Lifeline, Node, NodeState, Ref, SupervisorSpec, Tree, mailbox,
};
use tokio::{
    task::LocalSet,
    time::{Instant, sleep},
};

/// Runs a test on one thread with paused time: sleeping costs nothing, and timers fire in order.
pub(crate) fn virtual_time(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

/// Runs a test on an actix system, in real time: for children with threads of their own.
pub(crate) fn real_time(test: impl Future<Output = ()>) {
    actix::System::new().block_on(test);
}

/// Waits until the condition holds, for at most an hour of virtual or 20 seconds of real time.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let started = std::time::Instant::now();
    let virtually = Instant::now();
    while !condition() {
        let patient =
            started.elapsed() < Duration::from_secs(20) && virtually.elapsed() < Duration::from_hours(1);
        assert!(patient, "waited in vain until {what}");
        sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until the child at `path` fits.
pub(crate) async fn until_node(tree: &Tree, path: &str, what: &str, fits: impl Fn(&Node) -> bool) {
    let seen = || node(tree, path);
    until(&format!("{path} {what}; it is {:#?}", seen().state), || fits(&seen())).await;
}

pub(crate) async fn until_generation(tree: &Tree, path: &str, generation: u64) {
    until_node(tree, path, &format!("is up as generation {generation}"), |node| {
        node.generation == generation && node.state == NodeState::Running
    })
    .await;
}

pub(crate) async fn until_state(tree: &Tree, path: &str, state: NodeState) {
    until_node(tree, path, &format!("is {state:?}"), |node| node.state == state).await;
}

pub(crate) fn node(tree: &Tree, path: &str) -> Node {
    tree.observe().find(path).unwrap_or_else(|| panic!("no {path}")).clone()
}

/// What happened, in order.
#[derive(Clone, Default)]
pub(crate) struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    pub(crate) fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    /// Everything since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// How a worker behaves beyond its messages.
#[derive(Clone, Default)]
pub(crate) struct Habits {
    /// Fails each start for which this says so.
    pub(crate) fails_start: Option<Arc<dyn Fn(u64) -> bool + Send + Sync>>,
    /// Panics in each `started` for which this says so.
    pub(crate) panics_in_start: Option<Arc<dyn Fn(u64) -> bool + Send + Sync>>,
    /// Never says that it is ready.
    pub(crate) never_ready: bool,
    /// Ignores drain requests.
    pub(crate) never_drains: bool,
    /// Takes this long to become ready.
    pub(crate) slow_start: Option<Duration>,
    /// Takes this long to drain.
    pub(crate) slow_drain: Option<Duration>,
    /// Panics when asked to drain.
    pub(crate) panics_in_drain: bool,
}

/// Notes its life in the journal and obeys messages.
pub(crate) struct Worker {
    pub(crate) lifeline: Lifeline,
    pub(crate) journal: Journal,
    pub(crate) habits: Habits,
}

impl Worker {
    fn note(&self, what: &str) {
        let id = self.lifeline.path().rsplit('/').next().unwrap();
        self.journal.note(format!("{what} {id}"));
    }
}

impl Actor for Worker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let generation = self.lifeline.generation();
        assert!(!self.habits.panics_in_start.as_ref().is_some_and(|panics| panics(generation)), "no start");
        if self.habits.fails_start.as_ref().is_some_and(|fails| fails(generation)) {
            return self.lifeline.fail("no start");
        }
        if self.habits.never_drains {
            self.lifeline.on_stop(ctx, |actor: &mut Worker, _| actor.note("ignored"));
        } else if self.habits.panics_in_drain {
            self.lifeline.on_stop(ctx, |_: &mut Worker, _| panic!("no end"));
        } else if let Some(time) = self.habits.slow_drain {
            self.lifeline.on_stop(ctx, move |actor: &mut Worker, ctx| {
                actor.note("draining");
                ctx.run_later(time, |_, ctx| ctx.stop());
            });
        }
        if let Some(time) = self.habits.slow_start {
            ctx.run_later(time, |actor, _| {
                actor.note("up");
                actor.lifeline.ready();
            });
        } else if !self.habits.never_ready {
            self.note("up");
            self.lifeline.ready();
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.note("stopped");
    }
}

/// What a worker can be told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Do {
    Say(&'static str),
    Panic,
    Fail,
    Stop,
    Block(Duration),
    InFlight(usize),
}

impl Message for Do {
    type Result = u64;
}

impl Handler<Do> for Worker {
    type Result = u64;

    fn handle(&mut self, what: Do, ctx: &mut Self::Context) -> u64 {
        match what {
            Do::Say(word) => self.journal.note(word),
            Do::Panic => panic!("boom"),
            Do::Fail => self.lifeline.fail("gave up"),
            Do::Stop => ctx.stop(),
            Do::Block(time) => std::thread::sleep(time),
            Do::InFlight(n) => self.lifeline.set_in_flight(n),
        }
        self.lifeline.generation()
    }
}

/// A worker's spec, restarted at once, and the reference to it.
pub(crate) fn worker(id: &str, journal: &Journal) -> (Ref<Worker>, ChildSpec) {
    worker_with(id, journal, Habits::default())
}

pub(crate) fn worker_with(id: &str, journal: &Journal, habits: Habits) -> (Ref<Worker>, ChildSpec) {
    let (to, mail) = mailbox(1000);
    let journal = journal.clone();
    let make = move |lifeline| Worker { lifeline, journal: journal.clone(), habits: habits.clone() };
    (to, ChildSpec::actor(id, mail, make).backoff(BackoffPolicy::immediate()))
}

/// A root that tolerates a lot.
pub(crate) fn root() -> SupervisorSpec {
    SupervisorSpec::new("root").intensity(1000, Duration::from_secs(1))
}

/// An empty journal.
pub(crate) fn never() -> Vec<String> {
    Vec::new()
}
