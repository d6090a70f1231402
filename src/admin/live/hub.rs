//! The one task that looks for all listeners, and where they meet it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::future::{LocalBoxFuture, OptionFuture};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot},
    time::{MissedTickBehavior, interval},
};

use super::{
    Topic,
    topics::{Fresh, Seen},
};
use crate::admin::{State, problem::Problem};

/// Clients at once.
const SEATS: usize = 64;

/// Events that a client may be behind.
const QUEUE: usize = 256;

/// Clients that may be waiting for their snapshot.
const JOINING: usize = SEATS;

/// Time between two looks at the tree; at the servers every other time.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Where clients come to the task.
#[derive(Clone)]
pub(in crate::admin) struct Hub {
    seats: Arc<Semaphore>,
    joins: mpsc::Sender<Join>,
}

/// Something to tell.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) topic: Topic,
    pub(super) text: Arc<str>,
}

/// What a client has of the task.
pub(super) struct Listener {
    pub(super) topics: BTreeSet<Topic>,
    /// How it stands, an event for each topic.
    pub(super) snapshots: Vec<String>,
    /// What changes from there on.
    pub(super) events: broadcast::Receiver<Event>,
    /// Tells the task that somebody listens.
    _presence: Arc<()>,
}

impl Listener {
    /// A listener, and how the task finds out that it is no more.
    pub(super) fn new(
        topics: BTreeSet<Topic>,
        snapshots: Vec<String>,
        events: broadcast::Receiver<Event>,
    ) -> (Self, Weak<()>) {
        let presence = Arc::new(());
        let watched = Arc::downgrade(&presence);
        (Self { topics, snapshots, events, _presence: presence }, watched)
    }
}

struct Join {
    topics: BTreeSet<Topic>,
    answer: oneshot::Sender<Listener>,
}

impl Hub {
    /// A hub, and its task.
    pub(in crate::admin) fn new(state: Arc<State>) -> (Self, impl Future<Output = ()>) {
        let (joins, joining) = mpsc::channel(JOINING);
        let task = Task {
            state,
            seen: Seen::default(),
            events: broadcast::Sender::new(QUEUE),
            present: Vec::new(),
            waiting: Vec::new(),
            looking: None,
        };
        (Self { seats: Arc::new(Semaphore::new(SEATS)), joins }, task.run(joining))
    }

    /// A place among those who listen.
    pub(super) fn seat(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let taken = |_| Problem::unavailable(format!("{SEATS} listen already; try again later"));
        self.seats.clone().try_acquire_owned().map_err(taken)
    }

    /// Waits until it was looked at these topics.
    pub(super) async fn join(&self, topics: BTreeSet<Topic>) -> Result<Listener, Problem> {
        let stopping = || Problem::unavailable("the server is stopping");
        let (answer, answered) = oneshot::channel();
        self.joins.send(Join { topics, answer }).await.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())
    }
}

struct Task {
    state: Arc<State>,
    seen: Seen,
    events: broadcast::Sender<Event>,
    present: Vec<(BTreeSet<Topic>, Weak<()>)>,
    /// Those who wait for their snapshot.
    waiting: Vec<Join>,
    looking: Option<LocalBoxFuture<'static, Fresh>>,
}

impl Task {
    async fn run(mut self, mut joining: mpsc::Receiver<Join>) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tick = 0_u64;
        loop {
            let listened_to = !self.present.is_empty() || !self.waiting.is_empty();
            tokio::select! {
                join = joining.recv() => match join {
                    Some(join) => self.take(join),
                    None => return,
                },
                Some(fresh) = OptionFuture::from(self.looking.as_mut()) => {
                    self.looking = None;
                    self.tell(fresh);
                }
                _ = ticks.tick(), if listened_to => {
                    tick += 1;
                    self.look(tick.is_multiple_of(2));
                }
            }
        }
    }

    /// It is looked at what somebody listens to; whatever nobody listens to is forgotten, for its next snapshot is new.
    fn wanted(&mut self) -> BTreeSet<Topic> {
        self.present.retain(|(_, presence)| presence.strong_count() > 0);
        let present = self.present.iter().map(|(topics, _)| topics);
        present.chain(self.waiting.iter().map(|join| &join.topics)).flatten().copied().collect()
    }

    fn take(&mut self, join: Join) {
        self.waiting.push(join);
        self.look(true);
    }

    /// The tree is looked at now, the servers as long as they take.
    fn look(&mut self, at_servers: bool) {
        let wanted = self.wanted();
        self.seen.forget_all_but(&wanted);
        if wanted.contains(&Topic::Tree) {
            let tree = self.state.tree.get().map(factline_supervision::Tree::observe);
            self.tell(Fresh::of_tree(tree.as_ref()));
        }
        if at_servers && self.looking.is_none() && wanted.iter().any(|topic| *topic != Topic::Tree) {
            self.looking = Some(Box::pin(Fresh::of_servers(self.state.clone(), wanted)));
        }
    }

    /// Tells those who listen what has changed, and those who wait how it stands.
    fn tell(&mut self, fresh: Fresh) {
        let wanted = self.wanted();
        for (topic, text) in self.seen.take(fresh, &wanted) {
            // Nobody may be listening by now.
            self.events.send(Event { topic, text: text.into() }).ok();
        }
        for join in std::mem::take(&mut self.waiting) {
            match self.seen.snapshots(&join.topics) {
                Some(snapshots) => self.welcome(join, snapshots),
                None => self.waiting.push(join),
            }
        }
    }

    fn welcome(&mut self, join: Join, snapshots: Vec<String>) {
        let (listener, presence) = Listener::new(join.topics, snapshots, self.events.subscribe());
        self.present.push((listener.topics.clone(), presence));
        // Whoever did not wait is not present either.
        join.answer.send(listener).ok();
    }
}
