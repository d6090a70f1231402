//! Logs: human on a terminal, JSON otherwise.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::{EnvFilter, fmt};

use crate::config::LogFormat;

/// Starts logging to standard error; `RUST_LOG` decides what, `default` where it says nothing.
pub fn start(format: LogFormat, default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let human = match format {
        LogFormat::Auto => stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let logs = fmt().with_env_filter(filter).with_writer(stderr).with_ansi(stderr().is_terminal());
    // A second start, in a test say, leaves the first one standing.
    let started = if human { logs.try_init() } else { logs.json().flatten_event(true).try_init() };
    if let Err(error) = started {
        tracing::debug!(%error, "logging had been started before");
    }
}
