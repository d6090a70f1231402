//! `factline dlq report`: what came and went.

use std::time::Duration;

use super::{ago, list::causes_table};
use crate::{
    app::Databases,
    cli::{
        Verdict, print, print_json,
        table::{self, counted, or_dash, time},
    },
    dead_letters::Report,
};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// How far back
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..))]
    hours: u32,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: &Arguments, databases: &Databases) -> anyhow::Result<Verdict> {
    let since = ago(Duration::from_secs(u64::from(arguments.hours) * 3600))?;
    let report = databases.dead_letters.report(since).await?;
    if arguments.json {
        print_json(&report)?;
    } else {
        print(told(&report, arguments.hours))?;
    }
    Ok(Verdict::Done)
}

fn told(report: &Report, hours: u32) -> String {
    let oldest = report.oldest_open.map(|at| format!(", the oldest since {}", time(at)));
    let mut parts = vec![
        format!(
            "last {}: {} set aside, {} resolved, {} discarded",
            counted(hours, "hour"),
            counted(report.arrived, "letter"),
            report.resolved,
            report.discarded
        ),
        format!(
            "now: {} open{}, {} waiting in reprocessing runs",
            report.open,
            oldest.unwrap_or_default(),
            report.reprocessing
        ),
    ];
    if !report.topics.is_empty() {
        let mut topics = table::new(&["topic", "type", "letters"]);
        for one in &report.topics {
            topics.add_row([one.topic.clone(), or_dash(one.event_type.clone()), one.letters.to_string()]);
        }
        parts.push(topics.to_string());
    }
    if !report.causes.is_empty() {
        parts.push(causes_table(&report.causes));
    }
    if !report.actions.is_empty() {
        let mut actions = table::new(&["who", "action", "times"]);
        for one in &report.actions {
            actions.add_row([&one.who, &one.action, &one.times.to_string()]);
        }
        parts.push(actions.to_string());
    }
    parts.join("\n\n")
}
