//! `factline bench end-to-end`: from the outbox to the facts, all stages at once.

use super::{
    Common,
    child::Only,
    lab::Lab,
    report::Report,
    rounds::{Rounds, rate, run_daemon},
    verify,
    watch::Done,
};

pub(super) async fn run(lab: &mut Lab, common: &Common) -> anyhow::Result<Report> {
    let mut rounds = Rounds::new(common);
    while rounds.begin() {
        lab.fresh_with(common.load(), rounds.step("filling the outbox")).await?;
        let done = Done::Recorded(common.events);
        let run = run_daemon(lab, Only::Everything, done, rounds.step("end to end")).await?;
        verify::recorded(lab, common.events).await?;
        rounds.samples.add("end to end", "events/s", through(lab).await?);
        run.add_to(&mut rounds.samples, common.events);
    }
    Ok(Report::new("end-to-end", lab.header(common).await?, rounds.samples, common.json))
}

/// Events a second from the first one's being marked to the last one's being recorded.
pub(super) async fn through(lab: &Lab) -> anyhow::Result<f64> {
    let (marked, recorded) = (lab.source()?.marked().await?, lab.store()?.recorded().await?);
    rate(recorded.rows, marked.first, recorded.last)
}
