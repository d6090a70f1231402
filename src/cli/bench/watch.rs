//! How far a daemon has got: asked seldom, and not of the database, for both would disturb what is measured.

use std::{collections::BTreeMap, time::Duration};

use anyhow::bail;
use indicatif::ProgressBar;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{child::Child, lab::Lab};

/// How often it is asked.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A daemon that does nothing for so long will not do more.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a daemon is to have done.
#[derive(Debug, Clone, Copy)]
pub(super) enum Done {
    /// So many events are in the stream, and marked.
    Published(u64),
    /// So many events are recorded.
    Recorded(u64),
}

impl Done {
    /// How many events a daemon with these metrics has done so far.
    pub(super) fn so_far(self, metrics: &Value) -> u64 {
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        match self {
            Self::Published(_) => metrics["events_published_total"]
                .as_object()
                .map_or(0, |topics| topics.values().map(number).sum()),
            Self::Recorded(_) => {
                number(&metrics["events_processed_success"]) + number(&metrics["events_processed_failure"])
            }
        }
    }

    fn all(self) -> u64 {
        match self {
            Self::Published(events) | Self::Recorded(events) => events,
        }
    }
}

/// Waits until the daemon has done it; gives its metrics then.
pub(super) async fn until(child: &mut Child, done: Done, bar: &ProgressBar) -> anyhow::Result<Value> {
    let (mut most, mut since) = (0, Instant::now());
    bar.set_length(done.all());
    loop {
        child.lives()?;
        // Not before it listens.
        if let Ok(answer) = child.http().get("/metrics.json").await {
            let metrics = answer.ok()?;
            let so_far = done.so_far(&metrics);
            bar.set_position(so_far);
            if so_far >= done.all() {
                return Ok(metrics);
            }
            if so_far > most {
                (most, since) = (so_far, Instant::now());
            }
        }
        if since.elapsed() > PATIENCE {
            bail!(
                "the daemon under test has done {most} of {} events, and nothing more for {}",
                done.all(),
                humantime::format_duration(PATIENCE)
            );
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Waits until no row waits in the outbox: events are counted as published before their rows are marked.
pub(super) async fn until_marked(child: &mut Child, lab: &Lab) -> anyhow::Result<()> {
    let since = Instant::now();
    while lab.adapters()?.databases.outbox.backlog().await?.pending > 0 {
        child.lives()?;
        if since.elapsed() > PATIENCE {
            bail!("the daemon under test has published all events, but not marked all of their rows");
        }
        sleep(LOOK_EVERY / 4).await;
    }
    Ok(())
}

/// Events in a batch of each step, as the daemon counts them.
pub(super) async fn mean_batches(child: &Child) -> anyhow::Result<BTreeMap<String, f64>> {
    Ok(batches_in(&child.http().text("/metrics").await?))
}

/// From Prometheus' text: the sum of each step's batches by their number.
fn batches_in(text: &str) -> BTreeMap<String, f64> {
    let values = |name: &str| -> BTreeMap<String, f64> {
        let prefix = format!("factline_batch_size_{name}{{");
        let lines = text.lines().filter_map(|line| line.strip_prefix(&prefix)?.rsplit_once("} "));
        let step = |labels: &str| Some(labels.split_once("stage=\"")?.1.split_once('"')?.0.to_owned());
        lines.filter_map(|(labels, value)| Some((step(labels)?, value.parse().ok()?))).collect()
    };
    let counts = values("count");
    let mean = |(step, sum): (String, f64)| {
        let count = counts.get(&step).copied().filter(|count| *count > 0.0)?;
        Some((step, sum / count))
    };
    values("sum").into_iter().filter_map(mean).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_daemon_has_done_is_counted_over_topics_and_outcomes() {
        let metrics = json!({
            "events_published_total": { "chat": 7, "other": 2 },
            "events_processed_success": 5,
            "events_processed_failure": 1,
        });
        assert_eq!(Done::Published(9).so_far(&metrics), 9);
        assert_eq!(Done::Recorded(9).so_far(&metrics), 6);
        assert_eq!(Done::Recorded(9).so_far(&json!({})), 0);
    }

    #[test]
    fn a_batch_has_so_many_events_in_the_mean() {
        let text = "# TYPE factline_batch_size_events histogram\n\
                    factline_batch_size_bucket{stage=\"claim\",le=\"10\"} 2\n\
                    factline_batch_size_sum{stage=\"claim\"} 30\n\
                    factline_batch_size_count{stage=\"claim\"} 4\n\
                    factline_batch_size_sum{stage=\"mark\"} 0\n\
                    factline_batch_size_count{stage=\"mark\"} 0\n";
        assert_eq!(batches_in(text), BTreeMap::from([("claim".to_owned(), 7.5)]));
    }
}
