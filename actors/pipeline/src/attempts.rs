//! What earlier tries at an event left behind.
//!
//! It is durable, and written only on failure: a count before the next try of whatever may have brought a process
//! down, a count and a time after a try that failed for now. What takes effect leaves nothing behind.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use uuid::Uuid;

use crate::stream::Delivered;

/// The tries at one event, in all processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Past {
    /// Tries that failed for now.
    pub attempts: u32,
    /// Deaths of processes that had it in their hands.
    pub suspected: u32,
    /// For how long it must not be tried yet.
    pub due_in: Duration,
}

/// What the store knows of some events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// Those that took effect already.
    pub recorded: HashSet<Uuid>,
    /// Those that were tried and did not.
    pub tried: HashMap<Uuid, Past>,
}

/// A try that failed for now.
#[derive(Debug, Clone, Copy)]
pub struct FailedTry<'a> {
    /// The event.
    pub event_id: Uuid,
    /// Which try it was, counted from 1. Counting it twice is counting it once.
    pub attempt: u32,
    /// Why.
    pub error: &'a str,
    /// After which time it may be tried again.
    pub retry_in: Duration,
}

/// The events of a group of which the store knows something: tries that failed, or that they are too dangerous to be
/// tried once more. A new entry of one of them is looked up before it is worked on; of any other it is not.
#[derive(Debug, Clone, Default)]
pub struct Watched(Arc<Mutex<HashSet<Uuid>>>);

impl Watched {
    /// More are not watched: that would be no memory, but a leak.
    const MOST: usize = 100_000;

    /// Watches these, too.
    pub fn watch(&self, events: impl IntoIterator<Item = Uuid>) {
        let mut watched = self.watched();
        let room = Self::MOST.saturating_sub(watched.len());
        watched.extend(events.into_iter().take(room));
    }

    /// It has taken effect, and is not dangerous.
    pub fn forget(&self, event: Uuid) {
        self.watched().remove(&event);
    }

    /// Those of these events that are watched.
    #[must_use]
    pub fn among(&self, events: impl Iterator<Item = Uuid>) -> Vec<Uuid> {
        let watched = self.watched();
        if watched.is_empty() { Vec::new() } else { events.filter(|event| watched.contains(event)).collect() }
    }

    fn watched(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        // Nothing that runs under this lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An entry that is to be worked on.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// What was read.
    pub entry: Delivered,
    /// What earlier tries left behind.
    pub past: Past,
    /// Whether it was in the hands of a process that is gone, and is to be counted before it is tried.
    pub is_suspect: bool,
    /// Whether the store has something about earlier tries.
    pub is_known: bool,
}

impl Task {
    /// An entry that nobody has had before.
    #[must_use]
    pub fn fresh(entry: Delivered) -> Self {
        Self { entry, past: Past::default(), is_suspect: false, is_known: false }
    }

    /// Whether the store has something about earlier tries, or will have before the next one.
    #[must_use]
    pub fn leaves_traces(&self) -> bool {
        self.is_suspect || self.is_known
    }

    /// Whether it is under so much suspicion that nothing else may be in this process' hands while it is tried.
    #[must_use]
    pub fn goes_alone(&self) -> bool {
        self.past.suspected > 0
    }

    /// The deaths that it was part of, the last one included.
    #[must_use]
    pub fn deaths(&self) -> u32 {
        self.past.suspected + u32::from(self.is_suspect)
    }
}
