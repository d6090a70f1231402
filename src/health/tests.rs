//! What was seen, look by look, and what is made of it.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, TimeDelta, Utc};
use factline_pipeline::{
    lease::Lease,
    outbox::Backlog,
    stream::{GroupLag, Identity, Partition},
};
use factline_supervision::{Condition, Node, NodeKind, NodeState};

use super::{Health, Memory, Part, Seen, State, judge};
use crate::observation::{Observation, OpenLetters, OutboxView, PoolUse, Retrying, StoreView, StreamView};

const START: DateTime<Utc> = DateTime::from_timestamp(1_800_000_000, 0).unwrap();

/// A daemon that is looked at again and again.
struct Scene {
    observation: Observation,
    tree: Option<Node>,
    memory: Memory,
}

fn node(path: &str, kind: NodeKind, children: Vec<Node>) -> Node {
    Node {
        path: path.into(),
        id: path.rsplit('/').next().unwrap().into(),
        kind,
        state: NodeState::Running,
        condition: Condition::Healthy,
        condition_since: SystemTime::from(START),
        generation: 1,
        restarts: 0,
        restarts_by_kind: std::iter::empty().collect(),
        restarts_in_window: 0,
        last_exit: None,
        next_restart: None,
        in_flight: 0,
        in_flight_age: None,
        mailbox: None,
        supervision: None,
        children,
    }
}

fn tree() -> Node {
    let actor = |path| node(path, NodeKind::Actor, Vec::new());
    let supervisor = |path, children| node(path, NodeKind::Supervisor, children);
    let group = supervisor("root/consumers/facts", vec![actor("root/consumers/facts/consumer_group")]);
    supervisor(
        "root",
        vec![
            supervisor("root/relay", vec![actor("root/relay/outbox_poller")]),
            supervisor("root/consumers", vec![group]),
        ],
    )
}

fn lag(undelivered: u64, pending: u64) -> GroupLag {
    let partition = Partition { topic: "chat".into(), number: 3 };
    GroupLag {
        group: "facts".into(),
        partition,
        length: 9,
        undelivered: Some(undelivered),
        pending,
        pending_for: Vec::new(),
        oldest: None,
    }
}

/// An event that waits for its next try, which comes so many seconds after the start.
fn retrying(next: Option<i64>) -> Retrying {
    Retrying {
        consumer_group: "facts".into(),
        event_id: "e".into(),
        attempts: 1,
        since: Some(START),
        next_attempt_at: next.map(|second| START + TimeDelta::seconds(second)),
        last_error: None,
    }
}

impl Scene {
    /// Nothing to do, and all is well.
    fn idle() -> Self {
        let relay = Lease { name: "relay:outbox".into(), holder: "a".into(), token: 1, held: true };
        let observation = Observation {
            at: START,
            outbox: Ok(OutboxView { backlog: Backlog::default(), server: None, pool: None }),
            store: Ok(StoreView {
                deployment: uuid::Uuid::nil(),
                leases: vec![relay],
                dead_letters: OpenLetters::default(),
                retrying: Vec::new(),
                server: None,
                pool: None,
            }),
            streams: Ok(StreamView {
                identity: Identity { id: "one".into(), partitions: 8, place: "here".into() },
                topics: vec!["chat".into()],
                unread: Vec::new(),
                lag: vec![lag(0, 0)],
                server: None,
            }),
        };
        Self { observation, tree: Some(tree()), memory: Memory::default() }
    }

    fn pending(&mut self, rows: u64, oldest: i64) {
        let oldest_pending = (rows > 0).then_some(START + TimeDelta::seconds(oldest));
        let backlog = Backlog { pending: rows, oldest_pending, ..Backlog::default() };
        self.observation.outbox.as_mut().unwrap().backlog = backlog;
    }

    fn waiting(&mut self, lag: GroupLag) {
        self.observation.streams.as_mut().unwrap().lag = vec![lag];
    }

    fn store(&mut self) -> &mut StoreView {
        self.observation.store.as_mut().unwrap()
    }

    fn actor(&mut self, path: &str) -> &mut Node {
        fn find<'a>(node: &'a mut Node, path: &str) -> Option<&'a mut Node> {
            if node.path == path {
                Some(node)
            } else {
                node.children.iter_mut().find_map(|child| find(child, path))
            }
        }
        find(self.tree.as_mut().unwrap(), path).unwrap()
    }

    /// Looks, so many seconds after the start.
    fn look(&mut self, second: i64) -> Health {
        self.observation.at = START + TimeDelta::seconds(second);
        let seen = Seen {
            observation: &self.observation,
            tree: self.tree.as_ref(),
            relay_lease: "relay:outbox",
            unready_after: Duration::from_mins(1),
        };
        judge(&seen, &mut self.memory)
    }
}

fn part<'a>(health: &'a Health, name: &str) -> &'a Part {
    health.parts.iter().find(|part| part.part == name).unwrap_or_else(|| panic!("no {name} in {health:#?}"))
}

fn reasons(health: &Health) -> Vec<&str> {
    health.reasons().map(|part| &*part.part).collect()
}

#[test]
fn whoever_has_nothing_to_do_is_ready_for_ever() {
    let mut scene = Scene::idle();
    for second in [0, 5, 3_600, 864_000] {
        let health = scene.look(second);
        assert!(health.ready && health.state == State::Ok, "{health:#?}");
        assert_eq!(part(&health, "backlog").since, START);
    }
}

#[test]
fn a_backlog_is_stuck_when_nothing_of_it_is_published() {
    let mut scene = Scene::idle();
    scene.pending(7, 0);
    assert!(scene.look(0).ready);
    scene.pending(9_000, 0);
    assert!(scene.look(59).ready, "not for long enough");
    let health = scene.look(60);
    assert_eq!(reasons(&health), ["backlog"]);
    let backlog = part(&health, "backlog");
    assert_eq!((backlog.state, backlog.since), (State::Degraded, START));
    assert_eq!(backlog.sentence, "9000 pending, the oldest for 1m; none was published for 1m");
    scene.pending(9_000, 1);
    let health = scene.look(65);
    assert!(health.ready, "the oldest one is another one");
    assert_eq!(part(&health, "backlog").since, health.at, "it is well since just now");
    scene.pending(8_999, 1);
    assert!(scene.look(124).ready, "it has become less");
}

#[test]
fn without_times_a_backlog_is_stuck_when_it_does_not_change() {
    let mut scene = Scene::idle();
    for (second, rows, ready) in
        [(0, 5, true), (59, 6, true), (118, 6, true), (119, 6, false), (120, 7, true)]
    {
        scene.pending(rows, 0);
        scene.observation.outbox.as_mut().unwrap().backlog.oldest_pending = None;
        assert_eq!(scene.look(second).ready, ready, "second {second}");
    }
}

#[test]
fn a_backlog_is_nothing_that_a_standby_or_a_consumer_can_help() {
    for only_consumes in [false, true] {
        let mut scene = Scene::idle();
        if only_consumes {
            scene.tree.as_mut().unwrap().children.remove(0);
        } else {
            scene.actor("root/relay/outbox_poller").condition =
                Condition::Standby("another relay is active".into());
        }
        scene.pending(7, 0);
        scene.look(0);
        let health = scene.look(600);
        assert!(health.ready, "{health:#?}");
        assert_eq!(part(&health, "backlog").state, State::Degraded, "it is told nevertheless");
    }
}

#[test]
fn an_outage_is_not_a_standstill_of_what_waited_before() {
    let mut scene = Scene::idle();
    scene.pending(7, 0);
    scene.look(0);
    let outbox = scene.observation.outbox.clone();
    scene.observation.outbox = Err("connection refused".into());
    let health = scene.look(50);
    assert!(health.ready && health.state == State::Failed);
    assert_eq!(part(&health, "outbox").reason.as_deref(), Some("connection refused"));
    assert_eq!(part(&health, "backlog").state, State::Unknown);
    assert_eq!(reasons(&scene.look(110)), ["outbox"]);
    scene.observation.outbox = outbox;
    assert!(scene.look(111).ready);
}

#[test]
fn entries_that_do_not_move_hold_up_whoever_reads_them() {
    let mut scene = Scene::idle();
    scene.waiting(lag(3, 2));
    assert!(scene.look(0).ready);
    let health = scene.look(60);
    assert_eq!(reasons(&health), ["groups/facts"]);
    assert_eq!(part(&health, "groups/facts").sentence, "5 wait; a partition has not moved for 1m");
    scene.actor("root/consumers/facts/consumer_group").condition = Condition::Standby(String::new());
    assert!(scene.look(61).ready);
}

#[test]
fn what_waits_for_its_next_try_stands_still_on_purpose() {
    let mut scene = Scene::idle();
    scene.waiting(lag(0, 2));
    scene.store().retrying = vec![retrying(None)];
    scene.look(0);
    let health = scene.look(3_600);
    assert!(health.ready);
    assert_eq!(part(&health, "groups/facts").state, State::Ok);
    assert_eq!((part(&health, "retrying").state, part(&health, "retrying").since), (State::Degraded, START));
}

#[test]
fn an_event_that_waits_for_its_next_try_explains_one_partition_until_that_is_overdue() {
    let mut scene = Scene::idle();
    let other = GroupLag { partition: Partition { topic: "chat".into(), number: 4 }, ..lag(0, 1) };
    scene.observation.streams.as_mut().unwrap().lag = vec![lag(0, 2), other];
    scene.store().retrying = vec![retrying(Some(3_600))];
    scene.look(0);
    let health = scene.look(60);
    assert_eq!(reasons(&health), ["groups/facts"], "the other partition's reader hangs");
    assert_eq!(part(&health, "groups/facts").sentence, "3 wait; a partition has not moved for 1m");

    scene.waiting(lag(0, 2));
    assert!(scene.look(61).ready);
    assert!(scene.look(3_659).ready);
    assert_eq!(reasons(&scene.look(3_660)), ["groups/facts"], "nobody has made the try");
}

#[test]
fn a_stage_is_degraded_since_it_says_so() {
    let mut scene = Scene::idle();
    let poller = scene.actor("root/relay/outbox_poller");
    poller.condition = Condition::Degraded("redis is away".into());
    poller.condition_since = SystemTime::from(START - TimeDelta::seconds(59));
    let health = scene.look(0);
    assert!(health.ready && health.state == State::Degraded);
    assert_eq!(reasons(&scene.look(1)), ["root/relay/outbox_poller"]);
    assert_eq!(part(&scene.look(1), "root/relay/outbox_poller").reason.as_deref(), Some("redis is away"));
}

#[test]
fn a_crash_that_was_one_is_forgiven_and_a_loop_of_them_is_not() {
    let mut scene = Scene::idle();
    let mut crash = |second: i64, state| {
        let actor = scene.actor("root/relay/outbox_poller");
        actor.state = state;
        actor.restarts += u64::from(state == NodeState::BackingOff);
        scene.look(second)
    };
    assert!(crash(0, NodeState::BackingOff).ready);
    for second in (5..600).step_by(5) {
        assert!(crash(second, NodeState::Running).ready);
    }
    for second in (600..660).step_by(10) {
        assert!(crash(second, NodeState::BackingOff).ready);
        assert!(crash(second + 5, NodeState::Running).ready, "second {second}");
    }
    assert_eq!(reasons(&crash(660, NodeState::BackingOff)), ["root/relay/outbox_poller"]);
}

#[test]
fn what_is_parked_paused_or_stopped_does_not_work() {
    let states = [
        (NodeState::Parked, State::Failed),
        (NodeState::Paused, State::Degraded),
        (NodeState::Stopped, State::Failed),
        (NodeState::Finished, State::Failed),
    ];
    for (state, found) in states {
        let mut scene = Scene::idle();
        scene.actor("root/consumers").state = state;
        let health = scene.look(0);
        assert_eq!(part(&health, "root/consumers").state, found, "{state:?}");
        assert!(health.ready);
        assert_eq!(reasons(&scene.look(60)), ["root/consumers"], "{state:?}");
        scene.actor("root/consumers").state = NodeState::Running;
        assert!(
            scene.look(61).parts.iter().all(|part| part.part != "root/consumers"),
            "told only when unwell"
        );
    }
}

#[test]
fn no_relay_is_the_trouble_of_those_who_could_be_it() {
    for relays in [true, false] {
        let mut scene = Scene::idle();
        scene.store().leases.clear();
        if !relays {
            scene.tree.as_mut().unwrap().children.remove(0);
        }
        scene.look(0);
        let health = scene.look(60);
        assert_eq!(health.ready, !relays);
        assert_eq!(part(&health, "relay").sentence, "no relay is active");
    }
}

#[test]
fn a_relay_is_known_since_it_was_seen_first() {
    let mut scene = Scene::idle();
    let since = |health: &Health| part(health, "relay").data["since"].clone();
    let first = since(&scene.look(0));
    assert_eq!(since(&scene.look(9)), first);
    scene.store().leases[0].token = 2;
    assert_ne!(since(&scene.look(10)), first);
}

#[test]
fn what_is_told_and_holds_up_nobody() {
    let mut scene = Scene::idle();
    scene.store().dead_letters = OpenLetters { open: 3, oldest: Some(START), recent: 1 };
    scene.store().pool = Some(PoolUse { used: 8, idle: 0, max: 8 });
    scene.look(0);
    let health = scene.look(3_600);
    assert!(health.ready && health.state == State::Degraded);
    assert_eq!(part(&health, "dead_letters").sentence, "3 open; 1 were set aside in the last ten minutes");
    assert_eq!(part(&health, "store_pool").sentence, "8 of 8 connections are in use");
}

#[test]
fn it_is_not_ready_before_the_tree_has_started() {
    let mut scene = Scene::idle();
    scene.tree = None;
    let health = scene.look(0);
    assert!(!health.ready);
    assert_eq!(reasons(&health), ["root"]);
}
