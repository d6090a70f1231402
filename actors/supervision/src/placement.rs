//! Threads for children that may block.
//!
//! A [`Place`] is an arbiter that exists while some incarnation runs on it. An arbiter whose thread is stuck
//! in a blocking call can't be killed, only abandoned: whoever runs on it is told, and the next incarnation
//! gets a fresh one. The stuck thread ends when its call returns.

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
};

use actix::{Arbiter, System};
use futures_util::future::LocalBoxFuture;
use tokio::{sync::oneshot, task::spawn_local};
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;

/// Where the children with one placement run; shared by those who inherit it.
#[derive(Debug, Default)]
pub(crate) struct Place {
    thread: RefCell<Weak<Thread>>,
}

/// A running arbiter. It stops when the last incarnation on it is gone.
#[derive(Debug)]
pub(crate) struct Thread {
    arbiter: Arbiter,
    abandoned: CancellationToken,
}

/// Why no arbiter could be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("an arbiter of its own needs an actix `System` on the supervisor's thread")]
    NoSystem,
    #[error("its arbiter could not be started: {0}")]
    Start(#[from] std::io::Error),
}

impl Place {
    /// The place's thread, started if there is none.
    pub(crate) fn thread(&self) -> Result<Rc<Thread>, Error> {
        if let Some(thread) = self.thread.borrow().upgrade().filter(|thread| thread.is_usable()) {
            return Ok(thread);
        }
        if System::try_current().is_none() {
            return Err(Error::NoSystem);
        }
        let thread = Rc::new(Thread { arbiter: Arbiter::try_new()?, abandoned: CancellationToken::new() });
        *self.thread.borrow_mut() = Rc::downgrade(&thread);
        Ok(thread)
    }
}

impl Thread {
    fn is_usable(&self) -> bool {
        !self.abandoned.is_cancelled() && self.arbiter.handle().alive()
    }

    /// Gives the thread up and tells all who run on it.
    pub(crate) fn abandon(&self) {
        self.abandoned.cancel();
    }

    /// Resolves when the thread was given up.
    pub(crate) async fn was_abandoned(&self) {
        self.abandoned.cancelled().await;
    }

    /// Runs on this thread what `make` makes there, to its end or until `kill`. `None` if the thread died
    /// under it.
    pub(crate) async fn run(
        &self,
        kill: CancellationToken,
        make: impl FnOnce() -> LocalBoxFuture<'static, Exit> + Send + 'static,
    ) -> Option<Exit> {
        let (done, exit) = oneshot::channel();
        self.arbiter.spawn_fn(move || {
            spawn_local(async move {
                let exit = until_killed(&kill, make()).await;
                // nobody listens to a thread that was given up
                let _ = done.send(exit);
            });
        });
        exit.await.ok()
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.arbiter.stop();
    }
}

/// Runs `life` to its end, or drops it on `kill`.
pub(crate) async fn until_killed(kill: &CancellationToken, life: LocalBoxFuture<'static, Exit>) -> Exit {
    tokio::select! {
        biased;
        () = kill.cancelled() => Exit::Killed,
        exit = life => exit,
    }
}
