//! What must not make an event dearer: each case is a small deployment and a large one.

use crate::trial::{Ballast, Sample, Subject};

use super::super::load::{Load, TOPIC};
use factline_pipeline::{chat, outbox::NewEvent};

/// What is large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(super) enum Case {
    /// 10 million processed rows in the outbox
    Outbox,
    /// A million dead versions of rows in the outbox, that another session's snapshot keeps
    DeadTuples,
    /// 10 million rows in the ledger
    Ledger,
    /// A million facts about one subject
    Subject,
    /// 10,000 conversations, and another one that gets half of all events
    Keys,
    /// 64 partitions
    Partitions,
}

/// The figures of a case.
pub(super) struct Names {
    pub(super) small: &'static str,
    pub(super) large: &'static str,
    pub(super) throughput: &'static str,
    pub(super) processor: &'static str,
}

macro_rules! names {
    ($case:literal) => {
        Names {
            small: concat!($case, ": small"),
            large: concat!($case, ": large"),
            throughput: concat!($case, ": throughput, large to small"),
            processor: concat!($case, ": processor time, large to small"),
        }
    };
}

impl Case {
    pub(super) const ALL: [Self; 6] =
        [Self::Outbox, Self::DeadTuples, Self::Ledger, Self::Subject, Self::Keys, Self::Partitions];

    pub(super) fn names(self) -> Names {
        match self {
            Self::Outbox => names!("outbox"),
            Self::DeadTuples => names!("dead-tuples"),
            Self::Ledger => names!("ledger"),
            Self::Subject => names!("subject"),
            Self::Keys => names!("keys"),
            Self::Partitions => names!("partitions"),
        }
    }

    /// Rows that are there beforehand, in the large deployment.
    pub(super) fn rows(self, scale: f64) -> u64 {
        let rows = match self {
            Self::Outbox | Self::Ledger => 10_000_000.0,
            Self::DeadTuples | Self::Subject => 1_000_000.0,
            Self::Keys | Self::Partitions => return 0,
        };
        scaled(rows, scale)
    }

    /// About so many bytes are wanted for a row with its indexes: estimated by the widths of its columns, as PostgreSQL
    /// keeps them.
    pub(super) fn bytes_of_row(self, payload_bytes: usize) -> u64 {
        match self {
            Self::Outbox => 260 + payload_bytes as u64,
            // Both versions.
            Self::DeadTuples => 2 * (260 + payload_bytes as u64),
            Self::Ledger => 220,
            Self::Subject => 330,
            Self::Keys | Self::Partitions => 0,
        }
    }

    /// What these rows are.
    pub(super) fn ballast(self, load: Load, group: &str, subject: Option<Subject>) -> Option<Ballast> {
        let sample = || Sample {
            topic: TOPIC.to_owned(),
            event_type: chat::EVENT_TYPE.to_owned(),
            payload: load.event(0).payload,
        };
        match self {
            Self::Outbox => Some(Ballast::Processed(sample())),
            Self::DeadTuples => Some(Ballast::Marked(sample())),
            Self::Ledger => Some(Ballast::Recorded(group.to_owned())),
            Self::Subject => subject.map(Ballast::Facts),
            Self::Keys | Self::Partitions => None,
        }
    }
}

/// At least one.
fn scaled(rows: f64, scale: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of rows")]
    let rows = (rows * scale) as u64;
    rows.max(1)
}

/// Which conversations the events belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spread {
    /// All in turn.
    Evenly,
    /// Every other one to the same, the others to so many in turn.
    Hot(u64),
}

impl Spread {
    /// In the large deployment of a case.
    pub(super) fn of(case: Case, scale: f64) -> Self {
        if case == Case::Keys { Self::Hot(scaled(10_000.0, scale)) } else { Self::Evenly }
    }

    /// The event of this number.
    pub(super) fn event(self, load: Load, number: u64) -> NewEvent {
        match self {
            Self::Evenly => load.event(number),
            Self::Hot(_) if number.is_multiple_of(2) => load.message(0, number / 2),
            Self::Hot(keys) => load.message(1 + number / 2 % keys, number / 2 / keys),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn a_hot_key_gets_half_of_all_events_and_no_message_comes_twice() {
        let load = Load { events: 1_000, payload_bytes: 100, keys: 7 };
        let (mut keys, mut payloads) = (BTreeMap::new(), BTreeSet::new());
        for number in 0..1_000 {
            let event = Spread::of(Case::Keys, 0.01).event(load, number);
            *keys.entry(event.key).or_insert(0) += 1;
            payloads.insert(event.payload);
        }
        assert_eq!((keys.len(), keys["c0"], keys["c1"], payloads.len()), (101, 500, 5, 1_000));
    }

    #[test]
    fn a_scale_makes_everything_smaller_but_never_nothing() {
        assert_eq!(Case::Outbox.rows(1.0), 10_000_000);
        assert_eq!(Case::Ledger.rows(0.01), 100_000);
        assert_eq!(Case::Subject.rows(1e-9), 1);
        assert_eq!(Case::Partitions.rows(1.0), 0);
    }
}
