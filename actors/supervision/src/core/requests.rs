//! What an operator asks for.

use super::{Action, Core, Mode, Phase, Then};
use crate::tree::Control;

impl Core {
    pub(super) fn control(&mut self, i: usize, control: Control) {
        if !matches!(self.mode, Mode::Booting | Mode::Running) {
            return self.actions.push(Action::Refused);
        }
        let child = &mut self.children[i];
        let for_good = matches!(child.phase, Phase::Finished | Phase::Stopped);
        match control {
            Control::Resume if child.phase != Phase::Paused => self.actions.push(Action::Refused),
            Control::Pause if for_good => self.actions.push(Action::Refused),
            Control::Resume => child.phase = Phase::Pending,
            Control::Restart => self.restart_on_request(i),
            Control::Pause => self.stop_on_request(i, Then::Pause),
            Control::Stop => self.stop_on_request(i, Then::Stop),
        }
    }

    fn restart_on_request(&mut self, i: usize) {
        let child = &mut self.children[i];
        child.forgive();
        if child.is_alive() {
            child.then = Some(Then::RestartAlone);
            self.flag_group(i);
        } else {
            child.phase = Phase::Pending;
        }
    }

    fn stop_on_request(&mut self, i: usize, then: Then) {
        let child = &mut self.children[i];
        if child.is_alive() {
            child.then = Some(then);
        } else {
            self.settle(i, then);
        }
    }
}
