//! The core's decisions, one by one, in virtual time.

use std::time::Duration;

use super::{Action, Core, Decision, Event, Past, Phase, Policy, Rules, Time};
use crate::{
    backoff::BackoffPolicy,
    exit::Exit,
    spec::{AutoShutdown, OnExhausted, Restart, Strategy},
    tree::Control,
};

const SECOND: Duration = Duration::from_secs(1);

/// A core whose children do what they are told at once, unless a test takes over.
struct Sim {
    core: Core,
    now: Time,
    generations: Vec<u64>,
    /// `+0` child 0 was started, `-0` stopped, `x0` closed; and what was decided.
    seen: Vec<String>,
    exit: Option<Exit>,
    /// Starts that are not answered with `Started`.
    hold_starts: bool,
    /// Stops that are not answered with `Exited`.
    hold_stops: bool,
}

fn rules(strategy: Strategy) -> Rules {
    Rules {
        strategy,
        max_restarts: 2,
        within: 10 * SECOND,
        on_exhausted: OnExhausted::Exit,
        auto_shutdown: AutoShutdown::Never,
    }
}

fn child(restart: Restart) -> Policy {
    Policy {
        id: restart_name(restart).into(),
        restart,
        significant: false,
        backoff: BackoffPolicy::immediate(),
        max_consecutive_failures: None,
    }
}

fn restart_name(restart: Restart) -> &'static str {
    match restart {
        Restart::Permanent => "permanent",
        Restart::Transient => "transient",
        Restart::Temporary => "temporary",
    }
}

fn slow(initial: Duration) -> Policy {
    let backoff = BackoffPolicy { initial, jitter: 0.0, ..BackoffPolicy::default() };
    Policy { backoff, ..child(Restart::Permanent) }
}

fn permanent(n: usize) -> Vec<Policy> {
    vec![child(Restart::Permanent); n]
}

fn crash() -> Exit {
    Exit::Panicked("boom".into())
}

impl Sim {
    fn unstarted(rules: Rules, children: Vec<Policy>) -> Sim {
        let generations = vec![0; children.len()];
        let core = Core::new(rules, children.into_iter().map(|policy| (policy, Past::default())));
        Sim {
            core,
            now: Time::ZERO,
            generations,
            seen: Vec::new(),
            exit: None,
            hold_starts: false,
            hold_stops: false,
        }
    }

    fn new(rules: Rules, children: Vec<Policy>) -> Sim {
        let mut sim = Sim::unstarted(rules, children);
        sim.step(Event::Boot);
        assert_eq!(sim.seen.pop().as_deref(), Some("ready"));
        sim.seen.clear();
        sim
    }

    fn step(&mut self, event: Event) {
        for action in self.core.step(self.now, event) {
            match action {
                Action::Start { child, generation } => {
                    self.seen.push(format!("+{child}"));
                    self.generations[child] = generation;
                    if !self.hold_starts {
                        self.step(Event::Started { child, generation });
                    }
                }
                Action::Stop { child, generation } => {
                    self.seen.push(format!("-{child}"));
                    if !self.hold_stops {
                        self.step(Event::Exited { child, generation, exit: Exit::Shutdown });
                    }
                }
                Action::Close { child } => self.seen.push(format!("x{child}")),
                Action::Decided { decision: Decision::Expected, .. } => {}
                Action::Decided { child, decision, .. } => self.seen.push(name_of(child, &decision)),
                Action::Ready => self.seen.push("ready".into()),
                Action::Refused => self.seen.push("refused".into()),
                Action::Exit(exit) => {
                    assert_eq!(self.exit, None, "a supervisor exits once");
                    self.exit = Some(exit);
                }
            }
        }
    }

    fn exit(&mut self, child: usize, exit: Exit) {
        self.step(Event::Exited { child, generation: self.generations[child], exit });
    }

    fn ready(&mut self, child: usize) {
        self.step(Event::Started { child, generation: self.generations[child] });
    }

    fn control(&mut self, child: usize, control: Control) {
        self.step(Event::Control { child, control });
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.step(Event::Tick);
    }

    /// What was seen since the last call.
    fn seen(&mut self) -> String {
        std::mem::take(&mut self.seen).join(" ")
    }
}

fn name_of(child: usize, decision: &Decision) -> String {
    let name = match decision {
        Decision::Restart { .. } => "restart",
        Decision::Park { .. } => "park",
        Decision::Escalate { .. } => "escalate",
        Decision::UndoStart => "undo",
        Decision::LeaveDown => "leave",
        Decision::Expected => "expected",
    };
    format!("{name}{child}")
}

#[test]
fn children_start_in_order_each_after_the_one_before_is_ready() {
    let mut sim = Sim::unstarted(rules(Strategy::OneForOne), permanent(3));
    sim.hold_starts = true;
    sim.step(Event::Boot);
    assert_eq!(sim.seen(), "+0");
    sim.pass(SECOND);
    assert_eq!(sim.seen(), "");
    sim.ready(0);
    assert_eq!(sim.seen(), "+1");
    sim.ready(1);
    sim.ready(2);
    assert_eq!(sim.seen(), "+2 ready");
}

#[test]
fn a_supervisor_without_children_is_ready_at_once_and_stops_at_once() {
    let mut sim = Sim::new(rules(Strategy::OneForAll), Vec::new());
    sim.step(Event::Shutdown);
    assert_eq!(sim.exit, Some(Exit::Shutdown));
}

#[test]
fn a_failed_first_start_undoes_those_started_in_reverse() {
    let mut sim = Sim::unstarted(rules(Strategy::OneForOne), permanent(4));
    sim.hold_starts = true;
    sim.step(Event::Boot);
    sim.ready(0);
    sim.ready(1);
    sim.exit(2, Exit::StartFailed("no port".into()));
    assert_eq!(sim.seen(), "+0 +1 +2 undo2 -1 -0");
    assert_eq!(sim.exit, Some(Exit::StartFailed("permanent: no port".into())));
}

#[test]
fn children_stop_in_reverse_one_at_a_time() {
    let mut sim = Sim::new(rules(Strategy::OneForOne), permanent(3));
    sim.hold_stops = true;
    sim.step(Event::Shutdown);
    assert_eq!(sim.seen(), "-2");
    sim.exit(2, Exit::Shutdown);
    assert_eq!(sim.seen(), "-1");
    sim.exit(1, Exit::Killed);
    assert_eq!(sim.seen(), "-0");
    assert_eq!(sim.exit, None);
    sim.exit(0, Exit::Shutdown);
    assert_eq!(sim.exit, Some(Exit::Shutdown));
}

#[test]
fn stop_race_children_that_exit_for_other_reasons_during_shutdown_are_just_down() {
    let mut sim = Sim::new(rules(Strategy::OneForAll), permanent(3));
    sim.hold_stops = true;
    sim.step(Event::Shutdown);
    sim.exit(0, crash());
    sim.exit(1, Exit::Normal);
    assert_eq!((sim.seen().as_str(), &sim.exit), ("-2", &None));
    sim.exit(2, crash());
    assert_eq!((sim.seen().as_str(), &sim.exit), ("", &Some(Exit::Shutdown)));
}

#[test]
fn restart_types_times_exits() {
    let exits = [Exit::Normal, Exit::Shutdown, crash(), Exit::Escalated("why".into())];
    for (restart, restarted) in [
        (Restart::Permanent, [true, true, true, true]),
        (Restart::Transient, [false, false, true, true]),
        (Restart::Temporary, [false, false, false, false]),
    ] {
        for (exit, restarted) in exits.iter().zip(restarted) {
            let mut sim = Sim::new(rules(Strategy::OneForOne), vec![child(restart)]);
            sim.exit(0, exit.clone());
            let expected = if restarted { "restart0 +0" } else { "x0 leave0" };
            assert_eq!(sim.seen(), expected, "{restart:?} after {exit:?}");
        }
    }
}

#[test]
fn one_for_all_stops_the_others_in_reverse_and_starts_all_in_order() {
    let mut sim = Sim::new(rules(Strategy::OneForAll), permanent(3));
    sim.exit(1, crash());
    assert_eq!(sim.seen(), "restart1 -2 -0 +0 +1 +2");
}

#[test]
fn rest_for_one_restarts_it_and_those_after_it() {
    for (failed, seen) in [(0, "restart0 -2 -1 +0 +1 +2"), (1, "restart1 -2 +1 +2"), (2, "restart2 +2")] {
        let mut sim = Sim::new(rules(Strategy::RestForOne), permanent(3));
        sim.exit(failed, crash());
        assert_eq!(sim.seen(), seen);
    }
}

#[test]
fn a_temporary_bystander_is_stopped_with_the_group_and_stays_down() {
    let children = vec![child(Restart::Permanent), child(Restart::Temporary), child(Restart::Permanent)];
    for strategy in [Strategy::OneForAll, Strategy::RestForOne] {
        let mut sim = Sim::new(rules(strategy), children.clone());
        sim.exit(0, crash());
        assert_eq!(sim.seen(), "restart0 -2 -1 x1 +0 +2");
        assert_eq!(sim.core.phase(1), Phase::Finished);
    }
}

#[test]
fn a_transient_child_that_had_finished_starts_again_with_its_group() {
    let children = vec![child(Restart::Permanent), child(Restart::Transient)];
    let mut sim = Sim::new(rules(Strategy::OneForAll), children);
    sim.exit(1, Exit::Normal);
    assert_eq!(sim.seen(), "x1 leave1");
    sim.exit(0, crash());
    assert_eq!(sim.seen(), "restart0 +0 +1");
}

#[test]
fn one_restart_too_many_within_the_window_escalates_once() {
    for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
        let mut sim = Sim::new(rules(strategy), permanent(2));
        sim.exit(0, crash());
        sim.exit(1, crash());
        assert_eq!(sim.exit, None);
        sim.seen();
        sim.exit(0, crash());
        assert_eq!(sim.seen(), "escalate0 -1");
        let Some(Exit::Escalated(cause)) = &sim.exit else { panic!("{:?}", sim.exit) };
        assert_eq!(cause, "more than 2 restarts within 10s, at last `permanent`: panicked: boom");
    }
}

#[test]
fn the_restart_count_resets_after_the_window() {
    let mut sim = Sim::new(rules(Strategy::OneForOne), permanent(1));
    for _ in 0..20 {
        sim.exit(0, crash());
        sim.pass(Duration::from_millis(5001));
    }
    assert_eq!(sim.exit, None);
    sim.exit(0, crash());
    sim.exit(0, crash());
    assert!(matches!(sim.exit, Some(Exit::Escalated(_))));
}

#[test]
fn no_restart_is_tolerated_with_an_intensity_of_zero() {
    let mut sim = Sim::new(Rules { max_restarts: 0, ..rules(Strategy::OneForOne) }, permanent(1));
    sim.exit(0, crash());
    assert!(matches!(sim.exit, Some(Exit::Escalated(_))));
}

#[test]
fn a_restart_waits_for_its_backoff_and_its_siblings_do_not() {
    let mut sim = Sim::new(rules(Strategy::OneForOne), vec![slow(4 * SECOND), slow(SECOND)]);
    sim.exit(0, crash());
    sim.exit(1, crash());
    assert_eq!((sim.seen().as_str(), sim.core.next_wake(sim.now)), ("restart0 restart1", Some(SECOND)));
    sim.pass(SECOND);
    assert_eq!(sim.seen(), "+1");
    sim.pass(2 * SECOND);
    assert_eq!(sim.seen(), "");
    sim.pass(SECOND);
    assert_eq!((sim.seen().as_str(), sim.core.next_wake(sim.now)), ("+0", None));
}

#[test]
fn backoff_grows_and_starts_over_after_a_stable_time() {
    let mut policy = slow(SECOND);
    policy.backoff.reset_after = 30 * SECOND;
    let endless = Rules { max_restarts: 100, ..rules(Strategy::OneForOne) };
    let mut sim = Sim::new(endless, vec![policy]);
    for (up, delay) in [(0, 1), (0, 2), (29, 4), (30, 1)] {
        sim.pass(up * SECOND);
        sim.exit(0, crash());
        assert_eq!(sim.core.next_wake(sim.now), Some(sim.now + delay * SECOND), "after {up} s up");
        sim.pass(delay * SECOND);
    }
}

#[test]
fn a_group_waits_together_for_the_backoff_of_the_failed_child() {
    let mut sim = Sim::new(rules(Strategy::OneForAll), vec![slow(SECOND), slow(SECOND)]);
    sim.exit(1, crash());
    assert_eq!(sim.seen(), "restart1 -0");
    sim.pass(SECOND);
    assert_eq!(sim.seen(), "+0 +1");
}

#[test]
fn a_restart_that_fails_is_tried_again_and_counts() {
    let mut sim = Sim::new(rules(Strategy::OneForOne), permanent(1));
    sim.hold_starts = true;
    sim.exit(0, crash());
    sim.exit(0, Exit::StartFailed("still broken".into()));
    assert_eq!(sim.exit, None);
    sim.exit(0, Exit::StartTimedOut(SECOND));
    assert!(matches!(sim.exit, Some(Exit::Escalated(_))));
}

#[test]
fn another_child_that_fails_its_restart_takes_the_group_down_again() {
    for (strategy, seen) in [(Strategy::OneForAll, "restart1 -0 +0"), (Strategy::RestForOne, "restart1 +1")] {
        let mut sim = Sim::new(rules(strategy), permanent(3));
        sim.hold_starts = true;
        sim.exit(0, crash());
        sim.ready(0);
        assert_eq!(sim.seen(), "restart0 -2 -1 +0 +1");
        sim.exit(1, Exit::StartFailed("not now".into()));
        assert_eq!(sim.seen(), seen);
    }
}

#[test]
fn counting_goes_on_while_restarting() {
    let mut sim = Sim::new(rules(Strategy::OneForOne), permanent(3));
    sim.hold_starts = true;
    sim.exit(0, crash());
    sim.exit(1, crash());
    sim.exit(2, crash());
    assert_eq!(sim.seen(), "restart0 +0 restart1 +1 escalate2 -1 -0");
    assert!(matches!(sim.exit, Some(Exit::Escalated(_))));
}

#[test]
fn consecutive_failures_exhaust_whatever_the_window_says() {
    let mut policy = slow(20 * SECOND);
    policy.max_consecutive_failures = Some(3);
    let mut sim = Sim::new(rules(Strategy::OneForOne), vec![policy]);
    for _ in 0..3 {
        sim.exit(0, crash());
        sim.pass(30 * SECOND);
    }
    assert_eq!((sim.seen().as_str(), &sim.exit), ("restart0 +0 restart0 +0 restart0 +0", &None));
    sim.exit(0, crash());
    let cause = "`permanent` failed more than 3 times in a row, at last: panicked: boom";
    assert_eq!(sim.exit, Some(Exit::Escalated(cause.into())));
}

#[test]
fn parked_what_exhausted_it_stays_down_alone_and_is_retried_at_the_maximum() {
    let park = Rules { on_exhausted: OnExhausted::Park, ..rules(Strategy::OneForOne) };
    let mut sim = Sim::new(park, permanent(2));
    (0..3).for_each(|_| sim.exit(0, crash()));
    assert!(sim.seen().ends_with("park0"));
    assert_eq!(sim.core.next_wake(sim.now), Some(sim.now + 30 * SECOND));
    // its sibling has not lost any of its own restarts
    sim.exit(1, crash());
    sim.exit(1, crash());
    assert_eq!(sim.seen().matches("restart1").count(), 2);
    sim.pass(30 * SECOND);
    assert_eq!(sim.seen(), "+0");
    // one failure is enough to park it again, until it was stable
    sim.exit(0, crash());
    assert_eq!(sim.seen(), "park0");
    sim.pass(30 * SECOND);
    sim.pass(60 * SECOND);
    sim.exit(0, crash());
    assert_eq!(sim.seen(), "+0 restart0 +0");
}

#[test]
fn parked_the_group_stays_down_with_it() {
    for (strategy, stopped, retried) in
        [(Strategy::OneForAll, "park1 -2 -0", "+0 +1 +2"), (Strategy::RestForOne, "park1 -2", "+1 +2")]
    {
        let park = Rules { on_exhausted: OnExhausted::Park, max_restarts: 0, ..rules(strategy) };
        let mut sim = Sim::new(park, permanent(3));
        sim.exit(1, crash());
        assert_eq!(sim.seen(), stopped);
        sim.pass(29 * SECOND);
        assert_eq!(sim.seen(), "");
        sim.pass(SECOND);
        assert_eq!(sim.seen(), retried);
    }
}

#[test]
fn a_shutdown_between_attempts_is_honoured() {
    for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
        let mut sim = Sim::new(rules(strategy), vec![slow(SECOND), slow(SECOND)]);
        sim.exit(0, crash());
        sim.step(Event::Shutdown);
        assert_eq!(sim.exit, Some(Exit::Shutdown));
        sim.seen();
        sim.pass(100 * SECOND);
        assert_eq!((sim.seen().as_str(), sim.core.next_wake(sim.now)), ("", None));
    }
}

#[test]
fn a_shutdown_stops_a_child_that_is_not_ready_yet() {
    let mut sim = Sim::unstarted(rules(Strategy::OneForOne), permanent(2));
    sim.hold_starts = true;
    sim.step(Event::Boot);
    sim.step(Event::Shutdown);
    assert_eq!((sim.seen().as_str(), &sim.exit), ("+0 -0", &Some(Exit::Shutdown)));
}

fn significant(restart: Restart) -> Policy {
    Policy { significant: true, ..child(restart) }
}

#[test]
fn the_first_significant_child_to_end_ends_the_supervisor() {
    let any = Rules { auto_shutdown: AutoShutdown::AnySignificant, ..rules(Strategy::OneForOne) };
    let children =
        vec![child(Restart::Transient), significant(Restart::Transient), child(Restart::Permanent)];
    let mut sim = Sim::new(any, children);
    sim.exit(0, Exit::Normal);
    assert_eq!(sim.exit, None);
    sim.exit(1, crash());
    assert_eq!(sim.exit, None, "a crash is restarted, it is no end");
    sim.exit(1, Exit::Normal);
    assert_eq!(sim.exit, Some(Exit::Shutdown));
}

#[test]
fn the_last_significant_child_to_end_ends_the_supervisor() {
    let all = Rules { auto_shutdown: AutoShutdown::AllSignificant, ..rules(Strategy::OneForOne) };
    let children =
        vec![significant(Restart::Temporary), significant(Restart::Transient), child(Restart::Permanent)];
    let mut sim = Sim::new(all, children);
    sim.exit(0, crash());
    assert_eq!(sim.exit, None);
    sim.exit(1, Exit::Normal);
    assert_eq!(sim.exit, Some(Exit::Shutdown));
}

#[test]
fn a_significant_child_ended_by_a_sibling_does_not_end_the_supervisor() {
    let any = Rules { auto_shutdown: AutoShutdown::AnySignificant, ..rules(Strategy::OneForAll) };
    let mut sim = Sim::new(any, vec![child(Restart::Permanent), significant(Restart::Temporary)]);
    sim.exit(0, crash());
    assert_eq!((sim.seen().as_str(), &sim.exit), ("restart0 -1 x1 +0", &None));
}

#[test]
fn events_of_an_old_generation_are_ignored() {
    let mut sim = Sim::new(rules(Strategy::OneForOne), permanent(1));
    sim.exit(0, crash());
    sim.seen();
    for _ in 0..10 {
        sim.step(Event::Exited { child: 0, generation: 1, exit: crash() });
        sim.step(Event::Started { child: 0, generation: 1 });
    }
    assert_eq!((sim.seen().as_str(), sim.core.phase(0)), ("", Phase::Up));
}

#[test]
fn an_operator_pauses_resumes_stops_and_brings_back() {
    let mut sim = Sim::new(rules(Strategy::OneForOne), permanent(2));
    for (control, seen, phase) in [
        (Control::Resume, "refused", Phase::Up),
        (Control::Pause, "-0", Phase::Paused),
        (Control::Resume, "+0", Phase::Up),
        (Control::Restart, "-0 +0", Phase::Up),
        (Control::Stop, "-0 x0", Phase::Stopped),
        (Control::Pause, "refused", Phase::Stopped),
        (Control::Restart, "+0", Phase::Up),
    ] {
        sim.control(0, control);
        assert_eq!((sim.seen().as_str(), sim.core.phase(0)), (seen, phase), "{control:?}");
    }
}

#[test]
fn an_operators_restart_is_not_counted_and_does_not_wait() {
    let mut sim = Sim::new(rules(Strategy::RestForOne), vec![slow(SECOND), slow(SECOND)]);
    (0..20).for_each(|_| sim.control(0, Control::Restart));
    assert_eq!(sim.exit, None);
    assert!(sim.seen().starts_with("-1 -0 +0 +1 -1 -0"));
    sim.exit(1, crash());
    sim.control(1, Control::Restart);
    assert_eq!(sim.seen(), "restart1 +1");
}

#[test]
fn a_paused_child_stays_so_when_its_group_restarts() {
    let mut sim = Sim::new(rules(Strategy::OneForAll), permanent(3));
    sim.control(1, Control::Pause);
    sim.exit(0, crash());
    assert_eq!(sim.seen(), "-1 restart0 -2 +0 +2");
    assert_eq!(sim.core.phase(1), Phase::Paused);
}

#[test]
fn a_pause_under_way_stays_one_when_the_supervisor_ends() {
    let mut sim = Sim::new(rules(Strategy::OneForOne), permanent(2));
    sim.hold_stops = true;
    sim.control(0, Control::Pause);
    sim.step(Event::Shutdown);
    sim.exit(0, Exit::Shutdown);
    sim.exit(1, Exit::Shutdown);
    assert_eq!((sim.core.phase(0), sim.core.phase(1)), (Phase::Paused, Phase::Pending));
    assert_eq!(sim.exit, Some(Exit::Shutdown));
}

#[test]
fn what_an_operator_held_and_the_generation_outlive_the_supervisor() {
    let past = Past { generation: 7, held: Some(Phase::Paused) };
    let children =
        [(child(Restart::Permanent), past), (child(Restart::Permanent), Past { held: None, ..past })];
    let mut core = Core::new(rules(Strategy::OneForOne), children);
    let actions = core.step(Time::ZERO, Event::Boot);
    assert_eq!(actions, [Action::Start { child: 1, generation: 8 }]);
}
