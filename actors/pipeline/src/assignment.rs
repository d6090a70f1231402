//! Which partitions a consumer group holds, and what of them is to be read next. No I/O, no actor.
//!
//! A partition that was just won is *recovering*: what is pending there comes first, from the beginning. Then it is
//! *live*: its new entries are read. A partition whose read went wrong recovers again, for nobody knows what the
//! server has handed out. The daemons of a group share its partitions: one that is another's share by now is
//! *leaving*: nothing more is read of it, and its lease is kept until what was read is done.

use std::{collections::VecDeque, time::Duration};

use crate::{
    attempts::Task,
    lease::{Fence, Tenure},
    stream::{Partition, Position},
};

/// The lease that makes a process the reader of a partition.
#[must_use]
pub fn lease_name(group: &str, partition: &Partition) -> String {
    format!("partition:{group}:{partition}")
}

/// The partitions that are one member's share, if all members are named in the same order to each of them: as even
/// as can be.
#[must_use]
pub fn share_of(all: &[Partition], members: &[String], member: &str) -> Vec<Partition> {
    let Some(place) = members.iter().position(|one| one == member) else { return Vec::new() };
    all.iter().skip(place).step_by(members.len()).cloned().collect()
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
    leaving: Vec<Partition>,
}

impl Assignment {
    /// Of a group that holds none of these partitions yet.
    pub(crate) fn new(group: &str, all: Vec<Partition>) -> Self {
        let (tenure, live, recovering, leaving) = (Tenure::none(), Vec::new(), VecDeque::new(), Vec::new());
        Self { group: group.to_owned(), all, tenure, live, recovering, leaving }
    }

    /// Takes the leases as they are now, and what is to be ours of them; says how many partitions were won.
    pub(crate) fn accept(&mut self, tenure: Tenure, share: &[Partition]) -> usize {
        let mut won = 0;
        for partition in self.all.clone() {
            let (was, is) = (self.fence_of(&partition, &self.tenure), self.fence_of(&partition, &tenure));
            let ours = is.is_some() && share.contains(&partition);
            // One that comes back before it was gone is read again from what is pending there.
            let stays = was == is && ours != self.leaving.contains(&partition);
            if stays || (was.is_none() && is.is_none()) {
                continue;
            }
            self.live.retain(|live| *live != partition);
            self.recovering.retain(|(recovering, _)| *recovering != partition);
            self.leaving.retain(|leaving| *leaving != partition);
            if ours {
                won += 1;
                self.recovering.push_back((partition, None));
            } else if is.is_some() {
                self.leaving.push(partition);
            }
        }
        self.tenure = tenure;
        won
    }

    /// Those whose leases are held.
    pub(crate) fn held(&self) -> impl Iterator<Item = &Partition> {
        self.all.iter().filter(|partition| self.fence_of(partition, &self.tenure).is_some())
    }

    /// Those that are held until what was read of them is done.
    pub(crate) fn leaving(&self) -> &[Partition] {
        &self.leaving
    }

    /// These were given back.
    pub(crate) fn left(&mut self, partitions: &[Partition]) {
        self.leaving.retain(|leaving| !partitions.contains(leaving));
        let group = &self.group;
        let gone: Vec<String> = partitions.iter().map(|partition| lease_name(group, partition)).collect();
        self.tenure.fences.retain(|fence| !gone.contains(&fence.name));
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
    /// while it was read. What is dropped is pending, and read again if it is ours. `last` is the last position that
    /// was pending, whether it is to be worked on or not.
    pub(crate) fn took(&mut self, next: Next, last: Option<Position>, tasks: &mut Vec<Task>) {
        match next {
            Next::New(..) => tasks.retain(|task| self.live.contains(&task.entry.partition)),
            Next::Pending(partition, after) => {
                if self.recovering.front() != Some(&(partition.clone(), after)) {
                    tasks.clear();
                } else if last.is_some() {
                    self.recovering[0].1 = last;
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
    pub(crate) fn fences_of(&self, tasks: &[Task]) -> Vec<Fence> {
        let mut partitions: Vec<&Partition> = tasks.iter().map(|task| &task.entry.partition).collect();
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
    use crate::{event::Event, stream::Delivered};

    const WAIT: Duration = Duration::from_millis(500);

    fn partition(number: u16) -> Partition {
        Partition { topic: "chat".into(), number }
    }

    fn tenure(tokens: &[(u16, i64)]) -> Tenure {
        let fence =
            |&(number, token): &(u16, i64)| Fence { name: lease_name("g", &partition(number)), token };
        Tenure::for_at_least(tokens.iter().map(fence).collect(), Duration::from_mins(1))
    }

    fn task(number: u16, major: u64) -> Task {
        let position = Position { major, minor: 0 };
        let (partition, event) = (partition(number), Ok(Event::sample()));
        Task::fresh(Delivered {
            partition,
            position,
            deliveries: 1,
            taken_from: None,
            event,
            trail: crate::trace::Trail::default(),
        })
    }

    fn both() -> [Partition; 2] {
        [partition(0), partition(1)]
    }

    /// Holds partitions 0 and 1, both live.
    fn live() -> Assignment {
        let mut assignment = Assignment::new("g", vec![partition(0), partition(1)]);
        assert_eq!(assignment.next(WAIT), None);
        assert_eq!(assignment.accept(tenure(&[(0, 1), (1, 1)]), &both()), 2);
        for number in [0, 1] {
            let next = assignment.next(WAIT).unwrap();
            assert_eq!(next, Next::Pending(partition(number), None));
            assignment.took(next, None, &mut vec![]);
        }
        assignment
    }

    #[test]
    fn what_is_pending_is_finished_page_by_page_before_anything_new_is_read() {
        let mut assignment = Assignment::new("g", vec![partition(0)]);
        assignment.accept(tenure(&[(0, 1)]), &both());
        let next = assignment.next(WAIT).unwrap();
        assignment.took(next, Some(Position { major: 7, minor: 0 }), &mut vec![]);
        let next = assignment.next(WAIT).unwrap();
        assert_eq!(next, Next::Pending(partition(0), Some(Position { major: 7, minor: 0 })));
        assignment.took(next, None, &mut vec![]);
        assert_eq!(assignment.next(WAIT), Some(Next::New(vec![partition(0)], WAIT)));
    }

    #[test]
    fn entries_of_a_partition_that_was_lost_while_it_was_read_are_dropped() {
        let mut assignment = live();
        let next = assignment.next(WAIT).unwrap();
        assert_eq!(assignment.accept(tenure(&[(1, 1)]), &both()), 0);
        let mut entries = vec![task(0, 1), task(1, 1)];
        assignment.took(next, None, &mut entries);
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].entry.partition, partition(1));
    }

    #[test]
    fn a_partition_that_was_lost_and_won_again_is_recovered_from_its_beginning() {
        let mut assignment = live();
        assert_eq!(assignment.accept(tenure(&[(0, 3), (1, 1)]), &both()), 1);
        let old = Next::Pending(partition(0), Some(Position { major: 9, minor: 0 }));
        let mut entries = vec![task(0, 10)];
        assignment.took(old, Some(Position { major: 10, minor: 0 }), &mut entries);
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
        assignment.accept(short, &both());
        let Some(Next::New(_, wait)) = assignment.next(WAIT) else { panic!("nothing to read") };
        assert!(wait <= Duration::from_millis(200));
        let over = Tenure::for_at_least(tenure(&[(0, 1), (1, 1)]).fences, Duration::ZERO);
        assignment.accept(over, &both());
        assert_eq!(assignment.next(WAIT), None);
    }

    #[test]
    fn a_lease_that_was_lost_leaves_a_token_that_no_lease_has() {
        let mut assignment = live();
        assert_eq!(assignment.fences_of(&[task(0, 1), task(0, 2)]), tenure(&[(0, 1)]).fences);
        assignment.forget();
        assert!(!assignment.holds_any());
        assert_eq!(assignment.fences_of(&[task(0, 1)])[0].token, 0);
    }

    #[test]
    fn a_partition_that_becomes_anothers_share_is_kept_until_what_was_read_is_done() {
        let (mut assignment, held) = (live(), tenure(&[(0, 1), (1, 1)]));
        assert_eq!(assignment.accept(held.clone(), &[partition(0)]), 0);
        assert_eq!((assignment.live(), assignment.leaving()), (&[partition(0)][..], &[partition(1)][..]));
        assert_eq!(assignment.fences_of(&[task(1, 1)])[0].token, 1);
        assert_eq!(assignment.accept(held.clone(), &[partition(0)]), 0);
        assignment.left(&[partition(1)]);
        assert_eq!((assignment.leaving(), assignment.fences_of(&[task(1, 1)])[0].token), (&[][..], 0));
        // It comes back as one that was just won.
        assert_eq!(assignment.accept(tenure(&[(0, 1), (1, 3)]), &both()), 1);
        assert_eq!(assignment.next(WAIT), Some(Next::Pending(partition(1), None)));
    }

    #[test]
    fn a_partition_that_comes_back_before_it_was_gone_is_read_again_from_what_is_pending() {
        let (mut assignment, held) = (live(), tenure(&[(0, 1), (1, 1)]));
        assignment.accept(held.clone(), &[partition(0)]);
        assert_eq!(assignment.accept(held, &both()), 1);
        assert_eq!(assignment.next(WAIT), Some(Next::Pending(partition(1), None)));
        assert!(assignment.leaving().is_empty());
    }

    #[test]
    fn shares_are_even_and_leave_nothing_out() {
        let all: Vec<Partition> = (0..8).map(partition).collect();
        for members in 1..=10 {
            let members: Vec<String> = (0..members).map(|number| format!("m{number}")).collect();
            let shares: Vec<_> = members.iter().map(|member| share_of(&all, &members, member)).collect();
            let mut together = shares.concat();
            together.sort();
            assert_eq!(together, all);
            let sizes = || shares.iter().map(Vec::len);
            assert!(sizes().max().unwrap() - sizes().min().unwrap() <= 1);
        }
        assert!(share_of(&all, &["a".into()], "nobody").is_empty());
    }
}
