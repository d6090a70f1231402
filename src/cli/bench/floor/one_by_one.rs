//! The servers' own part of an event's latency: the same statements and commands for one event after the other, by one
//! loop that waits for nothing but the answers.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use factline_pipeline::outbox::NewEvent;
use tokio::sync::oneshot;

use super::{Loop, Prepared, placed};
use crate::cli::bench::pace;

impl Prepared {
    /// Takes each event from the outbox to the ledger by itself, right after another one's insert was committed, and
    /// tells how long that took: claim, publish, read, and the ledger's transaction.
    pub(in crate::cli::bench) fn one_by_one(
        &mut self,
        inserts: Vec<NewEvent>,
    ) -> anyhow::Result<(Loop, oneshot::Receiver<Vec<Duration>>)> {
        let (servers, group) = (self.servers.clone(), self.group.clone());
        let (events, mut recordings) =
            (std::mem::take(&mut self.events), std::mem::take(&mut self.recordings));
        let (tell, told) = oneshot::channel();
        let stepping = Loop::start(async move |stop: &AtomicBool| {
            let producer = pace::outbox(servers.config.clone()).await?;
            let (mut outbox, mut stream) =
                (servers.outbox().await?, servers.stream(Some(&group.name)).await?);
            let mut store = servers.store().await?;
            let mut times = Vec::with_capacity(events.len());
            for ((number, event), insert) in events.into_iter().zip(inserts) {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                producer.insert(&[insert]).await?;
                let committed = Instant::now();
                let rows = outbox.claim(1).await?;
                ensure!(rows == [number], "the outbox gave other rows");
                stream.append(&[event]).await?;
                let read = stream.read(&group.name, 1).await?;
                let [entry] = read[..] else { anyhow::bail!("the stream gave {} events", read.len()) };
                let recording =
                    recordings.remove(&entry.event_id).context("the stream gave another event")?;
                store.record(&group.name, &[placed(recording, entry)]).await?;
                times.push(committed.elapsed());
                stream.acknowledge(&group.name, &read).await?;
                outbox.mark(&rows).await?;
            }
            // Nobody listens who has been interrupted.
            drop(tell.send(times));
            Ok(())
        })?;
        Ok((stepping, told))
    }
}
