//! Who may have events in this process' hands: many batches at once, or one suspect alone.
//!
//! If the process dies while a suspect is alone, it is the guilty one. Groups share their turns: what one of them
//! does to the process, it does to all.

use std::sync::Arc;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// The turns of one process. Fair: who wants to be alone waits only for those who came before.
#[derive(Debug, Clone, Default)]
pub struct Turns(Arc<RwLock<()>>);

/// Ends when it is dropped.
#[derive(Debug)]
pub enum Turn {
    /// Beside others.
    Shared(OwnedRwLockReadGuard<()>),
    /// Nobody else has one.
    Alone(OwnedRwLockWriteGuard<()>),
}

impl Turns {
    /// A turn; alone, once all others have ended.
    pub async fn take(&self, alone: bool) -> Turn {
        let turns = Arc::clone(&self.0);
        if alone { Turn::Alone(turns.write_owned().await) } else { Turn::Shared(turns.read_owned().await) }
    }
}

impl Turn {
    /// Whether nobody else has one.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        matches!(self, Self::Alone(_))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_suspect_waits_for_all_others_and_they_for_it() {
        let turns = Turns::default();
        let (one, other) = (turns.take(false).await, turns.take(false).await);
        drop(one);
        assert!(turns.take(true).now_or_never().is_none());
        drop(other);
        let alone = turns.take(true).await;
        assert!(alone.is_alone());
        assert!(turns.take(false).now_or_never().is_none());
        drop(alone);
        assert!(turns.take(false).now_or_never().is_some());
    }
}
