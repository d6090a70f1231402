//! Whether a daemon under test has lost, doubled or misordered anything; if it has, there are no figures.

use std::collections::HashMap;

use anyhow::{bail, ensure};
use factline_pipeline::{
    outbox::{RowId, Settled},
    stream::Position,
};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use super::{lab::Lab, load::TOPIC};
use crate::{
    app,
    app::Adapters,
    config::Config,
    trial::{Mark, Place},
    verification,
};

/// Rows, or entries, looked at in one step.
const PAGE: usize = 1_000;

/// An event's place in the outbox.
#[derive(Debug, Clone, Copy)]
struct Origin {
    number: i64,
    /// The hash of its key.
    key: u64,
}

/// Every event of the outbox has taken effect once, and in the order of its key.
pub(super) async fn recorded(lab: &Lab, events: u64) -> anyhow::Result<()> {
    everything_recorded(lab.config(), lab.adapters()?, events).await?;
    let origins = origins(lab.adapters()?).await?;
    let places = lab.store()?.places().await?;
    in_order(&origins, &places)
}

/// The newest events of the outbox have taken effect once since then, and in the order of their keys; what was there
/// before is not looked at.
pub(super) async fn recorded_since(lab: &Lab, events: u64, mark: Mark) -> anyhow::Result<()> {
    let origins = newest_origins(lab.adapters()?, usize::try_from(events)?).await?;
    let recorded = lab.store()?.recorded_since(mark).await?.rows;
    ensure!(recorded == events, "of {events} events {recorded} are recorded");
    in_order(&origins, &lab.store()?.places_since(mark).await?)
}

/// Every event of the outbox is in the stream once, and in the order of its key.
pub(super) async fn published(lab: &Lab, events: u64) -> anyhow::Result<()> {
    let adapters = lab.adapters()?;
    let origins = origins(adapters).await?;
    ensure!(origins.len() as u64 == events, "{} of {events} rows are marked as processed", origins.len());
    let mut places = Vec::new();
    for partition in adapters.stream.partitions(TOPIC) {
        let mut before = None;
        loop {
            let page = adapters.stream.carried_before(&partition, before, PAGE).await?;
            let Some(last) = page.last() else { break };
            before = Some(last.position);
            for carried in page {
                let Some(event_id) = carried.event_id else { bail!("an entry of the stream is no event") };
                let partition = i32::from(partition.number);
                places.push(Place { event_id, partition, position: carried.position.to_string() });
            }
        }
    }
    ensure!(places.len() as u64 == events, "{events} events were published as {} entries", places.len());
    in_order(&origins, &places)
}

/// What `factline verify` finds, and that nothing is missing that it passes over.
async fn everything_recorded(config: &Config, adapters: &Adapters, events: u64) -> anyhow::Result<()> {
    let params = app::reconciliation(config, adapters);
    let found = verification::verify(&params, &*adapters.databases.evidence, &config.source.name).await?;
    let total = |of: fn(&verification::Count) -> u64| found.counts.values().map(of).sum::<u64>();
    let (recorded, dead) = (total(|count| count.recorded), total(|count| count.dead_lettered));
    let right = (found.lost, found.doubled, found.misordered, found.waiting, found.unknown, recorded, dead);
    if right != (0, 0, 0, 0, 0, events, 0) {
        bail!(
            "the daemon under test is wrong, and there are no figures: of {events} events {recorded} are recorded, \
             {dead} as dead letters; lost={} doubled={} misordered={} waiting={} unknown={}",
            found.lost,
            found.doubled,
            found.misordered,
            found.waiting,
            found.unknown
        );
    }
    Ok(())
}

/// Where each event comes from.
async fn origins(adapters: &Adapters) -> anyhow::Result<HashMap<Uuid, Origin>> {
    newest_origins(adapters, usize::MAX).await
}

/// At most so many, the newest.
async fn newest_origins(adapters: &Adapters, most: usize) -> anyhow::Result<HashMap<Uuid, Origin>> {
    let (mut origins, mut cursor) = (HashMap::new(), None);
    loop {
        let outbox = &adapters.databases.outbox;
        let page = PAGE.min(most - origins.len());
        let rows = outbox.settled_before(Settled::Processed, cursor.as_ref(), page).await?;
        let Some(last) = rows.last() else { return Ok(origins) };
        cursor = Some(last.id.clone());
        for row in rows {
            if let (Some(event_id), RowId::Number(number)) = (row.event_id, row.id) {
                origins.insert(event_id, Origin { number, key: xxh3_64(row.key.as_bytes()) });
            }
        }
    }
}

/// A place for each event, none twice, and of each key in one partition and in the order of the outbox.
fn in_order(origins: &HashMap<Uuid, Origin>, places: &[Place]) -> anyhow::Result<()> {
    let mut sorted = Vec::with_capacity(places.len());
    for place in places {
        let Some(origin) = origins.get(&place.event_id) else {
            bail!("event {} has not come from the outbox", place.event_id)
        };
        sorted.push((place.partition, place.position.parse::<Position>()?, *origin, place.event_id));
    }
    ensure!(sorted.len() == origins.len(), "{} of {} events have a place", sorted.len(), origins.len());
    sorted.sort_unstable_by_key(|(partition, position, ..)| (*partition, *position));
    let mut last: HashMap<u64, (i32, i64)> = HashMap::new();
    for (partition, _, Origin { number, key }, event_id) in sorted {
        if let Some((where_before, before)) = last.insert(key, (partition, number)) {
            ensure!(
                where_before == partition,
                "a key has events in two partitions; one of them is {event_id}"
            );
            ensure!(before != number, "event {event_id} was published twice");
            ensure!(before < number, "event {event_id} was published behind a later event of its key");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::bench::load::Load, config};

    /// Event `n` is row `n` of key `n % 2`.
    fn origins(events: i64) -> HashMap<Uuid, Origin> {
        let origin = |number: i64| Origin { number, key: (number % 2).unsigned_abs() };
        (0..events).map(|number| (event(number), origin(number))).collect()
    }

    fn event(number: i64) -> Uuid {
        Uuid::from_u128(number.unsigned_abs().into())
    }

    fn place(number: i64, partition: i32, position: &str) -> Place {
        Place { event_id: event(number), partition, position: position.into() }
    }

    fn judged(places: &[Place]) -> String {
        in_order(&origins(4), places).map_or_else(|error| error.to_string(), |()| "right".into())
    }

    #[test]
    fn an_event_that_is_not_where_it_belongs_is_found() {
        let right = [place(0, 0, "9-9"), place(2, 0, "9-10"), place(1, 1, "1-0"), place(3, 1, "2-0")];
        assert_eq!(judged(&right), "right");
        let changed = |index: usize, place: Place| {
            let mut places = right.to_vec();
            places[index] = place;
            judged(&places)
        };
        assert!(changed(1, place(2, 0, "9-8")).contains("behind a later event"));
        assert!(changed(1, place(2, 1, "9-8")).contains("two partitions"));
        assert!(changed(1, place(0, 0, "9-10")).contains("published twice"));
        assert!(changed(1, place(7, 0, "9-10")).contains("has not come from the outbox"));
        assert_eq!(judged(&right[1..]), "3 of 4 events have a place");
    }

    #[tokio::test]
    async fn what_a_daemon_has_not_done_has_no_figures() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config::load(&config::Sources::default()).unwrap();
        let file = format!("sqlite:{}", folder.path().join("mine.db").display());
        (config.source.url, config.store.url, config.stream.url) = (file.clone(), file.clone(), file);
        let mut lab = Lab::new(&config).unwrap();
        lab.set_up().await.unwrap();
        let load = Load { events: 3, payload_bytes: 100, keys: 2 };
        lab.fresh_with(load, &indicatif::ProgressBar::hidden()).await.unwrap();
        let error = published(&lab, 3).await.unwrap_err().to_string();
        assert_eq!(error, "0 of 3 rows are marked as processed");
        // As if a daemon had marked them and lost their events.
        let outbox = lab.adapters().unwrap().databases.outbox.clone();
        outbox.mark_processed(&[1, 2, 3].map(RowId::Number)).await.unwrap();
        let error = published(&lab, 3).await.unwrap_err().to_string();
        assert_eq!(error, "3 events were published as 0 entries");
        let error = recorded(&lab, 3).await.unwrap_err().to_string();
        assert!(error.contains("of 3 events 0 are recorded"), "{error}");
        lab.remove().await.unwrap();
        assert!(!folder.path().join("mine.db").exists(), "it is not ours");
    }
}
