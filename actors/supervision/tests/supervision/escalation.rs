//! Exhausted supervisors: escalation and parking.

use std::{sync::Arc, time::Duration};

use factline_supervision::{
    BackoffPolicy, Exit, NodeState, OnExhausted, Restart, Shutdown, Strategy, SupervisorSpec, start,
};
use tokio::time::{Instant, sleep};

use crate::common::{
    Do, Habits, Journal, node, root, until_generation, until_state, virtual_time, worker, worker_with,
};

fn exits() -> SupervisorSpec {
    SupervisorSpec::new("root").intensity(2, Duration::from_secs(10)).on_exhausted(OnExhausted::Exit)
}

#[test]
fn too_many_restarts_within_the_window_end_the_tree_under_each_strategy() {
    for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
        virtual_time(async {
            let journal = Journal::default();
            let (_a, spec_a) = worker("a", &journal);
            let (b, spec_b) = worker("b", &journal);
            let tree = start(exits().strategy(strategy).child(spec_a).child(spec_b)).await.unwrap();
            for _ in 0..3 {
                assert!(b.send(Do::Panic).await.is_err());
            }
            let exit = tree.exited().await;
            let cause = "more than 2 restarts within 10s, at last `b`: panicked: boom";
            assert_eq!(exit, Exit::Escalated(cause.into()));
            assert!(journal.all().ends_with(&["stopped a".into()]), "those left are stopped");
            assert!(!b.is_open());
        });
    }
}

#[test]
fn the_restart_count_resets_after_the_window() {
    virtual_time(async {
        let (a, spec) = worker("a", &Journal::default());
        let tree = start(exits().child(spec)).await.unwrap();
        for generation in 2..20 {
            assert!(a.send(Do::Panic).await.is_err());
            until_generation(&tree, "root/a", generation).await;
            sleep(Duration::from_millis(5001)).await;
        }
        assert_eq!(node(&tree, "root/a").restarts, 18);
        assert_eq!(node(&tree, "root/a").restarts_in_window, 1);
    });
}

#[test]
fn an_escalation_counts_as_a_failure_of_the_child_supervisor_also_if_it_is_transient() {
    virtual_time(async {
        let (a, spec) = worker("a", &Journal::default());
        let below = SupervisorSpec::new("below")
            .restart(Restart::Transient)
            .backoff(BackoffPolicy::immediate())
            .intensity(0, Duration::from_secs(1))
            .child(spec);
        let tree = start(root().supervisor(below)).await.unwrap();
        assert!(a.send(Do::Panic).await.is_err());
        until_generation(&tree, "root/below", 2).await;
        assert!(matches!(node(&tree, "root/below").last_exit.unwrap().reason, Exit::Escalated(_)));
        assert_eq!(node(&tree, "root/below").restarts, 1);
        assert_eq!(a.send(Do::InFlight(0)).await, Ok(2));
    });
}

#[test]
fn escalation_climbs_level_by_level_to_the_root() {
    virtual_time(async {
        let (a, spec) = worker("a", &Journal::default());
        let level = |id: &str| {
            SupervisorSpec::new(id).intensity(1, Duration::from_mins(1)).backoff(BackoffPolicy::immediate())
        };
        let spec = level("root")
            .on_exhausted(OnExhausted::Exit)
            .supervisor(level("x").supervisor(level("y").child(spec)));
        let tree = start(spec).await.unwrap();
        let mut crashes = 0;
        while a.is_open() {
            crashes += i32::from(a.send(Do::Panic).await.is_err());
        }
        // two failures exhaust a level: two of y's, times two of x's, times two of the root's
        assert_eq!(crashes, 8);
        let Exit::Escalated(why) = tree.exited().await else { panic!("{:?}", tree.exited().await) };
        assert!(why.contains("`x`: escalated: ") && why.contains("`a`: panicked: boom"), "{why}");
    });
}

#[test]
fn parked_by_default_at_the_root_and_everything_else_stays_up() {
    virtual_time(async {
        let journal = Journal::default();
        let (a, spec_a) = worker("a", &journal);
        let (b, spec_b) = worker("b", &journal);
        let broken = SupervisorSpec::new("broken").child(spec_a);
        let tree = start(SupervisorSpec::new("root").supervisor(broken).child(spec_b)).await.unwrap();
        // one restart is tolerated by `broken`, and one of `broken` by the root
        for _ in 0..4 {
            assert!(a.send(Do::Panic).await.is_err());
        }
        until_state(&tree, "root/broken", NodeState::Parked).await;
        let parked = Instant::now();
        assert_eq!(b.send(Do::InFlight(0)).await, Ok(1));
        assert!(a.is_open(), "its mail waits");
        until_state(&tree, "root/broken", NodeState::Running).await;
        assert_eq!(parked.elapsed().as_secs(), 30, "retried at the backoff's maximum");
        assert_eq!(a.send(Do::InFlight(0)).await, Ok(5));
    });
}

#[test]
fn a_parked_child_is_retried_for_ever_and_recovers() {
    virtual_time(async {
        let broken = Habits {
            fails_start: Some(Arc::new(|generation| (2..12).contains(&generation))),
            ..Habits::default()
        };
        let (a, spec) = worker_with("a", &Journal::default(), broken);
        let tree = start(SupervisorSpec::new("root").child(spec)).await.unwrap();
        assert!(a.send(Do::Panic).await.is_err());
        until_generation(&tree, "root/a", 12).await;
        assert_eq!(a.send(Do::InFlight(0)).await, Ok(12));
    });
}

#[test]
fn failures_in_a_row_exhaust_even_when_backoff_keeps_them_out_of_the_window() {
    virtual_time(async {
        let backoff =
            BackoffPolicy { initial: Duration::from_secs(20), jitter: 0.0, ..BackoffPolicy::default() };
        let broken = Habits { fails_start: Some(Arc::new(|generation| generation > 1)), ..Habits::default() };
        let (a, spec) = worker_with("a", &Journal::default(), broken);
        let tree =
            start(exits().child(spec.backoff(backoff).max_consecutive_failures(Some(4)))).await.unwrap();
        assert!(a.send(Do::Panic).await.is_err());
        let cause = "`a` failed more than 4 times in a row, at last: start failed: no start";
        assert_eq!(tree.exited().await, Exit::Escalated(cause.into()));
        assert_eq!(node(&tree, "root/a").generation, 5);
    });
}

#[test]
fn counting_goes_on_while_restarting() {
    virtual_time(async {
        let slow = Habits { slow_start: Some(Duration::from_secs(1)), ..Habits::default() };
        let journal = Journal::default();
        let (a, spec_a) = worker_with("a", &journal, slow.clone());
        let (b, spec_b) = worker_with("b", &journal, slow.clone());
        let (c, spec_c) = worker_with("c", &journal, slow);
        let tree = start(exits().child(spec_a).child(spec_b).child(spec_c)).await.unwrap();
        for to in [&a, &b, &c] {
            assert!(to.send(Do::Panic).await.is_err());
        }
        assert!(matches!(tree.exited().await, Exit::Escalated(_)));
    });
}

#[test]
fn a_killed_supervisor_takes_its_children_with_it() {
    virtual_time(async {
        let journal = Journal::default();
        let stuck = Habits { never_drains: true, ..Habits::default() };
        let (a, spec_a) = worker_with("a", &journal, stuck.clone());
        let (_b, spec_b) = worker_with("b", &journal, stuck);
        let deeper = SupervisorSpec::new("deeper").child(spec_b.shutdown(Shutdown::Infinity));
        let below = SupervisorSpec::new("below")
            .shutdown(Shutdown::Timeout(Duration::from_secs(1)))
            .child(spec_a.shutdown(Shutdown::Infinity))
            .supervisor(deeper);
        let tree = start(root().supervisor(below)).await.unwrap();
        assert_eq!(tree.stop().await, Exit::Shutdown);
        assert_eq!(node(&tree, "root/below").last_exit.unwrap().reason, Exit::Killed);
        assert!(!a.is_open());
        for path in ["root/below/a", "root/below/deeper/b"] {
            let seen = node(&tree, path);
            assert_eq!((seen.state, seen.last_exit.unwrap().reason), (NodeState::Pending, Exit::Killed));
        }
        assert_eq!(journal.all(), ["up a", "up b", "ignored b"]);
    });
}
