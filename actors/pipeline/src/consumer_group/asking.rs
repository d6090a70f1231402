//! What a consumer group asks of its servers, and how it parts what it is given.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use factline_supervision::Lifeline;
use futures_util::future::try_join_all;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{LEAST_SHARE, Params, Portion, Renewed};
use crate::{
    assignment::{Next, share_of},
    attempts::Task,
    fact_extractor::Forget,
    outage::{self, Error},
    stream::{Delivered, Partition, Position, RETURNED, Reader},
};

/// Dead letters whose events are looked up if they come again.
const MOST_TROUBLED: usize = 10_000;

/// Makes the group known to all its partitions, held or not, so that none is trimmed before it was read.
pub(super) async fn prepare(params: Params, life: Lifeline) -> Result<(), Error> {
    let Params { stream, partitions, ledger, settings, .. } = &params;
    outage::ride_out(&life, &settings.outage, || stream.ensure_group(&settings.group, partitions)).await?;
    let troubled = || ledger.troubled(&settings.group, MOST_TROUBLED);
    params.watched.watch(outage::ride_out(&life, &settings.outage, troubled).await?);
    Ok(())
}

/// One batch for each extractor and one for each that goes alone, so that each partition's order holds.
pub(super) fn portions_of(params: &Params, tasks: Vec<Task>) -> VecDeque<Portion> {
    let mut portions: VecDeque<Portion> = VecDeque::new();
    // Where each extractor's present portion is; whoever goes alone ends them all.
    let mut open: BTreeMap<usize, usize> = BTreeMap::new();
    for task in tasks {
        let (extractor, goes_alone) = (params.extractor_of(&task.entry.partition), task.goes_alone());
        if let Some(&index) = open.get(&extractor).filter(|_| !goes_alone) {
            portions[index].tasks.push(task);
            continue;
        }
        if goes_alone {
            open.clear();
        } else {
            open.insert(extractor, portions.len());
        }
        portions.push_back(Portion { extractor, tasks: vec![task], goes_alone });
    }
    portions
}

/// Joins those who share the partitions, takes and renews what is to be ours, and what is not yet given back.
pub(super) async fn renew(
    params: Params,
    reader: Reader,
    live: Vec<Partition>,
    held: BTreeSet<Partition>,
) -> Result<Renewed, Error> {
    let members = params.keeper.join(&params.club()).await?;
    let share = share_of(&params.partitions, &members, &params.keeper.holder);
    let wanted: BTreeSet<&Partition> = share.iter().chain(&held).collect();
    let tenure = params.keeper.renew(&params.lease_names(wanted)).await?;
    let stranded = if live.is_empty() {
        live
    } else {
        params.stream.stranded(&reader, &live).await.unwrap_or_else(|error| {
            tracing::debug!(error = %outage::chain(&error), "asked again at the next renewal");
            Vec::new()
        })
    };
    Ok(Renewed { tenure, share, stranded })
}

/// What a read gave.
pub(super) struct Read {
    pub(super) tasks: Vec<Task>,
    /// The position of the last entry, which may have been recorded already.
    pub(super) last: Option<Position>,
}

/// Taking over may be tried again and again; reading new entries may not, for nobody knows what a failed read got.
pub(super) async fn read(params: Params, life: Lifeline, reader: Reader, next: Next) -> Result<Read, Error> {
    let Params { stream, settings, .. } = &params;
    match &next {
        Next::Pending(partition, after) => {
            let take_over = || stream.take_over_pending(&reader, partition, *after, settings.batch_size);
            let taken = outage::ride_out(&life, &settings.outage, take_over).await?;
            let last = taken.last().map(|entry| entry.position);
            // By itself: once they are ours, nobody would know any more whose they were.
            let look_up = || with_past(&params, taken.clone(), |_| true);
            Ok(Read { tasks: outage::ride_out(&life, &settings.outage, look_up).await?, last })
        }
        Next::New(partitions, wait) => {
            let share = (settings.batch_size / partitions.len().max(1)).max(LEAST_SHARE);
            let entries = stream.read_new(&reader, partitions, share, *wait).await?;
            let ids = entries.iter().filter_map(|entry| Some(entry.event.as_ref().ok()?.id));
            let watched = params.watched.among(ids);
            if watched.is_empty() {
                return Ok(Read { tasks: entries.into_iter().map(Task::fresh).collect(), last: None });
            }
            Ok(Read { tasks: with_past(&params, entries, |id| watched.contains(&id)).await?, last: None })
        }
    }
}

/// What of these entries is still to be done, with what is known of those that are to be looked up. What has taken effect
/// already only lacks its acknowledgement.
async fn with_past(
    params: &Params,
    entries: Vec<Delivered>,
    is_looked_up: impl Fn(Uuid) -> bool,
) -> Result<Vec<Task>, Error> {
    let id_of = |entry: &Delivered| entry.event.as_ref().ok().map(|event| event.id);
    let ids: Vec<Uuid> = entries.iter().filter_map(id_of).filter(|id| is_looked_up(*id)).collect();
    if ids.is_empty() {
        return Ok(entries.into_iter().map(Task::fresh).collect());
    }
    let group = &params.settings.group;
    let history = params.ledger.history(group, &ids).await?;
    let (mut tasks, mut recorded) = (Vec::with_capacity(entries.len()), BTreeMap::new());
    for entry in entries {
        let id = id_of(&entry);
        if id.is_some_and(|id| history.recorded.contains(&id)) {
            let positions: &mut Vec<Position> = recorded.entry(entry.partition).or_default();
            positions.push(entry.position);
            continue;
        }
        let known = id.and_then(|id| history.tried.get(&id)).copied();
        let was_in_hand =
            entry.taken_from.as_deref().is_some_and(|owner| !params.is_ours(owner) && owner != RETURNED);
        let (is_suspect, past) = (id.is_some() && was_in_hand, known.unwrap_or_default());
        tasks.push(Task { entry, past, is_suspect, is_known: known.is_some() });
    }
    for (partition, positions) in recorded {
        params.stream.acknowledge(group, &partition, &positions).await?;
    }
    Ok(tasks)
}

/// Has partitions forgotten of which nothing is moving: what is parked there is tried here no more, and nobody need
/// suspect it.
pub(super) async fn forget(params: Params, reader: Reader, partitions: Vec<Partition>) {
    for partition in &partitions {
        let (forgotten, is_forgotten) = oneshot::channel();
        let extractor = &params.extractors[params.extractor_of(partition)];
        let forget = Forget { partition: partition.clone(), forgotten };
        if extractor.deliver(forget).await.is_err() {
            tracing::debug!("an extractor is gone, and with it what was parked there");
        }
        // An error is its answer: it drops what it was to send.
        is_forgotten.await.ok();
    }
    return_pending(&params, &reader, &partitions).await;
}

/// Gives everything up, for good.
pub(super) async fn leave(params: Params, reader: Reader, held: Vec<Partition>) -> Result<(), Error> {
    return_pending(&params, &reader, &held).await;
    params.keeper.release(&params.lease_names(&params.partitions)).await?;
    params.keeper.leave(&params.club()).await
}

/// What is left behind on purpose is no suspect. Where that cannot be said, it is tried a little more carefully than it
/// would have to be.
async fn return_pending(params: &Params, reader: &Reader, partitions: &[Partition]) {
    for partition in partitions {
        if let Err(error) = params.stream.return_pending(reader, partition).await {
            tracing::debug!(error = %outage::chain(&error), "entries were left to be suspected");
            return;
        }
    }
}

pub(super) async fn acknowledge(
    params: Params,
    life: Lifeline,
    recorded: Vec<(Partition, Position)>,
) -> Result<(), Error> {
    let mut positions: BTreeMap<Partition, Vec<Position>> = BTreeMap::new();
    for (partition, position) in recorded {
        positions.entry(partition).or_default().push(position);
    }
    let Params { stream, settings, .. } = &params;
    // At once: a server that is far away is waited for once, not once for each partition.
    let acknowledged = positions.iter().map(async |(partition, positions)| {
        let ack = || stream.acknowledge(&settings.group, partition, positions);
        outage::ride_out(&life, &settings.outage, ack).await
    });
    try_join_all(acknowledged).await.map(drop)
}
