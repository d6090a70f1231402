//! `factline bench idle`: what a daemon costs that has nothing to do, and how soon it is ready.

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::sleep;

use super::{
    child::{Child, Only},
    lab::Lab,
    meter::{Stat, peak_memory},
    report::{Report, Samples},
    rounds::{Before, add_peak},
};
use crate::cli::progress;

/// How often it is started.
const STARTS: u32 = 3;

/// What a start leaves to do is not idleness.
const SETTLE: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Arguments {
    /// How long the idle daemon is watched
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(lab: &mut Lab, arguments: &Arguments) -> anyhow::Result<Report> {
    let mut samples = Samples::default();
    let bar = progress::bar(None, "{msg} {spinner}");
    lab.fresh().await?;
    for _ in 1..STARTS {
        bar.set_message("starting");
        let mut child = lab.daemon(Only::Everything)?;
        samples.add("start to ready", "s", child.ready().await?.as_secs_f64());
        child.stop().await?;
    }
    let mut child = lab.daemon(Only::Everything)?;
    samples.add("start to ready", "s", child.ready().await?.as_secs_f64());
    sleep(SETTLE).await;
    bar.set_message("idle");
    watch(lab, &mut child, arguments.seconds, &mut samples).await?;
    child.stop().await?;
    bar.finish_and_clear();
    Ok(Report::new("idle", lab.header(None).await?, samples, arguments.json))
}

/// The processor time of some seconds, in per cent of one core.
async fn watch(lab: &mut Lab, child: &mut Child, seconds: u32, samples: &mut Samples) -> anyhow::Result<()> {
    let used = |child: &Child| Stat::of(child.id()).map(|stat| stat.own).context("the daemon is gone");
    let (servers, begun) = (Before::look(lab).await?, used(child)?);
    sleep(Duration::from_secs(seconds.into())).await;
    child.lives()?;
    let share = |used: f64| used / f64::from(seconds) * 100.0;
    samples.add("processor, daemon", "% of a core", share(used(child)? - begun));
    samples.add_known("processor, PostgreSQL", "% of a core", servers.postgres().map(share));
    samples.add_known("processor, Redis", "% of a core", servers.redis().map(share));
    add_peak(samples, peak_memory(child.id()));
    Ok(())
}
