//! What a consumer group asks of its servers, and how it parts what it is given.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use factline_supervision::Lifeline;

use super::{LEAST_SHARE, Params, Portion, Renewed};
use crate::{
    assignment::{Next, share_of},
    attempts::Task,
    outage::{self, Error},
    stream::{Delivered, Partition, Position, Reader},
};

/// Makes the group known to all its partitions, held or not, so that none is trimmed before it was read.
pub(super) async fn prepare(params: Params, life: Lifeline) -> Result<(), Error> {
    let Params { stream, partitions, settings, .. } = &params;
    outage::ride_out(&life, &settings.outage, || stream.ensure_group(&settings.group, partitions)).await
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
            let take_over = async || {
                let taken = stream.take_over_pending(&reader, partition, *after, settings.batch_size).await?;
                let last = taken.last().map(|entry| entry.position);
                Ok(Read { tasks: without_recorded(&params, partition, taken).await?, last })
            };
            outage::ride_out(&life, &settings.outage, take_over).await
        }
        Next::New(partitions, wait) => {
            let share = (settings.batch_size / partitions.len().max(1)).max(LEAST_SHARE);
            let entries = stream.read_new(&reader, partitions, share, *wait).await?;
            Ok(Read { tasks: entries.into_iter().map(Task::fresh).collect(), last: None })
        }
    }
}

/// What of these pending entries is still to be done, with what is known of it. The others only lack their
/// acknowledgement.
async fn without_recorded(
    params: &Params,
    partition: &Partition,
    taken: Vec<Delivered>,
) -> Result<Vec<Task>, Error> {
    let group = &params.settings.group;
    let ids: Vec<_> = taken.iter().filter_map(|entry| Some(entry.event.as_ref().ok()?.id)).collect();
    if ids.is_empty() {
        return Ok(taken.into_iter().map(Task::fresh).collect());
    }
    let history = params.ledger.history(group, &ids).await?;
    let (mut tasks, mut recorded) = (Vec::with_capacity(taken.len()), Vec::new());
    for entry in taken {
        let id = entry.event.as_ref().ok().map(|event| event.id);
        if id.is_some_and(|id| history.recorded.contains(&id)) {
            recorded.push(entry.position);
            continue;
        }
        let past = id.and_then(|id| history.tried.get(&id)).copied().unwrap_or_default();
        let is_suspect =
            id.is_some() && entry.taken_from.as_deref().is_some_and(|owner| !params.is_ours(owner));
        tasks.push(Task { entry, past, is_suspect });
    }
    if !recorded.is_empty() {
        params.stream.acknowledge(group, partition, &recorded).await?;
    }
    Ok(tasks)
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
    for (partition, positions) in &positions {
        let ack = || stream.acknowledge(&settings.group, partition, positions);
        outage::ride_out(&life, &settings.outage, ack).await?;
    }
    Ok(())
}
