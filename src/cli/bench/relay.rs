//! `factline bench relay`: from the outbox to the stream, marked.

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
    watch::Done,
};

pub(super) async fn run(lab: &mut Lab, common: &Common) -> anyhow::Result<Report> {
    lab.let_streams_hold(common.events);
    plot::check(common.plot.as_ref())?;
    let mut rounds = Rounds::new(common);
    while rounds.begin() {
        lab.fresh_with(common.load(), rounds.step("filling the outbox")).await?;
        let done = Done::Published(common.events);
        let run = run_daemon(lab, Only::Relay, done, rounds.step("relay")).await?;
        verify::published(lab, common.events).await?;
        rounds.keep(&lab.source()?.marked_over_time().await?);
        let relayed = lab.source()?.marked().await?.rate()?;
        rounds.samples.add("relay", "events/s", relayed);
        let bare = floor(lab, common, &rounds).await?;
        rounds.samples.add_ratio(relayed, "floor: bare claim, XADD and mark", bare);
        run.add_to(&mut rounds.samples, common.events);
    }
    rounds.draw(common, "relay")?;
    Ok(Report::new("relay", lab.header(common).await?, rounds.samples, common.json))
}

/// The same number of events by the bare loop.
async fn floor(lab: &mut Lab, common: &Common, rounds: &Rounds) -> anyhow::Result<f64> {
    lab.fresh_with(common.load(), rounds.step("filling the outbox")).await?;
    let mut prepared = Prepared::of(lab).await?;
    rounds.step("floor");
    prepared.relay()?.ended().await?;
    let marked = lab.source()?.marked().await?;
    ensure!(marked.rows == common.events, "the bare loop has relayed {} events", marked.rows);
    marked.rate()
}
