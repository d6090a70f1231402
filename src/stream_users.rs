//! Which daemons use which streams: how a relay and a group are found that do not meet.
//!
//! Two daemons that share a store but not their streams look healthy, each for itself, while nothing of what one
//! writes is ever read by the other. So each daemon holds a membership in the store that names its streams, under the
//! identity that the streams have. It is renewed at every look, since streams that lose their data get another one.

use std::time::Duration;

use factline_pipeline::{
    lease::{Keeper, Lease, membership},
    outage::Error,
    stream::Identity,
};
use serde::Serialize;
use tokio::sync::Mutex;

use crate::app::Parts;

/// What the names of these clubs begin with.
const CLUB: &str = "streams";

/// What a daemon does with its streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It relays events into them.
    Relay,
    /// Its groups read them.
    Consumers,
    /// Both.
    All,
}

impl Role {
    const ALL: [Self; 3] = [Self::Relay, Self::Consumers, Self::All];

    fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Consumers => "consumers",
            Self::All => "all",
        }
    }
}

impl From<Parts> for Role {
    fn from(parts: Parts) -> Self {
        match parts {
            Parts::All => Self::All,
            Parts::Relay => Self::Relay,
            Parts::Consumers => Self::Consumers,
        }
    }
}

/// A running daemon, and the streams that it uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamUse {
    /// The daemon, as its leases call it.
    pub daemon: String,
    /// What it does with them.
    pub role: Role,
    /// Which streams.
    pub streams: Identity,
}

/// This process as one of those who use streams.
pub struct StreamUser {
    keeper: Keeper,
    role: Role,
    told: Mutex<Told>,
}

/// What the others were told last.
enum Told {
    Nothing,
    Club(String),
    Farewell,
}

impl StreamUser {
    /// The keeper's leases are to last for several looks.
    #[must_use]
    pub fn new(keeper: Keeper, role: Role) -> Self {
        Self { keeper, role, told: Mutex::new(Told::Nothing) }
    }

    /// For how long a daemon counts as one that uses its streams, if it looks so often.
    #[must_use]
    pub fn ttl(every: Duration) -> Duration {
        every * 3 + Duration::from_secs(5)
    }

    /// Tells the others; ends what was told before of other streams.
    pub async fn uses(&self, streams: &Identity) -> Result<(), Error> {
        let club = club(self.role, streams);
        let mut told = self.told.lock().await; // across the calls: a farewell is the last thing that is said
        match &*told {
            Told::Farewell => return Ok(()),
            Told::Club(before) if *before != club => self.keeper.leave(before).await?,
            Told::Nothing | Told::Club(_) => {}
        }
        *told = Told::Club(club.clone());
        self.keeper.join(&club).await.map(drop)
    }

    /// Ends what was told, for good: the daemon stops.
    pub async fn leave(&self) -> Result<(), Error> {
        match std::mem::replace(&mut *self.told.lock().await, Told::Farewell) {
            Told::Club(club) => self.keeper.leave(&club).await,
            Told::Nothing | Told::Farewell => Ok(()),
        }
    }
}

/// `streams:relay:8:IDENTITY:PLACE`.
fn club(role: Role, streams: &Identity) -> String {
    format!("{CLUB}:{}:{}:{}:{}", role.name(), streams.partitions, streams.id, streams.place)
}

/// Whether the lease says which streams somebody uses.
#[must_use]
pub fn is_stream_use(lease: &Lease) -> bool {
    lease.name.starts_with(&format!("{}:", membership_of_all()))
}

fn membership_of_all() -> String {
    membership(CLUB, "").trim_end_matches(':').to_owned()
}

/// The daemons that run now, and what they use.
#[must_use]
pub fn uses(leases: &[Lease]) -> Vec<StreamUse> {
    leases.iter().filter(|lease| lease.held).filter_map(parse).collect()
}

fn parse(lease: &Lease) -> Option<StreamUse> {
    let club = lease.name.strip_prefix(&membership_of_all())?.strip_prefix(':')?;
    let club = club.strip_suffix(&lease.holder)?.strip_suffix(':')?;
    let mut parts = club.splitn(4, ':');
    let role = parts.next()?;
    let role = Role::ALL.into_iter().find(|one| one.name() == role)?;
    let (partitions, id, place) = (parts.next()?.parse().ok()?, parts.next()?.into(), parts.next()?.into());
    Some(StreamUse { daemon: lease.holder.clone(), role, streams: Identity { id, partitions, place } })
}

/// In words, which daemons of a store do not meet; nothing if all of them use the same streams.
#[must_use]
pub fn disagreement(uses: &[StreamUse]) -> Option<String> {
    let first = uses.first()?;
    let other = uses.iter().find(|other| other.streams.id != first.streams.id)?;
    Some(format!(
        "{} and {}: what one of them relays, the other does not read",
        in_words(first),
        in_words(other)
    ))
}

fn in_words(one: &StreamUse) -> String {
    let Identity { id, partitions, place } = &one.streams;
    format!("daemon {} uses the streams {id} ({place}, {partitions} partitions)", one.daemon)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(role: Role, id: &str, holder: &str, held: bool) -> Lease {
        let streams = Identity {
            id: id.into(),
            partitions: 8,
            place: "redis cache:6379, database 0, prefix a:b".into(),
        };
        Lease { name: membership(&club(role, &streams), holder), holder: holder.into(), token: 1, held }
    }

    #[test]
    fn a_lease_tells_who_uses_which_streams() {
        let leases = [
            lease(Role::Relay, "one", "a-1", true),
            Lease { name: "member:facts:a-1".into(), ..lease(Role::All, "two", "a-1", true) },
            lease(Role::All, "two", "gone", false),
        ];
        let found = uses(&leases);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].role, found[0].daemon.as_str()), (Role::Relay, "a-1"));
        assert_eq!(found[0].streams.place, "redis cache:6379, database 0, prefix a:b");
        assert!(is_stream_use(&leases[0]) && !is_stream_use(&leases[1]));
    }

    #[test]
    fn daemons_disagree_whose_streams_have_other_identities() {
        let one = lease(Role::Relay, "one", "a-1", true);
        let same = lease(Role::Consumers, "one", "b:2", true);
        let other = lease(Role::Consumers, "two", "c-3", true);
        assert_eq!(disagreement(&uses(&[])), None);
        assert_eq!(disagreement(&uses(&[one.clone(), same.clone()])), None);
        let told = disagreement(&uses(&[one, same, other])).unwrap();
        assert!(told.contains("a-1") && told.contains("c-3") && told.contains("one"), "{told}");
    }
}
