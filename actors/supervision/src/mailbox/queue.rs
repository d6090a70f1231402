//! The queue behind a mailbox, and the way its mail gets into an actor.

use std::{
    collections::VecDeque,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{self, Poll, Waker},
};

use actix::{
    Actor, ActorFuture, AsyncContext as _, Context,
    dev::{Envelope, EnvelopeProxy as _},
};
use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError, watch};

use super::SendError;

/// Messages handled before the actor's timers, streams and other futures get their turn.
const SLICE: usize = 32;

pub(super) struct Queue<A: Actor> {
    pub(super) capacity: usize,
    /// One permit per free place; a queued message holds one.
    room: Semaphore,
    open: watch::Sender<bool>,
    inside: Mutex<Inside<A>>,
}

struct Inside<A: Actor> {
    mail: VecDeque<Envelope<A>>,
    /// The incarnation that may take mail.
    incarnation: u64,
    waker: Option<Waker>,
}

impl<A: Actor> Queue<A> {
    pub(super) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Queue {
            capacity,
            room: Semaphore::new(capacity.min(Semaphore::MAX_PERMITS)),
            open: watch::Sender::new(true),
            inside: Mutex::new(Inside { mail: VecDeque::new(), incarnation: 0, waker: None }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inside<A>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn depth(&self) -> usize {
        self.lock().mail.len()
    }

    pub(super) fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    pub(super) fn open(&self) {
        self.open.send_replace(true);
    }

    /// Takes no more messages and drops those queued, which their senders learn.
    pub(super) fn close(&self) {
        self.open.send_replace(false);
        let undelivered = mem::take(&mut self.lock().mail);
        self.room.add_permits(undelivered.len());
    }

    /// The mail for a new incarnation; earlier ones get no more.
    pub(super) fn intake(self: &Arc<Self>) -> Intake<A> {
        let mut inside = self.lock();
        inside.incarnation += 1;
        Intake { queue: Arc::clone(self), incarnation: inside.incarnation }
    }

    /// A place for one message, or `None` if there is none now.
    pub(super) fn room(&self) -> Result<Option<SemaphorePermit<'_>>, SendError> {
        match self.room.try_acquire() {
            _ if !self.is_open() => Err(SendError::Closed),
            Ok(permit) => Ok(Some(permit)),
            Err(TryAcquireError::NoPermits) => Ok(None),
            Err(TryAcquireError::Closed) => Err(SendError::Closed),
        }
    }

    /// A place for one message; places are given in the order they were asked for.
    pub(super) async fn wait_for_room(&self) -> Result<SemaphorePermit<'_>, SendError> {
        if let Some(permit) = self.room()? {
            return Ok(permit);
        }
        let mut open = self.open.subscribe();
        tokio::select! {
            biased;
            _ = open.wait_for(|open| !open) => Err(SendError::Closed),
            permit = self.room.acquire() => permit.map_err(|_| SendError::Closed),
        }
    }

    /// Queues an envelope on the place `permit` stands for; false if the mailbox was closed meanwhile.
    pub(super) fn push(&self, permit: SemaphorePermit<'_>, envelope: Envelope<A>) -> bool {
        let mut inside = self.lock();
        if !self.is_open() {
            return false;
        }
        permit.forget();
        inside.mail.push_back(envelope);
        let waker = inside.waker.take();
        drop(inside);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    fn poll_next(&self, incarnation: u64, task: &task::Context<'_>) -> Poll<Envelope<A>> {
        let mut inside = self.lock();
        if inside.incarnation != incarnation {
            return Poll::Pending;
        }
        let Some(envelope) = inside.mail.pop_front() else {
            inside.waker = Some(task.waker().clone());
            return Poll::Pending;
        };
        drop(inside);
        self.room.add_permits(1);
        Poll::Ready(envelope)
    }
}

/// Hands the mailbox's messages to one incarnation. It never ends: the actor's context lives until the actor
/// stops it, whether or not anyone still holds a reference.
pub(crate) struct Intake<A: Actor> {
    queue: Arc<Queue<A>>,
    incarnation: u64,
}

impl<A: Actor<Context = Context<A>>> ActorFuture<A> for Intake<A> {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut A,
        ctx: &mut Context<A>,
        task: &mut task::Context<'_>,
    ) -> Poll<()> {
        for _ in 0..SLICE {
            if ctx.waiting() {
                // actix polls its futures again when the actor's wait is over
                return Poll::Pending;
            }
            match self.queue.poll_next(self.incarnation, task) {
                Poll::Ready(mut envelope) => envelope.handle(actor, ctx),
                Poll::Pending => return Poll::Pending,
            }
        }
        task.waker().wake_by_ref();
        Poll::Pending
    }
}
