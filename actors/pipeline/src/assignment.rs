//! Which partitions a consumer group holds, and what of them is to be read next. No I/O, no actor.
//!
//! A partition that was just won is *recovering*: what is pending there comes first, from the beginning. Then it is
//! *live*: its new entries are read. A partition whose read went wrong recovers again, for nobody knows what the
//! server has handed out.

use std::{collections::VecDeque, time::Duration};

use crate::{
    lease::{Fence, Tenure},
    stream::{Delivered, Partition, Position},
};

/// The lease that makes a process the reader of a partition.
#[must_use]
pub fn lease_name(group: &str, partition: &Partition) -> String {
    format!("partition:{group}:{partition}")
}

/// What to read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Next {
    /// What is pending in a partition, after a position.
    Pending(Partition, Option<Position>),
    /// What is new in these partitions; the read must be over within this time.
    New(Vec<Partition>, Duration),
}

pub(crate) struct Assignment {
    group: String,
    all: Vec<Partition>,
    tenure: Tenure,
    live: Vec<Partition>,
    recovering: VecDeque<(Partition, Option<Position>)>,
}

impl Assignment {
    /// Of a group that holds none of these partitions yet.
    pub(crate) fn new(group: &str, all: Vec<Partition>) -> Self {
        let (tenure, live, recovering) = (Tenure::none(), Vec::new(), VecDeque::new());
        Self { group: group.to_owned(), all, tenure, live, recovering }
    }

    /// Takes the leases as they are now; says how many partitions were won.
    pub(crate) fn accept(&mut self, tenure: Tenure) -> usize {
        let mut won = 0;
        for partition in self.all.clone() {
            let (was, is) = (self.fence_of(&partition, &self.tenure), self.fence_of(&partition, &tenure));
            if was == is {
                continue;
            }
            self.live.retain(|live| *live != partition);
            self.recovering.retain(|(recovering, _)| *recovering != partition);
            if is.is_some() {
                won += 1;
                self.recovering.push_back((partition, None));
            }
        }
        self.tenure = tenure;
        won
    }

    /// Counts on nothing any more, until the leases are known again.
    pub(crate) fn forget(&mut self) {
        *self = Self::new(&self.group, std::mem::take(&mut self.all));
    }

    pub(crate) fn holds_any(&self) -> bool {
        !self.tenure.fences.is_empty()
    }

    /// What to read next; nothing while the leases might have expired. New entries are waited for `wait` at most, and
    /// never beyond the lease: what a read gets that outlives it would be stranded.
    pub(crate) fn next(&self, wait: Duration) -> Option<Next> {
        let left = self.tenure.remaining();
        if left.is_zero() {
            return None;
        }
        match self.recovering.front() {
            Some((partition, after)) => Some(Next::Pending(partition.clone(), *after)),
            None if self.live.is_empty() => None,
            None => {
                let wait = wait.min(left.saturating_sub(SAFETY));
                (!wait.is_zero()).then(|| Next::New(self.live.clone(), wait))
            }
        }
    }

    /// Notes what was read, and drops what is not to be used: a partition may have been lost, or lost and won again,
    /// while it was read. What is dropped is pending, and read again if it is ours.
    pub(crate) fn took(&mut self, next: Next, entries: &mut Vec<Delivered>) {
        match next {
            Next::New(..) => entries.retain(|entry| self.live.contains(&entry.partition)),
            Next::Pending(partition, after) => {
                if self.recovering.front() != Some(&(partition.clone(), after)) {
                    entries.clear();
                } else if let Some(last) = entries.last() {
                    self.recovering[0].1 = Some(last.position);
                } else {
                    self.recovering.pop_front();
                    self.live.push(partition);
                }
            }
        }
    }

    /// Nobody knows what the server has handed out of these partitions: what is pending comes first again.
    pub(crate) fn recover(&mut self, partitions: &[Partition]) {
        let (doubtful, live) = self.live.drain(..).partition(|partition| partitions.contains(partition));
        self.live = live;
        let doubtful: Vec<Partition> = doubtful;
        self.recovering.extend(doubtful.into_iter().map(|partition| (partition, None)));
    }

    pub(crate) fn live(&self) -> &[Partition] {
        &self.live
    }

    /// The leases under which these entries were read.
    pub(crate) fn fences_of(&self, entries: &[Delivered]) -> Vec<Fence> {
        let mut partitions: Vec<&Partition> = entries.iter().map(|entry| &entry.partition).collect();
        partitions.sort_unstable();
        partitions.dedup();
        let fence = |partition| {
            // A lease that was lost meanwhile leaves a token that no lease ever has: the record is fenced off.
            let lost = || Fence { name: lease_name(&self.group, partition), token: 0 };
            self.fence_of(partition, &self.tenure).unwrap_or_else(lost)
        };
        partitions.into_iter().map(fence).collect()
    }

    fn fence_of(&self, partition: &Partition, tenure: &Tenure) -> Option<Fence> {
        let name = lease_name(&self.group, partition);
        tenure.fences.iter().find(|fence| fence.name == name).cloned()
    }
}

/// How much earlier than its lease a read ends, at least.
const SAFETY: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;

    const WAIT: Duration = Duration::from_millis(500);

    fn partition(number: u16) -> Partition {
        Partition { topic: "chat".into(), number }
    }

    fn tenure(tokens: &[(u16, i64)]) -> Tenure {
        let fence =
            |&(number, token): &(u16, i64)| Fence { name: lease_name("g", &partition(number)), token };
        Tenure::for_at_least(tokens.iter().map(fence).collect(), Duration::from_mins(1))
    }

    fn entry(number: u16, major: u64) -> Delivered {
        let position = Position { major, minor: 0 };
        Delivered { partition: partition(number), position, deliveries: 1, event: Ok(Event::sample()) }
    }

    /// Holds partitions 0 and 1, both live.
    fn live() -> Assignment {
        let mut assignment = Assignment::new("g", vec![partition(0), partition(1)]);
        assert_eq!(assignment.next(WAIT), None);
        assert_eq!(assignment.accept(tenure(&[(0, 1), (1, 1)])), 2);
        for number in [0, 1] {
            let next = assignment.next(WAIT).unwrap();
            assert_eq!(next, Next::Pending(partition(number), None));
            assignment.took(next, &mut vec![]);
        }
        assignment
    }

    #[test]
    fn what_is_pending_is_finished_page_by_page_before_anything_new_is_read() {
        let mut assignment = Assignment::new("g", vec![partition(0)]);
        assignment.accept(tenure(&[(0, 1)]));
        let next = assignment.next(WAIT).unwrap();
        assignment.took(next, &mut vec![entry(0, 7)]);
        let next = assignment.next(WAIT).unwrap();
        assert_eq!(next, Next::Pending(partition(0), Some(Position { major: 7, minor: 0 })));
        assignment.took(next, &mut vec![]);
        assert_eq!(assignment.next(WAIT), Some(Next::New(vec![partition(0)], WAIT)));
    }

    #[test]
    fn entries_of_a_partition_that_was_lost_while_it_was_read_are_dropped() {
        let mut assignment = live();
        let next = assignment.next(WAIT).unwrap();
        assert_eq!(assignment.accept(tenure(&[(1, 1)])), 0);
        let mut entries = vec![entry(0, 1), entry(1, 1)];
        assignment.took(next, &mut entries);
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].partition, partition(1));
    }

    #[test]
    fn a_partition_that_was_lost_and_won_again_is_recovered_from_its_beginning() {
        let mut assignment = live();
        assert_eq!(assignment.accept(tenure(&[(0, 3), (1, 1)])), 1);
        let old = Next::Pending(partition(0), Some(Position { major: 9, minor: 0 }));
        let mut entries = vec![entry(0, 10)];
        assignment.took(old, &mut entries);
        assert!(entries.is_empty());
        assert_eq!(assignment.next(WAIT), Some(Next::Pending(partition(0), None)));
    }

    #[test]
    fn after_a_read_that_went_wrong_what_is_pending_comes_first() {
        let mut assignment = live();
        assignment.recover(&[partition(1), partition(7)]);
        assert_eq!(assignment.next(WAIT), Some(Next::Pending(partition(1), None)));
        assert_eq!(assignment.live(), [partition(0)]);
    }

    #[test]
    fn no_read_outlives_its_lease() {
        let mut assignment = live();
        let short = Tenure::for_at_least(tenure(&[(0, 1), (1, 1)]).fences, Duration::from_millis(300));
        assignment.accept(short);
        let Some(Next::New(_, wait)) = assignment.next(WAIT) else { panic!("nothing to read") };
        assert!(wait <= Duration::from_millis(200));
        assignment.accept(Tenure::for_at_least(tenure(&[(0, 1), (1, 1)]).fences, Duration::ZERO));
        assert_eq!(assignment.next(WAIT), None);
    }

    #[test]
    fn a_lease_that_was_lost_leaves_a_token_that_no_lease_has() {
        let mut assignment = live();
        assert_eq!(assignment.fences_of(&[entry(0, 1), entry(0, 2)]), tenure(&[(0, 1)]).fences);
        assignment.forget();
        assert!(!assignment.holds_any());
        assert_eq!(assignment.fences_of(&[entry(0, 1)])[0].token, 0);
    }
}
