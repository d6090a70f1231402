//! `Janitor`: what has to be done now and then, off the hot path.
//!
//! Trims the streams below what any group still needs, deletes processed outbox rows and ledger rows after their
//! retention times, and has events published again that a stream lost before they were recorded. Every step may run
//! twice and in several daemons at once; what fails is tried again at the next turn.

use std::{sync::Arc, time::Duration};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, WrapFuture};
use chrono::{DateTime, TimeDelta, Utc};
use factline_supervision::{Condition, Lifeline};

use crate::{
    lease::{Lease, Leases},
    ledger::Ledger,
    metrics::Metrics,
    outage::{self, Error},
    outbox::{Outbox, RowId},
    reconcile::{self, Extent, Report},
    stream::EventStream,
};

/// Rows deleted in one statement at most, so that none holds locks for long.
const DELETE_BATCH: usize = 5_000;

/// Rows that are looked at in every turn of reconciling, recorded or not.
const ALWAYS_RECONCILED: usize = 10_000;

/// What to reconcile, and when.
#[derive(Clone)]
pub struct Reconciling {
    /// What.
    pub params: reconcile::Params,
    /// Time between two turns.
    pub every: Duration,
    /// Who relays reconciles.
    pub leases: Arc<dyn Leases>,
    /// The lease `relay:{source}`.
    pub relay: String,
    /// Who this process is.
    pub holder: String,
}

/// What the janitor works with.
#[derive(Clone)]
pub struct Params {
    /// Which streams to trim.
    pub stream: Arc<dyn EventStream>,
    /// Which outbox to clear, and how long its processed rows are kept; `None` keeps them for ever.
    pub outbox: Option<(Arc<dyn Outbox>, Duration)>,
    /// Where attempts are counted that nobody needs any more.
    pub attempts: Arc<dyn Ledger>,
    /// Which ledger to clear, and how long its rows are kept; `None` keeps them for ever.
    pub ledger: Option<(Arc<dyn Ledger>, Duration)>,
    /// What to reconcile, if the outbox is at hand.
    pub reconcile: Option<Reconciling>,
    /// Time between two turns.
    pub every: Duration,
    /// What it counts.
    pub metrics: Metrics,
}

/// The actor.
pub struct Janitor {
    params: Params,
    life: Lifeline,
    /// Everything below was recorded when it was looked at last; `None` if nothing has been looked at.
    reconciled_to: Option<RowId>,
    /// How the last turn went.
    is_healthy: bool,
}

impl Janitor {
    /// A janitor that starts at once.
    #[must_use]
    pub fn new(params: Params, life: Lifeline) -> Self {
        Self { params, life, reconciled_to: None, is_healthy: true }
    }

    fn tidy(&mut self, ctx: &mut Context<Self>) {
        let (params, life) = (self.params.clone(), self.life.clone());
        let turn = async move {
            tokio::select! {
                tidied = tidy(&params) => tidied,
                () = life.stopping() => Ok(()),
            }
        };
        ctx.spawn(turn.into_actor(self).map(|tidied, janitor, ctx| {
            janitor.settle(tidied);
            if janitor.life.is_stopping() {
                return ctx.stop();
            }
            ctx.run_later(janitor.params.every, Self::tidy);
        }));
    }

    /// How a turn went; told when it is another way than the one before.
    fn settle(&mut self, tidied: Result<(), Error>) {
        let was_healthy = std::mem::replace(&mut self.is_healthy, tidied.is_ok());
        match tidied {
            Ok(()) => {
                if !was_healthy {
                    tracing::info!(actor = self.life.path(), "recovered");
                }
                self.life.set_condition(Condition::Healthy);
            }
            Err(error) => {
                let error = outage::chain(&error);
                if was_healthy {
                    tracing::warn!(
                        actor = self.life.path(),
                        error,
                        "degraded, trying again at the next turn"
                    );
                }
                self.life.set_condition(Condition::Degraded(error));
            }
        }
    }

    /// In its own time: a long turn keeps nobody from trimming.
    fn reconcile(&mut self, ctx: &mut Context<Self>) {
        let Some(reconciling) = self.params.reconcile.clone() else { return };
        let (every, down_to) = (reconciling.every, self.reconciled_to.clone());
        let metrics = self.params.metrics.clone();
        let turn = async move { reconcile_if_relaying(&reconciling, down_to, &metrics).await };
        ctx.spawn(turn.into_actor(self).map(move |reconciled, janitor, ctx| {
            match reconciled {
                Ok(report) => {
                    janitor.reconciled_to = report.and_then(|found| found.lowest_open.or(found.newest));
                }
                Err(error) => tracing::warn!(error = %outage::chain(&error), "not reconciled, trying again"),
            }
            ctx.run_later(every, Self::reconcile);
        }));
    }
}

impl Actor for Janitor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.tidy(ctx);
        if let Some(Reconciling { every, .. }) = self.params.reconcile {
            ctx.run_later(every, Self::reconcile);
        }
        self.life.ready();
    }
}

async fn tidy(params: &Params) -> Result<(), Error> {
    params.attempts.forget_settled_attempts().await?;
    for topic in params.stream.topics().await? {
        for partition in params.stream.partitions(&topic) {
            params.stream.trim(&partition).await?;
        }
    }
    if let Some((outbox, retention)) = &params.outbox
        && let Some(before) = ago(*retention)
    {
        while outbox.delete_processed(before, DELETE_BATCH).await? == DELETE_BATCH as u64 {}
    }
    if let Some((ledger, retention)) = &params.ledger
        && let Some(before) = ago(*retention)
    {
        while ledger.forget_before(before, DELETE_BATCH).await? == DELETE_BATCH as u64 {}
    }
    Ok(())
}

fn ago(time: Duration) -> Option<DateTime<Utc>> {
    Utc::now().checked_sub_signed(TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX))
}

/// A turn of reconciling: down to the lowest row that was not recorded at the last one. `None`: somebody else relays.
async fn reconcile_if_relaying(
    reconciling: &Reconciling,
    down_to: Option<RowId>,
    metrics: &Metrics,
) -> Result<Option<Report>, Error> {
    let Reconciling { params, leases, relay, holder, .. } = reconciling;
    let leases = leases.list().await?;
    let ours = |lease: &Lease| lease.held && lease.holder == *holder && lease.name == *relay;
    if !leases.iter().any(ours) {
        return Ok(None);
    }
    let extent = Extent::DownTo(down_to, ALWAYS_RECONCILED);
    let report = reconcile::find_lost(params, &extent, |_| {}).await?;
    if report.lost > 0 {
        let rows = reconcile::put_back(params, &report).await?;
        metrics.reconciled(rows);
        tracing::warn!(events = rows, "neither in a stream nor recorded: these events are published again");
    }
    Ok(Some(report))
}
