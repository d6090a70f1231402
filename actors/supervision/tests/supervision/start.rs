//! Starting: order, readiness, and what happens when it fails.

use std::{sync::Arc, time::Duration};

use factline_supervision::{
    AutoShutdown, BackoffPolicy, Exit, NodeState, Restart, SpecError, StartError, SupervisorSpec, start,
};
use tokio::time::Instant;

use crate::common::{Habits, Journal, never, node, root, virtual_time, worker, worker_with};

#[test]
fn children_start_in_order_and_each_is_ready_before_the_next_starts() {
    virtual_time(async {
        let journal = Journal::default();
        let slow = Habits { slow_start: Some(Duration::from_secs(5)), ..Habits::default() };
        let (_a, a) = worker_with("a", &journal, slow.clone());
        let (_b, b) = worker("b", &journal);
        let (_c, c) = worker_with("c", &journal, slow);
        let (_d, d) = worker("d", &journal);
        let begun = Instant::now();
        let below = SupervisorSpec::new("below").child(b).child(c);
        let tree = start(root().child(a).supervisor(below).child(d)).await.unwrap();
        assert_eq!(journal.take(), ["up a", "up b", "up c", "up d"]);
        assert_eq!(begun.elapsed().as_secs(), 10);
        tree.stop().await;
        assert_eq!(journal.take(), ["stopped d", "stopped c", "stopped b", "stopped a"]);
    });
}

#[test]
fn a_failed_start_undoes_those_started_in_reverse() {
    virtual_time(async {
        let journal = Journal::default();
        let (a, spec_a) = worker("a", &journal);
        let (_b, b) = worker("b", &journal);
        let fails = Habits { fails_start: Some(Arc::new(|_| true)), ..Habits::default() };
        let (_c, c) = worker_with("c", &journal, fails);
        let (_d, d) = worker("d", &journal);
        let below = SupervisorSpec::new("below").child(b).child(c);
        let error = start(root().child(spec_a).supervisor(below).child(d)).await.unwrap_err();
        assert_eq!(error.to_string(), "start failed: below: c: no start");
        assert_eq!(journal.take(), ["up a", "up b", "stopped b", "stopped a"]);
        assert!(!a.is_open(), "nobody will ever read its mail");
    });
}

#[test]
fn a_panic_in_the_start_is_a_failed_start() {
    virtual_time(async {
        let panics = Habits { panics_in_start: Some(Arc::new(|_| true)), ..Habits::default() };
        let (_a, a) = worker_with("a", &Journal::default(), panics);
        let error = start(root().child(a)).await.unwrap_err();
        assert_eq!(error.to_string(), "start failed: a: panicked: no start");
    });
}

#[test]
fn a_child_that_is_not_ready_in_time_is_killed_and_the_start_fails() {
    virtual_time(async {
        let journal = Journal::default();
        let never_ready = Habits { never_ready: true, ..Habits::default() };
        let (_a, a) = worker_with("a", &journal, never_ready);
        let begun = Instant::now();
        let error = start(root().child(a.start_timeout(Duration::from_secs(3)))).await.unwrap_err();
        assert_eq!(error.to_string(), "start failed: a: not ready within 3s");
        assert_eq!(begun.elapsed().as_secs(), 3);
        assert_eq!(journal.take(), never());
    });
}

#[test]
fn a_start_that_is_given_up_leaves_nothing_behind() {
    virtual_time(async {
        let journal = Journal::default();
        let (a, spec_a) = worker("a", &journal);
        let (_b, b) = worker_with("b", &journal, Habits { never_ready: true, ..Habits::default() });
        let begun = tokio::time::timeout(Duration::from_secs(1), start(root().child(spec_a).child(b)));
        assert!(begun.await.is_err());
        crate::common::until("its mailbox is closed", || !a.is_open()).await;
    });
}

#[test]
fn the_defaults_are_otps() {
    virtual_time(async {
        let (_a, a) = worker("a", &Journal::default());
        let tree = start(SupervisorSpec::new("root").child(a)).await.unwrap();
        let rules = tree.observe().supervision.unwrap();
        let text = serde_json::to_value(rules).unwrap();
        assert_eq!(text["strategy"], "one_for_one");
        assert_eq!((rules.max_restarts, rules.within), (1, Duration::from_secs(5)));
        assert_eq!(node(&tree, "root/a").state, NodeState::Running);
    });
}

#[test]
fn faulty_specs_are_refused_and_the_fault_is_named() {
    let child = |id: &str| worker(id, &Journal::default()).1;
    let bad_backoff = BackoffPolicy { jitter: 2.0, ..BackoffPolicy::default() };
    let (_, closed) = factline_supervision::mailbox::<crate::common::Worker>(0);
    let no_room = factline_supervision::ChildSpec::actor("a", closed, |lifeline| crate::common::Worker {
        lifeline,
        journal: Journal::default(),
        habits: Habits::default(),
    });
    let auto = || root().auto_shutdown(AutoShutdown::AnySignificant);
    for (spec, message) in [
        (root().child(child("")), "`root/`: an id must not be empty or contain `/`"),
        (root().child(child("a/b")), "`root/a/b`: an id must not be empty or contain `/`"),
        (
            root().child(child("a")).child(child("a")),
            "`root/a`: another child of the same supervisor has this id",
        ),
        (
            root().supervisor(SupervisorSpec::new("s").intensity(1, Duration::ZERO)),
            "`root/s`: the restart window must be longer than zero",
        ),
        (root().child(child("a").backoff(bad_backoff)), "`root/a`: backoff.jitter must be between 0 and 1"),
        (
            root().child(child("a").start_timeout(Duration::ZERO)),
            "`root/a`: start_timeout must be longer than zero",
        ),
        (
            root().child(child("a").stall_after(Some(Duration::ZERO))),
            "`root/a`: stall_after must be longer than zero",
        ),
        (root().child(no_room), "`root/a`: the mailbox capacity must be at least 1"),
        (auto().child(child("a").significant(true)), "`root/a`: a permanent child can't be significant"),
        (
            root().child(child("a").significant(true).restart(Restart::Transient)),
            "`root/a`: a significant child needs a supervisor with auto_shutdown",
        ),
    ] {
        virtual_time(async {
            let StartError::Spec(fault) = start(spec).await.unwrap_err() else { panic!("{message}") };
            assert_eq!(fault.to_string(), message);
        });
    }
    virtual_time(async {
        let fault = SpecError::BadId { path: String::new() };
        assert_eq!(start(SupervisorSpec::new("")).await.unwrap_err(), StartError::Spec(fault));
    });
}

#[test]
fn a_supervisor_without_children_is_fine() {
    virtual_time(async {
        let tree = start(root()).await.unwrap();
        assert_eq!(tree.stop().await, Exit::Shutdown);
    });
}

#[test]
fn a_thousand_children() {
    virtual_time(async {
        let journal = Journal::default();
        let mut spec = root();
        let mut references = Vec::new();
        for i in 0..1000 {
            let (to, child) = worker(&i.to_string(), &journal);
            references.push(to);
            spec = spec.child(child);
        }
        let tree = start(spec).await.unwrap();
        let up: Vec<_> = (0..1000).map(|i| format!("up {i}")).collect();
        assert_eq!(journal.take(), up);
        for to in &references {
            assert!(to.send(crate::common::Do::Panic).await.is_err());
        }
        for to in &references {
            assert_eq!(to.send(crate::common::Do::InFlight(0)).await, Ok(2));
        }
        assert_eq!(tree.stop().await, Exit::Shutdown);
        let stopped = journal.take().split_off(1000);
        let expected: Vec<_> = (0..1000).rev().map(|i| format!("stopped {i}")).collect();
        assert_eq!(stopped, expected);
    });
}
