//! Reprocessing dead letters, without the stream and with or without a daemon: the letter's event is extracted here,
//! and recorded with the letter's resolution in one transaction, so that it takes effect once however often, and by
//! however many at once, it is reprocessed.
//!
//! Extraction is foreign code: it runs on a thread of its own, which is given up if it never comes back. Nothing can be
//! done against code that ends the process; a daemon that reprocesses therefore spares itself such letters, and those
//! that follow one that did not end in time.
//!
//! A run selects its letters first and takes them one by one. Each try is counted before it is made, and the letter
//! is open again by then: one that takes the whole process down is left behind, and the run can be resumed without it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use factline_pipeline::{
    dead_letter::{self, ErrorKind, Stage},
    extraction_thread::{self, StuckThreads, Tools},
    lease::Keeper,
    ledger::{Outcome, Recording},
    outage::{self, Error},
    outbox::NewEvent,
};
use factline_supervision::Delays;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    app::{self, Databases},
    config::Config,
    dead_letters::{Effect, End, Failed, Letter, Selected, Success, facts_stated},
    operator_log::Actor,
};

mod event;
mod presence;

/// How often a store is asked that does not answer.
const STORE_ATTEMPTS: u32 = 6;

/// What came of one letter's turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Its event took effect, and states so many facts.
    Took(usize),
    /// Its event had taken effect before.
    KnownBefore,
    /// Its event waits in the outbox under this id.
    Republished(Uuid),
    /// It failed again.
    Failed(Failed),
    /// It cannot be tried as it is; what to do.
    Unfit(String),
    /// Somebody else was quicker; the state that the letter is in.
    Settled(String),
}

/// What a run came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Tally {
    /// Events that took effect.
    pub took_effect: u64,
    /// Facts that they state.
    pub facts: u64,
    /// Events that had taken effect before.
    pub known_before: u64,
    /// Events that wait in the outbox again.
    pub republished: u64,
    /// Letters that failed again, or cannot be tried as they are.
    pub failed: u64,
    /// Letters that somebody else was quicker with.
    pub settled: u64,
    /// Letters that were put back to be open, untried.
    pub put_back: u64,
}

impl Tally {
    /// Counts one more.
    pub fn count(&mut self, turn: &Turn) {
        match turn {
            Turn::Took(facts) => {
                self.took_effect += 1;
                self.facts += *facts as u64;
            }
            Turn::KnownBefore => self.known_before += 1,
            Turn::Republished(_) => self.republished += 1,
            Turn::Failed(_) | Turn::Unfit(_) => self.failed += 1,
            Turn::Settled(_) => self.settled += 1,
        }
    }
}

/// When to stop, and how fast to go.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// So many first; if one of them fails, no others.
    pub canary: Option<usize>,
    /// No more after more failures than this.
    pub max_failures: Option<u64>,
    /// Between the beginnings of two tries at least.
    pub interval: Option<Duration>,
}

impl Limits {
    /// Why to stop after so many tries.
    fn reason_to_stop(&self, tried: usize, tally: &Tally) -> Option<String> {
        if self.canary == Some(tried) && tally.failed > 0 {
            return Some(format!("{} of the first {tried} failed", tally.failed));
        }
        let most = self.max_failures.filter(|most| tally.failed > *most)?;
        Some(format!("more than {most} failed"))
    }
}

/// What each group finds facts with, and how long one of them may take.
pub type GroupTools = BTreeMap<String, Tools>;

/// The tools of the configured groups. Extractors may take their time to be made. `stuck` is the process' own count.
#[must_use]
pub fn tools(config: &Config, stuck: &StuckThreads) -> GroupTools {
    let groups = config.groups.iter().map(|group| {
        let extractors = app::extractors(config, group);
        (group.name.clone(), Tools { extractors, deadline: group.extract_timeout, stuck: stuck.clone() })
    });
    groups.collect()
}

/// Reprocesses letters in somebody's name.
pub struct Reprocessor {
    databases: Databases,
    /// Tells others which runs are worked.
    keeper: Keeper,
    by: Actor,
    groups: Arc<GroupTools>,
    spares_the_process: bool,
}

impl Reprocessor {
    /// With the extractors of the configured groups.
    #[must_use]
    pub fn new(config: &Config, databases: Databases, by: &Actor) -> Self {
        Self::with(config, databases, by, Arc::new(tools(config, &StuckThreads::default())))
    }

    /// The same in a process that others depend on: no letter is tried that has ended one before, and a run ends with
    /// the first extraction that did not end in time.
    #[must_use]
    pub fn in_daemon(config: &Config, databases: Databases, by: &Actor, groups: Arc<GroupTools>) -> Self {
        Self { spares_the_process: true, ..Self::with(config, databases, by, groups) }
    }

    fn with(config: &Config, databases: Databases, by: &Actor, groups: Arc<GroupTools>) -> Self {
        let keeper = Keeper {
            leases: databases.leases.clone(),
            holder: app::holder_name(&config.instance),
            ttl: config.store.lease_ttl,
        };
        Self { keeper, databases, by: by.clone(), groups, spares_the_process: false }
    }

    /// Takes the letters in their order and tells of each. Says why it stopped before the last, if it did; what it
    /// did not come to is open again then.
    ///
    /// Meanwhile others are told that somebody is at it.
    pub async fn run(
        &self,
        letters: &[Selected],
        limits: Limits,
        tally: &mut Tally,
        told: impl FnMut(Selected, &Turn),
    ) -> Result<Option<String>, Error> {
        self.attending(letters, self.take_turns(letters, limits, tally, told)).await
    }

    async fn take_turns(
        &self,
        letters: &[Selected],
        limits: Limits,
        tally: &mut Tally,
        mut told: impl FnMut(Selected, &Turn),
    ) -> Result<Option<String>, Error> {
        let mut next = Instant::now();
        for (index, selected) in letters.iter().enumerate() {
            tokio::time::sleep_until(next).await;
            next = Instant::now() + limits.interval.unwrap_or_default();
            let turn = self.take_turn(*selected).await?;
            tally.count(&turn);
            told(*selected, &turn);
            let rest = &letters[index + 1..];
            let reason = limits.reason_to_stop(index + 1, tally).or_else(|| self.reason_to_stop(&turn));
            let Some(reason) = reason.filter(|_| !rest.is_empty()) else {
                continue;
            };
            for run in rest.iter().map(|selected| selected.run).collect::<BTreeSet<_>>() {
                tally.put_back += patiently(|| self.databases.dead_letters.put_back(&self.by, run)).await?;
            }
            return Ok(Some(reason));
        }
        Ok(None)
    }

    /// Why no other letter should have its turn, or be rehearsed, after this one.
    #[must_use]
    pub fn reason_to_stop(&self, turn: &Turn) -> Option<String> {
        let Turn::Failed(failed) = turn else { return None };
        let held = self.spares_the_process && failed.kind == ErrorKind::TimedOut.as_str();
        held.then(|| {
            "an extraction did not end in time; `factline dlq reprocess` goes on after one".to_owned()
        })
    }

    async fn take_turn(&self, selected: Selected) -> Result<Turn, Error> {
        let letters = &self.databases.dead_letters;
        let Some(attempts) = patiently(|| letters.begin_try(&self.by, selected)).await? else {
            return Ok(Turn::Settled("taken by somebody else".to_owned()));
        };
        let Some(letter) = patiently(|| letters.letter(selected.letter)).await? else {
            return Ok(Turn::Settled("deleted".to_owned()));
        };
        if letter.record.stage == Stage::Relay.as_str() {
            return self.republish(&letter).await;
        }
        let recording = match self.extract(&letter).await? {
            Ok(recording) => recording,
            Err(turn) => return self.keep_failure(selected, turn).await,
        };
        let success = Success { group: &letter.record.consumer_group, recording: &recording, attempts };
        match patiently(|| letters.record_success(&self.by, selected, success)).await {
            Ok(Effect::Took) => Ok(Turn::Took(facts_stated(&recording))),
            Ok(Effect::KnownBefore) => Ok(Turn::KnownBefore),
            Ok(Effect::Settled(status)) => Ok(Turn::Settled(status)),
            Err(error @ Error::Data { .. }) => {
                let failed = failed(Stage::Record, ErrorKind::Refused, outage::chain(&error));
                self.keep_failure(selected, Turn::Failed(failed)).await
            }
            Err(error) => Err(error),
        }
    }

    /// What would come of the letter's turn; nothing is changed.
    pub async fn rehearse(&self, letter: &Letter) -> Result<Turn, Error> {
        if letter.record.stage == Stage::Relay.as_str() {
            let event = self.event_to_republish(letter).await?;
            return Ok(event.map_or_else(Turn::Unfit, |(id, _)| Turn::Republished(id)));
        }
        let extracted = self.extract(letter).await?;
        Ok(extracted.map_or_else(|turn| turn, |recording| Turn::Took(facts_stated(&recording))))
    }

    /// What is to be recorded of the letter's event, or why there is nothing.
    async fn extract(&self, letter: &Letter) -> Result<Result<Recording, Turn>, Error> {
        let group = &letter.record.consumer_group;
        if self.spares_the_process && letter.record.error_kind == ErrorKind::Crashed.as_str() {
            let reason = "its event has ended the process it was tried in; use `factline dlq reprocess`, which runs in \
                          one of its own";
            return Ok(Err(Turn::Unfit(reason.to_owned())));
        }
        let Some(tools) = self.groups.get(group) else {
            let reason = format!("group {group:?} is not configured here; use the daemon's configuration");
            return Ok(Err(Turn::Unfit(reason)));
        };
        let occurred_at = self.occurred_at(letter).await?;
        let (entry, event_id) = match event::of_entry(letter, occurred_at) {
            Ok(read) => read,
            Err(reason) => return Ok(Err(Turn::Unfit(reason))),
        };
        Ok(match extraction_thread::extract_alone(tools, entry.clone()).await {
            Ok(said) => Ok(Recording {
                event_id,
                entry,
                outcome: Outcome::Processed(said),
                attempts: u32::try_from(letter.record.attempts).unwrap_or(1),
                leaves_traces: false,
            }),
            Err(failure) => Err(Turn::Failed(failed(Stage::Extract, failure.kind, failure.error))),
        })
    }

    /// When the event happened: the ledger still knows, if its row is there.
    async fn occurred_at(&self, letter: &Letter) -> Result<Option<chrono::DateTime<chrono::Utc>>, Error> {
        let Some(id) = letter.record.ledger_id() else { return Ok(None) };
        let rows = patiently(|| self.databases.records.ledger(id)).await?;
        let row = rows.into_iter().find(|row| row.consumer_group == letter.record.consumer_group);
        Ok(row.and_then(|row| row.occurred_at))
    }

    async fn keep_failure(&self, selected: Selected, turn: Turn) -> Result<Turn, Error> {
        if let Turn::Failed(failed) = &turn {
            let keep = || self.databases.dead_letters.record_failure(&self.by, selected, failed);
            patiently(keep).await?;
        }
        Ok(turn)
    }

    /// Writes the event to the outbox, where the relay finds it, and resolves the letter. A crash in between leaves
    /// the letter open; the next time the event is there already.
    async fn republish(&self, letter: &Letter) -> Result<Turn, Error> {
        let (id, event) = match self.event_to_republish(letter).await? {
            Ok(event) => event,
            Err(reason) => return Ok(Turn::Unfit(reason)),
        };
        let Databases { outbox, dead_letters, .. } = &self.databases;
        match patiently(|| outbox.insert(std::slice::from_ref(&event))).await {
            Ok(_) => {}
            Err(Error::Data { .. }) if patiently(|| outbox.find(id)).await?.is_some() => {}
            Err(error @ Error::Data { .. }) => return Ok(Turn::Unfit(outage::chain(&error))),
            Err(error) => return Err(error),
        }
        let note = format!("published again as event {id}");
        let letters = [letter.record.id];
        patiently(|| dead_letters.end(&self.by, &letters, End::Resolved, &note)).await?;
        Ok(Turn::Republished(id))
    }

    /// A refused row keeps the event's id; the event goes out under another one then, the same every time.
    async fn event_to_republish(&self, letter: &Letter) -> Result<Result<(Uuid, NewEvent), String>, Error> {
        let occurred_at = self.occurred_at(letter).await?;
        let (id, mut event) = match event::of_row(letter, occurred_at) {
            Ok(event) => event,
            Err(reason) => return Ok(Err(reason)),
        };
        let row = patiently(|| self.databases.outbox.find(id)).await?;
        let refused = row.is_some_and(|row| row.status == "failed");
        let id = if refused { dead_letter::id_of_republished(id) } else { id };
        event.event_id = Some(id);
        Ok(Ok((id, event)))
    }
}

fn failed(stage: Stage, kind: ErrorKind, error: String) -> Failed {
    let fingerprint = dead_letter::fingerprint(stage.as_str(), kind.as_str(), &error);
    Failed { kind: kind.as_str().to_owned(), error, fingerprint }
}

/// Asks again while the server is away, or another transaction was in the way, but not for long: somebody waits.
async fn patiently<T, F>(mut ask: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut delays = Delays::new(&outage::default_policy());
    for _ in 1..STORE_ATTEMPTS {
        match ask().await {
            Err(error) if error.is_outage() => tokio::time::sleep(delays.next_delay()).await,
            answer => return answer,
        }
    }
    ask().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_stops_after_its_canary_and_above_its_failures() {
        let failures = |failed| Tally { failed, ..Tally::default() };
        let canary = Limits { canary: Some(3), ..Limits::default() };
        assert_eq!(canary.reason_to_stop(2, &failures(1)), None);
        assert_eq!(canary.reason_to_stop(3, &failures(0)), None);
        assert_eq!(canary.reason_to_stop(3, &failures(1)).as_deref(), Some("1 of the first 3 failed"));
        assert_eq!(canary.reason_to_stop(4, &failures(2)), None);
        let most = Limits { max_failures: Some(1), ..Limits::default() };
        assert_eq!(most.reason_to_stop(9, &failures(1)), None);
        assert_eq!(most.reason_to_stop(9, &failures(2)).as_deref(), Some("more than 1 failed"));
    }
}
