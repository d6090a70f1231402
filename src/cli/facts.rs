//! `factline facts`: what is known.

use super::{
    Verdict, print, print_json,
    table::{self, counted},
};
use crate::{
    config::Config,
    records::{FactFilter, FactRecord},
};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Facts about this subject
    #[arg(long)]
    subject: Option<String>,
    /// Facts with this predicate
    #[arg(long)]
    predicate: Option<String>,
    /// Facts of this conversation
    #[arg(long)]
    conversation: Option<String>,
    /// Also facts that a newer value has replaced
    #[arg(long)]
    all: bool,
    /// How many at most, the latest first
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Print them as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<Verdict> {
    let filter = FactFilter {
        subject: arguments.subject,
        predicate: arguments.predicate,
        conversation_id: arguments.conversation,
        superseded: arguments.all,
        limit: arguments.limit,
        ..FactFilter::default()
    };
    let facts = super::databases(config).await?.records.facts(&filter).await?;
    if arguments.json {
        print_json(&facts)?;
    } else if facts.is_empty() {
        print("no facts; `factline status` shows whether events are on their way")?;
    } else {
        print(facts_table(&facts))?;
        if facts.len() == arguments.limit as usize {
            print(format!(
                "{} shown; there may be more: ask for them with --limit",
                counted(facts.len(), "fact")
            ))?;
        }
    }
    Ok(Verdict::Done)
}

pub(super) fn facts_table(facts: &[FactRecord]) -> String {
    let mut table = table::new(&["subject", "predicate", "object", "sure", "since", "until", "said"]);
    for fact in facts {
        table.add_row([
            fact.subject.clone(),
            fact.predicate.clone(),
            fact.object.clone(),
            format!("{:.2}", fact.confidence),
            fact.valid_from.format("%Y-%m-%d").to_string(),
            table::or_dash(fact.valid_to.map(|time| time.format("%Y-%m-%d").to_string())),
            fact.quote.clone(),
        ]);
    }
    table.to_string()
}
