//! Compares an outbox with what became of its events: nothing lost, nothing doubled, every key in order.
//!
//! Read only, and right while the daemon is at work: the outbox is read before the streams, and these before the ledger.
//! Memory grows with the number of keys alone.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use factline_pipeline::{
    chat, dead_letter,
    examiner::{Examiner, Verdict, is_beyond_ledger, partition_of_row},
    outage::Error,
    outbox::{Settled, SettledRow},
    reconcile::Params,
    stream::Partition,
};
use serde::{Serialize, Serializer};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use crate::evidence::{Effect, Evidence};

/// Rows looked at in one step.
const PAGE: usize = 1_000;

/// One group's part of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Processed rows of the outbox, those left aside that nothing is known of.
    pub events: u64,
    /// Of these, recorded in the ledger.
    pub recorded: u64,
    /// Of those, dead letters.
    pub dead_lettered: u64,
    /// Waiting in the stream.
    pub waiting: u64,
    /// The exclusive or of the hashes of the events in the outbox.
    #[serde(serialize_with = "as_hex")]
    pub outbox_hash: u64,
    /// The same of those in the ledger.
    #[serde(serialize_with = "as_hex")]
    pub ledger_hash: u64,
}

/// Most programs read a number of JSON as a float, which cannot tell such large ones apart.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field itself")]
fn as_hex<S: Serializer>(hash: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{hash:016x}"))
}

/// What was found.
#[derive(Debug, Default)]
pub struct Verification {
    /// Each group's part of each partition.
    pub counts: BTreeMap<(String, Partition), Count>,
    /// Processed rows whose events are neither in a stream nor recorded, and failed rows without a dead letter.
    pub lost: u64,
    /// Facts beyond what their events stated, and messages counted beyond those recorded.
    pub doubled: u64,
    /// Events that were recorded later than the next one of their key.
    pub misordered: u64,
    /// Waiting in a stream, or pending in the outbox.
    pub waiting: u64,
    /// Processed or failed rows of which nothing can be known.
    pub unknown: u64,
}

/// Walks through the whole outbox.
pub async fn verify(params: &Params, evidence: &dyn Evidence, source: &str) -> Result<Verification, Error> {
    let mut found =
        Verification { waiting: params.outbox.backlog().await?.pending, ..Verification::default() };
    let mut examiner = Examiner::new(params);
    // When the event was recorded that comes next in the order of a group's key.
    let mut later: HashMap<u64, DateTime<Utc>> = HashMap::new();
    let mut cursor = None;
    loop {
        let rows = params.outbox.settled_before(Settled::Processed, cursor.as_ref(), PAGE).await?;
        let Some(last) = rows.last() else { break };
        cursor = Some(last.id.clone());
        let verdicts = examiner.judge(&rows).await?;
        found.add_verdicts(&verdicts);
        let mut stated: HashMap<Uuid, i64> = HashMap::new();
        for group in &params.groups {
            let rows: Vec<(&SettledRow, Uuid, Verdict)> = rows
                .iter()
                .zip(&verdicts)
                .filter(|(row, _)| group.topics.contains(&row.topic))
                .filter_map(|(row, verdict)| Some((row, row.event_id?, *verdict)))
                .collect();
            let ids: Vec<Uuid> = rows.iter().map(|(_, id, _)| *id).collect();
            let effects = evidence.effects(&group.group, &ids).await?;
            let effects: HashMap<Uuid, Effect> =
                effects.into_iter().map(|effect| (effect.event_id, effect)).collect();
            for (row, id, verdict) in rows {
                let effect = effects.get(&id);
                found.add(params, &group.group, row, id, verdict, effect);
                if let Some(effect) = effect {
                    *stated.entry(id).or_default() += effect.facts;
                    found.misordered += u64::from(is_out_of_order(&group.group, row, effect, &mut later));
                }
            }
        }
        let ids: Vec<Uuid> = stated.keys().copied().collect();
        let facts = evidence.facts_of(&ids).await?;
        let beyond = facts.iter().map(|(id, facts)| facts - stated.get(id).copied().unwrap_or_default());
        found.doubled += beyond.filter_map(|beyond| u64::try_from(beyond).ok()).sum::<u64>();
    }
    found.lost += failed_without_letter(params, source, &mut found.unknown).await?;
    if params.ledger.horizons().await?.forgotten.is_none() {
        // The ledger does not say which conversation a message belongs to, but a message counts in one only.
        let messages = evidence.messages(chat::EVENT_TYPE).await?;
        found.doubled += messages.counted.abs_diff(messages.recorded);
    }
    Ok(found)
}

impl Verification {
    fn add_verdicts(&mut self, verdicts: &[Verdict]) {
        for verdict in verdicts {
            match verdict {
                Verdict::Lost => self.lost += 1,
                Verdict::Carried => self.waiting += 1,
                Verdict::Recorded => {}
                _ => self.unknown += 1,
            }
        }
    }

    fn add(
        &mut self,
        params: &Params,
        group: &str,
        row: &SettledRow,
        id: Uuid,
        verdict: Verdict,
        effect: Option<&Effect>,
    ) {
        let known = matches!(verdict, Verdict::Recorded | Verdict::Carried | Verdict::Lost);
        if !known && effect.is_none() {
            return;
        }
        let partition = partition_of_row(&*params.stream, row);
        let count = self.counts.entry((group.to_owned(), partition)).or_default();
        let hash = xxh3_64(id.as_bytes());
        count.events += 1;
        count.outbox_hash ^= hash;
        match effect {
            Some(effect) => {
                count.recorded += 1;
                count.ledger_hash ^= hash;
                count.dead_lettered += u64::from(effect.outcome == "dead_lettered");
            }
            None => count.waiting += u64::from(verdict == Verdict::Carried),
        }
    }
}

/// Rows come newest first: none may have been recorded after the one of its key that came before it in this walk.
fn is_out_of_order(
    group: &str,
    row: &SettledRow,
    effect: &Effect,
    later: &mut HashMap<u64, DateTime<Utc>>,
) -> bool {
    if effect.reworked {
        return false;
    }
    let key = xxh3_64(format!("{group}\0{}\0{}", row.topic, row.key).as_bytes());
    let next = later.insert(key, effect.processed_at);
    next.is_some_and(|next| next < effect.processed_at)
}

/// A failed row's dead letter is recorded with it, under its event's id or one made of its place.
async fn failed_without_letter(params: &Params, source: &str, unknown: &mut u64) -> Result<u64, Error> {
    let (mut cursor, mut without) = (None, 0);
    loop {
        let rows = params.outbox.settled_before(Settled::Failed, cursor.as_ref(), PAGE).await?;
        let Some(last) = rows.last() else { return Ok(without) };
        cursor = Some(last.id.clone());
        let place = |row: &SettledRow| dead_letter::id_of_place(&format!("relay:{source}@{}", row.id));
        let ids: Vec<Uuid> = rows.iter().flat_map(|row| [Some(place(row)), row.event_id]).flatten().collect();
        let recorded = params.ledger.recorded("relay", &ids).await?;
        let horizons = params.ledger.horizons().await?;
        for row in &rows {
            let is_recorded = |id: Uuid| recorded.contains(&id);
            if is_recorded(place(row)) || row.event_id.is_some_and(is_recorded) {
                continue;
            }
            if is_beyond_ledger(&horizons, row, params.margin) {
                *unknown += 1;
            } else {
                without += 1;
            }
        }
    }
}
