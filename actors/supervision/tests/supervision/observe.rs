//! The snapshot.

use std::time::Duration;

use factline_supervision::{BackoffPolicy, NodeKind, NodeState, Strategy, SupervisorSpec, start};

use crate::common::{Do, Journal, node, root, until_state, virtual_time, worker};

#[test]
fn the_snapshot_tells_what_happened_and_what_will() {
    virtual_time(async {
        let journal = Journal::default();
        let (a, spec_a) = worker("a", &journal);
        let (_b, spec_b) = worker("b", &journal);
        let slow = BackoffPolicy { initial: Duration::from_secs(20), ..BackoffPolicy::default() };
        let below = SupervisorSpec::new("below").strategy(Strategy::RestForOne).child(spec_a.backoff(slow));
        let tree = start(root().supervisor(below).child(spec_b)).await.unwrap();
        a.send(Do::InFlight(2)).await.unwrap();
        assert!(a.send(Do::Panic).await.is_err());
        until_state(&tree, "root/below/a", NodeState::BackingOff).await;
        a.deliver(Do::Say("waiting")).await.unwrap();

        let seen = serde_json::to_value(tree.observe()).unwrap();
        assert_eq!(seen["path"], "root");
        assert_eq!((&seen["kind"], &seen["state"]), (&"supervisor".into(), &"running".into()));
        assert_eq!(seen["supervision"]["strategy"], "one_for_one");
        assert_eq!(seen["children"][0]["supervision"]["within_ms"], 5000);
        let child = &seen["children"][0]["children"][0];
        assert_eq!(child["path"], "root/below/a");
        assert_eq!(child["state"], "backing_off");
        assert_eq!(child["generation"], 1);
        assert_eq!((&child["restarts"], &child["restarts_in_window"]), (&1.into(), &1.into()));
        assert_eq!(child["last_exit"]["reason"], "panicked: boom");
        assert_eq!(child["last_exit"]["in_flight"], 2);
        assert_eq!(child["mailbox"], serde_json::json!({ "depth": 1, "capacity": 1000 }));
        assert_eq!(child["condition"]["kind"], "healthy");
        let due = child["next_restart_ms"].as_u64().unwrap();
        assert!(due > child["last_exit"]["at_ms"].as_u64().unwrap());
        assert_eq!(seen["children"][1]["state"], "running");
    });
}

#[test]
fn a_node_is_found_by_its_path() {
    virtual_time(async {
        let journal = Journal::default();
        let (_a, a) = worker("a", &journal);
        let (_ab, ab) = worker("a", &journal);
        let tree = start(root().supervisor(SupervisorSpec::new("aa").child(ab)).child(a)).await.unwrap();
        let seen = tree.observe();
        assert_eq!(seen.find("root").unwrap().kind, NodeKind::Supervisor);
        assert_eq!(seen.find("root/aa/a").unwrap().id, "a");
        assert_eq!(seen.find("root/a").unwrap().kind, NodeKind::Actor);
        assert!(seen.find("root/b").is_none() && seen.find("roo").is_none() && seen.find("").is_none());
    });
}

#[test]
fn a_tree_that_is_gone_can_still_be_observed() {
    virtual_time(async {
        let (_a, a) = worker("a", &Journal::default());
        let tree = start(root().child(a)).await.unwrap();
        tree.stop().await;
        assert_ne!(node(&tree, "root").state, NodeState::Running);
        assert_eq!(node(&tree, "root/a").last_exit.unwrap().reason.to_string(), "shut down");
    });
}
