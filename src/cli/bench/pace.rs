//! Events that come by the clock, whatever becomes of them: who is late does not make the next one late too.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::SyncSender,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use factline_pipeline::outbox::{NewEvent, Outbox};
use uuid::Uuid;

use super::{floor::Loop, load::Load};
use crate::{app::Opener, config::Config};

/// How long events gather that come in batches.
const GATHER: Duration = Duration::from_millis(5);

/// The most of them in one statement.
const BATCH: u64 = 5_000;

/// One event's commit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Commit {
    pub(super) event: Uuid,
    /// When it was to be made.
    pub(super) due: Instant,
    /// When the database said that it was.
    pub(super) made: Instant,
}

/// So many events a second from a moment on.
#[derive(Debug, Clone, Copy)]
struct Pace {
    begun: Instant,
    rate: f64,
}

impl Pace {
    fn from_now(rate: f64) -> Self {
        Self { begun: Instant::now(), rate }
    }

    /// When the event of this number is due, the first one being 0.
    fn due(self, number: u64) -> Instant {
        self.begun + Duration::from_secs_f64(super::rounds::count(number) / self.rate)
    }

    /// How many are due by then.
    fn due_by(self, moment: Instant) -> u64 {
        let passed = moment.saturating_duration_since(self.begun).as_secs_f64() * self.rate;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of events")]
        let due = passed as u64;
        due
    }
}

/// Inserts all events of a load, each in a transaction of its own, and tells of each.
pub(super) fn one_by_one(
    config: &Config,
    load: Load,
    rate: f64,
    tell: SyncSender<Commit>,
) -> anyhow::Result<Loop> {
    let config = config.clone();
    Loop::start(async move |stop: &AtomicBool| {
        let outbox = outbox(config).await?;
        let pace = Pace::from_now(rate);
        for number in 0..load.events {
            let event = [identified(load.event(number))];
            let due = pace.due(number);
            wait_until(due);
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let ids = outbox.insert(&event).await?;
            let made = Instant::now();
            let event = *ids.first().context("the outbox took no event")?;
            tell.send(Commit { event, due, made }).context("nobody looks for the events any more")?;
        }
        Ok(())
    })
}

/// Inserts events of a load for some seconds, all that are due in one transaction; counts them.
pub(super) fn in_batches(
    config: &Config,
    load: Load,
    rate: f64,
    seconds: Duration,
    inserted: Arc<AtomicU64>,
) -> anyhow::Result<Loop> {
    let config = config.clone();
    Loop::start(async move |stop: &AtomicBool| {
        let outbox = outbox(config).await?;
        let pace = Pace::from_now(rate);
        let end = pace.begun + seconds;
        let mut from = 0;
        while Instant::now() < end && !stop.load(Ordering::Relaxed) {
            let to = pace.due_by(Instant::now()).min(from + BATCH);
            let events: Vec<NewEvent> = (from..to).map(|number| load.event(number)).collect();
            if !events.is_empty() {
                outbox.insert(&events).await?;
                inserted.store(to, Ordering::Relaxed);
            }
            from = to;
            wait_until(pace.due(to) + GATHER);
        }
        Ok(())
    })
}

/// Known before it is inserted, and rising with time, as ids should.
fn identified(event: NewEvent) -> NewEvent {
    NewEvent { event_id: Some(Uuid::now_v7()), ..event }
}

/// On one connection.
pub(super) async fn outbox(mut config: Config) -> anyhow::Result<Arc<dyn Outbox>> {
    config.source.pool = 1;
    Ok(Opener::impatient(&config).source().await?.outbox)
}

/// On a thread that has nothing else to do, and more exactly than a runtime's timer, whose steps are milliseconds.
pub(super) fn wait_until(moment: Instant) {
    let left = moment.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        thread::sleep(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_due_by_the_clock() {
        let pace = Pace::from_now(1_000.0);
        let after = |millis| pace.begun + Duration::from_millis(millis);
        assert_eq!((pace.due(0), pace.due(250)), (after(0), after(250)));
        assert_eq!([0, 250, 9_000].map(|millis| pace.due_by(after(millis))), [0, 250, 9_000]);
        assert_eq!(pace.due_by(pace.begun.checked_sub(Duration::from_secs(1)).unwrap()), 0);
    }
}
