//! Reconciling: finds events that a stream lost before every group had recorded them, and has them published again.
//!
//! A row of the outbox is marked processed when a stream has its event, and from then on only the stream and the
//! ledger know of it. A stream that loses entries (FLUSHALL, a restart without its data or with older data) loses those
//! that no ledger has. They are found by asking in this order: the processed rows, what the streams carry, the ledger.
//! An entry is trimmed only after the ledger's commit, so what is neither carried nor, after that, recorded, is lost.
//! Its row becomes pending again, and the relay publishes it in outbox order. Doing that twice, or at once with
//! somebody else, costs duplicates that the ledger knows.
//!
//! What is merely unknown stays as it is: rows that were processed before the ledger or the group began, perhaps years
//! of them, by another program; rows whose ledger rows may have been deleted; rows that do not say when they were
//! processed. See [`Horizons`](crate::ledger::Horizons).

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use serde::Serialize;
use uuid::Uuid;

use crate::{
    examiner::{Examiner, Verdict},
    ledger::Ledger,
    outage::Error,
    outbox::{Outbox, RowId, Settled, SettledRow},
    stream::EventStream,
};

/// Rows looked at in one step.
const PAGE: usize = 1_000;

/// Rows made pending in one statement at most, so that none holds locks for long.
const PUT_BACK: usize = 5_000;

/// Lost rows that a report describes; it knows the ids of all of them.
const DESCRIBED: usize = 100;

/// After so many pages of rows that lie beyond the horizons, older ones are not looked at.
const PAGES_BEYOND: u32 = 10;

/// A group, and what it reads.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// The group.
    pub group: String,
    /// Its topics.
    pub topics: Vec<String>,
}

/// What to reconcile.
#[derive(Clone)]
pub struct Params {
    /// Whose processed rows.
    pub outbox: Arc<dyn Outbox>,
    /// With which streams.
    pub stream: Arc<dyn EventStream>,
    /// With which ledger.
    pub ledger: Arc<dyn Ledger>,
    /// Whose ledger rows. Topics that none of them reads are passed over.
    pub groups: Vec<Subscription>,
    /// How far the outbox's clock may be from the ledger's.
    pub margin: TimeDelta,
    /// A rest after each page, for who is not in a hurry.
    pub pause: Duration,
}

/// How far to look. Newest rows come first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// All processed rows.
    All,
    /// So many rows.
    Newest(usize),
    /// Until so many pages in a row have no loss.
    UntilClean(u32),
    /// Down to this row, and so many rows at least; all that lie within the horizons if there is no such row.
    DownTo(Option<RowId>, usize),
}

/// A row whose event is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// The row.
    pub row: String,
    /// Its event.
    pub event_id: Uuid,
    /// Its topic.
    pub topic: String,
    /// Its key.
    pub key: String,
}

/// What was found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Processed rows that were looked at. The counts below add up to it.
    pub examined: u64,
    /// Recorded by every group that reads them.
    pub recorded: u64,
    /// Waiting in a stream.
    pub carried: u64,
    /// Neither recorded nor waiting.
    pub lost: u64,
    /// Not recorded, and processed before that is known in full.
    pub before_horizon: u64,
    /// Not recorded, and nobody knows when they were processed.
    pub unknown_time: u64,
    /// Their id is no UUID.
    pub unreadable: u64,
    /// No configured group reads their topic.
    pub unread: u64,
    /// The newest of the lost rows.
    pub newest_lost: Vec<Lost>,
    /// All lost rows, newest first.
    #[serde(skip)]
    pub lost_rows: Vec<RowId>,
    /// The lowest row that is carried or lost.
    #[serde(skip)]
    pub lowest_open: Option<RowId>,
    /// The newest row.
    #[serde(skip)]
    pub newest: Option<RowId>,
}

impl Report {
    fn add(&mut self, rows: &[SettledRow], verdicts: &[Verdict]) {
        self.newest = self.newest.take().or_else(|| rows.first().map(|row| row.id.clone()));
        for (row, verdict) in rows.iter().zip(verdicts) {
            self.examined += 1;
            match verdict {
                Verdict::Recorded => self.recorded += 1,
                Verdict::Carried => self.carried += 1,
                Verdict::Lost => self.add_lost(row),
                Verdict::BeforeHorizon => self.before_horizon += 1,
                Verdict::UnknownTime => self.unknown_time += 1,
                Verdict::Unreadable => self.unreadable += 1,
                Verdict::Unread => self.unread += 1,
            }
            if matches!(verdict, Verdict::Carried | Verdict::Lost) {
                self.lowest_open = Some(row.id.clone());
            }
        }
    }

    fn add_lost(&mut self, row: &SettledRow) {
        self.lost += 1;
        self.lost_rows.push(row.id.clone());
        if let Some(event_id) = row.event_id.filter(|_| self.newest_lost.len() < DESCRIBED) {
            let (topic, key) = (row.topic.clone(), row.key.clone());
            self.newest_lost.push(Lost { row: row.id.to_string(), event_id, topic, key });
        }
    }
}

/// Looks for lost rows, and changes nothing. `step` hears of every page.
pub async fn find_lost(
    params: &Params,
    extent: &Extent,
    mut step: impl FnMut(&Report),
) -> Result<Report, Error> {
    let mut report = Report::default();
    let mut examiner = Examiner::new(params);
    let (mut cursor, mut clean, mut beyond) = (None, 0, 0);
    loop {
        let limit = if let Extent::Newest(rows) = extent { PAGE.min(*rows) } else { PAGE };
        let rows = params.outbox.settled_before(Settled::Processed, cursor.as_ref(), limit).await?;
        let verdicts = examiner.judge(&rows).await?;
        report.add(&rows, &verdicts);
        step(&report);
        clean = if verdicts.contains(&Verdict::Lost) { 0 } else { clean + 1 };
        let is_beyond = |verdict: &Verdict| matches!(verdict, Verdict::BeforeHorizon | Verdict::UnknownTime);
        beyond = if verdicts.iter().all(is_beyond) { beyond + 1 } else { 0 };
        let far_enough = match extent {
            Extent::All => false,
            Extent::Newest(rows) => report.examined >= *rows as u64,
            Extent::UntilClean(pages) => clean >= *pages || beyond >= PAGES_BEYOND,
            Extent::DownTo(row, at_least) => {
                let passed = |down_to| rows.iter().any(|one| is_at_or_below(&one.id, down_to));
                let passed = report.examined >= *at_least as u64 && row.as_ref().is_some_and(passed);
                passed || beyond >= PAGES_BEYOND
            }
        };
        if far_enough || rows.len() < limit {
            return Ok(report);
        }
        cursor = rows.last().map(|row| row.id.clone());
        if !params.pause.is_zero() {
            tokio::time::sleep(params.pause).await;
        }
    }
}

/// Makes the lost rows pending again, oldest first, so that a relay that is at work meets them in order.
pub async fn put_back(params: &Params, report: &Report) -> Result<u64, Error> {
    let oldest_first: Vec<RowId> = report.lost_rows.iter().rev().cloned().collect();
    let mut rows = 0;
    for portion in oldest_first.chunks(PUT_BACK) {
        rows += params.outbox.mark_pending(portion).await?;
    }
    Ok(rows)
}

/// Only numbers are in order for us; of other ids, one that was seen was passed.
fn is_at_or_below(row: &RowId, mark: &RowId) -> bool {
    match (row, mark) {
        (RowId::Number(row), RowId::Number(mark)) => row <= mark,
        _ => row == mark,
    }
}
