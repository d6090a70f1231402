//! Properties that hold whatever happens, in whatever order: random trees of one level, random events,
//! virtual time.

use std::{collections::VecDeque, time::Duration};

use proptest::{collection::vec, prelude::*};

use super::{Action, Core, Decision, Event, Past, Phase, Policy, Rules, Time};
use crate::{
    backoff::BackoffPolicy,
    exit::Exit,
    spec::{AutoShutdown, OnExhausted, Restart, Strategy as Fate},
    tree::Control,
};

/// What the world does next; numbers choose among the children it can happen to.
#[derive(Debug, Clone)]
enum Op {
    BecomeReady(usize),
    Exit(usize, Exit),
    /// An event of a generation that is long gone.
    Stale(usize),
    Obey(usize),
    Control(usize, Control),
    Pass(Duration),
    Shutdown,
}

fn exit() -> impl Strategy<Value = Exit> {
    prop_oneof![
        Just(Exit::Normal),
        Just(Exit::Shutdown),
        Just(Exit::Panicked("boom".into())),
        Just(Exit::StartFailed("no".into())),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let control =
        prop::sample::select(vec![Control::Restart, Control::Pause, Control::Resume, Control::Stop]);
    prop_oneof![
        6 => any::<usize>().prop_map(Op::BecomeReady),
        6 => (any::<usize>(), exit()).prop_map(|(i, exit)| Op::Exit(i, exit)),
        1 => any::<usize>().prop_map(Op::Stale),
        6 => any::<usize>().prop_map(Op::Obey),
        2 => (any::<usize>(), control).prop_map(|(i, control)| Op::Control(i, control)),
        4 => (0_u64..20_000).prop_map(|ms| Op::Pass(Duration::from_millis(ms))),
        1 => Just(Op::Shutdown),
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    (
        prop::sample::select(vec![Fate::OneForOne, Fate::OneForAll, Fate::RestForOne]),
        0_u32..6,
        1_u64..20,
        prop::sample::select(vec![OnExhausted::Exit, OnExhausted::Park]),
        prop::sample::select(vec![
            AutoShutdown::Never,
            AutoShutdown::AnySignificant,
            AutoShutdown::AllSignificant,
        ]),
    )
        .prop_map(|(strategy, max_restarts, within, on_exhausted, auto_shutdown)| Rules {
            strategy,
            max_restarts,
            within: Duration::from_secs(within),
            on_exhausted,
            auto_shutdown,
        })
}

fn policy() -> impl Strategy<Value = Policy> {
    (
        prop::sample::select(vec![Restart::Permanent, Restart::Transient, Restart::Temporary]),
        any::<bool>(),
        0_u64..3_000,
        prop::option::of(0_u32..5),
    )
        .prop_map(|(restart, significant, initial, max_consecutive_failures)| Policy {
            id: "child".into(),
            restart,
            significant: significant && restart != Restart::Permanent,
            backoff: BackoffPolicy { initial: Duration::from_millis(initial), ..BackoffPolicy::default() },
            max_consecutive_failures,
        })
}

/// What really lives, as opposed to what the core believes.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Incarnation {
    generation: u64,
    ready: bool,
    told_to_stop: bool,
}

struct World {
    core: Core,
    rules: Rules,
    policies: Vec<Policy>,
    now: Time,
    live: Vec<Option<Incarnation>>,
    /// When restarts were granted, without those of children parked since.
    restarts: VecDeque<(Time, usize)>,
    booted: bool,
    shutting_down: bool,
    escalations: usize,
    exit: Option<Exit>,
}

impl World {
    fn new(rules: Rules, policies: Vec<Policy>) -> World {
        let children = policies.iter().cloned().map(|policy| (policy, Past::default()));
        World {
            core: Core::new(rules.clone(), children),
            rules,
            now: Time::ZERO,
            live: vec![None; policies.len()],
            policies,
            restarts: VecDeque::new(),
            booted: false,
            shutting_down: false,
            escalations: 0,
            exit: None,
        }
    }

    fn step(&mut self, event: Event) {
        let exited = match &event {
            Event::Exited { child, generation, .. } => {
                let real = self.live[*child].is_some_and(|life| life.generation == *generation);
                if real {
                    self.live[*child] = None;
                }
                usize::from(real)
            }
            _ => 0,
        };
        let gone = self.exit.is_some();
        let actions = self.core.step(self.now, event);
        let decided = actions.iter().filter(|a| matches!(a, Action::Decided { .. })).count();
        assert_eq!(decided, exited, "each exit is answered exactly once");
        assert!(!gone || actions.iter().all(|a| *a == Action::Refused), "nothing after the end: {actions:?}");
        for action in actions {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Start { child, generation } => self.start(child, generation),
            Action::Stop { child, generation } => self.stop(child, generation),
            Action::Decided { child, decision: Decision::Restart { .. }, .. } => self.count_restart(child),
            Action::Decided { child, decision: Decision::Park { .. }, .. } => {
                self.restarts.retain(|(_, counted)| *counted != child);
            }
            Action::Decided { decision: Decision::Escalate { .. }, .. } => {
                self.escalations += 1;
                assert_eq!(self.escalations, 1, "escalation happens once");
                assert_eq!(self.rules.on_exhausted, OnExhausted::Exit);
            }
            Action::Exit(exit) => {
                assert_eq!(self.exit, None, "a supervisor exits once");
                assert!(self.live.iter().all(Option::is_none), "and takes its children with it");
                assert_eq!(self.escalations == 1, matches!(exit, Exit::Escalated(_)));
                self.exit = Some(exit);
            }
            Action::Close { child } => assert_eq!(self.live[child], None, "nobody loses a live mailbox"),
            Action::Ready => self.booted = true,
            Action::Decided { .. } | Action::Refused => {}
        }
    }

    fn start(&mut self, child: usize, generation: u64) {
        assert_eq!(self.live[child], None, "never two live generations of one child");
        assert!(!self.shutting_down, "nothing starts during a shutdown");
        if self.rules.strategy != Fate::OneForOne || !self.booted {
            let pending =
                |j: &usize| matches!(self.core.phase(*j), Phase::Pending | Phase::Starting | Phase::Stopping);
            let earlier = (0..child).find(|j| pending(j) || self.live[*j].is_some_and(|life| !life.ready));
            assert_eq!(earlier, None, "children start in order: {child} after");
        }
        self.live[child] = Some(Incarnation { generation, ready: false, told_to_stop: false });
    }

    fn stop(&mut self, child: usize, generation: u64) {
        let being_stopped = self.live.iter().flatten().any(|life| life.told_to_stop);
        assert!(!being_stopped, "one at a time");
        if self.shutting_down {
            assert!(self.live[child + 1..].iter().all(Option::is_none), "in reverse");
        }
        let life = self.live[child].as_mut().expect("only the living are stopped");
        assert_eq!(life.generation, generation);
        life.told_to_stop = true;
    }

    fn count_restart(&mut self, child: usize) {
        let oldest = self.now.saturating_sub(self.rules.within);
        self.restarts.push_back((self.now, child));
        self.restarts.retain(|(at, _)| *at >= oldest);
        assert!(self.restarts.len() <= self.rules.max_restarts as usize, "no restart beyond the intensity");
    }

    /// The `n`th of the incarnations that fit, if any.
    fn pick(&self, n: usize, fits: impl Fn(&Incarnation) -> bool) -> Option<(usize, Incarnation)> {
        let fitting: Vec<_> = self
            .live
            .iter()
            .enumerate()
            .filter_map(|(i, life)| life.filter(&fits).map(|life| (i, life)))
            .collect();
        fitting.get(n.checked_rem(fitting.len())?).copied()
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::BecomeReady(n) => {
                self.become_ready(n);
            }
            Op::Exit(n, exit) => {
                if let Some((child, life)) = self.pick(n, |_| true) {
                    self.step(Event::Exited { child, generation: life.generation, exit });
                }
            }
            Op::Stale(n) => {
                if let Some((child, life)) = self.pick(n, |life| life.generation > 1) {
                    let generation = life.generation - 1;
                    self.step(Event::Started { child, generation });
                    self.step(Event::Exited { child, generation, exit: Exit::Killed });
                }
            }
            Op::Obey(n) => {
                self.obey(n);
            }
            Op::Control(n, control) => {
                let child = n % self.policies.len();
                self.step(Event::Control { child, control });
            }
            Op::Pass(time) => {
                self.now += time;
                self.step(Event::Tick);
            }
            Op::Shutdown => {
                self.shutting_down = true;
                self.step(Event::Shutdown);
            }
        }
    }

    fn become_ready(&mut self, n: usize) -> bool {
        let Some((child, life)) = self.pick(n, |life| !life.ready) else { return false };
        self.live[child] = Some(Incarnation { ready: true, ..life });
        self.step(Event::Started { child, generation: life.generation });
        true
    }

    fn obey(&mut self, n: usize) -> bool {
        let Some((child, life)) = self.pick(n, |life| life.told_to_stop) else { return false };
        self.step(Event::Exited { child, generation: life.generation, exit: Exit::Shutdown });
        true
    }

    /// Every child does as it is told until nothing is left to do; false if it never ends.
    fn settle(&mut self) -> bool {
        for _ in 0..100 * self.policies.len() {
            if self.obey(0) || self.become_ready(0) {
                continue;
            }
            match self.core.next_wake(self.now) {
                Some(due) => {
                    self.now = due;
                    self.step(Event::Tick);
                }
                None => return true,
            }
        }
        false
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_rules_hold(
        rules in rules(),
        policies in vec(policy(), 1..6),
        ops in vec(op(), 0..80),
    ) {
        let mut world = World::new(rules, policies);
        world.step(Event::Boot);
        for op in ops {
            world.apply(op);
        }
        prop_assert!(world.settle(), "children that do as told come to rest");
        if world.exit.is_none() {
            for (i, policy) in world.policies.iter().enumerate() {
                let phase = world.core.phase(i);
                let held = matches!(phase, Phase::Paused | Phase::Stopped | Phase::Finished);
                prop_assert!(phase == Phase::Up || held, "child {i} is left {phase:?}");
                prop_assert!(policy.restart != Restart::Permanent || phase != Phase::Finished);
            }
        }
        world.apply(Op::Shutdown);
        prop_assert!(world.settle());
        prop_assert!(world.exit.is_some(), "a shutdown always terminates");
    }
}
