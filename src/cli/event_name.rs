//! Which event a name means: people paste what a listing shows, and that may be a letter's id or the beginning of one.

use std::collections::BTreeSet;

use anyhow::bail;
use uuid::Uuid;

use super::dlq::all_meant;
use crate::records::{DeadLetterFilter, Records};

/// Events that are listed when a name means several.
const CANDIDATES: usize = 10;

/// The event's id: the name itself, unless it is a dead letter's id, or the beginning of its id or its event's.
pub(super) async fn event_meant(records: &dyn Records, name: &str) -> anyhow::Result<String> {
    if let Ok(id) = Uuid::try_parse(name) {
        let letter = DeadLetterFilter { ids: Some(vec![id]), limit: 1, ..DeadLetterFilter::default() };
        let letter = records.dead_letters(&letter).await?.pop();
        let event = letter.map(|letter| letter.event_id).filter(|event| !event.is_empty());
        return Ok(event.unwrap_or_else(|| name.to_owned()));
    }
    let letters = all_meant(records, name).await?;
    if letters.iter().any(|letter| letter.event_id == name) {
        return Ok(name.to_owned());
    }
    let events: BTreeSet<String> =
        letters.into_iter().map(|letter| letter.event_id).filter(|event| !event.is_empty()).collect();
    match events.len() {
        0 => Ok(name.to_owned()),
        1 => Ok(events.into_iter().collect()),
        number => {
            let some: Vec<String> = events.into_iter().take(CANDIDATES).collect();
            bail!(
                "{name:?} may be any of {number} events, write more of its id; some are: {}",
                some.join(", ")
            )
        }
    }
}

/// What is told of a name that means nothing.
pub(super) fn advice(name: &str) -> &'static str {
    if Uuid::try_parse(name).is_ok() {
        "check the id"
    } else {
        "write the whole id; the beginning of one is enough for dead letters alone"
    }
}
