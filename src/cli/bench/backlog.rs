//! `factline bench backlog`: how much memory the daemon takes while it drains a large backlog.

use super::{
    Common, Shape,
    child::Only,
    end_to_end::through,
    lab::Lab,
    report::Report,
    rounds::{Rounds, run_daemon},
    verify,
    watch::Done,
};

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Arguments {
    /// Rows that wait in the outbox when the daemon starts
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    events: u64,
    #[command(flatten)]
    shape: Shape,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(lab: &mut Lab, arguments: &Arguments) -> anyhow::Result<Report> {
    let Arguments { events, shape, json } = *arguments;
    let common = Common { events, rounds: 1, shape, json, plot: None };
    let mut rounds = Rounds::without_warm_up(&common);
    while rounds.begin() {
        lab.fresh_with(common.load(), rounds.step("filling the outbox")).await?;
        let done = Done::Recorded(events);
        let run = run_daemon(lab, Only::Everything, done, rounds.step("draining")).await?;
        verify::recorded(lab, events).await?;
        run.add_peak_to(&mut rounds.samples);
        rounds.samples.add("end to end", "events/s", through(lab).await?);
        run.add_to(&mut rounds.samples, events);
    }
    Ok(Report::new("backlog", lab.header(&common).await?, rounds.samples, json))
}
