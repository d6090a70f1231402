//! Events that wait for their next try, and those of the same key that wait behind them. No I/O, no actor.
//!
//! Order holds because a key is either here or on its way: whatever comes of a key that is here goes to the end of
//! its queue, and the queue is taken up again from its beginning when its time has come.

use std::collections::{HashMap, VecDeque};

use tokio::time::Instant;

use crate::{
    attempts::Task,
    batch::BatchId,
    lease::Fence,
    stream::{Delivered, Partition},
};

/// An event that waits, with what it came in.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) batch: BatchId,
    /// The lease under which it was read.
    pub(crate) fence: Option<Fence>,
    pub(crate) task: Task,
}

/// What order is kept for, within one partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    partition: Partition,
    key: String,
}

impl Lane {
    /// An entry that is no event follows nobody and is followed by nobody.
    pub(crate) fn of(entry: &Delivered) -> Option<Self> {
        let event = entry.event.as_ref().ok()?;
        Some(Self { partition: entry.partition.clone(), key: event.key.clone() })
    }
}

#[derive(Debug)]
struct Queue {
    due: Instant,
    waiting: VecDeque<Waiting>,
}

/// All that waits in one extractor.
#[derive(Debug, Default)]
pub(crate) struct Parking {
    queues: HashMap<Lane, Queue>,
}

impl Parking {
    /// Whether something of this lane waits.
    pub(crate) fn holds(&self, lane: &Lane) -> bool {
        self.queues.contains_key(lane)
    }

    /// Puts it at the end of its queue; `due` counts if it is the first there.
    pub(crate) fn park(&mut self, lane: Lane, waiting: Waiting, due: Instant) {
        let queue = self.queues.entry(lane).or_insert_with(|| Queue { due, waiting: VecDeque::new() });
        queue.waiting.push_back(waiting);
    }

    /// When the next queue is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.queues.values().map(|queue| queue.due).min()
    }

    /// Whether what [`Parking::take_due`] would give goes alone; none if it would give nothing.
    pub(crate) fn due_goes_alone(&self, now: Instant) -> Option<bool> {
        let first = self.due(now).map(|(_, queue)| queue.waiting.front())?;
        Some(first.is_some_and(|first| first.task.goes_alone()))
    }

    fn due(&self, now: Instant) -> Option<(&Lane, &Queue)> {
        self.queues.iter().filter(|(_, queue)| queue.due <= now).min_by_key(|(_, queue)| queue.due)
    }

    /// The queue that has been due for the longest time. It is not here any more: what is left of it is to be parked
    /// again before anything else of its lane comes.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<VecDeque<Waiting>> {
        let lane = self.due(now)?.0.clone();
        self.queues.remove(&lane).map(|queue| queue.waiting)
    }

    /// Forgets what waits in a partition: it is pending in the stream, for whoever reads it next.
    pub(crate) fn forget(&mut self, partition: &Partition) {
        self.queues.retain(|lane, _| lane.partition != *partition);
    }

    /// Keeps only what is still of use.
    pub(crate) fn retain(&mut self, is_current: impl Fn(BatchId) -> bool) {
        self.queues.retain(|_, queue| {
            queue.waiting.retain(|waiting| is_current(waiting.batch));
            !queue.waiting.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{event::Event, stream::Position};

    fn waiting(key: &str, number: u64) -> (Lane, Waiting) {
        let entry = Delivered {
            partition: Partition { topic: "chat".into(), number: 0 },
            position: Position { major: number, minor: 0 },
            deliveries: 1,
            taken_from: None,
            event: Ok(Event { key: key.into(), ..Event::sample() }),
            trail: crate::trace::Trail::default(),
        };
        let batch = BatchId { epoch: number, number };
        (Lane::of(&entry).unwrap(), Waiting { batch, fence: None, task: Task::fresh(entry) })
    }

    fn positions(queue: &VecDeque<Waiting>) -> Vec<u64> {
        queue.iter().map(|waiting| waiting.task.entry.position.major).collect()
    }

    #[tokio::test]
    async fn a_line_keeps_its_order_and_is_due_when_its_first_one_is() {
        let (now, mut parking) = (Instant::now(), Parking::default());
        let soon = now + Duration::from_secs(1);
        for (key, number, due) in [("a", 1, soon), ("b", 2, now), ("a", 3, now), ("b", 4, soon)] {
            let (lane, waiting) = waiting(key, number);
            parking.park(lane, waiting, due);
        }
        assert_eq!(parking.next_due(), Some(now));
        assert_eq!(positions(&parking.take_due(now).unwrap()), [2, 4]);
        assert!(!parking.holds(&waiting("b", 9).0) && parking.holds(&waiting("a", 9).0));
        assert!(parking.take_due(now).is_none());
        assert_eq!(positions(&parking.take_due(soon).unwrap()), [1, 3]);
        assert_eq!(parking.next_due(), None);
    }

    #[tokio::test]
    async fn what_is_void_or_belongs_to_somebody_else_is_forgotten() {
        let (now, mut parking) = (Instant::now(), Parking::default());
        for number in [1, 2] {
            let (lane, waiting) = waiting("a", number);
            parking.park(lane, waiting, now);
        }
        parking.retain(|batch| batch.epoch == 2);
        assert_eq!(positions(&parking.take_due(now).unwrap()), [2]);
        let (lane, waiting) = waiting("a", 3);
        parking.park(lane, waiting, now);
        parking.forget(&Partition { topic: "chat".into(), number: 0 });
        assert_eq!(parking.next_due(), None);
    }
}
