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
//! processed. See [`Horizons`].

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    ledger::{Horizons, Ledger},
    outage::Error,
    outbox::{Outbox, RowId, Settled, SettledRow},
    stream::{EventStream, Partition, Position, partition_of},
};

/// Rows looked at in one step.
const PAGE: usize = 1_000;

/// Entries asked for in one step.
const ENTRIES: usize = 1_000;

/// Rows made pending in one statement at most, so that none holds locks for long.
const PUT_BACK: usize = 5_000;

/// Lost rows that a report describes; it knows the ids of all of them.
const DESCRIBED: usize = 100;

/// After so many pages of rows that lie beyond the horizons, older ones are not looked at.
const PAGES_BEYOND: u32 = 10;

/// How much later than recorded a row may have been marked, where nobody knows when it was written.
const SLOWEST_MARK: TimeDelta = TimeDelta::days(1);

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
    /// Not recorded, and processed before everything that is recorded is known.
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

/// Looks for lost rows, and changes nothing. `step` hears of every page.
pub async fn find_lost(
    params: &Params,
    extent: &Extent,
    mut step: impl FnMut(&Report),
) -> Result<Report, Error> {
    let mut report = Report::default();
    let mut carriers = Carriers::new(&*params.stream);
    let (mut cursor, mut clean, mut beyond) = (None, 0, 0);
    loop {
        let limit = if let Extent::Newest(rows) = extent { PAGE.min(*rows) } else { PAGE };
        let rows = params.outbox.settled_before(Settled::Processed, cursor.as_ref(), limit).await?;
        let Some(last) = rows.last() else { break };
        report.newest = report.newest.or_else(|| rows.first().map(|row| row.id.clone()));
        cursor = Some(last.id.clone());
        let before = (report.lost, report.examined - report.before_horizon - report.unknown_time);
        examine(params, &rows, &mut carriers, &mut report).await?;
        step(&report);
        clean = if report.lost == before.0 { clean + 1 } else { 0 };
        let known = report.examined - report.before_horizon - report.unknown_time;
        beyond = if known == before.1 { beyond + 1 } else { 0 };
        let far_enough = match extent {
            Extent::All => false,
            Extent::Newest(rows) => report.examined >= *rows as u64,
            Extent::UntilClean(pages) => clean >= *pages || beyond >= PAGES_BEYOND,
            Extent::DownTo(None, _) => beyond >= PAGES_BEYOND,
            Extent::DownTo(Some(row), at_least) => {
                let passed = rows.iter().any(|one| is_at_or_below(&one.id, row));
                passed && report.examined >= *at_least as u64 || beyond >= PAGES_BEYOND
            }
        };
        if far_enough || rows.len() < limit {
            break;
        }
        if !params.pause.is_zero() {
            tokio::time::sleep(params.pause).await;
        }
    }
    Ok(report)
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

/// A row that some group has not recorded, and the groups that would miss it.
struct Open<'a> {
    row: &'a SettledRow,
    event_id: Uuid,
    partition: Partition,
    missing_in: Vec<&'a str>,
}

async fn examine(
    params: &Params,
    rows: &[SettledRow],
    carriers: &mut Carriers<'_>,
    report: &mut Report,
) -> Result<(), Error> {
    report.examined += rows.len() as u64;
    let mut open = unrecorded(params, rows, report).await?;
    if open.is_empty() {
        return Ok(());
    }
    // What lies beyond the horizons is not worth a look at the streams.
    keep_known(params, &mut open, &params.ledger.horizons().await?, report);
    let carried = carriers.carry(&open).await?;
    if let Some(lowest) = open.last() {
        report.lowest_open = Some(lowest.row.id.clone());
    }
    let before = open.len();
    open.retain(|one| !carried.contains(&one.event_id));
    report.carried += (before - open.len()) as u64;
    // Only now is a ledger that does not have them proof.
    let gone = still_missing(params, open, report).await?;
    for one in gone {
        report.lost += 1;
        if report.newest_lost.len() < DESCRIBED {
            report.newest_lost.push(Lost {
                row: one.row.id.to_string(),
                event_id: one.event_id,
                topic: one.row.topic.clone(),
                key: one.row.key.clone(),
            });
        }
        report.lost_rows.push(one.row.id.clone());
    }
    Ok(())
}

/// The rows that some group that reads them has not recorded yet; counts the others.
async fn unrecorded<'a>(
    params: &'a Params,
    rows: &'a [SettledRow],
    report: &mut Report,
) -> Result<Vec<Open<'a>>, Error> {
    let mut open = Vec::new();
    for row in rows {
        let readers = params.groups.iter().filter(|reader| reader.topics.contains(&row.topic));
        let missing_in: Vec<&str> = readers.map(|reader| reader.group.as_str()).collect();
        match row.event_id {
            _ if missing_in.is_empty() => report.unread += 1,
            None => report.unreadable += 1,
            Some(event_id) => {
                let partition = partition_of_row(params, row);
                open.push(Open { row, event_id, partition, missing_in });
            }
        }
    }
    forget_recorded(params, &mut open).await?;
    let before = open.len();
    open.retain(|one| !one.missing_in.is_empty());
    report.recorded += (before - open.len()) as u64;
    Ok(open)
}

fn partition_of_row(params: &Params, row: &SettledRow) -> Partition {
    let partitions = u16::try_from(params.stream.partitions(&row.topic).len()).unwrap_or(u16::MAX);
    Partition { topic: row.topic.as_str().into(), number: partition_of(&row.key, partitions) }
}

/// Takes the groups that have an event by now from those that miss it.
async fn forget_recorded(params: &Params, open: &mut [Open<'_>]) -> Result<(), Error> {
    for Subscription { group, .. } in &params.groups {
        let asked: Vec<Uuid> = open
            .iter()
            .filter(|one| one.missing_in.contains(&group.as_str()))
            .map(|one| one.event_id)
            .collect();
        if asked.is_empty() {
            continue;
        }
        let recorded = params.ledger.recorded(group, &asked).await?;
        for one in open.iter_mut().filter(|one| recorded.contains(&one.event_id)) {
            one.missing_in.retain(|missing| missing != group);
        }
    }
    Ok(())
}

/// Those that groups miss although their ledgers would have them. The horizons are read after the ledger: whoever
/// deletes ledger rows raises them in the same transaction.
async fn still_missing<'a>(
    params: &Params,
    mut open: Vec<Open<'a>>,
    report: &mut Report,
) -> Result<Vec<Open<'a>>, Error> {
    if open.is_empty() {
        return Ok(open);
    }
    forget_recorded(params, &mut open).await?;
    let before = open.len();
    open.retain(|one| !one.missing_in.is_empty());
    report.recorded += (before - open.len()) as u64;
    keep_known(params, &mut open, &params.ledger.horizons().await?, report);
    Ok(open)
}

/// Keeps the rows that a group's ledger would have if it had seen them.
fn keep_known(params: &Params, open: &mut Vec<Open<'_>>, horizons: &Horizons, report: &mut Report) {
    open.retain_mut(|one| {
        let row = one.row;
        one.missing_in.retain(|group| is_known(horizons, group, row, params.margin));
        if one.missing_in.is_empty() {
            match row.processed_at {
                Some(_) => report.before_horizon += 1,
                None => report.unknown_time += 1,
            }
        }
        !one.missing_in.is_empty()
    });
}

/// Whether the ledger of this group would have the row's event.
///
/// A row may be marked processed long after its event was recorded, if the outbox was away in between. So it is
/// the time at which it was written that tells whether its ledger row may have been deleted.
#[must_use]
pub fn is_known(horizons: &Horizons, group: &str, row: &SettledRow, margin: TimeDelta) -> bool {
    let Some(processed_at) = row.processed_at else { return false };
    let after = |horizon: DateTime<Utc>, time: DateTime<Utc>| {
        time.checked_sub_signed(margin).is_some_and(|time| time > horizon)
    };
    let kept = horizons.forgotten.is_none_or(|forgotten| match row.created_at {
        Some(created_at) => after(forgotten, created_at.min(processed_at)),
        None => processed_at.checked_sub_signed(SLOWEST_MARK).is_some_and(|time| after(forgotten, time)),
    });
    let began = horizons.ledger.zip(horizons.groups.get(group).copied());
    kept && began.is_some_and(|(ledger, group)| after(ledger, processed_at) && after(group, processed_at))
}

/// What the streams carry, read from their ends downwards only as far as the rows asked for lie, which come newest
/// first as well.
struct Carriers<'a> {
    stream: &'a dyn EventStream,
    read: HashMap<Partition, Read>,
}

/// What was read of one partition: everything from `lowest` to `highest`.
#[derive(Default)]
struct Read {
    ids: HashSet<Uuid>,
    lowest: Option<Position>,
    highest: Option<Position>,
    to_the_end: bool,
}

impl<'a> Carriers<'a> {
    fn new(stream: &'a dyn EventStream) -> Self {
        Self { stream, read: HashMap::new() }
    }

    /// Those of these events that a stream carries.
    async fn carry(&mut self, open: &[Open<'_>]) -> Result<HashSet<Uuid>, Error> {
        let mut asked: HashMap<&Partition, HashSet<Uuid>> = HashMap::new();
        for one in open {
            asked.entry(&one.partition).or_default().insert(one.event_id);
        }
        let mut carried = HashSet::new();
        for (partition, wanted) in asked {
            let read = self.read.entry(partition.clone()).or_default();
            read.down_to(self.stream, partition, &wanted).await?;
            if !read.has(&wanted) {
                // What was appended since: rows that became visible late, or that somebody has published again.
                read.up_to_date(self.stream, partition).await?;
            }
            // Nobody asks twice.
            carried.extend(wanted.iter().filter(|id| read.ids.remove(id)));
        }
        Ok(carried)
    }
}

impl Read {
    fn has(&self, wanted: &HashSet<Uuid>) -> bool {
        wanted.iter().all(|id| self.ids.contains(id))
    }

    async fn down_to(
        &mut self,
        stream: &dyn EventStream,
        partition: &Partition,
        wanted: &HashSet<Uuid>,
    ) -> Result<(), Error> {
        while !self.to_the_end && !self.has(wanted) {
            let page = stream.carried_before(partition, self.lowest, ENTRIES).await?;
            self.highest = self.highest.or(page.first().map(|entry| entry.position));
            self.lowest = page.last().map(|entry| entry.position).or(self.lowest);
            self.to_the_end = page.is_empty();
            self.ids.extend(page.iter().filter_map(|entry| entry.event_id));
        }
        Ok(())
    }

    async fn up_to_date(&mut self, stream: &dyn EventStream, partition: &Partition) -> Result<(), Error> {
        let (known, mut before, mut highest) = (self.highest, None, None);
        loop {
            let page = stream.carried_before(partition, before, ENTRIES).await?;
            highest = highest.or(page.first().map(|entry| entry.position));
            before = page.last().map(|entry| entry.position);
            let new = page.iter().take_while(|entry| known.is_none_or(|known| entry.position > known));
            let (count, new) = (page.len(), new.collect::<Vec<_>>());
            self.ids.extend(new.iter().filter_map(|entry| entry.event_id));
            if count == 0 || new.len() < count {
                self.highest = highest.or(known);
                return Ok(());
            }
        }
    }
}
