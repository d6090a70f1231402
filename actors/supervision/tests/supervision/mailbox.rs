//! Bounded for real, and open over restarts.

use std::{cell::Cell, rc::Rc, time::Duration};

use actix::{Actor, AsyncContext as _, Context, Handler, Message, ResponseActFuture, WrapFuture as _};
use factline_supervision::{
    ChildSpec, Control, Lifeline, NodeState, Ref, SendError, TrySendError, mailbox, start,
};
use tokio::{task::spawn_local, time::sleep};

use crate::common::{Do, Journal, Worker, node, real_time, root, until_state, virtual_time, worker};

/// Takes a while over each number, one at a time.
struct Slow {
    lifeline: Lifeline,
    ticks: Rc<Cell<u32>>,
}

struct Number(usize);

impl Message for Number {
    type Result = usize;
}

impl Actor for Slow {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.lifeline.ready();
        ctx.run_interval(Duration::from_millis(10), |actor, _| actor.ticks.set(actor.ticks.get() + 1));
    }
}

impl Handler<Number> for Slow {
    type Result = actix::AtomicResponse<Self, usize>;

    fn handle(&mut self, Number(n): Number, _: &mut Self::Context) -> Self::Result {
        let work = async move {
            sleep(Duration::from_millis(1)).await;
            n
        };
        actix::AtomicResponse::new(Box::pin(work.into_actor(self)))
    }
}

struct Ticks;

impl Message for Ticks {
    type Result = u32;
}

impl Handler<Ticks> for Slow {
    type Result = ResponseActFuture<Self, u32>;

    fn handle(&mut self, Ticks: Ticks, _: &mut Self::Context) -> Self::Result {
        let ticks = self.ticks.get();
        Box::pin(async move { ticks }.into_actor(self))
    }
}

fn slow(capacity: usize) -> (Ref<Slow>, ChildSpec) {
    let (to, mail) = mailbox(capacity);
    (to, ChildSpec::actor("slow", mail, |lifeline| Slow { lifeline, ticks: Rc::default() }))
}

#[test]
fn a_hundred_concurrent_senders_never_exceed_the_capacity() {
    virtual_time(async {
        let (to, spec) = slow(10);
        let tree = start(root().child(spec)).await.unwrap();
        let deepest = Rc::new(Cell::new(0));
        let senders: Vec<_> = (0..100)
            .map(|sender| {
                let (to, deepest) = (to.clone(), Rc::clone(&deepest));
                spawn_local(async move {
                    for i in 0..10 {
                        let n = sender * 10 + i;
                        if n % 2 == 0 {
                            assert_eq!(to.clone().send(Number(n)).await, Ok(n));
                        } else {
                            to.deliver(Number(n)).await.unwrap();
                        }
                        deepest.set(deepest.get().max(to.depth()));
                    }
                })
            })
            .collect();
        for sender in senders {
            sender.await.unwrap();
        }
        assert_eq!(deepest.get(), 10, "full, and never more than full");
        assert_eq!(to.capacity(), 10);
        tree.stop().await;
    });
}

#[test]
fn senders_on_other_threads_are_bounded_too() {
    real_time(async {
        let (to, spec) = slow(4);
        let _tree = start(root().child(spec)).await.unwrap();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let to = to.clone();
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    runtime.block_on(async {
                        for n in 0..50 {
                            to.deliver(Number(n)).await.unwrap();
                            assert!(to.depth() <= 4);
                        }
                        to.send(Number(7)).await.unwrap()
                    })
                })
            })
            .collect();
        while !threads.iter().all(std::thread::JoinHandle::is_finished) {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(threads.into_iter().all(|thread| thread.join().unwrap() == 7));
    });
}

#[test]
fn a_full_mailbox_gives_the_message_back() {
    virtual_time(async {
        let (to, spec) = slow(2);
        assert!(to.try_deliver(Number(1)).is_ok());
        assert!(to.try_deliver(Number(2)).is_ok());
        let Err(TrySendError::Full(Number(3))) = to.try_deliver(Number(3)) else { panic!("not full") };
        assert_eq!((to.depth(), to.capacity()), (2, 2));
        // what was sent before the start is served after it
        let _tree = start(root().child(spec)).await.unwrap();
        assert_eq!(to.send(Number(4)).await, Ok(4));
    });
}

#[test]
fn messages_of_one_sender_keep_their_order() {
    virtual_time(async {
        let journal = Journal::default();
        let (to, child) = worker("a", &journal);
        let _tree = start(root().child(child)).await.unwrap();
        journal.take();
        for word in ["one", "two", "three"] {
            to.deliver(Do::Say(word)).await.unwrap();
        }
        to.send(Do::Say("four")).await.unwrap();
        assert_eq!(journal.take(), ["one", "two", "three", "four"]);
    });
}

#[test]
fn a_message_whose_sender_gave_up_is_withdrawn() {
    virtual_time(async {
        let journal = Journal::default();
        let (to, child) = worker("a", &journal);
        let tree = start(root().child(child)).await.unwrap();
        tree.control("root/a", Control::Pause).await.unwrap();
        until_state(&tree, "root/a", NodeState::Paused).await;
        let sent = tokio::time::timeout(Duration::from_secs(1), to.send(Do::Say("never mind")));
        assert!(sent.await.is_err());
        tree.control("root/a", Control::Resume).await.unwrap();
        to.send(Do::Say("hello")).await.unwrap();
        assert!(!journal.all().contains(&"never mind".into()));
    });
}

#[test]
fn timers_run_between_slices_of_mail() {
    real_time(async {
        let (to, spec) = slow(400);
        let _tree = start(root().child(spec)).await.unwrap();
        for n in 0..200 {
            to.try_deliver(Number(n)).unwrap();
        }
        // 200 × 1 ms of work were queued before this question; the timer must not have waited for all of it
        assert!(to.send(Ticks).await.unwrap() >= 5);
    });
}

#[test]
fn waiting_senders_learn_that_a_mailbox_closes() {
    virtual_time(async {
        let (to, spec) = slow(1);
        let tree = start(root().child(spec)).await.unwrap();
        tree.control("root/slow", Control::Pause).await.unwrap();
        until_state(&tree, "root/slow", NodeState::Paused).await;
        to.try_deliver(Number(0)).unwrap();
        let (queued, waiting, _) = tokio::join!(to.deliver(Number(1)), to.send(Number(2)), tree.stop());
        assert_eq!((queued, waiting), (Err(SendError::Closed), Err(SendError::Closed)));
        assert!(matches!(to.try_deliver(Number(3)), Err(TrySendError::Closed(Number(3)))));
        assert_eq!(to.depth(), 0);
    });
}

#[test]
fn a_mailbox_whose_child_never_came_to_be_is_closed() {
    virtual_time(async {
        let (to, mail) = mailbox::<Worker>(1);
        drop(mail);
        assert_eq!(to.send(Do::Stop).await, Err(SendError::Closed));
    });
}

#[test]
fn an_actor_may_hold_a_reference_to_itself_and_notify_itself() {
    struct Chatty(Lifeline, Ref<Chatty>, u32);

    impl Actor for Chatty {
        type Context = Context<Self>;

        fn started(&mut self, ctx: &mut Self::Context) {
            self.0.ready();
            ctx.notify(Ticks);
            let _ = self.1.try_deliver(Ticks);
        }
    }

    impl Handler<Ticks> for Chatty {
        type Result = u32;

        fn handle(&mut self, Ticks: Ticks, _: &mut Self::Context) -> u32 {
            self.2 += 1;
            self.2
        }
    }

    virtual_time(async {
        let (to, mail) = mailbox(4);
        let itself = to.clone();
        let spec = ChildSpec::actor("chatty", mail, move |lifeline| Chatty(lifeline, itself.clone(), 0));
        let _tree = start(root().child(spec)).await.unwrap();
        sleep(Duration::from_millis(1)).await;
        assert_eq!(to.send(Ticks).await, Ok(3));
    });
}

#[test]
fn futures_of_a_reference_can_cross_threads() {
    fn crosses_threads<T: Send>(_: &T) {}

    virtual_time(async {
        let journal = Journal::default();
        let (to, child) = worker("a", &journal);
        let tree = start(root().child(child)).await.unwrap();
        let (send, deliver) = (to.send(Do::InFlight(0)), to.deliver(Do::InFlight(0)));
        crosses_threads(&send);
        crosses_threads(&deliver);
        crosses_threads(&tree);
        crosses_threads(&tree.control("root/a", Control::Restart));
        assert_eq!((send.await, deliver.await), (Ok(1), Ok(())));
        assert_eq!(node(&tree, "root/a").mailbox.unwrap().capacity, 1000);
    });
}
