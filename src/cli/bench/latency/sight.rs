//! When each event's ledger row became visible to others, by the benchmark's own clock.
//!
//! The row's own time is taken within its transaction, and the time that a server can keep of a commit is taken before
//! the log is on disk: both are too early. So somebody looks, as any other reader would, every half a millisecond, for
//! those events only that were committed and not seen yet. A row is told of when a look finds it, which is too late by
//! the time since the look before at the most; that is measured too.

use std::{
    collections::HashMap,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::super::{
    floor::Loop,
    pace::{Commit, wait_until},
};
use crate::{
    config::{Config, Service, service_of},
    postgres, sqlite,
    trial::Sight,
};

/// From the end of a look to the next one.
const LOOK_EVERY: Duration = Duration::from_micros(500);

/// Where nothing is seen for so long, nothing will be.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long to wait for the next commit before it is asked whether to go on.
const PAUSE: Duration = Duration::from_millis(100);

/// An event that was seen in the ledger.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) commit: Commit,
    /// When a look found it.
    pub(super) at: Instant,
    /// When the look before began, which did not.
    pub(super) missed: Option<Instant>,
}

impl Seen {
    /// From the insert's commit to the ledger row's.
    pub(super) fn after(&self) -> Duration {
        self.at.saturating_duration_since(self.commit.made)
    }

    /// How much sooner it may have been there.
    pub(super) fn doubt(&self) -> Duration {
        self.missed.map_or(self.after(), |missed| self.at.saturating_duration_since(missed)).min(self.after())
    }
}

/// Looks until so many events were seen.
pub(super) fn watch(
    config: &Config,
    commits: Receiver<Commit>,
    events: usize,
) -> anyhow::Result<(Loop, oneshot::Receiver<Vec<Seen>>)> {
    let url = config.store.url.clone();
    let group = config.groups.first().context("no group is configured")?.name.clone();
    let (tell, told) = oneshot::channel();
    let looking = Loop::start(async move |stop: &AtomicBool| {
        let mut sight = open(&url).await?;
        let seen = look(&mut *sight, &group, &commits, events, stop).await?;
        // Nobody listens who has been interrupted.
        drop(tell.send(seen));
        Ok(())
    })?;
    Ok((looking, told))
}

async fn open(url: &str) -> anyhow::Result<Box<dyn Sight>> {
    Ok(match service_of(url) {
        Some(Service::Postgres) => Box::new(postgres::trial::Sight::connect(url).await?),
        _ => Box::new(sqlite::trial::Sight::connect(url).await?),
    })
}

async fn look(
    sight: &mut dyn Sight,
    group: &str,
    commits: &Receiver<Commit>,
    events: usize,
    stop: &AtomicBool,
) -> anyhow::Result<Vec<Seen>> {
    let mut seen: Vec<Seen> = Vec::with_capacity(events);
    // Each with the look that missed it last.
    let mut waiting: HashMap<Uuid, (Commit, Option<Instant>)> = HashMap::new();
    let mut last = Instant::now();
    while seen.len() < events && !stop.load(Ordering::Relaxed) {
        waiting.extend(commits.try_iter().map(|commit| (commit.event, (commit, None))));
        if waiting.is_empty() {
            waiting.extend(next(commits)?.map(|commit| (commit.event, (commit, None))));
            continue;
        }
        let events: Vec<Uuid> = waiting.keys().copied().collect();
        let begun = Instant::now();
        let found = sight.recorded_among(group, &events).await?;
        let at = Instant::now();
        for event in found {
            let Some((commit, missed)) = waiting.remove(&event) else { continue };
            seen.push(Seen { commit, at, missed });
            last = at;
        }
        for (_, missed) in waiting.values_mut() {
            *missed = Some(begun);
        }
        if last.elapsed() > PATIENCE {
            bail!(
                "of {events} events {waiting} are not in the ledger after {after}",
                events = events.len(),
                waiting = waiting.len(),
                after = humantime::format_duration(PATIENCE)
            );
        }
        wait_until(at + LOOK_EVERY);
    }
    Ok(seen)
}

/// The next commit, if there is one soon.
fn next(commits: &Receiver<Commit>) -> anyhow::Result<Option<Commit>> {
    match commits.recv_timeout(PAUSE) {
        Ok(commit) => Ok(Some(commit)),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => bail!("not all events were inserted"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use async_trait::async_trait;
    use factline_pipeline::outage::Error;

    use super::*;

    /// A ledger in which one more of the asked events is at every other look.
    struct Slow(u32);

    #[async_trait]
    impl Sight for Slow {
        async fn recorded_among(&mut self, _: &str, events: &[Uuid]) -> Result<Vec<Uuid>, Error> {
            self.0 += 1;
            Ok(events.iter().copied().filter(|_| self.0.is_multiple_of(2)).min().into_iter().collect())
        }
    }

    #[tokio::test]
    async fn every_event_is_seen_once_by_the_first_look_that_finds_it() {
        let (tell, commits) = mpsc::sync_channel(3);
        let now = Instant::now();
        for number in 1..=3 {
            tell.send(Commit { event: Uuid::from_u128(number), due: now, made: now }).unwrap();
        }
        let mut sight = Slow(0);
        let seen = look(&mut sight, "facts", &commits, 3, &AtomicBool::new(false)).await.unwrap();
        let order: Vec<u128> = seen.iter().map(|seen| seen.commit.event.as_u128()).collect();
        assert_eq!((order, sight.0), (vec![1, 2, 3], 6));
        for seen in seen {
            assert!(seen.missed.is_some_and(|missed| missed >= now && missed < seen.at), "the look before");
            assert!(seen.doubt() <= seen.after());
        }
    }

    #[tokio::test]
    async fn who_inserts_no_more_before_all_were_seen_is_found() {
        let (tell, commits) = mpsc::sync_channel(1);
        drop(tell);
        let looked = look(&mut Slow(0), "facts", &commits, 1, &AtomicBool::new(false)).await;
        assert_eq!(looked.unwrap_err().to_string(), "not all events were inserted");
    }
}
