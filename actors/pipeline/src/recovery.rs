//! What the relay does before it claims anything, when entries may be missing in the stream: it has those rows
//! published again that come first.

use std::time::Duration;

use factline_supervision::{BackoffPolicy, Condition, Lifeline};

use crate::{
    outage::{self, Error},
    reconcile::{self, Extent, Params},
};

/// Rows looked at when a relay becomes active. What a stream has lost, it has lost at its end.
const PROBE: usize = 1_000;

/// So many pages in a row without a loss, and the rest is left to the janitor.
const CLEAN_PAGES: u32 = 50;

/// Why something may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Suspicion {
    /// Nobody was watching the stream until now.
    Activated,
    /// The stream has said so.
    Lost(String),
}

/// Finds what the stream has lost, and makes it pending again; says how many rows.
pub(crate) async fn recover(
    params: &Params,
    suspicion: &Suspicion,
    life: &Lifeline,
    policy: &BackoffPolicy,
) -> Result<u64, Error> {
    let params = Params { pause: Duration::ZERO, ..params.clone() };
    if *suspicion == Suspicion::Activated {
        let probe = || reconcile::find_lost(&params, &Extent::Newest(PROBE), |_| life.progress());
        if outage::ride_out(life, policy, probe).await?.lost == 0 {
            return Ok(0);
        }
    }
    let reason = match suspicion {
        Suspicion::Activated => "found when this relay became active",
        Suspicion::Lost(reason) => reason.as_str(),
    };
    tracing::warn!(reason, "the stream lost entries, looking for what was not recorded yet");
    life.set_condition(condition(0));
    let find = || {
        reconcile::find_lost(&params, &Extent::UntilClean(CLEAN_PAGES), |report| {
            life.progress();
            life.set_condition(condition(report.lost));
        })
    };
    let report = outage::ride_out(life, policy, find).await?;
    let rows = outage::ride_out(life, policy, || reconcile::put_back(&params, &report)).await?;
    life.set_condition(condition(rows));
    tracing::warn!(events = rows, "the stream lost entries: these events are published again");
    Ok(rows)
}

fn condition(events: u64) -> Condition {
    let noun = if events == 1 { "event is" } else { "events are" };
    Condition::Degraded(format!("the stream lost entries: {events} {noun} published again"))
}
