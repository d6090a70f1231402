//! The three strategies, and trees of supervisors.

use std::{sync::Arc, time::Duration};

use factline_supervision::{
    BackoffPolicy, NodeState, Ref, Restart, SendError, Strategy, SupervisorSpec, Tree, start,
};

use crate::common::{
    Do, Habits, Journal, Worker, node, root, until_generation, until_state, virtual_time, worker, worker_with,
};

/// A group a, b, c under the strategy; its references, and its journal after the start.
async fn group(strategy: Strategy) -> (Tree, [Ref<Worker>; 3], Journal) {
    let journal = Journal::default();
    let (a, spec_a) = worker("a", &journal);
    let (b, spec_b) = worker("b", &journal);
    let (c, spec_c) = worker("c", &journal);
    let spec = root().strategy(strategy).child(spec_a).child(spec_b).child(spec_c);
    let tree = start(spec).await.unwrap();
    journal.take();
    (tree, [a, b, c], journal)
}

/// What happens when one of a, b, c crashes, as journal and generations.
fn crash_of(strategy: Strategy, child: usize) -> (Vec<String>, [u64; 3]) {
    let mut outcome = None;
    virtual_time(async {
        let (tree, references, journal) = group(strategy).await;
        assert!(references[child].send(Do::Panic).await.is_err());
        until_generation(&tree, ["root/a", "root/b", "root/c"][child], 2).await;
        let [a, b, c] = &references;
        let (a, b, c) =
            tokio::join!(a.send(Do::InFlight(0)), b.send(Do::InFlight(0)), c.send(Do::InFlight(0)));
        outcome = Some((journal.take(), [a.unwrap(), b.unwrap(), c.unwrap()]));
    });
    outcome.unwrap()
}

fn words(line: &str) -> Vec<String> {
    line.split(", ").map(str::to_owned).collect()
}

#[test]
fn one_for_one_restarts_only_the_dead_child() {
    assert_eq!(crash_of(Strategy::OneForOne, 1), (words("up b"), [1, 2, 1]));
}

#[test]
fn one_for_all_stops_all_and_restarts_all() {
    let all = "stopped c, stopped a, up a, up b, up c";
    assert_eq!(crash_of(Strategy::OneForAll, 1), (words(all), [2, 2, 2]));
}

#[test]
fn rest_for_one_on_the_first() {
    let all = "stopped c, stopped b, up a, up b, up c";
    assert_eq!(crash_of(Strategy::RestForOne, 0), (words(all), [2, 2, 2]));
}

#[test]
fn rest_for_one_on_one_in_between() {
    assert_eq!(crash_of(Strategy::RestForOne, 1), (words("stopped c, up b, up c"), [1, 2, 2]));
}

#[test]
fn rest_for_one_on_the_last() {
    assert_eq!(crash_of(Strategy::RestForOne, 2), (words("up c"), [1, 1, 2]));
}

#[test]
fn mail_of_those_restarted_with_the_group_survives() {
    virtual_time(async {
        let journal = Journal::default();
        let (a, spec_a) = worker("a", &journal);
        let (b, spec_b) = worker("b", &journal);
        let slow = BackoffPolicy { initial: Duration::from_secs(5), ..BackoffPolicy::default() };
        let spec = root().strategy(Strategy::OneForAll).child(spec_a.backoff(slow)).child(spec_b);
        let tree = start(spec).await.unwrap();
        assert!(a.send(Do::Panic).await.is_err());
        until_state(&tree, "root/b", NodeState::Pending).await;
        assert_eq!(b.send(Do::Say("kept")).await, Ok(2));
    });
}

#[test]
fn a_temporary_bystander_is_not_restarted() {
    for strategy in [Strategy::OneForAll, Strategy::RestForOne] {
        virtual_time(async {
            let journal = Journal::default();
            let (a, spec_a) = worker("a", &journal);
            let (b, spec_b) = worker("b", &journal);
            let spec = root().strategy(strategy).child(spec_a).child(spec_b.restart(Restart::Temporary));
            let tree = start(spec).await.unwrap();
            assert!(a.send(Do::Panic).await.is_err());
            until_generation(&tree, "root/a", 2).await;
            assert_eq!(node(&tree, "root/b").state, NodeState::Finished);
            assert_eq!(b.send(Do::Panic).await, Err(SendError::Closed));
        });
    }
}

#[test]
fn another_child_that_fails_its_restart_takes_the_group_down_again() {
    for (strategy, generations) in [(Strategy::OneForAll, (3, 3, 2)), (Strategy::RestForOne, (2, 3, 2))] {
        virtual_time(async {
            let journal = Journal::default();
            let (a, spec_a) = worker("a", &journal);
            let broken =
                Habits { fails_start: Some(Arc::new(|generation| generation == 2)), ..Habits::default() };
            let (_b, spec_b) = worker_with("b", &journal, broken);
            let (c, spec_c) = worker("c", &journal);
            let spec = root().strategy(strategy).child(spec_a).child(spec_b).child(spec_c);
            let tree = start(spec).await.unwrap();
            assert!(a.send(Do::Panic).await.is_err());
            assert_eq!(c.send(Do::InFlight(0)).await, Ok(generations.2));
            let seen = |path| node(&tree, path).generation;
            assert_eq!((seen("root/a"), seen("root/b"), seen("root/c")), generations, "{strategy:?}");
        });
    }
}

#[test]
fn a_tree_of_supervisors_restarts_a_subtree_as_one_child() {
    virtual_time(async {
        let journal = Journal::default();
        let (first, spec_first) = worker("first", &journal);
        let (a, spec_a) = worker("a", &journal);
        let (b, spec_b) = worker("b", &journal);
        let (last, spec_last) = worker("last", &journal);
        let below = SupervisorSpec::new("below").child(spec_a).child(spec_b);
        let spec = root()
            .strategy(Strategy::RestForOne)
            .child(spec_first)
            .supervisor(below.backoff(BackoffPolicy::immediate()))
            .child(spec_last);
        let tree = start(spec).await.unwrap();
        journal.take();
        // one restart is tolerated, the second one within five seconds is not
        assert!(a.send(Do::Panic).await.is_err());
        assert_eq!(a.send(Do::InFlight(0)).await, Ok(2));
        assert_eq!(journal.take(), ["up a"]);
        let (crash, kept) = tokio::join!(a.send(Do::Panic), b.send(Do::Say("kept")));
        assert!(crash.is_err() && kept.is_ok());
        assert_eq!(last.send(Do::InFlight(0)).await, Ok(2), "started after the subtree");
        assert_eq!(first.send(Do::InFlight(0)).await, Ok(1));
        assert_eq!(node(&tree, "root/below").generation, 2);
        assert_eq!(a.send(Do::InFlight(0)).await, Ok(3), "generations go on counting");
        let restarted: Vec<_> = journal.take().into_iter().filter(|word| word != "kept").collect();
        assert_eq!(restarted, ["stopped b", "stopped last", "up a", "up b", "up last"]);
    });
}
