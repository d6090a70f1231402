//! Restarts: which exits lead to one, how long they wait, what survives.

use std::{sync::Arc, time::Duration};

use factline_supervision::{BackoffPolicy, Exit, NodeState, Restart, SendError, start};
use tokio::time::Instant;

use crate::common::{
    Do, Habits, Journal, node, root, until_generation, until_state, virtual_time, worker, worker_with,
};

#[test]
fn a_panic_restarts_the_actor_and_keeps_its_mailbox() {
    virtual_time(async {
        let journal = Journal::default();
        let (to, child) = worker("a", &journal);
        let tree = start(root().child(child)).await.unwrap();
        assert_eq!(to.send(Do::Say("one")).await, Ok(1));
        let (crash, queued) = tokio::join!(to.send(Do::Panic), to.send(Do::Say("two")));
        assert_eq!((crash, queued), (Err(SendError::Unanswered), Ok(2)));
        until_generation(&tree, "root/a", 2).await;
        assert_eq!(tree.stop().await, Exit::Shutdown);
        assert_eq!(to.send(Do::Say("three")).await, Err(SendError::Closed));
        assert_eq!(journal.all(), ["up a", "one", "up a", "two", "stopped a"]);
    });
}

#[test]
fn restart_types_times_exits() {
    let exits =
        [(Do::Stop, Exit::Normal), (Do::Fail, Exit::Failed("gave up".into())), (Do::Panic, panicked())];
    for (restart, restarted) in [
        (Restart::Permanent, [true, true, true]),
        (Restart::Transient, [false, true, true]),
        (Restart::Temporary, [false, false, false]),
    ] {
        for ((order, exit), restarted) in exits.clone().into_iter().zip(restarted) {
            virtual_time(async {
                let (to, child) = worker("a", &Journal::default());
                let tree = start(root().child(child.restart(restart))).await.unwrap();
                let _ = to.send(order).await;
                if restarted {
                    until_generation(&tree, "root/a", 2).await;
                    assert!(to.is_open());
                } else {
                    until_state(&tree, "root/a", NodeState::Finished).await;
                    assert_eq!(to.send(Do::Say("hello")).await, Err(SendError::Closed));
                }
                assert_eq!(node(&tree, "root/a").last_exit.unwrap().reason, exit, "{restart:?}");
            });
        }
    }
}

fn panicked() -> Exit {
    Exit::Panicked("boom".into())
}

#[test]
fn multiple_restarts_of_multiple_children() {
    virtual_time(async {
        let journal = Journal::default();
        let (a, spec_a) = worker("a", &journal);
        let (b, spec_b) = worker("b", &journal);
        let tree = start(root().child(spec_a).child(spec_b)).await.unwrap();
        for generation in 1..20 {
            assert!(a.send(Do::Panic).await.is_err());
            assert_eq!(b.send(Do::Stop).await, Ok(generation));
        }
        until_generation(&tree, "root/a", 20).await;
        until_generation(&tree, "root/b", 20).await;
    });
}

#[test]
fn a_restart_waits_for_its_backoff_while_mail_waits_in_the_mailbox() {
    virtual_time(async {
        let backoff = BackoffPolicy {
            initial: Duration::from_secs(2),
            max: Duration::from_secs(5),
            jitter: 0.0,
            ..BackoffPolicy::default()
        };
        let (to, child) = worker("a", &Journal::default());
        let tree = start(root().child(child.backoff(backoff))).await.unwrap();
        for (generation, delay) in [(2, 2), (3, 4), (4, 5)] {
            let begun = Instant::now();
            assert!(to.send(Do::Panic).await.is_err());
            to.deliver(Do::Say("waiting")).await.unwrap();
            until_state(&tree, "root/a", NodeState::BackingOff).await;
            let seen = node(&tree, "root/a");
            assert_eq!(seen.mailbox.unwrap().depth, 1);
            assert!(seen.next_restart.is_some());
            assert_eq!(to.send(Do::Say("served")).await, Ok(generation));
            assert_eq!(begun.elapsed().as_secs(), delay);
        }
    });
}

#[test]
fn no_queued_message_is_lost_over_fifty_restarts() {
    virtual_time(async {
        let journal = Journal::default();
        let (to, child) = worker("a", &journal);
        let tree = start(root().child(child)).await.unwrap();
        for _ in 0..50 {
            to.try_deliver(Do::Say("before")).unwrap();
            to.try_deliver(Do::Panic).unwrap();
            to.try_deliver(Do::Say("after")).unwrap();
        }
        assert_eq!(to.depth(), 150);
        until_generation(&tree, "root/a", 51).await;
        assert_eq!(to.send(Do::InFlight(0)).await, Ok(51));
        let words = journal.all();
        let count = |word: &str| words.iter().filter(|said| *said == word).count();
        assert_eq!((count("before"), count("after")), (50, 50));
    });
}

#[test]
fn a_restart_that_fails_is_tried_again() {
    virtual_time(async {
        let broken_twice = Habits {
            panics_in_start: Some(Arc::new(|generation| generation == 2)),
            fails_start: Some(Arc::new(|generation| generation == 3)),
            ..Habits::default()
        };
        let (to, child) = worker_with("a", &Journal::default(), broken_twice);
        let tree = start(root().child(child)).await.unwrap();
        assert!(to.send(Do::Panic).await.is_err());
        until_generation(&tree, "root/a", 4).await;
        let last = node(&tree, "root/a").last_exit.unwrap();
        assert_eq!((last.generation, last.reason), (3, Exit::StartFailed("no start".into())));
        assert_eq!(node(&tree, "root/a").restarts, 3);
    });
}

#[test]
fn a_panic_in_a_future_of_the_actor_restarts_it() {
    use actix::{Actor, AsyncContext as _, Context, fut::wrap_future};
    use factline_supervision::{ChildSpec, Lifeline, mailbox};

    struct Spawner(Lifeline);

    impl Actor for Spawner {
        type Context = Context<Self>;

        fn started(&mut self, ctx: &mut Self::Context) {
            self.0.ready();
            if self.0.generation() == 1 {
                ctx.spawn(wrap_future(async { panic!("in a future") }));
            }
        }
    }

    virtual_time(async {
        let (_to, mail) = mailbox(1);
        let tree = start(root().child(ChildSpec::actor("a", mail, Spawner))).await.unwrap();
        until_generation(&tree, "root/a", 2).await;
        assert_eq!(node(&tree, "root/a").last_exit.unwrap().reason, Exit::Panicked("in a future".into()));
    });
}

#[test]
fn a_panic_while_a_crashed_actor_is_dropped_does_not_abort() {
    use actix::{Actor, Context, Handler};
    use factline_supervision::{ChildSpec, Lifeline, mailbox};

    struct Brittle(Lifeline);

    impl Actor for Brittle {
        type Context = Context<Self>;

        fn started(&mut self, _: &mut Self::Context) {
            self.0.ready();
        }

        fn stopping(&mut self, _: &mut Self::Context) -> actix::Running {
            panic!("stopping hook of a broken actor")
        }
    }

    impl Drop for Brittle {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }

    impl Handler<Do> for Brittle {
        type Result = u64;

        fn handle(&mut self, _: Do, _: &mut Self::Context) -> u64 {
            panic!("boom")
        }
    }

    virtual_time(async {
        let (to, mail) = mailbox(1);
        let tree = start(root().child(ChildSpec::actor("a", mail, Brittle))).await.unwrap();
        assert!(to.send(Do::Panic).await.is_err());
        until_generation(&tree, "root/a", 2).await;
        assert_eq!(node(&tree, "root/a").last_exit.unwrap().reason, panicked());
    });
}
