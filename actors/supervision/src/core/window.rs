//! The restart intensity: one sliding window per supervisor.

use std::{collections::VecDeque, time::Duration};

use super::Time;

#[derive(Debug)]
pub(super) struct Window {
    max_restarts: u32,
    within: Duration,
    restarts: VecDeque<(Time, usize)>,
}

impl Window {
    pub(super) fn new(max_restarts: u32, within: Duration) -> Self {
        Window { max_restarts, within, restarts: VecDeque::new() }
    }

    /// Counts a restart of `child`; false if it is one too many.
    pub(super) fn allows(&mut self, now: Time, child: usize) -> bool {
        while self.restarts.front().is_some_and(|(at, _)| now.saturating_sub(*at) > self.within) {
            self.restarts.pop_front();
        }
        self.restarts.push_back((now, child));
        self.restarts.len() <= self.max_restarts as usize
    }

    /// Takes `child` out of the count, so that its siblings don't pay for it.
    pub(super) fn forgive(&mut self, child: usize) {
        self.restarts.retain(|(_, counted)| *counted != child);
    }
}
