//! Stopping: reverse order, shutdown times, and children that don't cooperate.

use std::time::Duration;

use factline_supervision::{BackoffPolicy, Exit, NodeState, Shutdown, Strategy, SupervisorSpec, start};
use tokio::time::{Instant, sleep, timeout};

use crate::common::{
    Do, Habits, Journal, never, node, real_time, root, until, until_state, virtual_time, worker, worker_with,
};

fn drains_for(seconds: u64) -> Habits {
    Habits { slow_drain: Some(Duration::from_secs(seconds)), ..Habits::default() }
}

/// How a child that needs ten seconds to drain ends, and after how long.
fn stopped_by(shutdown: Shutdown) -> (Exit, u64, Vec<String>) {
    let mut outcome = None;
    virtual_time(async {
        let journal = Journal::default();
        let (_a, a) = worker_with("a", &journal, drains_for(10));
        let tree = start(root().child(a.shutdown(shutdown))).await.unwrap();
        journal.take();
        let begun = Instant::now();
        assert_eq!(tree.stop().await, Exit::Shutdown);
        let exit = node(&tree, "root/a").last_exit.unwrap().reason;
        outcome = Some((exit, begun.elapsed().as_secs(), journal.take()));
    });
    outcome.unwrap()
}

#[test]
fn stop_within_the_timeout() {
    let (exit, seconds, journal) = stopped_by(Shutdown::Timeout(Duration::from_secs(20)));
    assert_eq!((exit, seconds), (Exit::Shutdown, 10));
    assert_eq!(journal, ["draining a", "stopped a"]);
}

#[test]
fn stop_beyond_the_timeout_is_a_kill() {
    let (exit, seconds, journal) = stopped_by(Shutdown::Timeout(Duration::from_secs(4)));
    assert_eq!((exit, seconds), (Exit::Killed, 4));
    assert_eq!(journal, ["draining a"]);
}

#[test]
fn stop_with_infinity() {
    let (exit, seconds, _) = stopped_by(Shutdown::Infinity);
    assert_eq!((exit, seconds), (Exit::Shutdown, 10));
}

#[test]
fn stop_by_brutal_kill() {
    let (exit, seconds, journal) = stopped_by(Shutdown::Kill);
    assert_eq!((exit, seconds), (Exit::Killed, 0));
    assert_eq!(journal, never());
}

#[test]
fn each_child_has_its_own_time_one_after_the_other() {
    virtual_time(async {
        let journal = Journal::default();
        let (_a, a) = worker_with("a", &journal, drains_for(3));
        let (_b, b) = worker_with("b", &journal, Habits { never_drains: true, ..Habits::default() });
        let (_c, c) = worker_with("c", &journal, drains_for(3));
        let below = SupervisorSpec::new("below").child(b).child(c);
        let tree = start(root().child(a).supervisor(below)).await.unwrap();
        journal.take();
        let begun = Instant::now();
        assert_eq!(tree.stop().await, Exit::Shutdown);
        assert_eq!(begun.elapsed().as_secs(), 3 + 5 + 3);
        let order = ["draining c", "stopped c", "ignored b", "draining a", "stopped a"];
        assert_eq!(journal.take(), order);
    });
}

#[test]
fn mail_keeps_coming_while_an_actor_drains() {
    virtual_time(async {
        let journal = Journal::default();
        let (a, spec) = worker_with("a", &journal, drains_for(3));
        let tree = start(root().child(spec)).await.unwrap();
        let (exit, answer) = tokio::join!(tree.stop(), async {
            until_state(&tree, "root/a", NodeState::Stopping).await;
            a.send(Do::Say("late")).await
        });
        assert_eq!((exit, answer), (Exit::Shutdown, Ok(1)));
    });
}

#[test]
fn a_panic_while_stopping_is_contained() {
    virtual_time(async {
        let journal = Journal::default();
        let (_a, a) = worker("a", &journal);
        let (_b, b) = worker_with("b", &journal, Habits { panics_in_drain: true, ..Habits::default() });
        let tree = start(root().child(a).child(b)).await.unwrap();
        journal.take();
        assert_eq!(tree.stop().await, Exit::Shutdown);
        assert_eq!(node(&tree, "root/b").last_exit.unwrap().reason, Exit::Panicked("no end".into()));
        assert_eq!(journal.take(), ["stopped a"]);
    });
}

#[test]
fn stop_race_children_that_exit_for_other_reasons_while_the_tree_stops() {
    virtual_time(async {
        let journal = Journal::default();
        let (a, spec_a) = worker("a", &journal);
        let (b, spec_b) = worker("b", &journal);
        let (_c, c) = worker_with("c", &journal, drains_for(3));
        let group = root().strategy(Strategy::OneForAll);
        let tree = start(group.child(spec_a).child(spec_b).child(c)).await.unwrap();
        journal.take();
        let (exit, ..) = tokio::join!(tree.stop(), async {
            until_state(&tree, "root/c", NodeState::Stopping).await;
            assert!(a.send(Do::Panic).await.is_err());
            assert!(b.send(Do::Stop).await.is_ok());
        });
        assert_eq!(exit, Exit::Shutdown);
        assert_eq!(journal.take(), ["draining c", "stopped b", "stopped c"]);
        assert_eq!(tree.observe().find("root/a").unwrap().generation, 1);
    });
}

#[test]
fn stopping_twice_is_stopping_once() {
    virtual_time(async {
        let (_a, a) = worker_with("a", &Journal::default(), drains_for(1));
        let tree = start(root().child(a)).await.unwrap();
        let (one, two, seen) = tokio::join!(tree.stop(), tree.stop(), tree.exited());
        assert_eq!((one, two, seen), (Exit::Shutdown, Exit::Shutdown, Exit::Shutdown));
        assert_eq!(tree.stop().await, Exit::Shutdown);
    });
}

/// A child that crashes at once, for ever, and the tree above it can still be stopped.
///
/// In real time: with restarts at once there is always something to do, so virtual time would stand still.
fn shutdown_succeeds_in_an_endless_restart_loop(strategy: Strategy, backoff: BackoffPolicy) {
    real_time(async move {
        let journal = Journal::default();
        let (_a, a) = worker("a", &journal);
        let broken = Habits {
            panics_in_start: Some(std::sync::Arc::new(|generation| generation > 1)),
            ..Habits::default()
        };
        let (b, spec_b) = worker_with("b", &journal, broken);
        let (_c, c) = worker("c", &journal);
        let endless = root().intensity(u32::MAX, Duration::from_secs(1)).strategy(strategy);
        let tree = start(endless.child(a).child(spec_b.backoff(backoff)).child(c)).await.unwrap();
        assert!(b.send(Do::Panic).await.is_err());
        until("it restarts again and again", || node(&tree, "root/b").restarts > 20).await;
        let stopped = timeout(Duration::from_secs(5), tree.stop());
        assert_eq!(stopped.await, Ok(Exit::Shutdown), "{strategy:?}");
        let last = node(&tree, "root/b").generation;
        sleep(Duration::from_millis(20)).await;
        assert_eq!(node(&tree, "root/b").generation, last, "nothing starts after the end");
    });
}

#[test]
fn shutdown_succeeds_while_a_hundred_children_crash_at_once_all_the_time() {
    real_time(async {
        let journal = Journal::default();
        let mut spec = root().intensity(u32::MAX, Duration::from_secs(1));
        let mut references = Vec::new();
        for i in 0..100 {
            let broken = Habits {
                panics_in_start: Some(std::sync::Arc::new(|generation| generation > 1)),
                ..Habits::default()
            };
            let (to, child) = worker_with(&i.to_string(), &journal, broken);
            references.push(to);
            spec = spec.child(child);
        }
        let tree = start(spec).await.unwrap();
        for to in &references {
            to.try_deliver(Do::Panic).unwrap();
        }
        until("they crash", || node(&tree, "root/99").restarts > 3).await;
        assert_eq!(timeout(Duration::from_secs(20), tree.stop()).await, Ok(Exit::Shutdown));
    });
}

#[test]
fn shutdown_succeeds_during_an_endless_restart_loop_under_each_strategy() {
    for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
        shutdown_succeeds_in_an_endless_restart_loop(strategy, BackoffPolicy::immediate());
        let short = BackoffPolicy {
            initial: Duration::from_millis(1),
            max: Duration::from_millis(1),
            ..BackoffPolicy::default()
        };
        shutdown_succeeds_in_an_endless_restart_loop(strategy, short);
    }
}
