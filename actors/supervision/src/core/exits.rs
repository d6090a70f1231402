//! What follows from an exit: a restart, alone or with the group, parking, escalation, or nothing.

use super::{Action, Core, Decision, Mode, Phase, Rules, Then, Time};
use crate::{
    exit::Exit,
    spec::{AutoShutdown, OnExhausted, Restart, Strategy},
};

impl Core {
    pub(super) fn exited(&mut self, now: Time, i: usize, generation: u64, exit: Exit) {
        let child = &mut self.children[i];
        if child.generation != generation || !child.is_alive() {
            return;
        }
        let first_start = child.phase == Phase::Starting && !child.been_up;
        let decision = if let Some(then) = child.then.take() {
            self.settle(i, then);
            Decision::Expected
        } else if first_start && self.mode == Mode::Booting {
            child.phase = Phase::Pending;
            let why = if let Exit::StartFailed(why) = &exit { why.clone() } else { exit.to_string() };
            let cause = format!("{}: {why}", child.policy.id);
            self.leave(Exit::StartFailed(cause));
            Decision::UndoStart
        } else if child.restarts_after(&exit) {
            self.failed(now, i, &exit)
        } else {
            self.finished(i);
            Decision::LeaveDown
        };
        self.actions.push(Action::Decided { child: i, generation, exit, decision });
    }

    /// A child that was being stopped is down.
    pub(super) fn settle(&mut self, i: usize, then: Then) {
        let child = &mut self.children[i];
        child.phase = match then {
            Then::RestartWithGroup if child.policy.restart == Restart::Temporary => Phase::Finished,
            Then::RestartWithGroup | Then::RestartAlone | Then::Leave => Phase::Pending,
            Then::Pause => Phase::Paused,
            Then::Stop => Phase::Stopped,
        };
        if matches!(child.phase, Phase::Finished | Phase::Stopped) {
            self.actions.push(Action::Close { child: i });
        }
    }

    /// A child is down and its restart type leaves it there.
    fn finished(&mut self, i: usize) {
        self.children[i].phase = Phase::Finished;
        self.actions.push(Action::Close { child: i });
        let ends = match self.rules.auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => self.children[i].policy.significant,
            AutoShutdown::AllSignificant => {
                self.children[i].policy.significant
                    && self
                        .children
                        .iter()
                        .all(|child| !child.policy.significant || child.phase == Phase::Finished)
            }
        };
        if ends {
            self.leave(Exit::Shutdown);
        }
    }

    fn failed(&mut self, now: Time, i: usize, exit: &Exit) -> Decision {
        let child = &mut self.children[i];
        let in_a_row = child.count_failure(now);
        if child.on_parole {
            return self.park(now, i, "its retry failed".into());
        }
        let in_window = self.window.allows(now, i);
        if in_a_row && in_window {
            let after = child.next_delay();
            child.phase = Phase::Waiting { due: now.saturating_add(after) };
            self.flag_group(i);
            return Decision::Restart { after };
        }
        let cause = self.exhausted_by(i, in_window, exit);
        match self.rules.on_exhausted {
            OnExhausted::Park => self.park(now, i, cause),
            OnExhausted::Exit => {
                self.children[i].phase = Phase::Pending;
                self.leave(Exit::Escalated(cause.clone()));
                Decision::Escalate { cause }
            }
        }
    }

    fn exhausted_by(&self, i: usize, in_window: bool, exit: &Exit) -> String {
        let id = &self.children[i].policy.id;
        if in_window {
            let limit = self.children[i].policy.max_consecutive_failures.unwrap_or_default();
            format!("`{id}` failed more than {limit} times in a row, at last: {exit}")
        } else {
            let Rules { max_restarts, within, .. } = self.rules;
            format!("more than {max_restarts} restarts within {within:?}, at last `{id}`: {exit}")
        }
    }

    fn park(&mut self, now: Time, i: usize, cause: String) -> Decision {
        let child = &mut self.children[i];
        let retry_after = child.policy.backoff.max;
        child.on_parole = true;
        child.phase = Phase::Parked { due: now.saturating_add(retry_after) };
        self.window.forgive(i);
        self.flag_group(i);
        Decision::Park { retry_after, cause }
    }

    /// Marks those who share the fate of child `i` for a restart.
    pub(super) fn flag_group(&mut self, i: usize) {
        let first = match self.rules.strategy {
            Strategy::OneForOne => return,
            Strategy::OneForAll => 0,
            Strategy::RestForOne => i + 1,
        };
        for (j, child) in self.children.iter_mut().enumerate().skip(first) {
            if j == i {
                continue;
            }
            if child.is_alive() {
                child.then.get_or_insert(Then::RestartWithGroup);
            } else if child.phase == Phase::Finished && child.policy.restart == Restart::Transient {
                // as in OTP: the group starts from scratch, with those that had finished
                child.phase = Phase::Pending;
            }
        }
    }
}
