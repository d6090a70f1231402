//! Which batch it is, and whether it still counts.
//!
//! Batches of a chain of actors arrive in order or not at all. If an actor of the chain dies, the batch in its
//! hands is lost while later ones wait in mailboxes, which survive; letting them through would let a key's later
//! event overtake its earlier one. So every new incarnation in the chain, and whoever finds a batch void, starts a
//! new [`Epoch`]; batches of an earlier one are dropped wherever they turn up, and what they held is read again from
//! where it is still pending.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A batch of one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BatchId {
    /// The epoch in which it was made.
    pub epoch: u64,
    /// Counts within the epoch.
    pub number: u64,
}

/// The present epoch of one chain of actors.
#[derive(Debug, Clone, Default)]
pub struct Epoch(Arc<AtomicU64>);

impl Epoch {
    /// Voids all batches that are under way, and gives the number of the epoch that begins.
    #[must_use]
    pub fn begin(&self) -> u64 {
        self.0.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Whether the batch still counts.
    #[must_use]
    pub fn is_current(&self, batch: BatchId) -> bool {
        self.0.load(Ordering::Acquire) == batch.epoch
    }
}

/// Numbers the batches of one epoch.
#[derive(Debug)]
pub struct Numbering {
    next: BatchId,
}

impl Numbering {
    /// Begins an epoch.
    #[must_use]
    pub fn begin(epoch: &Epoch) -> Self {
        Self { next: BatchId { epoch: epoch.begin(), number: 0 } }
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.next.epoch
    }

    /// The next batch.
    pub fn next_batch(&mut self) -> BatchId {
        let batch = self.next;
        self.next.number += 1;
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_epoch_voids_the_batches_of_the_old_one() {
        let epoch = Epoch::default();
        let mut numbering = Numbering::begin(&epoch);
        let (first, second) = (numbering.next_batch(), numbering.next_batch());
        assert_ne!(first, second);
        assert!(epoch.is_current(first) && epoch.is_current(second));
        let mut successor = Numbering::begin(&epoch.clone());
        assert!(!epoch.is_current(second) && epoch.is_current(successor.next_batch()));
    }
}
