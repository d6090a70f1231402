//! Runs one incarnation of an actor: polls its actix context, contains its panics, stops it on request.
//!
//! actix kills an actor that panics together with its mailbox and tells nobody. Here the context is a value:
//! [`ContextFut`] is polled under `catch_unwind`, and after a panic it is terminated and dropped at once, so
//! that callers of the crashed handler get their error and no hook of a broken actor runs. The mailbox is
//! not part of it and stays.

use std::{
    any::Any,
    future::{Future as _, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, TryLockError},
    task::{self, Poll},
};

use actix::{
    Actor, ActorContext as _, AsyncContext as _, Context,
    dev::{AsyncContextParts as _, ContextFut},
};
use futures_util::future::LocalBoxFuture;

use crate::{
    exit::Exit,
    lifeline::Lifeline,
    mailbox::{Mail, Mailbox},
};

/// A supervised actor whose type is known only here: it can be brought to life, again and again.
pub(crate) trait Body: Send + Sync {
    /// Builds the actor and runs it to its end, on the current thread. Dropping the future kills it.
    fn live(self: Arc<Self>, lifeline: Lifeline) -> LocalBoxFuture<'static, Exit>;

    fn mail(&self) -> &dyn Mail;
}

/// A body made by a factory.
pub(crate) struct Made<A: Actor<Context = Context<A>>, F> {
    mailbox: Mailbox<A>,
    make: Mutex<F>,
}

impl<A, F> Made<A, F>
where
    A: Actor<Context = Context<A>>,
    F: Fn(Lifeline) -> A + Send + 'static,
{
    pub(crate) fn new(mailbox: Mailbox<A>, make: F) -> Self {
        Made { mailbox, make: Mutex::new(make) }
    }

    fn make(&self, lifeline: Lifeline) -> Result<A, Exit> {
        let make = match self.make.try_lock() {
            Ok(make) => make,
            Err(TryLockError::Poisoned(make)) => make.into_inner(),
            Err(TryLockError::WouldBlock) => {
                return Err(Exit::StartFailed("its factory is still busy on an abandoned thread".into()));
            }
        };
        catch(|| make(lifeline))
    }
}

impl<A, F> Body for Made<A, F>
where
    A: Actor<Context = Context<A>>,
    F: Fn(Lifeline) -> A + Send + 'static,
{
    fn live(self: Arc<Self>, lifeline: Lifeline) -> LocalBoxFuture<'static, Exit> {
        Box::pin(async move {
            match lifeline.on_thread(|| self.make(lifeline.clone())) {
                Ok(actor) => Incarnation::new(actor, &self.mailbox, lifeline).run().await,
                Err(exit) => exit,
            }
        })
    }

    fn mail(&self) -> &dyn Mail {
        &self.mailbox
    }
}

/// One live actor in its context.
struct Incarnation<A: Actor<Context = Context<A>>> {
    context: Option<ContextFut<A, Context<A>>>,
    lifeline: Lifeline,
}

impl<A: Actor<Context = Context<A>>> Incarnation<A> {
    fn new(actor: A, mailbox: &Mailbox<A>, lifeline: Lifeline) -> Self {
        let mut context = Context::new();
        context.spawn(mailbox.intake());
        Incarnation { context: Some(context.into_future(actor)), lifeline }
    }

    async fn run(mut self) -> Exit {
        let lifeline = self.lifeline.clone();
        let mut asked = false;
        loop {
            tokio::select! {
                biased;
                () = lifeline.failed() => return self.failure().unwrap_or(Exit::Killed),
                () = stop_unless_it_drains_itself(&lifeline), if !asked => {
                    asked = true;
                    if let Some(context) = &mut self.context {
                        context.ctx().stop();
                    }
                }
                exit = poll_fn(|task| self.poll(task)) => return exit,
            }
        }
    }

    fn poll(&mut self, task: &mut task::Context<'_>) -> Poll<Exit> {
        let Some(context) = &mut self.context else { return Poll::Ready(Exit::Killed) };
        match self.lifeline.on_thread(|| catch(|| Pin::new(context).poll(task))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => Poll::Ready(self.failure().unwrap_or_else(|| self.stopped())),
            Err(panicked) => Poll::Ready(panicked),
        }
    }

    fn failure(&self) -> Option<Exit> {
        self.lifeline.failure().map(Exit::Failed)
    }

    fn stopped(&self) -> Exit {
        if self.lifeline.is_stopping() { Exit::Shutdown } else { Exit::Normal }
    }
}

impl<A: Actor<Context = Context<A>>> Drop for Incarnation<A> {
    /// Ends the actor without hooks. A panic in its own `Drop` ends here: the process must not unwind twice.
    fn drop(&mut self) {
        if let Some(mut context) = self.context.take() {
            let dropped = catch(move || {
                context.ctx().parts().terminate();
                drop(context);
            });
            if let Err(panicked) = dropped {
                tracing::warn!(path = self.lifeline.path(), reason = %panicked, "actor panicked while dropped");
            }
        }
    }
}

async fn stop_unless_it_drains_itself(lifeline: &Lifeline) {
    lifeline.stopping().await;
    if lifeline.drains_itself() {
        std::future::pending::<()>().await;
    }
}

fn catch<R>(code: impl FnOnce() -> R) -> Result<R, Exit> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|payload| Exit::Panicked(message_of(payload.as_ref())))
}

/// The text of a panic.
pub(crate) fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "of unknown type".into())
}
