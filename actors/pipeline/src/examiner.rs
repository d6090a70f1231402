//! Judges processed rows of the outbox: recorded, on their way, lost, or not for us to say. The order in which outbox,
//! streams and ledger are asked is what makes a verdict right while all of them are at work: see
//! [`reconcile`](crate::reconcile).

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::{
    carriers::Carriers,
    ledger::Horizons,
    outage::Error,
    outbox::SettledRow,
    reconcile::{Params, Subscription},
    stream::{EventStream, Partition, partition_of},
};

/// How much later than recorded a row may have been marked, where nobody knows when it was written.
const SLOWEST_MARK: TimeDelta = TimeDelta::days(1);

/// What became of a processed row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Every group that reads it has recorded it.
    Recorded,
    /// A stream carries it.
    Carried,
    /// Neither.
    Lost,
    /// Neither, and it was processed before that is known in full.
    BeforeHorizon,
    /// Neither, and nobody knows when it was processed.
    UnknownTime,
    /// Its id is no UUID.
    Unreadable,
    /// No configured group reads its topic.
    Unread,
}

/// Judges processed rows, which come newest first.
pub struct Examiner<'a> {
    params: &'a Params,
    carriers: Carriers<'a>,
}

/// A row that some group has not recorded, and the groups that would miss it.
struct Open<'a> {
    index: usize,
    row: &'a SettledRow,
    event_id: Uuid,
    partition: Partition,
    missing_in: Vec<&'a str>,
}

impl<'a> Examiner<'a> {
    /// Nothing has been looked at.
    #[must_use]
    pub fn new(params: &'a Params) -> Self {
        Self { params, carriers: Carriers::new(&*params.stream) }
    }

    /// A verdict for each row.
    pub async fn judge(&mut self, rows: &[SettledRow]) -> Result<Vec<Verdict>, Error> {
        let mut verdicts = vec![Verdict::Recorded; rows.len()];
        let mut open = self.readable(rows, &mut verdicts);
        self.leave_out_recorded(&mut open).await?;
        if open.is_empty() {
            return Ok(verdicts);
        }
        // What lies beyond the horizons is not worth a look at the streams.
        self.leave_out_unknown(&mut open, &mut verdicts).await?;
        let carried = self.carriers.carry(open.iter().map(|one| (&one.partition, one.event_id))).await?;
        open.retain(|one| {
            let waits = carried.contains(&one.event_id);
            if waits {
                verdicts[one.index] = Verdict::Carried;
            }
            !waits
        });
        if open.is_empty() {
            return Ok(verdicts);
        }
        // Only now is a ledger that does not have them proof; and the horizons are read after it, for whoever deletes
        // ledger rows raises them in the same transaction.
        self.leave_out_recorded(&mut open).await?;
        self.leave_out_unknown(&mut open, &mut verdicts).await?;
        for one in &open {
            verdicts[one.index] = Verdict::Lost;
        }
        Ok(verdicts)
    }

    /// The rows that groups read, each with all of them.
    fn readable<'r>(&self, rows: &'r [SettledRow], verdicts: &mut [Verdict]) -> Vec<Open<'r>>
    where
        'a: 'r,
    {
        let mut open = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            let readers = self.params.groups.iter().filter(|reader| reader.topics.contains(&row.topic));
            let missing_in: Vec<&str> = readers.map(|reader| reader.group.as_str()).collect();
            match row.event_id {
                _ if missing_in.is_empty() => verdicts[index] = Verdict::Unread,
                None => verdicts[index] = Verdict::Unreadable,
                Some(event_id) => {
                    let partition = partition_of_row(&*self.params.stream, row);
                    open.push(Open { index, row, event_id, partition, missing_in });
                }
            }
        }
        open
    }

    /// Keeps the rows that some group has not recorded by now.
    async fn leave_out_recorded(&self, open: &mut Vec<Open<'_>>) -> Result<(), Error> {
        for Subscription { group, .. } in &self.params.groups {
            let asked = open.iter().filter(|one| one.missing_in.contains(&group.as_str()));
            let asked: Vec<Uuid> = asked.map(|one| one.event_id).collect();
            if asked.is_empty() {
                continue;
            }
            let recorded = self.params.ledger.recorded(group, &asked).await?;
            for one in open.iter_mut().filter(|one| recorded.contains(&one.event_id)) {
                one.missing_in.retain(|missing| missing != group);
            }
        }
        open.retain(|one| !one.missing_in.is_empty());
        Ok(())
    }

    /// Keeps the rows that a group's ledger would have if it had seen them.
    async fn leave_out_unknown(
        &self,
        open: &mut Vec<Open<'_>>,
        verdicts: &mut [Verdict],
    ) -> Result<(), Error> {
        if open.is_empty() {
            return Ok(());
        }
        let horizons = self.params.ledger.horizons().await?;
        open.retain_mut(|one| {
            let row = one.row;
            one.missing_in.retain(|group| is_known(&horizons, group, row, self.params.margin));
            if one.missing_in.is_empty() {
                let known = row.processed_at.is_some();
                verdicts[one.index] = if known { Verdict::BeforeHorizon } else { Verdict::UnknownTime };
            }
            !one.missing_in.is_empty()
        });
        Ok(())
    }
}

/// Where the row's event is published.
#[must_use]
pub fn partition_of_row(stream: &dyn EventStream, row: &SettledRow) -> Partition {
    let partitions = u16::try_from(stream.partitions(&row.topic).len()).unwrap_or(u16::MAX);
    Partition { topic: row.topic.as_str().into(), number: partition_of(&row.key, partitions) }
}

/// Whether the ledger of this group would have the row's event.
///
/// A row may be marked processed long after its event was recorded, if the outbox was away in between. So it is
/// the time at which it was written that tells whether its ledger row may have been deleted.
#[must_use]
pub fn is_known(horizons: &Horizons, group: &str, row: &SettledRow, margin: TimeDelta) -> bool {
    let began = horizons.groups.get(group).zip(row.processed_at).is_some_and(|(group, processed_at)| {
        processed_at.checked_sub_signed(margin).is_some_and(|time| time > *group)
    });
    began && !is_beyond_ledger(horizons, row, margin)
}

/// Whether the row's ledger row may have been deleted, or lies before there was a ledger, or cannot be dated.
#[must_use]
pub fn is_beyond_ledger(horizons: &Horizons, row: &SettledRow, margin: TimeDelta) -> bool {
    let (Some(ledger), Some(processed_at)) = (horizons.ledger, row.processed_at) else { return true };
    let after = |horizon: DateTime<Utc>, time: Option<DateTime<Utc>>| {
        time.and_then(|time| time.checked_sub_signed(margin)).is_some_and(|time| time > horizon)
    };
    let written = match row.created_at {
        Some(created_at) => Some(created_at.min(processed_at)),
        None => processed_at.checked_sub_signed(SLOWEST_MARK),
    };
    let kept = horizons.forgotten.is_none_or(|forgotten| after(forgotten, written));
    !(kept && after(ledger, Some(processed_at)))
}
