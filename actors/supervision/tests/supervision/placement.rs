//! Children with threads of their own, in real time.

use std::time::Duration;

use factline_supervision::{Exit, NodeState, Placement, Shutdown, StartError, SupervisorSpec, start};
use tokio::{
    task::spawn_local,
    time::{Instant, sleep, timeout},
};

use crate::common::{
    Do, Habits, Journal, node, real_time, root, until_generation, until_state, virtual_time, worker,
    worker_with,
};

#[test]
fn a_child_on_its_own_arbiter_is_supervised_like_any_other() {
    real_time(async {
        let journal = Journal::default();
        let (a, spec) = worker("a", &journal);
        let tree = start(root().child(spec.placement(Placement::OwnArbiter))).await.unwrap();
        assert_eq!(a.send(Do::Say("one")).await, Ok(1));
        a.try_deliver(Do::Panic).unwrap();
        a.try_deliver(Do::Say("two")).unwrap();
        until_generation(&tree, "root/a", 2).await;
        assert_eq!(a.send(Do::Stop).await, Ok(2));
        until_generation(&tree, "root/a", 3).await;
        assert_eq!(tree.stop().await, Exit::Shutdown);
        let seen = journal.all();
        assert_eq!(seen, ["up a", "one", "up a", "two", "stopped a", "up a", "stopped a"]);
    });
}

#[test]
fn a_blocking_child_blocks_nobody_else() {
    real_time(async {
        let journal = Journal::default();
        let (a, spec_a) = worker("a", &journal);
        let (b, spec_b) = worker("b", &journal);
        let tree = start(root().child(spec_a.placement(Placement::OwnArbiter)).child(spec_b)).await.unwrap();
        let blocked = spawn_local(async move { a.send(Do::Block(Duration::from_secs(1))).await });
        assert_eq!(b.send(Do::Say("quick")).await, Ok(1));
        assert!(!blocked.is_finished());
        assert_eq!(blocked.await.unwrap(), Ok(1));
        tree.stop().await;
    });
}

#[test]
fn a_frozen_actor_is_killed_and_restarted_and_its_mail_is_served() {
    real_time(async {
        let journal = Journal::default();
        let (a, spec) = worker("a", &journal);
        let spec = spec.placement(Placement::OwnArbiter).stall_after(Some(Duration::from_millis(100)));
        let tree = start(root().child(spec)).await.unwrap();
        let frozen = tokio::spawn({
            let a = a.clone();
            async move { a.send(Do::Block(Duration::from_secs(8))).await }
        });
        let begun = Instant::now();
        sleep(Duration::from_millis(20)).await;
        assert_eq!(a.send(Do::Say("after")).await, Ok(2), "served by the next one, on another thread");
        assert!(begun.elapsed() < Duration::from_secs(6));
        let last = node(&tree, "root/a").last_exit.unwrap();
        assert!(matches!(last.reason, Exit::Stalled { .. }), "{:?}", last.reason);
        assert_eq!(tree.stop().await, Exit::Shutdown);
        drop(frozen);
    });
}

#[test]
fn a_frozen_actor_does_not_keep_the_tree_from_stopping() {
    real_time(async {
        let journal = Journal::default();
        let (a, spec_a) = worker("a", &journal);
        let (_b, spec_b) = worker("b", &journal);
        let spec_a =
            spec_a.placement(Placement::OwnArbiter).shutdown(Shutdown::Timeout(Duration::from_millis(50)));
        let tree = start(root().child(spec_b).child(spec_a)).await.unwrap();
        a.try_deliver(Do::Block(Duration::from_secs(8))).unwrap();
        sleep(Duration::from_millis(20)).await;
        assert_eq!(node(&tree, "root/a").state, NodeState::Running, "observing it does not hang");
        assert_eq!(timeout(Duration::from_secs(5), tree.stop()).await, Ok(Exit::Shutdown));
        assert_eq!(node(&tree, "root/a").last_exit.unwrap().reason, Exit::Killed);
        assert!(journal.all().contains(&"stopped b".into()));
    });
}

#[test]
fn children_of_a_supervisor_with_an_arbiter_share_it_and_its_fate() {
    real_time(async {
        let journal = Journal::default();
        let (a, spec_a) = worker("a", &journal);
        let (b, spec_b) = worker("b", &journal);
        let (c, spec_c) = worker("c", &journal);
        let below = SupervisorSpec::new("below")
            .placement(Placement::OwnArbiter)
            .intensity(10, Duration::from_secs(10))
            .child(spec_a.stall_after(Some(Duration::from_millis(100))))
            .child(spec_b);
        let tree = start(root().supervisor(below).child(spec_c)).await.unwrap();
        a.try_deliver(Do::Block(Duration::from_secs(8))).unwrap();
        assert_eq!(c.send(Do::InFlight(0)).await, Ok(1), "another thread");
        until_state(&tree, "root/below", NodeState::Running).await;
        let neighbour = timeout(Duration::from_secs(6), async {
            sleep(Duration::from_millis(20)).await;
            b.send(Do::Say("freed")).await
        });
        assert_eq!(neighbour.await, Ok(Ok(2)), "moved off the stuck thread with it");
        tree.stop().await;
    });
}

#[test]
fn a_supervisor_can_place_its_children_and_stop_them_in_order() {
    real_time(async {
        let journal = Journal::default();
        let (_a, spec_a) = worker("a", &journal);
        let slow = Habits { slow_drain: Some(Duration::from_millis(30)), ..Habits::default() };
        let (_b, spec_b) = worker_with("b", &journal, slow);
        let below = SupervisorSpec::new("below")
            .placement(Placement::OwnArbiter)
            .child(spec_a)
            .child(spec_b.placement(Placement::OwnArbiter));
        let tree = start(root().supervisor(below)).await.unwrap();
        tree.stop().await;
        assert_eq!(journal.all(), ["up a", "up b", "draining b", "stopped b", "stopped a"]);
    });
}

#[test]
fn an_arbiter_of_its_own_needs_a_system() {
    virtual_time(async {
        let (_a, spec) = worker("a", &Journal::default());
        let error = start(root().child(spec.placement(Placement::OwnArbiter))).await.unwrap_err();
        let StartError::Failed(exit) = error else { panic!("{error}") };
        assert!(exit.to_string().contains("needs an actix `System`"), "{exit}");
    });
}
