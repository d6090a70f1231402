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
    records::{DeadLetterFilter, FactFilter},
};

/// The newest facts and dead letters that are looked at; of more in between, only these are told.
const NEWEST: u32 = 100;

/// The figures of one topic by their keys.
type Figures = BTreeMap<String, Value>;

/// What was found just now.
pub(super) struct Fresh(BTreeMap<Topic, Figures>);

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
        Self(BTreeMap::from([(Topic::Tree, figures)]))
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
    /// Takes what was found; gives what is to be told of it to those who knew what was seen before.
    pub(super) fn take(&mut self, fresh: Fresh) -> Vec<(Topic, String)> {
        let mut told = Vec::new();
        for (topic, figures) in fresh.0 {
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
    if matches!(topic, Topic::Tree | Topic::Streams) {
        changed.extend(
            before.keys().filter(|key| !now.contains_key(*key)).map(|key| (key.clone(), Value::Null)),
        );
    }
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

fn outbox(observation: &Observation) -> Figures {
    let figures = |look: &Look<_>| match look {
        Ok(view) => shown(view),
        Err(error) => json!({ "error": error }),
    };
    let backlog = observation.outbox.as_ref().map(|view| view.backlog).map_err(Clone::clone);
    Figures::from([("backlog".to_owned(), figures(&backlog))])
}

fn streams(observation: &Observation) -> Figures {
    match &observation.streams {
        Ok(view) => {
            view.lag.iter().map(|lag| (format!("{}/{}", lag.group, lag.partition), shown(lag))).collect()
        }
        Err(error) => failed(error),
    }
}

/// How many are open, and the newest ones by their id.
async fn dead_letters(state: &State, observation: &Observation) -> Figures {
    let open = match &observation.store {
        Ok(view) => view.dead_letters,
        Err(error) => return failed(error),
    };
    let filter =
        DeadLetterFilter { limit: NEWEST, status: Some("open".into()), ..DeadLetterFilter::default() };
    let letters = match state.adapters.databases.records.dead_letters(&filter).await {
        Ok(letters) => letters,
        Err(error) => return failed(&outage::chain(&error)),
    };
    let letter = |letter: crate::records::DeadLetterRecord| {
        let shown = json!({
            "event_id": letter.event_id, "consumer_group": letter.consumer_group, "stage": letter.stage,
            "topic": letter.topic, "key": letter.key, "event_type": letter.event_type,
            "error_kind": letter.error_kind, "fingerprint": letter.fingerprint, "dead_at": letter.dead_at,
        });
        (letter.id.to_string(), shown)
    };
    let mut figures: Figures = letters.into_iter().map(letter).collect();
    figures.insert("open".to_owned(), json!(open.open));
    figures
}

/// The newest ones by their id, which orders them by time.
async fn facts(state: &State) -> Figures {
    let filter = FactFilter { superseded: true, limit: NEWEST, ..FactFilter::default() };
    match state.adapters.databases.records.facts(&filter).await {
        Ok(facts) => facts.into_iter().map(|fact| (fact.id.to_string(), shown(fact))).collect(),
        Err(error) => failed(&outage::chain(&error)),
    }
}

fn failed(error: &str) -> Figures {
    Figures::from([("error".to_owned(), json!(error))])
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
        Fresh(BTreeMap::from([(topic, figures)]))
    }

    fn told(seen: &mut Seen, fresh: Fresh) -> Vec<Value> {
        seen.take(fresh)
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
