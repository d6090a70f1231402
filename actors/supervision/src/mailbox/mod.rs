//! A mailbox that outlives its actor, and the bounded reference to it.
//!
//! actix ties a mailbox to one incarnation of an actor and bounds it only loosely: every clone of an `Addr`
//! adds a slot, and `do_send` ignores the bound. Here the queue belongs to neither. It is made at wiring
//! time, every [`Ref`] shares its one semaphore, and each incarnation of the actor takes envelopes from it
//! through an actor future ([`Intake`]) inside its own actix context. What follows:
//!
//! - no more than `capacity` messages are ever queued, however many senders there are;
//! - a crash loses the message being handled and nothing else: the next incarnation serves the rest, also
//!   when the last one is still stuck on a thread that had to be abandoned;
//! - timers and streams of an actor are polled between slices of mail, not after all of it;
//! - while the actor waits (`ctx.wait`, `AtomicResponse`) no mail is taken, as in actix.

mod queue;

use std::{fmt, sync::Arc};

use actix::{Actor, Context, Handler, Message, dev::ToEnvelope as _};
use tokio::sync::oneshot;

pub(crate) use queue::Intake;
use queue::Queue;

/// Makes a mailbox for `capacity` messages and the reference to it. The [`Mailbox`] goes into the child's
/// spec; the [`Ref`] and its clones stay valid until the child is stopped for good.
///
/// A capacity of zero is refused when the tree starts.
#[must_use]
pub fn mailbox<A: Actor<Context = Context<A>>>(capacity: usize) -> (Ref<A>, Mailbox<A>) {
    let queue = Queue::new(capacity);
    (Ref { queue: Arc::clone(&queue) }, Mailbox { queue })
}

/// Why a message was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The child was stopped for good; nobody will read its mail.
    #[error("the mailbox is closed, its actor was stopped for good")]
    Closed,
    /// The mailbox took the message, but the actor crashed on it or dropped it without an answer.
    #[error("the actor ended before it answered")]
    Unanswered,
}

/// A message that could not be delivered at once, given back.
#[derive(thiserror::Error)]
pub enum TrySendError<M> {
    /// The mailbox holds as many messages as it may.
    #[error("the mailbox is full")]
    Full(M),
    /// The child was stopped for good.
    #[error("the mailbox is closed, its actor was stopped for good")]
    Closed(M),
}

impl<M> fmt::Debug for TrySendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrySendError::Full(_) => f.write_str("Full(..)"),
            TrySendError::Closed(_) => f.write_str("Closed(..)"),
        }
    }
}

/// A bounded reference to a supervised actor; it stays valid over restarts.
pub struct Ref<A: Actor<Context = Context<A>>> {
    queue: Arc<Queue<A>>,
}

impl<A: Actor<Context = Context<A>>> Clone for Ref<A> {
    fn clone(&self) -> Self {
        Ref { queue: Arc::clone(&self.queue) }
    }
}

impl<A: Actor<Context = Context<A>>> fmt::Debug for Ref<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ref").field("depth", &self.depth()).field("capacity", &self.capacity()).finish()
    }
}

impl<A: Actor<Context = Context<A>>> Ref<A> {
    /// Waits for room in the mailbox, then for the handler's answer.
    ///
    /// Dropping the future withdraws the message if the actor has not come to it yet.
    pub async fn send<M>(&self, message: M) -> Result<M::Result, SendError>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let (answer, answered) = oneshot::channel();
        self.put(message, Some(answer)).await?;
        answered.await.map_err(|_| if self.is_open() { SendError::Unanswered } else { SendError::Closed })
    }

    /// Waits for room; returns once the message is in the mailbox. The handler's answer is discarded.
    pub async fn deliver<M>(&self, message: M) -> Result<(), SendError>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        self.put(message, None).await
    }

    /// Delivers without waiting, or gives the message back.
    pub fn try_deliver<M>(&self, message: M) -> Result<(), TrySendError<M>>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        match self.queue.room() {
            Ok(Some(permit)) => {
                self.queue.push(permit, Context::<A>::pack(message, None));
                Ok(())
            }
            Ok(None) => Err(TrySendError::Full(message)),
            Err(_) => Err(TrySendError::Closed(message)),
        }
    }

    /// Messages waiting in the mailbox, without the one being handled.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.queue.depth()
    }

    /// Messages the mailbox may hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.queue.capacity
    }

    /// Whether messages are still taken; false once the child was stopped for good.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.queue.is_open()
    }

    async fn put<M>(&self, message: M, answer: Option<oneshot::Sender<M::Result>>) -> Result<(), SendError>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let permit = self.queue.wait_for_room().await?;
        if self.queue.push(permit, Context::<A>::pack(message, answer)) {
            Ok(())
        } else {
            Err(SendError::Closed)
        }
    }
}

/// The receiving end: one child's mail. Dropping it closes the mailbox.
pub struct Mailbox<A: Actor<Context = Context<A>>> {
    queue: Arc<Queue<A>>,
}

impl<A: Actor<Context = Context<A>>> fmt::Debug for Mailbox<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("capacity", &self.queue.capacity).finish_non_exhaustive()
    }
}

impl<A: Actor<Context = Context<A>>> Mailbox<A> {
    pub(crate) fn intake(&self) -> Intake<A> {
        self.queue.intake()
    }
}

impl<A: Actor<Context = Context<A>>> Drop for Mailbox<A> {
    fn drop(&mut self) {
        self.close();
    }
}

/// What the supervisor may do with a mailbox without knowing whose it is.
pub(crate) trait Mail: Send + Sync {
    fn depth(&self) -> usize;
    fn capacity(&self) -> usize;
    fn open(&self);
    /// Takes no more messages and drops the queued ones; their senders learn it.
    fn close(&self);
}

impl<A: Actor<Context = Context<A>>> Mail for Mailbox<A> {
    fn depth(&self) -> usize {
        self.queue.depth()
    }

    fn capacity(&self) -> usize {
        self.queue.capacity
    }

    fn open(&self) {
        self.queue.open();
    }

    fn close(&self) {
        self.queue.close();
    }
}
