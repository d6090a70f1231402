//! The `Leases` port: who may do what only one may do at a time.
//!
//! Leases stand in the store and run on its clock, so that daemons need not agree on the time; they hold no
//! session state and so work through PgBouncer. A lease's token rises whenever it changes hands: a holder that
//! was paused beyond its lease is found out by its old token (the fencing of Kleppmann's "How to do distributed
//! locking").

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::Serialize;
use tokio::time::Instant;

use crate::outage::Error;

/// Proof of holding a lease: what a transaction that needs it checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fence {
    /// The lease's name, `relay:outbox` or `partition:facts:chat:3` say.
    pub name: String,
    /// Which tenure this is.
    pub token: i64,
}

/// A lease as it stands in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lease {
    /// The lease's name.
    pub name: String,
    /// Who holds it, or held it last.
    pub holder: String,
    /// Which tenure this is.
    pub token: i64,
    /// Whether it is still held.
    pub held: bool,
}

/// The lease that says that somebody is a member of a club; without the member, what all those of the club begin with.
#[must_use]
pub fn membership(club: &str, holder: &str) -> String {
    format!("member:{club}:{holder}")
}

/// Leases on the store's clock.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Takes those of the named leases that are free, and renews those that the holder has; gives all it has now.
    async fn acquire(&self, names: &[String], holder: &str, ttl: Duration) -> Result<Vec<Fence>, Error>;

    /// Gives up all of the named leases that the holder has.
    async fn release(&self, names: &[String], holder: &str) -> Result<(), Error>;

    /// Makes the holder a member of a club for so long, and gives all present members in order. Those who have not
    /// said so in time are members no more.
    async fn join(&self, club: &str, holder: &str, ttl: Duration) -> Result<Vec<String>, Error>;

    /// Ends the holder's membership.
    async fn leave(&self, club: &str, holder: &str) -> Result<(), Error>;

    /// All leases, memberships included.
    async fn list(&self) -> Result<Vec<Lease>, Error>;
}

/// How long giving something up may take: whoever does so is about to end.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// Holds leases for somebody.
#[derive(Clone)]
pub struct Keeper {
    /// Where they are.
    pub leases: Arc<dyn Leases>,
    /// Who is to hold them: unique to this process, so that nobody inherits a lease by sharing a name.
    pub holder: String,
    /// How long each lasts; renewed at a third of it.
    pub ttl: Duration,
}

/// What is held, and until when at least.
#[derive(Debug, Clone)]
pub struct Tenure {
    /// Proof for each lease held.
    pub fences: Vec<Fence>,
    valid_until: Instant,
}

impl Tenure {
    /// Holding nothing.
    #[must_use]
    pub fn none() -> Self {
        Self { fences: Vec::new(), valid_until: Instant::now() }
    }

    /// Holding these for this time from now on, at least.
    #[must_use]
    pub fn for_at_least(fences: Vec<Fence>, time: Duration) -> Self {
        Self { fences, valid_until: Instant::now() + time }
    }

    /// For how long the leases cannot have expired; zero if nothing is held.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        let held = !self.fences.is_empty();
        if held { self.valid_until.saturating_duration_since(Instant::now()) } else { Duration::ZERO }
    }
}

impl Keeper {
    /// How often to call [`Keeper::renew`].
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.ttl / 3
    }

    /// Takes what is free of these and renews what is held. The tenure is counted from before the call, by our own
    /// clock.
    pub async fn renew(&self, names: &[String]) -> Result<Tenure, Error> {
        let valid_until = Instant::now() + self.ttl;
        let fences = self.leases.acquire(names, &self.holder, self.ttl).await?;
        Ok(Tenure { fences, valid_until })
    }

    /// Gives these up, so that nobody need wait for them to expire.
    pub async fn release(&self, names: &[String]) -> Result<(), Error> {
        in_time(self.leases.release(names, &self.holder)).await
    }

    /// Joins a club, or stays in it; gives its present members in order.
    pub async fn join(&self, club: &str) -> Result<Vec<String>, Error> {
        self.leases.join(club, &self.holder, self.ttl).await
    }

    /// Leaves a club.
    pub async fn leave(&self, club: &str) -> Result<(), Error> {
        in_time(self.leases.leave(club, &self.holder)).await
    }
}

/// A courtesy to others keeps nobody from ending.
async fn in_time<T>(courtesy: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = || Error::Unavailable { service: "store", source: "no answer in time".into() };
    tokio::time::timeout(RELEASE_TIMEOUT, courtesy).await.unwrap_or_else(|_| Err(late()))
}
