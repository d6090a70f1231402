//! `factline bench relay`: from the outbox to the stream, marked.

use super::{
    Common,
    child::Only,
    lab::Lab,
    report::Report,
    rounds::{Rounds, run_daemon},
    verify,
    watch::Done,
};

pub(super) async fn run(lab: &mut Lab, common: &Common) -> anyhow::Result<Report> {
    lab.let_streams_hold(common.events);
    let mut rounds = Rounds::new(common);
    while rounds.begin() {
        lab.fresh_with(common.load(), rounds.step("filling the outbox")).await?;
        let done = Done::Published(common.events);
        let run = run_daemon(lab, Only::Relay, done, rounds.step("relay")).await?;
        verify::published(lab, common.events).await?;
        let relayed = lab.source()?.marked().await?.rate()?;
        rounds.samples.add("relay", "events/s", relayed);
        run.add_to(&mut rounds.samples, common.events);
    }
    Ok(Report::new("relay", lab.header(common).await?, rounds.samples, common.json))
}
