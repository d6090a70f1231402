//! Bringing the children towards what is wanted: stops in reverse, one at a time, then starts in order.

use super::{Action, Child, Core, Mode, Phase, Then, Time};
use crate::{exit::Exit, spec::Strategy};

impl Core {
    /// Starts to stop everything; the first reason counts.
    pub(super) fn leave(&mut self, exit: Exit) {
        if matches!(self.mode, Mode::Leaving(_) | Mode::Gone) {
            return;
        }
        self.mode = Mode::Leaving(exit);
        for child in &mut self.children {
            if child.is_alive() {
                // a pause or stop under way stays one, should the supervisor come back
                let held = child.then.filter(|then| matches!(then, Then::Pause | Then::Stop));
                child.then = held.or(Some(Then::Leave));
            } else if child.due().is_some() {
                child.phase = Phase::Pending;
            }
        }
    }

    /// Does what can be done now: stops first, then starts, then says what has been reached.
    pub(super) fn advance(&mut self, now: Time) {
        self.stop_next();
        match &self.mode {
            Mode::Booting | Mode::Running => {
                self.start_due(now);
                self.finish_boot();
            }
            Mode::Leaving(exit) if !self.children.iter().any(Child::is_alive) => {
                self.actions.push(Action::Exit(exit.clone()));
                self.mode = Mode::Gone;
            }
            _ => {}
        }
    }

    /// Stops the last of those flagged, unless one is being stopped already.
    fn stop_next(&mut self) {
        if self.children.iter().any(|child| child.phase == Phase::Stopping) {
            return;
        }
        let flagged = self.children.iter_mut().enumerate().rev().find(|(_, child)| child.then.is_some());
        if let Some((i, child)) = flagged {
            child.phase = Phase::Stopping;
            self.actions.push(Action::Stop { child: i, generation: child.generation });
        }
    }

    fn start_due(&mut self, now: Time) {
        let ordered = self.mode == Mode::Booting || self.rules.strategy != Strategy::OneForOne;
        if ordered && self.children.iter().any(|child| child.then.is_some()) {
            return;
        }
        let together = self.rules.strategy == Strategy::OneForAll;
        if together && self.children.iter().filter_map(Child::due).any(|due| due > now) {
            return;
        }
        for (i, child) in self.children.iter_mut().enumerate() {
            if child.wants_start(now) {
                child.start();
                self.actions.push(Action::Start { child: i, generation: child.generation });
            }
            if ordered && !child.is_settled() {
                return;
            }
        }
    }

    fn finish_boot(&mut self) {
        if self.mode == Mode::Booting && self.children.iter().all(|c| c.been_up || c.is_settled()) {
            self.mode = Mode::Running;
            self.actions.push(Action::Ready);
        }
    }
}
