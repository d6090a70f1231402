//! An operator at work.

use std::time::Duration;

use factline_supervision::{
    BackoffPolicy, Control, ControlError, Exit, NodeState, OnExhausted, SendError, Strategy, SupervisorSpec,
    start,
};
use tokio::time::{sleep, timeout};

use crate::common::{Do, Journal, node, root, until_generation, until_state, virtual_time, worker};

#[test]
fn restart_is_not_a_failure_and_keeps_the_mail() {
    virtual_time(async {
        let (a, spec) = worker("a", &Journal::default());
        let strict = SupervisorSpec::new("root").intensity(0, Duration::from_mins(1));
        let tree = start(strict.on_exhausted(OnExhausted::Exit).child(spec)).await.unwrap();
        for generation in 2..10 {
            tree.control("root/a", Control::Restart).await.unwrap();
            assert_eq!(a.send(Do::InFlight(0)).await, Ok(generation));
        }
        assert_eq!(node(&tree, "root/a").restarts, 0);
    });
}

#[test]
fn restart_takes_along_those_the_strategy_says() {
    virtual_time(async {
        let journal = Journal::default();
        let (_a, spec_a) = worker("a", &journal);
        let (_b, spec_b) = worker("b", &journal);
        let (c, spec_c) = worker("c", &journal);
        let spec = root().strategy(Strategy::RestForOne).child(spec_a).child(spec_b).child(spec_c);
        let tree = start(spec).await.unwrap();
        journal.take();
        tree.control("root/b", Control::Restart).await.unwrap();
        assert_eq!(c.send(Do::InFlight(0)).await, Ok(2));
        assert_eq!(journal.take(), ["stopped c", "stopped b", "up b", "up c"]);
    });
}

#[test]
fn paused_a_child_is_down_and_its_mail_waits() {
    virtual_time(async {
        let (a, spec) = worker("a", &Journal::default());
        let tree = start(root().child(spec)).await.unwrap();
        tree.control("root/a", Control::Pause).await.unwrap();
        until_state(&tree, "root/a", NodeState::Paused).await;
        assert!(timeout(Duration::from_mins(1), a.send(Do::Say("no"))).await.is_err());
        a.deliver(Do::Say("kept")).await.unwrap();
        tree.control("root/a", Control::Resume).await.unwrap();
        assert_eq!(a.send(Do::Say("served")).await, Ok(2));
    });
}

#[test]
fn stopped_a_child_is_down_for_good_until_it_is_restarted() {
    virtual_time(async {
        let (a, spec) = worker("a", &Journal::default());
        let tree = start(root().child(spec)).await.unwrap();
        tree.control("root/a", Control::Stop).await.unwrap();
        until_state(&tree, "root/a", NodeState::Stopped).await;
        assert_eq!(a.send(Do::Say("no")).await, Err(SendError::Closed));
        tree.control("root/a", Control::Restart).await.unwrap();
        until_generation(&tree, "root/a", 2).await;
        assert_eq!(a.send(Do::Say("yes")).await, Ok(2));
    });
}

#[test]
fn a_whole_subtree_can_be_paused_and_resumed() {
    virtual_time(async {
        let journal = Journal::default();
        let (a, spec_a) = worker("a", &journal);
        let (b, spec_b) = worker("b", &journal);
        let below = SupervisorSpec::new("below").child(spec_a);
        let tree = start(root().supervisor(below).child(spec_b)).await.unwrap();
        tree.control("root/below", Control::Pause).await.unwrap();
        until_state(&tree, "root/below", NodeState::Paused).await;
        assert_eq!(node(&tree, "root/below/a").state, NodeState::Pending);
        let down = tree.control("root/below/a", Control::Restart).await;
        assert_eq!(down, Err(ControlError::SupervisorDown("root/below/a".into())));
        a.deliver(Do::Say("kept")).await.unwrap();
        assert_eq!(b.send(Do::InFlight(0)).await, Ok(1));
        tree.control("root/below", Control::Resume).await.unwrap();
        assert_eq!(a.send(Do::InFlight(0)).await, Ok(2));
        assert!(journal.all().contains(&"kept".into()));
    });
}

#[test]
fn a_paused_child_stays_so_when_its_supervisor_restarts() {
    virtual_time(async {
        let journal = Journal::default();
        let (_a, spec_a) = worker("a", &journal);
        let (b, spec_b) = worker("b", &journal);
        let below = SupervisorSpec::new("below").intensity(0, Duration::from_secs(1));
        let below = below.backoff(BackoffPolicy::immediate()).child(spec_a).child(spec_b);
        let tree = start(root().supervisor(below)).await.unwrap();
        tree.control("root/below/a", Control::Pause).await.unwrap();
        until_state(&tree, "root/below/a", NodeState::Paused).await;
        assert!(b.send(Do::Panic).await.is_err());
        until_generation(&tree, "root/below", 2).await;
        assert_eq!(node(&tree, "root/below/a").state, NodeState::Paused);
        tree.control("root/below/a", Control::Resume).await.unwrap();
        until_generation(&tree, "root/below/a", 2).await;
    });
}

#[test]
fn restart_ends_a_backoff_and_a_parking() {
    virtual_time(async {
        let (a, spec) = worker("a", &Journal::default());
        let slow = BackoffPolicy {
            initial: Duration::from_secs(1000),
            max: Duration::from_secs(1000),
            ..BackoffPolicy::default()
        };
        let tree = start(SupervisorSpec::new("root").child(spec.backoff(slow))).await.unwrap();
        for state in [NodeState::BackingOff, NodeState::Parked] {
            assert!(a.send(Do::Panic).await.is_err());
            until_state(&tree, "root/a", state).await;
            assert!(node(&tree, "root/a").next_restart.is_some());
            tree.control("root/a", Control::Restart).await.unwrap();
            until_state(&tree, "root/a", NodeState::Running).await;
        }
    });
}

#[test]
fn the_root_obeys_too() {
    virtual_time(async {
        let (a, spec) = worker("a", &Journal::default());
        let tree = start(root().child(spec)).await.unwrap();
        tree.control("root", Control::Restart).await.unwrap();
        assert_eq!(a.send(Do::InFlight(0)).await, Ok(2));
        tree.control("root", Control::Pause).await.unwrap();
        until_state(&tree, "root", NodeState::Paused).await;
        tree.control("root", Control::Resume).await.unwrap();
        assert_eq!(a.send(Do::InFlight(0)).await, Ok(3));
        tree.control("root", Control::Stop).await.unwrap();
        assert_eq!(tree.exited().await, Exit::Shutdown);
        let gone = tree.control("root/a", Control::Restart).await;
        assert_eq!(gone, Err(ControlError::SupervisorDown("root/a".into())));
    });
}

#[test]
fn what_cant_be_done_is_refused() {
    virtual_time(async {
        let (_a, spec) = worker("a", &Journal::default());
        let tree = start(root().child(spec)).await.unwrap();
        let unknown = tree.control("root/b", Control::Restart).await.unwrap_err();
        assert_eq!(unknown.to_string(), "there is no child at `root/b`, see the tree for the paths");
        let refused = tree.control("root/a", Control::Resume).await.unwrap_err();
        assert_eq!(refused, ControlError::Refused { path: "root/a".into(), control: Control::Resume });
        sleep(Duration::from_secs(1)).await;
        assert_eq!(node(&tree, "root/a").generation, 1);
    });
}
