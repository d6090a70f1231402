//! Which batch it is, and whether it still counts.
//!
//! Batches of a [`Chain`] of actors arrive in order or not at all. If an actor of the chain dies, the batch in its
//! hands is lost while later ones wait in mailboxes, which survive; letting them through would let a key's later
//! event overtake its earlier one. So whoever joins or leaves the chain, or finds a batch void, begins a new epoch;
//! batches of an earlier one are dropped wherever they turn up. The head of the chain, which makes the batches, notices
//! and starts over from what is still pending, whatever its supervisor's strategy is.

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

/// Actors that hand batches on to each other, and their present epoch.
#[derive(Debug, Clone)]
pub struct Chain {
    state: Arc<watch::Sender<State>>,
    members: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    epoch: u64,
    alive: usize,
    draining: bool,
}

impl Chain {
    /// A chain of so many actors.
    #[must_use]
    pub fn of(members: usize) -> Self {
        Self { state: Arc::new(watch::Sender::default()), members }
    }

    /// What an actor of the chain holds for as long as it lives.
    #[must_use]
    pub fn join(&self) -> Member {
        self.state.send_modify(|state| {
            state.epoch += 1;
            state.alive += 1;
        });
        Member(self.clone())
    }

    /// Voids all batches that are under way.
    pub fn void(&self) {
        self.state.send_modify(|state| state.epoch += 1);
    }

    /// Whether the batch still counts.
    #[must_use]
    pub fn is_current(&self, batch: BatchId) -> bool {
        self.state.borrow().epoch == batch.epoch
    }

    /// The head makes no more batches and waits for those under way: nobody is to wait for an outage to end.
    pub fn drain(&self) {
        self.state.send_modify(|state| state.draining = true);
    }

    /// Whether the head is draining.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.state.borrow().draining
    }

    /// Resolves when the head is draining.
    pub async fn draining(&self) {
        self.until(|state| state.draining).await;
    }

    /// Resolves when all actors of the chain are alive.
    pub async fn whole(&self) {
        let members = self.members;
        // An incarnation that hangs for ever is never dropped, so there may be more than there should be.
        self.until(|state| state.alive >= members).await;
    }

    async fn until(&self, holds: impl Fn(&State) -> bool) {
        let mut states = self.state.subscribe();
        // It cannot end early: we hold the sender.
        let _closed = states.wait_for(|state| holds(state)).await;
    }
}

/// One incarnation of one actor of the chain.
#[derive(Debug)]
pub struct Member(Chain);

impl Drop for Member {
    fn drop(&mut self) {
        self.0.state.send_modify(|state| {
            state.epoch += 1;
            state.alive -= 1;
        });
    }
}

/// Numbers the batches of one epoch: the head's.
#[derive(Debug)]
pub struct Numbering {
    chain: Chain,
    next: BatchId,
}

impl Numbering {
    /// Begins an epoch.
    #[must_use]
    pub fn begin(chain: &Chain) -> Self {
        let mut epoch = 0;
        chain.state.send_modify(|state| {
            state.epoch += 1;
            state.draining = false;
            epoch = state.epoch;
        });
        Self { chain: chain.clone(), next: BatchId { epoch, number: 0 } }
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

    /// Resolves when the batches of this epoch have become void.
    pub fn voided(&self) -> impl Future<Output = ()> + use<> {
        let (chain, ours) = (self.chain.clone(), self.next.epoch);
        async move { chain.until(|state| state.epoch != ours).await }
    }

    /// Resolves when they have become void and the chain is whole again, so that the head may start over.
    pub fn broken_and_mended(&self) -> impl Future<Output = ()> + use<> {
        let (chain, voided) = (self.chain.clone(), self.voided());
        async move {
            voided.await;
            chain.whole().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_new_epoch_voids_the_batches_of_the_old_one() {
        let chain = Chain::of(1);
        let mut numbering = Numbering::begin(&chain);
        let (first, second) = (numbering.next_batch(), numbering.next_batch());
        assert_ne!(first, second);
        assert!(chain.is_current(first) && chain.is_current(second));
        let mut successor = Numbering::begin(&chain);
        assert!(!chain.is_current(second) && chain.is_current(successor.next_batch()));
    }

    #[tokio::test]
    async fn an_actor_takes_the_batches_under_way_with_it_and_the_head_waits_for_its_successor() {
        let chain = Chain::of(2);
        let (_head, worker) = (chain.join(), chain.join());
        let mut numbering = Numbering::begin(&chain);
        let batch = numbering.next_batch();
        assert!(chain.is_current(batch) && numbering.voided().now_or_never().is_none());
        drop(worker);
        assert!(!chain.is_current(batch));
        numbering.voided().await;
        assert!(numbering.broken_and_mended().now_or_never().is_none());
        let _successor = chain.join();
        numbering.broken_and_mended().await;
    }

    #[tokio::test]
    async fn a_drain_ends_with_the_head_that_asked_for_it() {
        let chain = Chain::of(1);
        assert!(!chain.is_draining());
        chain.drain();
        chain.draining().await;
        let _successor = Numbering::begin(&chain);
        assert!(!chain.is_draining());
    }
}
