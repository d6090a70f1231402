//! What the store makes of facts that are stated again, and again differently, in one batch and across batches.

use chrono::{DateTime, TimeDelta, Utc};
use factline::records::{FactFilter, FactRecord};
use factline_pipeline::fact::{Fact, Scope};

use super::{
    adapters::StoreFixture,
    ledger::record,
    samples::{day, home, likes, said},
};

for_every_store! {
    [
        a_fact_is_stored_with_all_that_is_known_of_it,
        a_repeated_fact_is_strengthened,
        a_newer_value_closes_the_older_one,
        an_older_value_that_comes_late_is_history,
        values_of_one_batch_follow_each_other,
        what_is_said_of_the_user_stays_in_its_conversation,
        a_value_that_comes_back_is_a_fact_of_its_own,
        facts_of_any_year_are_kept,
        facts_are_found_by_what_they_say,
    ]
}

async fn facts(fixture: &StoreFixture, filter: FactFilter) -> Vec<FactRecord> {
    fixture.records.facts(&FactFilter { limit: 100, ..filter }).await.unwrap()
}

/// All facts, the oldest first.
async fn history(fixture: &StoreFixture) -> Vec<FactRecord> {
    let mut all = facts(fixture, FactFilter { superseded: true, ..Default::default() }).await;
    all.sort_by_key(|fact| fact.valid_from);
    all
}

fn objects(facts: &[FactRecord]) -> Vec<&str> {
    facts.iter().map(|fact| fact.object.as_str()).collect()
}

fn about(confidence: f32) -> impl Fn(&FactRecord) -> bool {
    move |fact| (fact.confidence - confidence).abs() < 1e-6
}

async fn a_fact_is_stored_with_all_that_is_known_of_it(fixture: &StoreFixture) {
    let stated = Fact { valid_to: Some(day(9)), ..likes("t\u{e9}a \u{1f375}", 2) };
    let recording = said(1, vec![stated.clone()]);
    let before = Utc::now() - TimeDelta::seconds(1);
    record(fixture, std::slice::from_ref(&recording)).await;
    let known = &facts(fixture, FactFilter::default()).await[0];
    assert_eq!(
        (&known.subject, &known.predicate, &known.object),
        (&stated.subject, &stated.predicate, &stated.object)
    );
    assert_eq!((known.valid_from, known.valid_to), (stated.valid_from, stated.valid_to));
    assert_eq!((known.event_id, known.superseded_by), (recording.event_id, None));
    assert_eq!((known.conversation_id.as_str(), known.message_id.as_str()), ("c", "m-1"));
    assert_eq!((known.quote.as_str(), known.span_start, known.span_end), (stated.quote.as_str(), 3, 9));
    assert_eq!((known.extractor.as_str(), known.extractor_version), ("patterns", 2));
    assert!(about(0.8)(known) && known.recorded_at > before);
    assert_eq!(known.id.get_version_num(), 7);
}

async fn a_repeated_fact_is_strengthened(fixture: &StoreFixture) {
    record(fixture, &[said(1, vec![likes("tea", 1), home("Berlin", 1)])]).await;
    record(fixture, &[said(2, vec![likes("tea", 2), home("Berlin", 2)])]).await;
    let known = history(fixture).await;
    assert!(known.len() == 2 && known.iter().all(about(0.96)), "{known:?}");
    assert!(
        known.iter().all(|fact| fact.message_id == "m-1" && fact.valid_from == day(1)),
        "it was known since then"
    );
    record(fixture, &[said(3, vec![likes("tea", 3)]), said(4, vec![likes("tea", 4), likes("cake", 4)])])
        .await;
    let known = history(fixture).await;
    assert!(
        known.iter().any(|fact| fact.object == "tea" && about(0.99)(fact)),
        "never quite certain: {known:?}"
    );
    assert!(known.iter().any(|fact| fact.object == "cake" && about(0.8)(fact)));
    assert_eq!(known.len(), 3);
}

async fn a_newer_value_closes_the_older_one(fixture: &StoreFixture) {
    record(fixture, &[said(1, vec![home("Berlin", 1)])]).await;
    record(fixture, &[said(3, vec![home("Paris", 3)])]).await;
    let known = history(fixture).await;
    assert_eq!(objects(&known), ["Berlin", "Paris"]);
    assert_eq!((known[0].valid_to, known[0].superseded_by), (Some(day(3)), Some(known[1].id)));
    assert_eq!((known[1].valid_to, known[1].superseded_by), (None, None));
    assert_eq!(objects(&facts(fixture, FactFilter::default()).await), ["Paris"]);
}

async fn an_older_value_that_comes_late_is_history(fixture: &StoreFixture) {
    record(fixture, &[said(3, vec![home("Paris", 3)])]).await;
    record(fixture, &[said(1, vec![home("Berlin", 1)])]).await;
    let known = history(fixture).await;
    assert_eq!(objects(&known), ["Berlin", "Paris"]);
    assert_eq!((known[0].valid_to, known[0].superseded_by), (Some(day(3)), Some(known[1].id)));
    assert_eq!(known[1].superseded_by, None);
    record(fixture, &[said(4, vec![home("Rome", 4)])]).await;
    let known = history(fixture).await;
    assert_eq!(objects(&known), ["Berlin", "Paris", "Rome"]);
    assert_eq!((known[1].valid_to, known[1].superseded_by), (Some(day(4)), Some(known[2].id)));
    assert_eq!(known[0].valid_to, Some(day(3)), "history stays as it is");
}

async fn values_of_one_batch_follow_each_other(fixture: &StoreFixture) {
    record(fixture, &[said(0, vec![home("Oslo", 0)])]).await;
    let places = ["Berlin", "Paris", "Paris", "Rome"];
    let batch: Vec<_> =
        (1..).zip(places).map(|(number, place)| said(number, vec![home(place, number)])).collect();
    record(fixture, &batch).await;
    let known = history(fixture).await;
    assert_eq!(objects(&known), ["Oslo", "Berlin", "Paris", "Rome"]);
    for pair in known.windows(2) {
        assert_eq!((pair[0].superseded_by, pair[0].valid_to), (Some(pair[1].id), Some(pair[1].valid_from)));
    }
    assert!(about(0.96)(&known[2]), "it was said twice");
}

async fn what_is_said_of_the_user_stays_in_its_conversation(fixture: &StoreFixture) {
    let of_user = |place| Fact { scope: Scope::Conversation, subject: "user".into(), ..home(place, 1) };
    let mut elsewhere = said(2, vec![of_user("Paris")]);
    if let factline_pipeline::ledger::Outcome::Processed(Some(said)) = &mut elsewhere.outcome {
        said.conversation_id = "d".into();
    }
    record(fixture, &[said(1, vec![of_user("Berlin")]), elsewhere]).await;
    let in_conversation = |id: &str| FactFilter { conversation_id: Some(id.into()), ..Default::default() };
    assert_eq!(objects(&facts(fixture, in_conversation("c")).await), ["Berlin"]);
    assert_eq!(objects(&facts(fixture, in_conversation("d")).await), ["Paris"]);
}

async fn a_value_that_comes_back_is_a_fact_of_its_own(fixture: &StoreFixture) {
    for (number, place) in (1..).zip(["Berlin", "Paris", "Berlin"]) {
        record(fixture, &[said(number, vec![home(place, number)])]).await;
    }
    let known = history(fixture).await;
    assert_eq!(objects(&known), ["Berlin", "Paris", "Berlin"]);
    assert_eq!((known[0].valid_to, known[2].valid_to), (Some(day(2)), None));
}

/// A producer's clock may say anything; a fact that could not be read again would block all that meet it.
async fn facts_of_any_year_are_kept(fixture: &StoreFixture) {
    let years: [(i64, &str); 3] = [(-3_000, "Ur"), (12_000, "Mars"), (200_000, "Nowhere")];
    let at = |year: i64| DateTime::from_timestamp((year - 1970) * 31_556_952, 0).unwrap();
    for (number, (year, place)) in (1..).zip(years) {
        for repetition in 0..2 {
            let fact = Fact { valid_from: at(year), ..home(place, 0) };
            record(fixture, &[said(number * 10 + repetition, vec![fact])]).await;
        }
    }
    let known = history(fixture).await;
    assert_eq!(objects(&known), ["Ur", "Mars", "Nowhere"]);
    assert!(
        known.iter().zip(years).all(|(fact, (year, _))| fact.valid_from == at(year) && about(0.96)(fact))
    );
}

async fn facts_are_found_by_what_they_say(fixture: &StoreFixture) {
    let of_bob = |fact| Fact { subject: "Bob".into(), ..fact };
    let first = said(1, vec![home("Berlin", 1), likes("tea", 1)]);
    record(fixture, &[first.clone(), said(2, vec![of_bob(likes("cake", 2)), of_bob(home("Paris", 2))])])
        .await;
    let found = |filter| async move { objects(&facts(fixture, filter).await).join(" ") };
    let subject = |subject: &str| FactFilter { subject: Some(subject.into()), ..Default::default() };
    assert_eq!(found(FactFilter::default()).await, "Paris cake tea Berlin", "the newest first");
    assert_eq!(found(subject("Ada")).await, "tea Berlin");
    assert_eq!(found(FactFilter { predicate: Some("likes".into()), ..subject("Bob") }).await, "cake");
    assert_eq!(
        found(FactFilter { event_id: Some(first.event_id), ..Default::default() }).await,
        "tea Berlin"
    );
    assert_eq!(found(subject("nobody")).await, "");
    let one = fixture.records.facts(&FactFilter { limit: 1, ..Default::default() }).await.unwrap();
    assert_eq!(objects(&one), ["Paris"]);
}
