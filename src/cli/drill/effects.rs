//! What the ledger says of a drill's events: each once in every group, those of a key in their order.

use std::collections::{BTreeMap, HashMap};

use factline_pipeline::{outage::Error, outbox::NewEvent};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{
    journal::Journal,
    scene::{LOOK_EVERY, Scene},
};
use crate::evidence::Effect;

/// Events asked for at once.
const PAGE: usize = 1_000;

/// What each group made of the events.
pub(super) type Effects = BTreeMap<String, Vec<Effect>>;

impl Scene<'_> {
    /// Waits until every group has recorded all of these, however the store does meanwhile; says whether they have.
    pub(super) async fn recorded(&self, events: &[NewEvent]) -> anyhow::Result<bool> {
        self.recorded_by(Instant::now() + self.within, events).await
    }

    /// The same, where the time has begun before.
    pub(super) async fn recorded_by(&self, deadline: Instant, events: &[NewEvent]) -> anyhow::Result<bool> {
        for group in &self.groups {
            let mut waiting = ids_of(events);
            while !waiting.is_empty() {
                match self.effects_in(group, &waiting[..waiting.len().min(PAGE)]).await {
                    Ok(effects) => {
                        let before = waiting.len();
                        waiting.retain(|id| !effects.iter().any(|effect| effect.event_id == *id));
                        if waiting.len() < before {
                            continue;
                        }
                    }
                    Err(error) if error.is_outage() => {}
                    Err(error) => return Err(error.into()),
                }
                if Instant::now() >= deadline {
                    return Ok(false);
                }
                sleep(LOOK_EVERY).await;
            }
        }
        Ok(true)
    }

    /// What every group's ledger has of these.
    pub(super) async fn effects(&self, events: &[NewEvent]) -> Result<Effects, Error> {
        let ids = ids_of(events);
        let mut effects = Effects::new();
        for group in &self.groups {
            let of_group = effects.entry(group.clone()).or_default();
            for page in ids.chunks(PAGE) {
                of_group.extend(self.effects_in(group, page).await?);
            }
        }
        Ok(effects)
    }

    async fn effects_in(&self, group: &str, ids: &[Uuid]) -> Result<Vec<Effect>, Error> {
        self.adapters.databases.evidence.effects(group, ids).await
    }

    /// Each of these must have been recorded once in every group, in order, and as processed.
    pub(super) async fn check_effects(
        &self,
        journal: &mut Journal,
        events: &[NewEvent],
    ) -> anyhow::Result<()> {
        let (mut lost, mut doubled, mut refused, mut misordered) = (0, 0, 0, 0);
        for effects in self.effects(events).await?.values() {
            let found = compare(events, effects);
            lost += found.lost;
            doubled += found.doubled;
            refused += found.refused;
            misordered += found.misordered;
        }
        let expected = events.len() * self.groups.len();
        let found = format!("{} of {expected}, {doubled} twice, {refused} set aside", expected - lost);
        journal.check("every event was recorded once", lost + doubled + refused == 0, found);
        journal.check("in the order of their keys", misordered == 0, format!("{misordered} out of order"));
        journal.figure("events", events.len());
        journal.figure("lost", lost);
        journal.figure("doubled", doubled);
        journal.figure("out_of_order", misordered);
        Ok(())
    }

    /// Says what stays of so many events.
    pub(super) fn tell_remains(&self, journal: &mut Journal, events: usize) {
        journal.remains(format!(
            "{events} rows in the outbox, and as many in the ledger for group {}; they state nothing, and go with \
             relay.retention and janitor.ledger_retention: deleted by hand, they would look like lost events",
            self.groups.join(" and for group ")
        ));
    }
}

fn ids_of(events: &[NewEvent]) -> Vec<Uuid> {
    events.iter().filter_map(|event| event.event_id).collect()
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    lost: usize,
    doubled: usize,
    refused: usize,
    misordered: usize,
}

/// The events in the order in which they were written, with what one group made of them.
fn compare(events: &[NewEvent], effects: &[Effect]) -> Found {
    let mut found = Found::default();
    let mut latest = HashMap::new();
    let mut by_id: HashMap<Uuid, Vec<&Effect>> = HashMap::new();
    for effect in effects {
        by_id.entry(effect.event_id).or_default().push(effect);
    }
    for event in events {
        let of_event = event.event_id.and_then(|id| by_id.get(&id)).map(Vec::as_slice).unwrap_or_default();
        let Some(effect) = of_event.first() else {
            found.lost += 1;
            continue;
        };
        found.doubled += of_event.len() - 1;
        found.refused += usize::from(effect.outcome != "processed");
        let before = latest.insert(&event.key, effect.processed_at);
        found.misordered += usize::from(before.is_some_and(|before| before > effect.processed_at));
    }
    found
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::{super::events::Events, *};

    #[test]
    fn what_is_missing_doubled_refused_or_late_is_counted() {
        let mut made = Events::new("chat");
        let events: Vec<NewEvent> = [0, 0, 1, 1].into_iter().map(|key| made.plain(key)).collect();
        let effect = |index: usize, second, outcome: &str| Effect {
            event_id: events[index].event_id.unwrap(),
            outcome: outcome.into(),
            facts: 0,
            processed_at: DateTime::from_timestamp(second, 0).unwrap(),
            reworked: false,
        };
        let right: Vec<Effect> = (0..4).map(|index| effect(index, 1, "processed")).collect();
        assert_eq!(compare(&events, &right), Found::default());
        let wrong = [
            effect(0, 9, "processed"),
            effect(1, 8, "processed"),
            effect(2, 1, "dead_lettered"),
            effect(2, 2, "x"),
        ];
        assert_eq!(compare(&events, &wrong), Found { lost: 1, doubled: 1, refused: 1, misordered: 1 });
    }
}
