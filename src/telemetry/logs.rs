//! Logs: human on a terminal, JSON otherwise.

use std::io::{IsTerminal, stderr};

use factline_pipeline::trace;
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, filter_fn},
    fmt,
    registry::LookupSpan,
};

use crate::config::LogFormat;

/// Lines on standard error; `RUST_LOG` decides which, `default` where it says nothing.
pub(super) fn layer<S>(format: LogFormat, default: &str) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    // Set to nothing it is not set.
    let wanted = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|wanted| !wanted.is_empty());
    let filter = wanted.and_then(|wanted| EnvFilter::try_new(wanted).ok());
    let filter = filter.unwrap_or_else(|| EnvFilter::new(default));
    let human = match format {
        LogFormat::Auto => stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let lines = fmt::layer().with_writer(stderr).with_ansi(stderr().is_terminal());
    let lines = if human { lines.boxed() } else { lines.json().flatten_event(true).boxed() };
    // Spans of traces are the collector's; a line names its trace by itself.
    lines.with_filter(filter.and(filter_fn(|line| line.target() != trace::TARGET)))
}
