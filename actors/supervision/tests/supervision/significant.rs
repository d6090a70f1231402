//! Significant children and supervisors that end with them.

use factline_supervision::{
    AutoShutdown, BackoffPolicy, Exit, NodeState, Restart, Strategy, SupervisorSpec, start,
};

use crate::common::{Do, Journal, node, root, until_generation, until_state, virtual_time, worker};

#[test]
fn the_first_significant_child_to_finish_ends_its_supervisor() {
    virtual_time(async {
        let journal = Journal::default();
        let (a, spec_a) = worker("a", &journal);
        let (b, spec_b) = worker("b", &journal);
        let (_c, spec_c) = worker("c", &journal);
        let spec = root()
            .auto_shutdown(AutoShutdown::AnySignificant)
            .child(spec_a.restart(Restart::Transient).significant(true))
            .child(spec_b.restart(Restart::Transient))
            .child(spec_c);
        let tree = start(spec).await.unwrap();
        assert!(a.send(Do::Panic).await.is_err());
        assert_eq!(b.send(Do::Stop).await, Ok(1));
        until_state(&tree, "root/b", NodeState::Finished).await;
        assert_eq!(a.send(Do::Stop).await, Ok(2), "neither ended the tree");
        assert_eq!(tree.exited().await, Exit::Shutdown);
        assert!(journal.all().ends_with(&["stopped a".into(), "stopped c".into()]));
    });
}

#[test]
fn the_last_significant_child_to_finish_ends_its_supervisor() {
    virtual_time(async {
        let journal = Journal::default();
        let (a, spec_a) = worker("a", &journal);
        let (b, spec_b) = worker("b", &journal);
        let spec = root()
            .auto_shutdown(AutoShutdown::AllSignificant)
            .child(spec_a.restart(Restart::Temporary).significant(true))
            .child(spec_b.restart(Restart::Temporary).significant(true));
        let tree = start(spec).await.unwrap();
        assert!(a.send(Do::Panic).await.is_err());
        until_state(&tree, "root/a", NodeState::Finished).await;
        assert_eq!(b.send(Do::Stop).await, Ok(1));
        assert_eq!(tree.exited().await, Exit::Shutdown);
    });
}

#[test]
fn a_significant_child_ended_by_its_sibling_does_not_end_the_supervisor() {
    virtual_time(async {
        let journal = Journal::default();
        let (a, spec_a) = worker("a", &journal);
        let (_b, spec_b) = worker("b", &journal);
        let spec = root()
            .strategy(Strategy::OneForAll)
            .auto_shutdown(AutoShutdown::AnySignificant)
            .child(spec_a)
            .child(spec_b.restart(Restart::Temporary).significant(true));
        let tree = start(spec).await.unwrap();
        assert!(a.send(Do::Panic).await.is_err());
        until_generation(&tree, "root/a", 2).await;
        assert_eq!(node(&tree, "root/b").state, NodeState::Finished);
        assert_eq!(tree.observe().state, NodeState::Running);
    });
}

#[test]
fn a_supervisor_that_ended_with_its_child_is_restarted_only_if_permanent() {
    for (restart, state) in
        [(Restart::Permanent, NodeState::Running), (Restart::Transient, NodeState::Finished)]
    {
        virtual_time(async {
            let (a, spec_a) = worker("a", &Journal::default());
            let below = SupervisorSpec::new("below")
                .auto_shutdown(AutoShutdown::AnySignificant)
                .restart(restart)
                .backoff(BackoffPolicy::immediate())
                .child(spec_a.restart(Restart::Transient).significant(true));
            let tree = start(root().supervisor(below)).await.unwrap();
            assert_eq!(a.send(Do::Stop).await, Ok(1));
            crate::common::until_node(&tree, "root/below", "has ended once", |node| {
                node.last_exit.is_some() && node.state == state
            })
            .await;
            assert_eq!(a.is_open(), state == NodeState::Running);
        });
    }
}
