//! What a consumer group has handed on and not seen recorded yet. No I/O, no actor.
//!
//! A batch is *moving* until the first report of it. What it then still lacks is parked, waiting for its next try: it
//! holds up no other batch, but counts as unrecorded, and of that there is only so much.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::{
    batch::BatchId,
    stream::{Partition, Position},
    turns::Turn,
};

#[derive(Debug, Default)]
pub(crate) struct InFlight {
    batches: HashMap<BatchId, Unrecorded>,
    moving: usize,
    entries: usize,
}

#[derive(Debug)]
struct Unrecorded {
    entries: BTreeMap<Partition, HashSet<Position>>,
    is_moving: bool,
    turn: Option<Turn>,
}

impl InFlight {
    /// A batch was made of these entries.
    pub(crate) fn add<'a>(&mut self, batch: BatchId, of: impl Iterator<Item = (&'a Partition, Position)>) {
        let mut entries: BTreeMap<Partition, HashSet<Position>> = BTreeMap::new();
        for (partition, position) in of {
            let positions = match entries.get_mut(partition) {
                Some(positions) => positions,
                None => entries.entry(partition.clone()).or_default(),
            };
            self.entries += usize::from(positions.insert(position));
        }
        self.moving += 1;
        self.batches.insert(batch, Unrecorded { entries, is_moving: true, turn: None });
    }

    /// Whether this entry is in hand, moving or parked.
    pub(crate) fn holds(&self, partition: &Partition, position: Position) -> bool {
        let holds = |batch: &Unrecorded| {
            batch.entries.get(partition).is_some_and(|positions| positions.contains(&position))
        };
        self.batches.values().any(holds)
    }

    /// It was delivered in this turn, which lasts until the first report of it.
    pub(crate) fn began(&mut self, batch: BatchId, turn: Turn) {
        if let Some(unrecorded) = self.batches.get_mut(&batch).filter(|batch| batch.is_moving) {
            unrecorded.turn = Some(turn);
        }
    }

    /// These entries were recorded.
    pub(crate) fn recorded(&mut self, batch: BatchId, recorded: &[(Partition, Position)]) {
        let Some(unrecorded) = self.batches.get_mut(&batch) else { return };
        if std::mem::take(&mut unrecorded.is_moving) {
            self.moving -= 1;
            unrecorded.turn = None;
        }
        for (partition, position) in recorded {
            let positions = unrecorded.entries.get_mut(partition);
            let removed = positions.is_some_and(|positions| positions.remove(position));
            self.entries -= usize::from(removed);
        }
        unrecorded.entries.retain(|_, positions| !positions.is_empty());
        if unrecorded.entries.is_empty() {
            self.batches.remove(&batch);
        }
    }

    /// What is parked of this partition is not ours any more.
    pub(crate) fn forget(&mut self, partition: &Partition) {
        self.batches.retain(|_, batch| {
            self.entries -= batch.entries.remove(partition).map_or(0, |positions| positions.len());
            batch.is_moving || !batch.entries.is_empty()
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

    fn at(major: u64) -> Position {
        Position { major, minor: 0 }
    }

    fn batch(number: u64) -> BatchId {
        BatchId { epoch: 1, number }
    }

    #[tokio::test]
    async fn what_is_parked_holds_up_no_batch_but_counts() {
        let (turns, mut in_flight) = (Turns::default(), InFlight::default());
        let (zero, one) = (partition(0), partition(1));
        in_flight.add(batch(1), [(&zero, at(1)), (&zero, at(2)), (&one, at(3))].into_iter());
        in_flight.began(batch(1), turns.take(true).await);
        assert!(in_flight.is_full(1, 9) && in_flight.is_full(9, 3) && !in_flight.is_full(2, 4));
        assert!(in_flight.is_moving(&one) && !in_flight.is_moving(&partition(2)));
        assert!(in_flight.holds(&zero, at(2)) && !in_flight.holds(&one, at(2)));

        in_flight.recorded(batch(1), &[(zero.clone(), at(1))]);
        drop(turns.take(true).await); // its turn has ended
        assert_eq!(in_flight.moving(), 0);
        assert!(!in_flight.is_full(1, 3) && in_flight.is_full(1, 2) && !in_flight.is_moving(&zero));
        assert!(!in_flight.holds(&zero, at(1)) && in_flight.holds(&zero, at(2)));
        in_flight.recorded(batch(1), &[(zero, at(2))]);
        in_flight.forget(&one);
        assert!(in_flight.batches.is_empty() && in_flight.entries == 0);
    }

    #[test]
    fn a_report_of_a_batch_that_nobody_knows_changes_nothing() {
        let mut in_flight = InFlight::default();
        in_flight.recorded(batch(7), &[(partition(0), at(1))]);
        in_flight.add(batch(1), [(&partition(0), at(1))].into_iter());
        in_flight.recorded(batch(1), &[(partition(0), at(1)), (partition(0), at(1))]);
        assert!(in_flight.batches.is_empty() && in_flight.entries == 0 && in_flight.moving() == 0);
    }
}
