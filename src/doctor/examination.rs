//! Looking at everything twice, in a few seconds; in a bounded time, whatever is away.

use std::{sync::Arc, time::Duration};

use chrono::Utc;
use factline_pipeline::{lease::Leases, outage, outage::Error};
use tokio::time::{sleep, timeout};

use super::{Daemon, Limits, Scene};
use crate::{
    app::{Opener, Source, Streams},
    config::Config,
    migrations::{Set, SetStatus, sets},
    observation::{DatabaseServer, Look, Observation, look_at_outbox, look_at_store, look_at_streams},
    postgres::store::RELAY,
    records::{DeadLetterFilter, Records},
};

/// How long a part may take to be opened, and how long one look at it may take. Each is a dozen round trips or two, and
/// the network may be slow. A server that is not up within that time is away, and is not looked at.
///
/// All parts are opened, and looked at, side by side: the whole takes at most four times as long, for the opening, two
/// looks and the letters, and the time between the looks. One that is away is waited for once.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one look at a store needs.
type StorePorts = (Arc<dyn Leases>, Arc<dyn Records>, Arc<dyn DatabaseServer>);

/// What is looked at, as far as it could be opened.
struct Parts {
    source: Look<Source>,
    store: Look<StorePorts>,
    streams: Look<Streams>,
}

/// Looks twice, so long apart; meanwhile the daemon is asked.
pub async fn examine(
    config: &Config,
    limits: Limits,
    watch: Duration,
    daemon: impl Future<Output = Daemon>,
) -> Scene<'_> {
    let looks = async {
        let parts = open(config).await;
        let before = parts.look().await;
        sleep(watch).await;
        (before, parts.look().await, parts.unpublished().await)
    };
    let ((before, now, unpublished), daemon, schemas) = tokio::join!(looks, daemon, schemas(config));
    Scene { config, limits, before, now, daemon, schemas, unpublished }
}

/// Each part by itself: one that is away keeps nobody from looking at the others.
async fn open(config: &Config) -> Parts {
    let (mut source, mut store, mut streams) =
        (Opener::at_once(config), Opener::at_once(config), Opener::at_once(config));
    let (source, store, streams) = tokio::join!(
        timeout(PATIENCE, source.source()),
        timeout(PATIENCE, store.store()),
        timeout(PATIENCE, streams.stream_and_server()),
    );
    Parts {
        source: in_time(source),
        store: in_time(store).map(|store| store.to_look_at()),
        streams: in_time(streams),
    }
}

impl Parts {
    async fn look(&self) -> Observation {
        let (outbox, store, streams) = tokio::join!(
            look(&self.source, async |source| look_at_outbox(&*source.outbox, &*source.server).await),
            look(&self.store, async |(leases, records, server)| {
                look_at_store(&**leases, &**records, &**server).await
            }),
            look(&self.streams, async |(stream, server)| look_at_streams(&**stream, &**server).await),
        );
        Observation { at: Utc::now(), outbox, store, streams }
    }

    /// Whether anybody has still to deal with rows that were never published.
    async fn unpublished(&self) -> Look<bool> {
        let filter = DeadLetterFilter {
            consumer_group: Some(RELAY.to_owned()),
            status: Some("unfinished".to_owned()),
            without_payload: true,
            limit: 1,
            ..DeadLetterFilter::default()
        };
        look(&self.store, async |(_, records, _)| Ok(!records.dead_letters(&filter).await?.is_empty())).await
    }
}

async fn look<P, T>(part: &Look<P>, at: impl AsyncFnOnce(&P) -> Result<T, Error>) -> Look<T> {
    match part {
        Ok(part) => in_time(timeout(PATIENCE, at(part)).await),
        Err(reason) => Err(reason.clone()),
    }
}

fn in_time<T, E: std::error::Error>(answer: Result<Result<T, E>, tokio::time::error::Elapsed>) -> Look<T> {
    match answer {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(outage::chain(&error)),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}

async fn schemas(config: &Config) -> Vec<(&'static str, Look<SetStatus>)> {
    let sets = match timeout(PATIENCE, sets(config, false, false)).await {
        Ok(Ok(sets)) => sets,
        Ok(Err(error)) => return vec![("embedded", Err(format!("{error:#}")))],
        Err(_) => return Vec::new(),
    };
    let mut statuses = Vec::new();
    for set in &sets {
        statuses.push((set.name, status(set).await));
    }
    statuses
}

async fn status(set: &Set) -> Look<SetStatus> {
    match timeout(PATIENCE, set.status()).await {
        Ok(status) => status.map_err(|error| format!("{error:#}")),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}
