//! What the `Leases` port promises: one holder at a time, and a token that tells tenures apart.

use std::time::Duration;

use factline_pipeline::lease::{Fence, Lease, Leases};

use super::adapters::StoreFixture;

for_every_store! {
    [
        a_lease_has_one_holder,
        its_holder_renews_it_under_the_same_token,
        an_expired_lease_is_taken_under_a_higher_token,
        a_released_lease_is_taken_at_once,
        only_its_holder_releases_a_lease,
        of_several_who_want_it_one_gets_it,
        nobody_waits_for_each_other_for_ever,
        a_lease_may_last_as_long_as_anybody_wants,
        members_know_each_other_in_the_same_order_until_they_leave_or_say_nothing,
    ]
}

const MINUTE: Duration = Duration::from_mins(1);
const MOMENT: Duration = Duration::from_millis(1);

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// What the holder has now of these, by name.
async fn acquire(leases: &dyn Leases, wanted: &[&str], holder: &str, ttl: Duration) -> Vec<(String, i64)> {
    let fences = leases.acquire(&names(wanted), holder, ttl).await.unwrap();
    let mut held: Vec<_> = fences.into_iter().map(|Fence { name, token }| (name, token)).collect();
    held.sort();
    held
}

async fn token(leases: &dyn Leases, name: &str, holder: &str, ttl: Duration) -> Option<i64> {
    acquire(leases, &[name], holder, ttl).await.first().map(|(_, token)| *token)
}

async fn lease(leases: &dyn Leases, name: &str) -> Lease {
    leases.list().await.unwrap().into_iter().find(|lease| lease.name == name).unwrap()
}

async fn until_expired(leases: &dyn Leases, name: &str) {
    while lease(leases, name).await.held {
        tokio::task::yield_now().await;
    }
}

fn held(names: &[(String, i64)]) -> Vec<&str> {
    names.iter().map(|(name, _)| name.as_str()).collect()
}

async fn a_lease_has_one_holder(fixture: &StoreFixture) {
    let leases = &*fixture.leases;
    assert_eq!(leases.list().await.unwrap(), []);
    assert_eq!(held(&acquire(leases, &["one", "two"], "me", MINUTE).await), ["one", "two"]);
    assert_eq!(held(&acquire(leases, &["two", "three"], "you", MINUTE).await), ["three"]);
    assert_eq!(held(&acquire(leases, &["one", "two", "three"], "me", MINUTE).await), ["one", "two"]);
    assert!(acquire(leases, &[], "me", MINUTE).await.is_empty());
    let all = leases.list().await.unwrap();
    let holders: Vec<_> = all.iter().map(|lease| (lease.name.as_str(), lease.holder.as_str())).collect();
    assert_eq!(holders, [("one", "me"), ("three", "you"), ("two", "me")]);
    assert!(all.iter().all(|lease| lease.held));
}

async fn its_holder_renews_it_under_the_same_token(fixture: &StoreFixture) {
    let leases = &*fixture.leases;
    let first = token(leases, "one", "me", MOMENT).await;
    assert!(first.is_some());
    until_expired(leases, "one").await;
    for _ in 0..2 {
        assert_eq!(token(leases, "one", "me", MINUTE).await, first, "it never changed hands");
    }
    let lease = lease(leases, "one").await;
    assert_eq!((lease.held, Some(lease.token), lease.holder.as_str()), (true, first, "me"));
}

async fn an_expired_lease_is_taken_under_a_higher_token(fixture: &StoreFixture) {
    let leases = &*fixture.leases;
    let mut last = token(leases, "one", "me", MOMENT).await;
    for (holder, other) in [("you", "me"), ("me", "you")] {
        until_expired(leases, "one").await;
        let next = token(leases, "one", holder, MINUTE).await;
        assert!(next > last, "{next:?} after {last:?}");
        assert_eq!(token(leases, "one", other, MINUTE).await, None);
        assert_eq!(token(leases, "one", holder, MOMENT).await, next, "a renewal may shorten it, too");
        last = next;
    }
}

async fn a_released_lease_is_taken_at_once(fixture: &StoreFixture) {
    let leases = &*fixture.leases;
    let mine = token(leases, "one", "me", MINUTE).await;
    for _ in 0..2 {
        leases.release(&names(&["one", "unknown"]), "me").await.unwrap();
        assert!(!lease(leases, "one").await.held);
    }
    let yours = token(leases, "one", "you", MINUTE).await;
    assert!(yours > mine, "{yours:?} after {mine:?}");
}

async fn only_its_holder_releases_a_lease(fixture: &StoreFixture) {
    let leases = &*fixture.leases;
    acquire(leases, &["one", "two"], "me", MINUTE).await;
    leases.release(&names(&["one", "two"]), "you").await.unwrap();
    leases.release(&names(&["two"]), "me").await.unwrap();
    leases.release(&[], "me").await.unwrap();
    assert!(lease(leases, "one").await.held && !lease(leases, "two").await.held);
    assert_eq!(held(&acquire(leases, &["one", "two"], "you", MINUTE).await), ["two"]);
}

async fn of_several_who_want_it_one_gets_it(fixture: &StoreFixture) {
    let wanted = ["one", "two", "three"];
    let contenders = (0..8).map(|number| {
        let leases = fixture.leases.clone();
        tokio::spawn(async move { acquire(&*leases, &wanted, &format!("holder {number}"), MINUTE).await })
    });
    let mut all = Vec::new();
    for contender in contenders.collect::<Vec<_>>() {
        all.extend(contender.await.unwrap());
    }
    all.sort();
    assert_eq!(held(&all), ["one", "three", "two"]);
}

/// In PostgreSQL that would be an error after a second, which says who locked leases in another order.
async fn nobody_waits_for_each_other_for_ever(fixture: &StoreFixture) {
    let backwards: Vec<String> = (0..40).rev().map(|number| format!("lease {number:02}")).collect();
    for name in &backwards {
        fixture.leases.acquire(std::slice::from_ref(name), "holder 0", MINUTE).await.unwrap();
    }
    let contenders = (0..4).map(|number| {
        let (leases, names) = (fixture.leases.clone(), backwards.clone());
        tokio::spawn(async move {
            for _ in 0..50 {
                let holder = format!("holder {}", number % 2);
                leases.acquire(&names, &holder, MINUTE).await.unwrap();
                leases.release(&names, &holder).await.unwrap();
            }
        })
    });
    for contender in contenders.collect::<Vec<_>>() {
        contender.await.unwrap();
    }
}

async fn a_lease_may_last_as_long_as_anybody_wants(fixture: &StoreFixture) {
    let leases = &*fixture.leases;
    let years = Duration::from_hours(30 * 365 * 24);
    assert!(token(leases, "one", "me", years).await.is_some());
    assert!(lease(leases, "one").await.held);
    assert_eq!(token(leases, "one", "you", years).await, None);
}

async fn members_know_each_other_in_the_same_order_until_they_leave_or_say_nothing(fixture: &StoreFixture) {
    let leases = &*fixture.leases;
    let join = async |club, holder, ttl| leases.join(club, holder, ttl).await.unwrap();
    assert_eq!(join("g", "b", MINUTE).await, ["b"]);
    assert_eq!(join("g", "a", MINUTE).await, ["a", "b"]);
    assert_eq!(join("g", "b", MINUTE).await, ["a", "b"]);
    assert_eq!(join("other_g", "c", MINUTE).await, ["c"]);
    assert_eq!(join("g2", "d", MINUTE).await, ["d"]);
    leases.leave("g", "b").await.unwrap();
    assert_eq!(join("g", "a", MOMENT).await, ["a"]);
    while join("g", "c", MINUTE).await != ["c"] {
        tokio::task::yield_now().await;
    }
}
