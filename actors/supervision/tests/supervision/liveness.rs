//! Children that hang.

use std::time::Duration;

use actix::{Actor, Context, Handler};
use factline_supervision::{BackoffPolicy, ChildSpec, Condition, Exit, Lifeline, Ref, mailbox, start};
use tokio::time::{Instant, sleep};

use crate::common::{node, root, until_generation, virtual_time};

const LIMIT: Duration = Duration::from_mins(1);

/// Counts what it is given as work in flight and finishes none of it by itself.
struct Busy(Lifeline);

impl Actor for Busy {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.0.ready();
    }
}

#[derive(Clone)]
enum Say {
    InFlight(usize),
    Progress,
    Condition(Condition),
}

impl actix::Message for Say {
    type Result = u64;
}

impl Handler<Say> for Busy {
    type Result = u64;

    fn handle(&mut self, what: Say, _: &mut Self::Context) -> u64 {
        match what {
            Say::InFlight(n) => self.0.set_in_flight(n),
            Say::Progress => self.0.progress(),
            Say::Condition(condition) => self.0.set_condition(condition),
        }
        self.0.generation()
    }
}

fn busy() -> (Ref<Busy>, ChildSpec) {
    let (to, mail) = mailbox(4);
    let spec = ChildSpec::actor("busy", mail, Busy).stall_after(Some(LIMIT));
    (to, spec.backoff(BackoffPolicy::immediate()))
}

#[test]
fn a_child_without_progress_while_work_is_in_flight_is_killed_and_restarted() {
    virtual_time(async {
        let (to, spec) = busy();
        let tree = start(root().child(spec)).await.unwrap();
        to.send(Say::InFlight(3)).await.unwrap();
        let begun = Instant::now();
        until_generation(&tree, "root/busy", 2).await;
        assert!(begun.elapsed() >= LIMIT && begun.elapsed() <= LIMIT * 5 / 4 + Duration::from_secs(1));
        let last = node(&tree, "root/busy").last_exit.unwrap();
        assert!(matches!(last.reason, Exit::Stalled { in_flight: 3, .. }), "{:?}", last.reason);
        assert_eq!(last.in_flight, 3, "what was lost with it");
        assert_eq!(node(&tree, "root/busy").in_flight, 0);
    });
}

#[test]
fn progress_fewer_in_flight_and_nothing_in_flight_are_no_stall() {
    virtual_time(async {
        let (to, spec) = busy();
        let tree = start(root().child(spec)).await.unwrap();
        sleep(LIMIT * 10).await;
        to.send(Say::InFlight(50)).await.unwrap();
        for n in (10..50).rev() {
            sleep(LIMIT * 4 / 5).await;
            let sign = if n % 2 == 0 { Say::Progress } else { Say::InFlight(n) };
            to.send(sign).await.unwrap();
        }
        to.send(Say::InFlight(0)).await.unwrap();
        sleep(LIMIT * 10).await;
        assert_eq!(node(&tree, "root/busy").generation, 1);
    });
}

#[test]
fn waiting_on_an_outage_is_no_stall_until_it_is_over() {
    for waits in
        [Condition::Degraded("down".into()), Condition::Standby("no".into()), Condition::Paused("no".into())]
    {
        virtual_time(async {
            let (to, spec) = busy();
            let tree = start(root().child(spec)).await.unwrap();
            to.send(Say::InFlight(1)).await.unwrap();
            to.send(Say::Condition(waits.clone())).await.unwrap();
            sleep(LIMIT * 100).await;
            let seen = node(&tree, "root/busy");
            assert_eq!((seen.generation, &seen.condition), (1, &waits));
            assert!(seen.in_flight_age.unwrap() >= LIMIT * 99);
            to.send(Say::Condition(Condition::Healthy)).await.unwrap();
            sleep(LIMIT * 4 / 5).await;
            assert_eq!(node(&tree, "root/busy").generation, 1, "it has its full time again");
            until_generation(&tree, "root/busy", 2).await;
        });
    }
}

#[test]
fn without_a_limit_nothing_counts_as_hung() {
    virtual_time(async {
        let (to, spec) = busy();
        let tree = start(root().child(spec.stall_after(None))).await.unwrap();
        to.send(Say::InFlight(1)).await.unwrap();
        sleep(LIMIT * 1000).await;
        assert_eq!(node(&tree, "root/busy").generation, 1);
    });
}

#[test]
fn a_condition_has_the_time_since_which_it_holds() {
    virtual_time(async {
        let (to, spec) = busy();
        let tree = start(root().child(spec)).await.unwrap();
        let down = || Say::Condition(Condition::Degraded("down".into()));
        to.send(down()).await.unwrap();
        let since = node(&tree, "root/busy").condition_since;
        to.send(down()).await.unwrap();
        assert_eq!(node(&tree, "root/busy").condition_since, since, "said again, it is the same outage");
        to.send(Say::Condition(Condition::Degraded("still down".into()))).await.unwrap();
        assert!(node(&tree, "root/busy").condition_since >= since);
    });
}

#[test]
fn being_given_more_work_is_not_a_sign_of_life() {
    virtual_time(async {
        let (to, spec) = busy();
        let tree = start(root().child(spec)).await.unwrap();
        to.send(Say::InFlight(1)).await.unwrap();
        for _ in 0..8 {
            sleep(LIMIT / 4).await;
            to.send(Say::InFlight(1)).await.unwrap();
        }
        until_generation(&tree, "root/busy", 2).await;
    });
}
