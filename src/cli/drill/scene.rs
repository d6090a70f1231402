//! What must be so before a drill begins, and where it plays: one topic, and the groups that read it.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, bail};
use chrono::{TimeDelta, Utc};
use factline_pipeline::{assignment::lease_name, outage::Error, outbox::NewEvent};
use tokio::time::{Instant, sleep};

use super::{
    Common,
    daemon::{Daemons, Trees},
    events::Events,
    journal::Journal,
};
use crate::{app, app::Adapters, config::Config};

/// Between two looks at something that is awaited.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a deployment that is about to be well again is waited for.
const SETTLES: Duration = Duration::from_secs(10);

/// A row that has been waiting for longer than this is a backlog.
const BACKLOG: TimeDelta = TimeDelta::seconds(10);

/// Where a drill plays.
pub(super) struct Scene<'a> {
    pub(super) config: &'a Config,
    pub(super) adapters: Adapters,
    pub(super) topic: String,
    /// Those that read the topic.
    pub(super) groups: Vec<String>,
    pub(super) events: Events,
    pub(super) daemons: Daemons,
    pub(super) within: Duration,
}

/// The daemons at one moment.
pub(super) struct Before {
    trees: Trees,
    /// The processes, as they are called in leases.
    processes: BTreeSet<String>,
    /// Entries that came again, as far as they are counted.
    duplicates: Option<u64>,
}

impl<'a> Scene<'a> {
    /// Makes sure that all is well: a drill on a broken deployment would blame the drill.
    pub(super) async fn set(
        config: &'a Config,
        adapters: Adapters,
        common: &Common,
    ) -> anyhow::Result<Scene<'a>> {
        let first = || config.groups.first().and_then(|group| group.topics.first()).cloned();
        let topic = common.topic.clone().or_else(first).context("no group reads any topic")?;
        let readers = config.groups.iter().filter(|group| group.topics.contains(&topic));
        let groups: Vec<String> = readers.map(|group| group.name.clone()).collect();
        if groups.is_empty() {
            bail!("no group reads the topic {topic:?}; name one that is in the topics of a group");
        }
        let scene = Scene {
            config,
            adapters,
            groups,
            events: Events::new(&topic),
            topic,
            daemons: Daemons::new(&common.daemon, config)?,
            within: common.within,
        };
        let unmet = scene.unmet().await?;
        if !unmet.is_empty() {
            bail!("this deployment is not fit for a drill, nothing was changed: {}", unmet.join("; "));
        }
        Ok(scene)
    }

    /// Why no drill can begin; empty if it can.
    async fn unmet(&self) -> anyhow::Result<Vec<String>> {
        let mut unmet = Vec::new();
        let free = self.free_leases_after(self.config.store.lease_ttl).await?;
        if !free.is_empty() {
            unmet.push(format!(
                "nobody holds {}; start `factline run`, or see `factline status`",
                free.join(", ")
            ));
        }
        let backlog = self.adapters.databases.outbox.backlog().await?;
        if let Some(oldest) = backlog.oldest_pending.filter(|oldest| Utc::now() - oldest > BACKLOG) {
            let seconds = (Utc::now() - oldest).num_seconds();
            unmet.push(format!(
                "{} rows wait in the outbox, the oldest for {seconds} s; let them drain first",
                backlog.pending
            ));
        }
        unmet.extend(self.unwell_after(SETTLES).await);
        Ok(unmet)
    }

    /// What the daemons say that are not well, once this time is over; an actor that waits for its next turn may not
    /// know yet that all is well again.
    async fn unwell_after(&self, time: Duration) -> Vec<String> {
        let until = Instant::now() + time;
        loop {
            let unwell = self.daemons.look().await.unwell();
            if unwell.is_empty() || Instant::now() >= until {
                return unwell;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// The leases that somebody should hold and nobody does, once this time is over.
    async fn free_leases_after(&self, time: Duration) -> Result<Vec<String>, Error> {
        let until = Instant::now() + time;
        loop {
            match self.free_leases().await {
                Ok(free) if free.is_empty() || Instant::now() >= until => return Ok(free),
                Err(error) if !error.is_outage() || Instant::now() >= until => return Err(error),
                _ => sleep(LOOK_EVERY).await,
            }
        }
    }

    async fn free_leases(&self) -> Result<Vec<String>, Error> {
        let leases = self.adapters.databases.leases.list().await?;
        let held: BTreeSet<&str> =
            leases.iter().filter(|lease| lease.held).map(|lease| lease.name.as_str()).collect();
        Ok(self.leases().into_iter().filter(|name| !held.contains(name.as_str())).collect())
    }

    /// The relay's, and those of the topic's partitions.
    fn leases(&self) -> Vec<String> {
        let partitions = self.adapters.stream.partitions(&self.topic);
        let of_group = |group: &String| {
            partitions.iter().map(|partition| lease_name(group, partition)).collect::<Vec<_>>()
        };
        let mut leases = vec![app::relay_lease(self.config)];
        leases.extend(self.groups.iter().flat_map(of_group));
        leases
    }

    /// Writes one event of no consequence.
    pub(super) async fn write_plain(&mut self, key: u32) -> anyhow::Result<NewEvent> {
        let event = self.events.plain(key);
        self.adapters.databases.outbox.insert(std::slice::from_ref(&event)).await?;
        Ok(event)
    }

    /// A first event goes all the way, before anything else is done.
    pub(super) async fn probe(&mut self, journal: &mut Journal) -> anyhow::Result<Vec<NewEvent>> {
        journal.step(format!("a first event, on topic {}, to see that all is well", self.topic));
        let first = vec![self.write_plain(0).await?];
        if !self.recorded(&first).await? {
            let time = humantime::format_duration(self.within);
            bail!("it was not recorded within {time}; `factline status` and `factline doctor` say why");
        }
        Ok(first)
    }

    /// The daemons as they are now.
    pub(super) async fn look(&self) -> anyhow::Result<Before> {
        Ok(Before {
            trees: self.daemons.look().await,
            processes: self.processes().await?,
            duplicates: self.daemons.duplicates().await,
        })
    }

    /// Entries that came again since then, which the ledger has made nothing of; unknown if nobody says.
    pub(super) async fn duplicates_since(&self, before: &Before) -> Option<u64> {
        self.daemons.duplicates().await?.checked_sub(before.duplicates?)
    }

    async fn processes(&self) -> Result<BTreeSet<String>, Error> {
        let names: BTreeSet<String> = self.leases().into_iter().collect();
        let leases = self.adapters.databases.leases.list().await?;
        let held = leases.into_iter().filter(|lease| lease.held && names.contains(&lease.name));
        Ok(held.map(|lease| lease.holder).collect())
    }

    /// Nothing may have been restarted since then: no process, no actor.
    pub(super) async fn check_restarts(&self, journal: &mut Journal, before: &Before) -> anyhow::Result<()> {
        let free = self.free_leases_after(self.within).await?;
        journal.check("relay and partitions are held", free.is_empty(), or_all(&free, "all of them"));
        let gone: Vec<String> = before.processes.difference(&self.processes().await?).cloned().collect();
        journal.check(
            "the same processes are at work",
            gone.is_empty(),
            or_all(&gone, &before.processes.len().to_string()),
        );
        if let Some(duplicates) = self.duplicates_since(before).await {
            journal.figure("duplicates", duplicates);
        }
        let unwell = self.unwell_after(self.within).await;
        let trees = self.daemons.look().await;
        let (well, restarted) = ("the daemon says that all is well", "no actor was restarted");
        if let Some(silence) = before.trees.silence().or_else(|| trees.silence()) {
            journal.unchecked(well, silence.clone());
            journal.unchecked(restarted, silence);
            return Ok(());
        }
        journal.check(well, unwell.is_empty(), or_all(&unwell, "every actor is healthy"));
        let anew = trees.restarted_since(&before.trees);
        journal.check(restarted, anew.is_empty(), or_all(&anew, "none"));
        Ok(())
    }
}

/// What was found wrong, or the word for nothing.
fn or_all(wrong: &[String], nothing: &str) -> String {
    if wrong.is_empty() { nothing.to_owned() } else { wrong.join(", ") }
}
