//! `factline bench consume`: from the stream to the ledger and the facts.

use super::{
    Common,
    child::Only,
    lab::Lab,
    report::Report,
    rounds::{Rounds, run_daemon},
    verify,
    watch::{self, Done},
};

pub(super) async fn run(lab: &mut Lab, common: &Common) -> anyhow::Result<Report> {
    lab.let_streams_hold(common.events);
    let mut rounds = Rounds::new(common);
    while rounds.begin() {
        fill(lab, common, &mut rounds).await?;
        let done = Done::Recorded(common.events);
        let run = run_daemon(lab, Only::Consumers, done, rounds.step("consume")).await?;
        verify::recorded(lab, common.events).await?;
        let consumed = lab.store()?.recorded().await?.rate()?;
        rounds.samples.add("consume", "events/s", consumed);
        run.add_to(&mut rounds.samples, common.events);
    }
    Ok(Report::new("consume", lab.header(common).await?, rounds.samples, common.json))
}

/// The next round, with all events in the stream: a relay's work, which is not measured.
async fn fill(lab: &mut Lab, common: &Common, rounds: &mut Rounds) -> anyhow::Result<()> {
    lab.fresh_with(common.load(), rounds.step("filling the outbox")).await?;
    let mut relay = lab.daemon(Only::Relay)?;
    watch::until(&mut relay, Done::Published(common.events), rounds.step("filling the stream")).await?;
    watch::until_marked(&mut relay, lab).await?;
    relay.stop().await?;
    lab.store()?.settle().await?;
    Ok(())
}
