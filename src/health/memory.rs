//! What is remembered from one look to the next.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use factline_pipeline::{lease::Lease, stream::Partition};

use super::{Finding, Part, RECOVERED, Since, State, Waits};

/// What earlier looks have found.
#[derive(Debug, Default)]
pub struct Memory {
    spells: BTreeMap<String, Spell>,
    /// The outbox, while it can be asked.
    pub(super) backlog: Option<Moving>,
    /// Each group in each partition.
    pub(super) lag: Waits<(String, Partition)>,
    /// Restarts of each node.
    pub(super) restarts: BTreeMap<String, u64>,
    leader: Option<Leader>,
}

/// Since when a part has been well, and since when it had been in trouble before.
#[derive(Debug, Default)]
struct Spell {
    /// As it says, and as it was seen.
    well: Option<(DateTime<Utc>, DateTime<Utc>)>,
    trouble: Option<DateTime<Utc>>,
    seen: bool,
}

/// Something that waits, and when it last became less or another.
#[derive(Debug, Clone)]
pub(super) struct Moving {
    waiting: u64,
    oldest: Option<DateTime<Utc>>,
    /// Since then nothing has moved.
    pub(super) since: DateTime<Utc>,
}

impl Moving {
    /// What waits now, after what waited before.
    ///
    /// Without the oldest one's time, more is not told from as much and more: any change is taken for a move.
    pub(super) fn after(
        before: Option<&Self>,
        waiting: u64,
        oldest: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Self {
        let stands = |before: &&Self| {
            let as_much =
                if oldest.is_some() { waiting >= before.waiting } else { waiting == before.waiting };
            waiting > 0 && as_much && oldest == before.oldest
        };
        // A clock that was set back must not leave anything standing from the future.
        let since = before.filter(stands).map_or(now, |before| before.since.min(now));
        Self { waiting, oldest, since }
    }
}

#[derive(Debug)]
struct Leader {
    holder: String,
    token: i64,
    since: DateTime<Utc>,
}

impl Memory {
    /// Since when this lease has been in this tenure, as far as was seen.
    pub(super) fn leader_since(&mut self, lease: &Lease, now: DateTime<Utc>) -> DateTime<Utc> {
        let same = |leader: &&Leader| leader.token == lease.token && leader.holder == lease.holder;
        let since = self.leader.as_ref().filter(same).map_or(now, |leader| leader.since);
        self.leader = Some(Leader { holder: lease.holder.clone(), token: lease.token, since });
        since
    }

    /// The finding with its time; none if it is not to be told.
    pub(super) fn date(&mut self, finding: Finding, now: DateTime<Utc>) -> Option<Part> {
        let Finding { part, state, since, sentence, reason, data, holds_up, quiet } = finding;
        let spell = self.spells.entry(part.clone()).or_default();
        spell.seen = true;
        let since = match since {
            Since::Known(since) => {
                spell.note(state, since, now);
                since
            }
            Since::Looks => spell.note(state, now, now),
            Since::Before(since) => spell.note(state, since, now),
        };
        let told = !quiet || state != State::Ok;
        told.then_some(Part { part, state, since, sentence, reason, data, holds_up })
    }

    /// Parts that were not spoken of are no more.
    pub(super) fn forget_unseen(&mut self) {
        self.spells.retain(|_, spell| std::mem::take(&mut spell.seen));
    }
}

impl Spell {
    /// What cannot be known says nothing about how it does.
    fn note(&mut self, state: State, since: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
        match state {
            State::Ok => {
                let (well, seen) = *self.well.get_or_insert((since, now));
                if now - seen >= RECOVERED {
                    self.trouble = None;
                }
                well
            }
            State::Unknown => now,
            State::Degraded | State::Failed => {
                self.well = None;
                *self.trouble.get_or_insert(since)
            }
        }
    }
}
