//! Which batch it is, and whether it still counts.
//!
//! Batches of a chain of actors arrive in order or not at all. If an actor of the chain dies, the batch in its
//! hands is lost while later ones wait in mailboxes, which survive; letting them through would let a key's later
//! event overtake its earlier one. So every new incarnation in the chain, and whoever finds a batch void, starts a
//! new [`Epoch`]; batches of an earlier one are dropped wherever they turn up, and what they held is read again from
//! where it is still pending.

use std::sync::Arc;

use tokio::sync::watch;

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
pub struct Epoch(Arc<watch::Sender<u64>>);

impl Epoch {
    /// Voids all batches that are under way.
    pub fn begin(&self) {
        self.0.send_modify(|epoch| *epoch += 1);
    }

    /// Whether the batch still counts.
    #[must_use]
    pub fn is_current(&self, batch: BatchId) -> bool {
        *self.0.borrow() == batch.epoch
    }

    /// What an actor of the chain holds for as long as it lives: with it, all batches under way become void.
    #[must_use]
    pub fn join(&self) -> Member {
        // An incarnation that hangs is never dropped; its successor ends the epoch then.
        self.begin();
        Member(self.clone())
    }
}

/// One incarnation of one actor of the chain.
#[derive(Debug)]
pub struct Member(Epoch);

impl Drop for Member {
    fn drop(&mut self) {
        self.0.begin();
    }
}

/// Numbers the batches of one epoch.
#[derive(Debug)]
pub struct Numbering {
    next: BatchId,
    epoch: Epoch,
}

impl Numbering {
    /// Begins an epoch.
    #[must_use]
    pub fn begin(epoch: &Epoch) -> Self {
        epoch.begin();
        Self { next: BatchId { epoch: *epoch.0.borrow(), number: 0 }, epoch: epoch.clone() }
    }

    /// Resolves when the batches of this epoch have become void.
    pub fn voided(&self) -> impl Future<Output = ()> + use<> {
        let (mut epochs, ours) = (self.epoch.0.subscribe(), self.next.epoch);
        async move {
            // The sender lives as long as the actors, who wait for this.
            let _closed = epochs.wait_for(|epoch| *epoch != ours).await;
        }
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

    #[tokio::test]
    async fn an_actor_takes_the_batches_under_way_with_it() {
        let epoch = Epoch::default();
        let actor = epoch.join();
        let mut numbering = Numbering::begin(&epoch);
        let batch = numbering.next_batch();
        assert!(epoch.is_current(batch));
        drop(actor);
        numbering.voided().await;
        assert!(!epoch.is_current(batch));
    }
}
