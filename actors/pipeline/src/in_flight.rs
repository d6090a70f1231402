//! What a consumer group has handed on and not seen recorded yet. No I/O, no actor.
//!
//! A batch is *moving* until the first report of it. What it then still lacks is parked, waiting for its next try: it
//! holds up no other batch, but counts as unrecorded, and of that there is only so much.

use std::collections::{BTreeMap, HashMap};

use crate::{batch::BatchId, stream::Partition, turns::Turn};

#[derive(Debug, Default)]
pub(crate) struct InFlight {
    batches: HashMap<BatchId, Unrecorded>,
    moving: usize,
    entries: usize,
}

#[derive(Debug)]
struct Unrecorded {
    entries: BTreeMap<Partition, usize>,
    is_moving: bool,
    turn: Option<Turn>,
}

impl InFlight {
    /// A batch was made of entries of these partitions, one for each entry.
    pub(crate) fn add<'a>(&mut self, batch: BatchId, of: impl Iterator<Item = &'a Partition>) {
        let mut entries: BTreeMap<Partition, usize> = BTreeMap::new();
        for partition in of {
            self.entries += 1;
            match entries.get_mut(partition) {
                Some(count) => *count += 1,
                None => drop(entries.insert(partition.clone(), 1)),
            }
        }
        self.moving += 1;
        self.batches.insert(batch, Unrecorded { entries, is_moving: true, turn: None });
    }

    /// It was delivered in this turn, which lasts until the first report of it.
    pub(crate) fn began(&mut self, batch: BatchId, turn: Turn) {
        if let Some(unrecorded) = self.batches.get_mut(&batch).filter(|batch| batch.is_moving) {
            unrecorded.turn = Some(turn);
        }
    }

    /// An entry of each of these partitions was recorded.
    pub(crate) fn recorded(&mut self, batch: BatchId, partitions: &[Partition]) {
        let Some(unrecorded) = self.batches.get_mut(&batch) else { return };
        if std::mem::take(&mut unrecorded.is_moving) {
            self.moving -= 1;
            unrecorded.turn = None;
        }
        for partition in partitions {
            if let Some(count) = unrecorded.entries.get_mut(partition).filter(|count| **count > 0) {
                *count -= 1;
                self.entries -= 1;
            }
        }
        if unrecorded.entries.values().all(|count| *count == 0) {
            self.batches.remove(&batch);
        }
    }

    /// What is parked of this partition is not ours any more.
    pub(crate) fn forget(&mut self, partition: &Partition) {
        self.batches.retain(|_, batch| {
            self.entries -= batch.entries.remove(partition).unwrap_or_default();
            batch.is_moving || batch.entries.values().any(|count| *count > 0)
        });
    }

    /// Batches of which nothing was reported yet.
    pub(crate) fn moving(&self) -> usize {
        self.moving
    }

    /// Whether one of those has entries of this partition.
    pub(crate) fn is_moving(&self, partition: &Partition) -> bool {
        self.batches.values().any(|batch| batch.is_moving && batch.entries.contains_key(partition))
    }

    /// Whether there are as many batches, or entries, as there may be.
    pub(crate) fn is_full(&self, batches: usize, entries: usize) -> bool {
        self.moving >= batches || self.entries >= entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turns::Turns;

    fn partition(number: u16) -> Partition {
        Partition { topic: "chat".into(), number }
    }

    fn batch(number: u64) -> BatchId {
        BatchId { epoch: 1, number }
    }

    #[tokio::test]
    async fn what_is_parked_holds_up_no_batch_but_counts() {
        let (turns, mut in_flight) = (Turns::default(), InFlight::default());
        in_flight.add(batch(1), [partition(0), partition(0), partition(1)].iter());
        in_flight.began(batch(1), turns.take(true).await);
        assert!(in_flight.is_full(1, 9) && in_flight.is_full(9, 3) && !in_flight.is_full(2, 4));
        assert!(in_flight.is_moving(&partition(1)) && !in_flight.is_moving(&partition(2)));

        in_flight.recorded(batch(1), &[partition(0)]);
        drop(turns.take(true).await); // its turn has ended
        assert_eq!(in_flight.moving(), 0);
        assert!(!in_flight.is_full(1, 3) && in_flight.is_full(1, 2) && !in_flight.is_moving(&partition(0)));
        in_flight.recorded(batch(1), &[partition(0)]);
        in_flight.forget(&partition(1));
        assert!(in_flight.batches.is_empty() && in_flight.entries == 0);
    }

    #[test]
    fn a_report_of_a_batch_that_nobody_knows_changes_nothing() {
        let mut in_flight = InFlight::default();
        in_flight.recorded(batch(7), &[partition(0)]);
        in_flight.add(batch(1), [partition(0)].iter());
        in_flight.recorded(batch(1), &[partition(0), partition(0)]);
        assert!(in_flight.batches.is_empty() && in_flight.entries == 0 && in_flight.moving() == 0);
    }
}
