//! What newly stated facts change in what is already known.
//!
//! A fact that is stated again is strengthened instead of stored twice; a newer value of a single-valued predicate
//! closes the older one's validity. Both stores carry out the same [`Changes`], so they agree.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    fact::{Cardinality, Fact},
    ledger::{Outcome, Recording},
};

/// Being told again and again is never quite certainty.
const MOST_CONFIDENT: f32 = 0.99;

/// A fact as it is to be stored, with its provenance.
#[derive(Debug, Clone, PartialEq)]
pub struct NewFact<'a> {
    /// Its id.
    pub id: Uuid,
    /// What makes two statements the same fact.
    pub identity: Uuid,
    /// The fact as it was first stated.
    pub fact: &'a Fact,
    /// Its confidence, the repetitions counted.
    pub confidence: f32,
    /// Until when it held.
    pub valid_to: Option<DateTime<Utc>>,
    /// The newer value that replaced it.
    pub superseded_by: Option<Uuid>,
    /// The event that stated it first.
    pub event_id: Uuid,
    /// Its conversation.
    pub conversation_id: &'a str,
    /// Its message.
    pub message_id: &'a str,
}

/// A stored fact that no newer value has replaced.
#[derive(Debug, Clone, PartialEq)]
pub struct Current {
    /// Its id.
    pub id: Uuid,
    /// What makes two statements the same fact.
    pub identity: Uuid,
    /// Its value.
    pub object: String,
    /// Its confidence.
    pub confidence: f32,
    /// Since when it holds.
    pub valid_from: DateTime<Utc>,
}

/// A stored fact that a newer value replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The stored fact.
    pub id: Uuid,
    /// Until when it held.
    pub valid_to: DateTime<Utc>,
    /// The newer fact.
    pub superseded_by: Uuid,
}

/// What to write, in this order: close, strengthen, insert.
#[derive(Debug, Default, PartialEq)]
pub struct Changes<'a> {
    /// Stored facts whose validity ends.
    pub close: Vec<Closed>,
    /// Stored facts that were stated again, with their new confidence.
    pub strengthen: Vec<(Uuid, f32)>,
    /// Facts that were not known.
    pub insert: Vec<NewFact<'a>>,
}

/// All facts that these recordings state, in order, each statement by itself.
#[must_use]
pub fn stated<'a>(recordings: impl IntoIterator<Item = &'a Recording>) -> Vec<NewFact<'a>> {
    let mut facts = Vec::new();
    for recording in recordings {
        let Outcome::Processed(Some(said)) = &recording.outcome else { continue };
        facts.extend(said.facts.iter().map(|fact| NewFact {
            id: Uuid::now_v7(),
            identity: Uuid::from_u128(fact.identity(&said.conversation_id)),
            fact,
            confidence: fact.confidence,
            valid_to: fact.valid_to,
            superseded_by: None,
            event_id: recording.event_id,
            conversation_id: &said.conversation_id,
            message_id: &said.message_id,
        }));
    }
    facts
}

/// What the statements change, given the stored facts of the same identities.
#[must_use]
pub fn merge(stated: Vec<NewFact<'_>>, current: Vec<Current>) -> Changes<'_> {
    let mut stored: HashMap<Uuid, Current> = current.into_iter().map(|fact| (fact.identity, fact)).collect();
    let mut changes = Changes::default();
    // Where the present value of an identity stands among the facts to insert.
    let mut inserted: HashMap<Uuid, usize> = HashMap::new();
    for mut new in stated {
        if let Some(&index) = inserted.get(&new.identity) {
            merge_into_batch(&mut changes.insert, &mut inserted, index, new);
        } else if let Some(known) = stored.get_mut(&new.identity) {
            if repeats(&known.object, new.fact) {
                strengthen(&mut changes.strengthen, known, new.confidence);
            } else if new.fact.valid_from >= known.valid_from {
                changes.close.push(Closed {
                    id: known.id,
                    valid_to: new.fact.valid_from,
                    superseded_by: new.id,
                });
                inserted.insert(new.identity, changes.insert.len());
                changes.insert.push(new);
            } else {
                new.valid_to = Some(new.valid_to.unwrap_or(known.valid_from));
                new.superseded_by = Some(known.id);
                changes.insert.push(new);
            }
        } else {
            inserted.insert(new.identity, changes.insert.len());
            changes.insert.push(new);
        }
    }
    changes
}

/// Meets the value that an earlier statement of the same batch gave.
fn merge_into_batch<'a>(
    insert: &mut Vec<NewFact<'a>>,
    inserted: &mut HashMap<Uuid, usize>,
    index: usize,
    mut new: NewFact<'a>,
) {
    let end = insert.len();
    let known = &mut insert[index];
    if repeats(&known.fact.object, new.fact) {
        known.confidence = both(known.confidence, new.confidence);
        return;
    }
    if new.fact.valid_from >= known.fact.valid_from {
        known.valid_to = Some(new.fact.valid_from);
        known.superseded_by = Some(new.id);
        inserted.insert(new.identity, end);
    } else {
        new.valid_to = Some(new.valid_to.unwrap_or(known.fact.valid_from));
        new.superseded_by = Some(known.id);
    }
    insert.push(new);
}

fn repeats(object: &str, new: &Fact) -> bool {
    new.cardinality == Cardinality::Many || object == new.object
}

/// A fact that is as sure as can be is not written again: a hot fact costs nothing.
fn strengthen(strengthened: &mut Vec<(Uuid, f32)>, known: &mut Current, by: f32) {
    if known.confidence >= MOST_CONFIDENT {
        return;
    }
    known.confidence = both(known.confidence, by);
    match strengthened.iter_mut().find(|(id, _)| *id == known.id) {
        Some((_, confidence)) => *confidence = known.confidence,
        None => strengthened.push((known.id, known.confidence)),
    }
}

/// Two independent statements of the same thing: wrong only if both are (a noisy or).
fn both(a: f32, b: f32) -> f32 {
    (1.0 - (1.0 - a) * (1.0 - b)).min(MOST_CONFIDENT).max(a)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::Scope;

    fn fact(predicate: &str, object: &str, cardinality: Cardinality, day: i64) -> Fact {
        Fact {
            subject: "Ada".into(),
            scope: Scope::Everywhere,
            predicate: predicate.into(),
            object: object.into(),
            cardinality,
            confidence: 0.8,
            valid_from: DateTime::from_timestamp(day * 86_400, 0).unwrap(),
            valid_to: None,
            quote: object.into(),
            span_start: 0,
            span_end: 1,
            extractor: "test",
            extractor_version: 1,
        }
    }

    fn home(object: &str, day: i64) -> Fact {
        fact("lives_in", object, Cardinality::Single, day)
    }

    fn new(fact: &Fact) -> NewFact<'_> {
        NewFact {
            id: Uuid::now_v7(),
            identity: Uuid::from_u128(fact.identity("c")),
            fact,
            confidence: fact.confidence,
            valid_to: None,
            superseded_by: None,
            event_id: Uuid::now_v7(),
            conversation_id: "c",
            message_id: "m",
        }
    }

    fn stored(fact: &Fact) -> Current {
        Current {
            id: Uuid::now_v7(),
            identity: Uuid::from_u128(fact.identity("c")),
            object: fact.object.clone(),
            confidence: fact.confidence,
            valid_from: fact.valid_from,
        }
    }

    #[test]
    fn a_newer_value_closes_the_stored_one_and_a_repeated_one_strengthens_it() {
        let (berlin, again, paris) = (home("Berlin", 1), home("Berlin", 2), home("Paris", 3));
        let known = stored(&berlin);
        let changes = merge(vec![new(&again), new(&paris)], vec![known.clone()]);
        assert_eq!(changes.strengthen.len(), 1);
        assert!((changes.strengthen[0].1 - 0.96).abs() < 1e-6);
        let inserted = &changes.insert[0];
        assert_eq!((inserted.fact.object.as_str(), inserted.superseded_by), ("Paris", None));
        let closed = Closed { id: known.id, valid_to: paris.valid_from, superseded_by: inserted.id };
        assert_eq!(changes.close, [closed]);
    }

    #[test]
    fn an_older_value_that_arrives_late_is_history_from_the_start() {
        let (paris, berlin) = (home("Paris", 3), home("Berlin", 1));
        let known = stored(&paris);
        let changes = merge(vec![new(&berlin)], vec![known.clone()]);
        assert!(changes.close.is_empty());
        let late = &changes.insert[0];
        assert_eq!((late.valid_to, late.superseded_by), (Some(paris.valid_from), Some(known.id)));
    }

    #[test]
    fn within_a_batch_only_the_newest_value_stays_current() {
        let facts = [home("Berlin", 1), home("Paris", 3), home("Rome", 2), home("Paris", 4)];
        let changes = merge(facts.iter().map(new).collect(), vec![]);
        let current: Vec<_> = changes.insert.iter().filter(|fact| fact.superseded_by.is_none()).collect();
        assert_eq!(changes.insert.len(), 3);
        assert_eq!((current.len(), current[0].fact.object.as_str()), (1, "Paris"));
        assert!(changes.insert.iter().all(|fact| fact.superseded_by.is_none() || fact.valid_to.is_some()));
    }

    #[test]
    fn values_that_stand_beside_each_other_stay() {
        let likes = |object| fact("likes", object, Cardinality::Many, 1);
        let facts = [likes("tea"), likes("cake"), likes("tea")];
        let changes = merge(facts.iter().map(new).collect(), vec![stored(&likes("cake"))]);
        assert_eq!(changes.insert.len(), 1);
        assert!(
            changes.insert[0].confidence > 0.9 && changes.strengthen.len() == 1 && changes.close.is_empty()
        );
    }
}
