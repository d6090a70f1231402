//! What there is to tell of each topic: figures under keys, of which those are told that have changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chrono::{SecondsFormat, Utc};
use factline_pipeline::outage;
use factline_supervision::Node;
use serde::Serialize;
use serde_json::{Value, json};

use super::Topic;
use crate::{
    admin::State,
    observation::{Look, Observation},
    records::{DeadLetterRecord, FactFilter},
};

/// The newest facts and dead letters that are looked at; of more in between, only these are told.
const NEWEST: u32 = 100;

/// The figures of one topic by their keys.
type Figures = BTreeMap<String, Value>;

/// The key of why nothing could be found out.
const ERROR: &str = "error";

/// What was found just now, or why nothing was.
pub(super) struct Fresh(BTreeMap<Topic, Look<Figures>>);

/// What was told last.
#[derive(Default)]
pub(super) struct Seen(BTreeMap<Topic, Figures>);

impl Fresh {
    /// The tree, by node.
    pub(super) fn of_tree(root: Option<&Node>) -> Self {
        let mut figures = Figures::new();
        if let Some(root) = root {
            flatten(root, &mut figures);
        }
        Self(BTreeMap::from([(Topic::Tree, Ok(figures))]))
    }

    /// What the servers have of these topics.
    pub(super) async fn of_servers(state: Arc<State>, wanted: BTreeSet<Topic>) -> Self {
        let mut found = BTreeMap::new();
        if [Topic::Outbox, Topic::Streams, Topic::DeadLetters].iter().any(|topic| wanted.contains(topic)) {
            let observation = state.observer.look().await;
            if wanted.contains(&Topic::Outbox) {
                found.insert(Topic::Outbox, outbox(&observation));
            }
            if wanted.contains(&Topic::Streams) {
                found.insert(Topic::Streams, streams(&observation));
            }
            if wanted.contains(&Topic::DeadLetters) {
                found.insert(Topic::DeadLetters, dead_letters(&state, &observation).await);
            }
        }
        if wanted.contains(&Topic::Facts) {
            found.insert(Topic::Facts, facts(&state).await);
        }
        Self(found)
    }
}

impl Seen {
    /// Takes what was found of the topics that somebody wants still; gives what is to be told of it to those who knew
    /// what was seen before.
    ///
    /// A look may end after the last listener has left: what it found would be old when the next one comes.
    pub(super) fn take(&mut self, fresh: Fresh, wanted: &BTreeSet<Topic>) -> Vec<(Topic, String)> {
        self.forget_all_but(wanted);
        let mut told = Vec::new();
        for (topic, look) in fresh.0.into_iter().filter(|(topic, _)| wanted.contains(topic)) {
            let figures = self.with_what_is_known(topic, look);
            if let Some(before) = self.0.get(&topic) {
                let changed = changes(topic, before, &figures);
                if !changed.is_empty() {
                    told.push((topic, event(topic, "change", &changed)));
                }
            }
            self.0.insert(topic, figures);
        }
        told
    }

    /// What could not be looked at is what it was, with the reason.
    fn with_what_is_known(&self, topic: Topic, look: Look<Figures>) -> Figures {
        look.unwrap_or_else(|error| {
            let mut figures = self.0.get(&topic).cloned().unwrap_or_default();
            figures.insert(ERROR.to_owned(), json!(error));
            figures
        })
    }

    /// How all of these topics stand; none while one of them was not looked at yet.
    pub(super) fn snapshots(&self, topics: &BTreeSet<Topic>) -> Option<Vec<String>> {
        let snapshot = |topic: &Topic| Some(event(*topic, "snapshot", self.0.get(topic)?));
        topics.iter().map(snapshot).collect()
    }

    pub(super) fn forget_all_but(&mut self, topics: &BTreeSet<Topic>) {
        self.0.retain(|topic, _| topics.contains(topic));
    }
}

/// What is new or another one, and what is no more: that becomes null.
///
/// Facts and dead letters are only ever looked at as the newest ones: an older one is not gone.
fn changes(topic: Topic, before: &Figures, now: &Figures) -> Figures {
    let changed = now.iter().filter(|(key, value)| before.get(*key) != Some(value));
    let mut changed: Figures = changed.map(|(key, value)| (key.clone(), value.clone())).collect();
    let forgets = |key: &str| key == ERROR || matches!(topic, Topic::Tree | Topic::Streams);
    let gone = before.keys().filter(|key| forgets(key) && !now.contains_key(*key));
    changed.extend(gone.map(|key| (key.clone(), Value::Null)));
    changed
}

fn event(topic: Topic, kind: &str, data: &Figures) -> String {
    let at = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
    json!({ "type": format!("{topic}.{kind}"), "at": at, "data": data }).to_string()
}

/// The node by its path, without those below, and without what is another at every look.
fn flatten(node: &Node, into: &mut Figures) {
    let mut figures = shown(Node { children: Vec::new(), in_flight_age: None, ..node.clone() });
    if let Some(fields) = figures.as_object_mut() {
        fields.remove("in_flight_age_ms");
    }
    into.insert(node.path.clone(), figures);
    node.children.iter().for_each(|child| flatten(child, into));
}

fn outbox(observation: &Observation) -> Look<Figures> {
    let view = observation.outbox.as_ref().map_err(Clone::clone)?;
    Ok(Figures::from([("backlog".to_owned(), shown(view.backlog))]))
}

fn streams(observation: &Observation) -> Look<Figures> {
    let view = observation.streams.as_ref().map_err(Clone::clone)?;
    let figures = view.lag.iter().map(|lag| (format!("{}/{}", lag.group, lag.partition), shown(lag)));
    Ok(figures.collect())
}

/// How many are open, and the newest ones by their id.
async fn dead_letters(state: &State, observation: &Observation) -> Look<Figures> {
    let open = observation.store.as_ref().map_err(Clone::clone)?.dead_letters;
    let letters = state.adapters.databases.records.newest_open_letters(NEWEST).await;
    let letters = letters.map_err(|error| outage::chain(&error))?;
    let letter = |letter: DeadLetterRecord| {
        let shown = json!({
            "event_id": letter.event_id, "consumer_group": letter.consumer_group, "stage": letter.stage,
            "topic": letter.topic, "key": letter.key, "event_type": letter.event_type,
            "error_kind": letter.error_kind, "fingerprint": letter.fingerprint, "dead_at": letter.dead_at,
        });
        (letter.id.to_string(), shown)
    };
    let mut figures: Figures = letters.into_iter().map(letter).collect();
    figures.insert("open".to_owned(), json!(open.open));
    Ok(figures)
}

/// The newest ones by their id, which orders them by time.
async fn facts(state: &State) -> Look<Figures> {
    let filter = FactFilter { superseded: true, limit: NEWEST, ..FactFilter::default() };
    let facts = state.adapters.databases.records.facts(&filter).await;
    let facts = facts.map_err(|error| outage::chain(&error))?;
    Ok(facts.into_iter().map(|fact| (fact.id.to_string(), shown(fact))).collect())
}

/// What cannot be shown as JSON is shown as nothing.
fn shown(value: impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(topic: Topic, figures: &[(&str, Value)]) -> Fresh {
        let figures = figures.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        Fresh(BTreeMap::from([(topic, Ok(figures))]))
    }

    fn away(topic: Topic, error: &str) -> Fresh {
        Fresh(BTreeMap::from([(topic, Err(error.to_owned()))]))
    }

    fn told(seen: &mut Seen, fresh: Fresh) -> Vec<Value> {
        seen.take(fresh, &BTreeSet::from(Topic::ALL))
            .into_iter()
            .map(|(_, text)| serde_json::from_str::<Value>(&text).unwrap()["data"].take())
            .collect()
    }

    #[test]
    fn only_what_has_changed_is_told() {
        let mut seen = Seen::default();
        assert!(
            told(&mut seen, fresh(Topic::Tree, &[("a", json!(1)), ("b", json!(1))])).is_empty(),
            "the first look"
        );
        assert!(told(&mut seen, fresh(Topic::Tree, &[("a", json!(1)), ("b", json!(1))])).is_empty());
        assert_eq!(
            told(&mut seen, fresh(Topic::Tree, &[("a", json!(2)), ("c", json!(1))])),
            [json!({ "a": 2, "b": null, "c": 1 })]
        );
        let all = BTreeSet::from([Topic::Tree]);
        assert!(seen.snapshots(&all).unwrap()[0].contains(r#""data":{"a":2,"c":1}"#));
    }

    #[test]
    fn an_older_fact_is_not_gone() {
        let mut seen = Seen::default();
        told(&mut seen, fresh(Topic::Facts, &[("a", json!(1)), ("b", json!(1))]));
        assert_eq!(
            told(&mut seen, fresh(Topic::Facts, &[("b", json!(1)), ("c", json!(1))])),
            [json!({ "c": 1 })]
        );
    }

    #[test]
    fn an_outage_is_told_when_it_begins_and_when_it_is_over_and_nothing_else_is_told_again() {
        for topic in Topic::ALL {
            let mut seen = Seen::default();
            told(&mut seen, fresh(topic, &[("a", json!(1)), ("b", json!(1))]));
            assert_eq!(told(&mut seen, away(topic, "refused")), [json!({ "error": "refused" })], "{topic}");
            assert!(told(&mut seen, away(topic, "refused")).is_empty(), "{topic}");
            let snapshot = seen.snapshots(&BTreeSet::from([topic])).unwrap();
            assert!(snapshot[0].contains(r#""data":{"a":1,"b":1,"error":"refused"}"#), "{snapshot:?}");
            let over = fresh(topic, &[("a", json!(1)), ("b", json!(2))]);
            assert_eq!(told(&mut seen, over), [json!({ "b": 2, "error": null })], "{topic}");
            assert!(!seen.snapshots(&BTreeSet::from([topic])).unwrap()[0].contains("error"), "{topic}");
        }
    }

    #[test]
    fn what_was_away_at_the_first_look_is_told_in_full_when_it_is_back() {
        let mut seen = Seen::default();
        told(&mut seen, away(Topic::Facts, "refused"));
        let back = fresh(Topic::Facts, &[("a", json!(1))]);
        assert_eq!(told(&mut seen, back), [json!({ "a": 1, "error": null })]);
    }

    #[test]
    fn what_was_found_after_the_last_listener_left_is_not_kept() {
        let mut seen = Seen::default();
        let facts = BTreeSet::from([Topic::Facts]);
        assert!(seen.take(fresh(Topic::Facts, &[("a", json!(1))]), &BTreeSet::new()).is_empty());
        assert!(seen.snapshots(&facts).is_none());
        seen.take(fresh(Topic::Facts, &[("a", json!(1))]), &facts);
        seen.take(fresh(Topic::Tree, &[]), &BTreeSet::from([Topic::Tree]));
        assert!(seen.snapshots(&facts).is_none(), "nobody listens to it any more");
    }

    #[test]
    fn what_nobody_listened_to_has_no_snapshot() {
        let mut seen = Seen::default();
        let both = BTreeSet::from([Topic::Tree, Topic::Facts]);
        told(&mut seen, fresh(Topic::Tree, &[]));
        assert!(seen.snapshots(&both).is_none());
        told(&mut seen, fresh(Topic::Facts, &[]));
        assert_eq!(seen.snapshots(&both).unwrap().len(), 2);
        seen.forget_all_but(&BTreeSet::from([Topic::Tree]));
        assert!(seen.snapshots(&both).is_none());
    }
}
