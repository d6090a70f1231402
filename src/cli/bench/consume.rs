//! `factline bench consume`: from the stream to the ledger and the facts.

use anyhow::ensure;

use super::{
    Common,
    child::Only,
    floor::Prepared,
    lab::Lab,
    plot,
    report::Report,
    rounds::{Rounds, run_daemon},
    verify,
    watch::{self, Done},
};

pub(super) async fn run(lab: &mut Lab, common: &Common) -> anyhow::Result<Report> {
    lab.let_streams_hold(common.events);
    plot::check(common.plot.as_ref())?;
    let mut rounds = Rounds::new(common);
    while rounds.begin() {
        lab.fresh_with(common.load(), rounds.step("filling the outbox")).await?;
        fill_stream(lab, common, &rounds).await?;
        let done = Done::Recorded(common.events);
        let run = run_daemon(lab, Only::Consumers, done, rounds.step("consume")).await?;
        verify::recorded(lab, common.events).await?;
        rounds.keep(&lab.store()?.recorded_over_time().await?);
        let consumed = lab.store()?.recorded().await?.rate()?;
        rounds.samples.add("consume", "events/s", consumed);
        let bare = floor(lab, common, &rounds).await?;
        rounds.samples.add_ratio(consumed, "floor: bare read, inserts and XACK", bare);
        run.add_to(&mut rounds.samples, common.events);
    }
    rounds.draw(common, "consume")?;
    Ok(Report::new("consume", lab.header(common).await?, rounds.samples, common.json))
}

/// A relay's work, which is not measured.
async fn fill_stream(lab: &mut Lab, common: &Common, rounds: &Rounds) -> anyhow::Result<()> {
    let mut relay = lab.daemon(Only::Relay)?;
    watch::until(&mut relay, Done::Published(common.events), rounds.step("filling the stream")).await?;
    watch::until_marked(&mut relay, lab).await?;
    relay.stop().await?;
    lab.store()?.settle().await?;
    Ok(())
}

/// The same number of events by the bare loop.
async fn floor(lab: &mut Lab, common: &Common, rounds: &Rounds) -> anyhow::Result<f64> {
    lab.fresh_with(common.load(), rounds.step("filling the outbox")).await?;
    let mut prepared = Prepared::of(lab).await?;
    fill_stream(lab, common, rounds).await?;
    rounds.step("floor");
    prepared.consume()?.ended().await?;
    let recorded = lab.store()?.recorded().await?;
    ensure!(recorded.rows == common.events, "the bare loop has recorded {} events", recorded.rows);
    recorded.rate()
}
