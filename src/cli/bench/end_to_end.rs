//! `factline bench end-to-end`: from the outbox to the facts, all stages at once.

use anyhow::ensure;

use super::{
    Common,
    child::Only,
    floor::Prepared,
    handwritten,
    lab::Lab,
    plot,
    report::Report,
    rounds::{Rounds, rate, run_daemon},
    verify,
    watch::Done,
};

pub(super) async fn run(lab: &mut Lab, common: &Common) -> anyhow::Result<Report> {
    plot::check(common.plot.as_ref())?;
    let mut rounds = Rounds::new(common);
    while rounds.begin() {
        lab.fresh_with(common.load(), rounds.step("filling the outbox")).await?;
        let done = Done::Recorded(common.events);
        let run = run_daemon(lab, Only::Everything, done, rounds.step("end to end")).await?;
        verify::recorded(lab, common.events).await?;
        rounds.keep(&lab.store()?.recorded_over_time().await?);
        let daemon = through(lab).await?;
        rounds.samples.add("end to end", "events/s", daemon);
        let bare = floor(lab, common, &rounds).await?;
        rounds.samples.add_ratio(daemon, "floor: both bare loops at once", bare);
        if let Some(handwritten) = by_hand(lab, common, &rounds).await? {
            rounds.samples.add("a hand-written loop without any guarantee", "events/s", handwritten);
            rounds.samples.add("ratio to the hand-written loop", "", daemon / handwritten);
        }
        run.add_to(&mut rounds.samples, common.events);
    }
    rounds.draw(common, "all stages at once")?;
    let mut report = Report::new("end-to-end", lab.header(common).await?, rounds.samples, common.json);
    if !handwritten::fits(lab) {
        report.notes.push("the hand-written loop is left out: it is written for PostgreSQL and Redis".into());
    }
    Ok(report)
}

/// Events a second from the first one's being marked to the last one's being recorded.
pub(super) async fn through(lab: &Lab) -> anyhow::Result<f64> {
    let (marked, recorded) = (lab.source()?.marked().await?, lab.store()?.recorded().await?);
    rate(recorded.rows, marked.first, recorded.last)
}

/// The same number of events by the bare loops.
async fn floor(lab: &mut Lab, common: &Common, rounds: &Rounds) -> anyhow::Result<f64> {
    lab.fresh_with(common.load(), rounds.step("filling the outbox")).await?;
    let mut prepared = Prepared::of(lab).await?;
    rounds.step("floor");
    prepared.end_to_end().await?;
    let recorded = lab.store()?.recorded().await?;
    ensure!(recorded.rows == common.events, "the bare loops have recorded {} events", recorded.rows);
    through(lab).await
}

/// The same events by the hand-written loop, where it can run.
async fn by_hand(lab: &mut Lab, common: &Common, rounds: &Rounds) -> anyhow::Result<Option<f64>> {
    if !handwritten::fits(lab) {
        return Ok(None);
    }
    lab.fresh_with(common.load(), rounds.step("filling the outbox")).await?;
    rounds.step("hand-written");
    handwritten::run(lab, common.events).await.map(Some)
}
