//! `factline config`: is it right, and what is it.

use clap::Subcommand;
use url::Url;

use super::{Verdict, print, print_json};
use crate::config::{self, Config, DEFAULTS, Sources};

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
            let config = without_secrets(config::load(sources)?);
            if json { print_json(&config)? } else { print(toml::to_string(&config)?.trim_end())? }
        }
    }
    Ok(Verdict::Done)
}

/// The same with every password replaced.
fn without_secrets(mut config: Config) -> Config {
    for url in [&mut config.source.url, &mut config.store.url, &mut config.stream.url] {
        *url = redacted(url);
    }
    config
}

fn redacted(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else {
        return url.split_once(':').map_or("***", |(scheme, _)| scheme).into();
    };
    if parsed.password().is_some() && parsed.set_password(Some("***")).is_err() {
        return parsed.scheme().to_owned();
    }
    if parsed.query_pairs().any(|(name, _)| name.contains("password")) {
        parsed.set_query(Some("***"));
        return parsed.into();
    }
    // Parsing normalises; what has no secret is shown as it was written.
    if parsed.password().is_some() { parsed.into() } else { url.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::redacted;

    #[test]
    fn no_password_is_shown() {
        assert_eq!(redacted("postgres://app:s3cret@db/chat"), "postgres://app:***@db/chat");
        assert_eq!(redacted("redis://:s3cret@cache:6379/0"), "redis://:***@cache:6379/0");
        assert!(!redacted("postgres://db/chat?user=app&password=s3cret").contains("s3cret"));
        assert!(!redacted("postgres://app:s3cret@:bad port/").contains("s3cret"));
        assert_eq!(redacted("sqlite:./factline-data/factline.db"), "sqlite:./factline-data/factline.db");
    }
}
