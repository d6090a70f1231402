//! What the checks make of what was seen: the cases that no test can cause on a server at the right moment.

use chrono::{DateTime, TimeDelta, Utc};
use factline_pipeline::{
    outbox::Backlog,
    stream::{GroupLag, Identity, Partition, PendingFor},
};

use super::*;
use crate::{
    config::{Sources, load},
    observation::{Holder, OldTransaction, OpenLetters, OutboxView, PostgresServer, RedisServer},
};

/// The looks are so many seconds apart.
const WATCH: i64 = 2;

const FIRST: DateTime<Utc> = DateTime::<Utc>::UNIX_EPOCH;

fn second() -> DateTime<Utc> {
    FIRST + TimeDelta::seconds(WATCH)
}

fn postgres() -> PostgresServer {
    PostgresServer {
        version: "15".into(),
        clock_ahead_ms: 0,
        connections: 1,
        max_connections: 100,
        oldest_transaction: None,
    }
}

fn redis() -> RedisServer {
    RedisServer {
        version: "7".into(),
        clock_ahead_ms: 0,
        used_memory: 1,
        max_memory: 0,
        eviction_policy: "noeviction".into(),
        evicted_keys: 0,
        append_only: true,
        snapshots: None,
        clients: 1,
        max_clients: 100,
    }
}

fn look(at: DateTime<Utc>) -> Observation {
    Observation {
        at,
        outbox: Ok(OutboxView { backlog: Backlog::default(), server: Some(postgres()), pool: None }),
        store: Ok(StoreView {
            deployment: uuid::Uuid::nil(),
            leases: Vec::new(),
            dead_letters: OpenLetters::default(),
            retrying: Vec::new(),
            server: Some(postgres()),
            pool: None,
        }),
        streams: Ok(StreamView {
            identity: Identity { id: "one".into(), partitions: 8, place: "here".into() },
            topics: vec!["chat".into()],
            unread: Vec::new(),
            lag: Vec::new(),
            server: Some(redis()),
        }),
    }
}

/// What these checks say of two looks, as they are changed.
fn told(check: Check, change: impl FnOnce(&mut Scene<'_>)) -> Vec<(Severity, String)> {
    let config = load(&Sources::default()).unwrap();
    let mut scene = Scene {
        config: &config,
        limits: Limits { transaction: Duration::from_mins(5) },
        before: look(FIRST),
        now: look(second()),
        daemon: Daemon::NotConfigured,
        schemas: Vec::new(),
        unpublished: Ok(false),
    };
    change(&mut scene);
    let mut findings = Vec::new();
    check(&scene, &mut findings);
    findings.into_iter().map(|finding| (finding.severity, finding.sentence)).collect()
}

#[track_caller]
fn assert_complains(told: &[(Severity, String)], words: &str) {
    let complaint = told.iter().find(|(severity, _)| *severity != Severity::Ok);
    assert!(complaint.is_some_and(|(_, sentence)| sentence.contains(words)), "{words:?}: {told:?}");
}

#[track_caller]
fn assert_content(told: &[(Severity, String)]) {
    assert!(told.iter().all(|(severity, _)| *severity == Severity::Ok), "{told:?}");
}

/// So many rows wait, the oldest for so many milliseconds.
fn backlog(look: &mut Observation, pending: u64, age: i64) {
    let oldest_pending = Some(look.at - TimeDelta::milliseconds(age));
    look.outbox.as_mut().unwrap().backlog = Backlog { pending, oldest_pending, ..Backlog::default() };
}

#[test]
fn a_busy_relay_that_keeps_up_is_well_and_one_that_does_not_is_not() {
    let of = |was: (u64, i64), is: (u64, i64)| {
        told(relay::backlog, |scene| {
            backlog(&mut scene.before, was.0, was.1);
            backlog(&mut scene.now, is.0, is.1);
        })
    };
    assert_content(&of((500, 30), (4_000, 150)));
    assert_complains(&of((500, 30), (4_000, 2_001)), "the backlog grows");
    assert_content(&of((4_000, 2_001), (500, 9_000))); // it has the worst behind it
    assert_complains(&of((7, 100), (7, 2_100)), "the relay takes nothing");
}

#[test]
fn ages_are_told_by_the_clock_of_the_server_that_wrote_them() {
    let ahead = |ms: i64| {
        told(relay::backlog, |scene| {
            backlog(&mut scene.before, 500, 30);
            backlog(&mut scene.now, 4_000, 150 - ms);
            scene.now.outbox.as_mut().unwrap().server.as_mut().unwrap().clock_ahead_ms = ms;
        })
    };
    assert_content(&ahead(-3_600_000));
    assert_content(&ahead(3_600_000));
}

fn lag(look: &mut Observation, group: &str, undelivered: u64, age: i64) {
    let oldest = Some(look.at - TimeDelta::milliseconds(age));
    let partition = Partition { topic: "chat".into(), number: 0 };
    let pending_for = vec![PendingFor { consumer: "gone-1.1".into(), entries: 5 }];
    look.streams.as_mut().unwrap().lag.push(GroupLag {
        group: group.into(),
        partition,
        length: undelivered,
        undelivered: Some(undelivered),
        pending: 5,
        pending_for,
        oldest,
    });
}

#[test]
fn a_busy_group_that_keeps_up_is_well_and_one_that_does_not_is_not() {
    let of = |age: i64| {
        told(groups::lag, |scene| {
            lag(&mut scene.before, "facts", 1_000, 10);
            lag(&mut scene.now, "facts", 3_000, age);
        })
    };
    assert_content(&of(150));
    assert_complains(&of(2_001), "the lag grows");
}

#[test]
fn what_is_pending_in_another_programs_group_is_not_ours_to_take_over() {
    let of = |group: &str| {
        told(groups::vanished_consumers, |scene| {
            lag(&mut scene.before, group, 0, 10);
            lag(&mut scene.now, group, 0, 10);
        })
    };
    assert_content(&of("somebody-elses"));
    assert_complains(&of("facts"), "which is gone");
}

#[test]
fn failed_rows_are_a_finding_until_their_letters_are_dealt_with() {
    let of = |unpublished: Look<bool>| {
        told(relay::failed_rows, |scene| {
            scene.now.outbox.as_mut().unwrap().backlog.failed = 3;
            scene.unpublished = unpublished;
        })
    };
    assert_complains(&of(Ok(true)), "3 rows");
    let settled = of(Ok(false));
    assert_content(&settled);
    assert!(settled[0].1.contains("3 rows"), "{settled:?}");
    assert_content(&of(Err("away".into())));
}

#[test]
fn dead_letters_rise_only_while_some_are_open() {
    let of = |open: u64| {
        told(letters::dead_letters, |scene| {
            scene.now.store.as_mut().unwrap().dead_letters = OpenLetters { open, oldest: None, recent: 9 };
        })
    };
    assert_content(&of(0));
    assert_complains(&of(1), "dead letters rise");
}

#[test]
fn keys_that_redis_threw_away_before_the_first_look_are_a_figure_alone() {
    let of = |was: u64, is: u64| {
        told(super::redis::memory, |scene| {
            for (look, keys) in [(&mut scene.before, was), (&mut scene.now, is)] {
                look.streams.as_mut().unwrap().server.as_mut().unwrap().evicted_keys = keys;
            }
        })
    };
    let long_ago = of(7, 7);
    assert_content(&long_ago);
    assert!(long_ago[0].1.contains("7 keys"), "{long_ago:?}");
    assert_complains(&of(7, 9), "2 keys in the last 2.0 s");
    assert_content(&of(7, 0)); // it was started again
}

/// Of this process, since so many seconds before the first look.
fn transaction(pid: i32, before: i64) -> OldTransaction {
    OldTransaction {
        kind: Holder::Transaction,
        pid: Some(pid),
        application: "factline".into(),
        state: "active".into(),
        since: Some(FIRST - TimeDelta::seconds(before)),
        age_seconds: Some(0.5),
        transactions: 1,
    }
}

#[test]
fn the_looks_themselves_are_no_old_transactions() {
    let of = |was: OldTransaction, is: OldTransaction| {
        told(super::postgres::transactions, |scene| {
            scene.limits.transaction = Duration::ZERO;
            for (look, one) in [(&mut scene.before, was), (&mut scene.now, is)] {
                look.outbox.as_mut().unwrap().server.as_mut().unwrap().oldest_transaction = Some(one);
            }
        })
    };
    assert_complains(&of(transaction(7, 9), transaction(7, 9)), "the transaction of process 7");
    assert_content(&of(transaction(7, 0), transaction(7, -1))); // the same connection, at it again
    assert_content(&of(transaction(7, 0), transaction(8, 0)));
}

#[test]
fn a_slot_is_old_after_as_many_transactions_as_a_busy_server_sees_in_that_time() {
    let of = |transactions: i64| {
        told(super::postgres::transactions, |scene| {
            for look in [&mut scene.before, &mut scene.now] {
                let slot = OldTransaction {
                    kind: Holder::Slot,
                    pid: None,
                    since: None,
                    age_seconds: None,
                    transactions,
                    ..transaction(0, 0)
                };
                look.outbox.as_mut().unwrap().server.as_mut().unwrap().oldest_transaction = Some(slot);
            }
        })
    };
    assert_content(&of(900_000));
    assert_complains(&of(1_000_000), "replication slot factline");
}
