//! An outage is not a failure: telling one from the other, and waiting it out.
//!
//! Every port answers with this module's [`Error`]. A stage that meets an outage reports `degraded`, tries again
//! with exponential backoff and jitter, and resumes by itself; it burns no attempt and no restart.

use std::{future::Future, time::Duration};

use factline_supervision::{BackoffPolicy, Condition, Delays, Lifeline};

use crate::batch::Chain;

/// Why a port could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server is away, refuses, or is not set up: the same call may succeed later.
    #[error("{service} is unavailable")]
    Unavailable {
        /// Which server: `postgres`, `redis`, `sqlite`.
        service: &'static str,
        /// What the client library said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server refused this very data: the same call fails every time.
    #[error("{service} refused the data")]
    Data {
        /// Which server.
        service: &'static str,
        /// What the server said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server is there, and not what the configuration says: no call will succeed until one of them is changed.
    #[error("{service} is not what the configuration says")]
    Misconfigured {
        /// Which server.
        service: &'static str,
        /// What is wrong, with the key.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server is there, and has lost what it had been given before. Said once; nothing was done. Whoever hears it
    /// finds out what is missing before anything else is given to the server.
    #[error("{service} has lost what it held")]
    Lost {
        /// Which server.
        service: &'static str,
        /// How it shows.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A lease is held by somebody else now: nothing was written.
    #[error("lease {lease:?} was lost")]
    Fenced {
        /// The lease's name.
        lease: String,
    },
}

impl Error {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// How fast to try again during an outage.
#[must_use]
pub fn default_policy() -> BackoffPolicy {
    BackoffPolicy {
        initial: Duration::from_millis(50),
        max: Duration::from_secs(2),
        multiplier: 2.0,
        jitter: 0.3,
        ..BackoffPolicy::default()
    }
}

/// For how long an outage is waited out.
#[derive(Debug, Clone, Copy)]
pub struct Patience<'a> {
    life: &'a Lifeline,
    chain: Option<&'a Chain>,
}

impl<'a> From<&'a Lifeline> for Patience<'a> {
    /// Until the actor is asked to stop.
    fn from(life: &'a Lifeline) -> Self {
        Self { life, chain: None }
    }
}

impl<'a> Patience<'a> {
    /// Until the actor is asked to stop, or the head of its chain is, which waits for it.
    #[must_use]
    pub fn within(life: &'a Lifeline, chain: &'a Chain) -> Self {
        Self { life, chain: Some(chain) }
    }

    fn is_over(&self) -> bool {
        self.life.is_stopping() || self.chain.is_some_and(Chain::is_draining)
    }

    /// Resolves when it is over.
    pub async fn over(&self) {
        match self.chain {
            None => self.life.stopping().await,
            Some(chain) => tokio::select! {
                () = self.life.stopping() => {}
                () = chain.draining() => {}
            },
        }
    }
}

/// Repeats `operation` until it gives something else than an outage.
///
/// Meanwhile the actor counts as degraded, which is no stall. When patience is over, the outage is returned
/// instead: what was not done is still pending where it came from.
pub async fn ride_out<'a, T, F>(
    patience: impl Into<Patience<'a>>,
    policy: &BackoffPolicy,
    mut operation: impl FnMut() -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let patience = patience.into();
    let life = patience.life;
    let mut error = match operation().await {
        Err(error) if error.is_outage() && !patience.is_over() => error,
        settled => return settled,
    };
    tracing::warn!(actor = life.path(), error = %chain(&error), "degraded, trying again until it is back");
    let mut delays = Delays::new(policy);
    loop {
        life.set_condition(Condition::Degraded(chain(&error)));
        let next = async {
            tokio::time::sleep(delays.next_delay()).await;
            operation().await
        };
        // A server that was away may take long to answer, or never do: nobody who stops waits for that.
        let settled = tokio::select! {
            () = patience.over() => return Err(error),
            settled = next => settled,
        };
        match settled {
            Err(again) if again.is_outage() => error = again,
            settled => {
                tracing::info!(actor = life.path(), "recovered");
                life.set_condition(Condition::Healthy);
                return settled;
            }
        }
    }
}

/// The error and all its causes, joined by colons. A cause that its effect has spelled out already is not repeated.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}
