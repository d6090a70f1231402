//! What the streams carry of the events that are asked for: [`reconcile`](crate::reconcile)'s second question.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use crate::{
    outage::Error,
    stream::{EventStream, Partition, Position},
};

/// Entries asked for in one step.
const ENTRIES: usize = 1_000;

/// What the streams carry, read from their ends downwards only as far as the rows asked for lie, which come newest
/// first as well.
pub(crate) struct Carriers<'a> {
    stream: &'a dyn EventStream,
    read: HashMap<Partition, Read>,
}

/// What was read of one partition: everything from `lowest` to `highest`.
#[derive(Default)]
struct Read {
    ids: HashSet<Uuid>,
    lowest: Option<Position>,
    highest: Option<Position>,
    to_the_end: bool,
}

impl<'a> Carriers<'a> {
    pub(crate) fn new(stream: &'a dyn EventStream) -> Self {
        Self { stream, read: HashMap::new() }
    }

    /// Those of these events that a stream carries, each where it would stand.
    pub(crate) async fn carry(
        &mut self,
        asked: impl Iterator<Item = (&Partition, Uuid)>,
    ) -> Result<HashSet<Uuid>, Error> {
        let mut wanted_in: HashMap<&Partition, HashSet<Uuid>> = HashMap::new();
        for (partition, event_id) in asked {
            wanted_in.entry(partition).or_default().insert(event_id);
        }
        let mut carried = HashSet::new();
        for (partition, wanted) in wanted_in {
            let read = self.read.entry(partition.clone()).or_default();
            read.down_to(self.stream, partition, &wanted).await?;
            if !read.has(&wanted) {
                // What was appended since: rows that became visible late, or that somebody has published again.
                read.up_to_date(self.stream, partition).await?;
            }
            // Nobody asks twice.
            carried.extend(wanted.iter().filter(|id| read.ids.remove(id)));
        }
        Ok(carried)
    }
}

impl Read {
    fn has(&self, wanted: &HashSet<Uuid>) -> bool {
        wanted.iter().all(|id| self.ids.contains(id))
    }

    async fn down_to(
        &mut self,
        stream: &dyn EventStream,
        partition: &Partition,
        wanted: &HashSet<Uuid>,
    ) -> Result<(), Error> {
        while !self.to_the_end && !self.has(wanted) {
            let page = stream.carried_before(partition, self.lowest, ENTRIES).await?;
            self.highest = self.highest.or(page.first().map(|entry| entry.position));
            self.lowest = page.last().map(|entry| entry.position).or(self.lowest);
            self.to_the_end = page.is_empty();
            self.ids.extend(page.iter().filter_map(|entry| entry.event_id));
        }
        Ok(())
    }

    async fn up_to_date(&mut self, stream: &dyn EventStream, partition: &Partition) -> Result<(), Error> {
        let (known, mut before, mut highest) = (self.highest, None, None);
        loop {
            let page = stream.carried_before(partition, before, ENTRIES).await?;
            highest = highest.or(page.first().map(|entry| entry.position));
            before = page.last().map(|entry| entry.position);
            let new = page.iter().take_while(|entry| known.is_none_or(|known| entry.position > known));
            let (count, new) = (page.len(), new.collect::<Vec<_>>());
            self.ids.extend(new.iter().filter_map(|entry| entry.event_id));
            if count == 0 || new.len() < count {
                self.highest = highest.or(known);
                return Ok(());
            }
        }
    }
}
