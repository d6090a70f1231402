//! `factline config`: is it right, and what is it.

use clap::Subcommand;

use super::{Verdict, print, print_json};
use crate::config::{self, DEFAULTS, Sources};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Say whether the configuration is right; name what is wrong and how to mend it
    Check {
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the configuration as it is in force, without secrets
    Show {
        /// Print it as JSON
        #[arg(long)]
        json: bool,
        /// Show the defaults instead, with what every key means
        #[arg(long, conflicts_with = "json")]
        defaults: bool,
    },
}

pub(super) fn run(arguments: &Arguments, sources: &Sources) -> anyhow::Result<Verdict> {
    match arguments.action {
        Action::Check { json } => {
            let loaded = config::load(sources);
            if json {
                print_json(&serde_json::json!({
                    "valid": loaded.is_ok(),
                    "errors": loaded.as_ref().err().map(|error| {
                        factline_pipeline::outage::chain(error).lines().map(str::to_owned).collect::<Vec<_>>()
                    }).unwrap_or_default(),
                }))?;
                std::process::exit(i32::from(loaded.is_err()));
            }
            loaded?;
            print("the configuration is right")?;
        }
        Action::Show { defaults: true, .. } => print(DEFAULTS.trim_end())?,
        Action::Show { json, .. } => {
            let config = config::load(sources)?.without_secrets();
            if json { print_json(&config)? } else { print(toml::to_string(&config)?.trim_end())? }
        }
    }
    Ok(Verdict::Done)
}
