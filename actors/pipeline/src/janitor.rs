//! `Janitor`: what has to be done now and then, off the hot path.
//!
//! Trims the streams below what any group still needs, and deletes processed outbox rows after their retention time.
//! Every step may run twice and in several daemons at once; what fails is tried again at the next turn.

use std::{sync::Arc, time::Duration};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, WrapFuture};
use chrono::{TimeDelta, Utc};
use factline_supervision::{Condition, Lifeline};

use crate::{
    outage::{self, Error},
    outbox::Outbox,
    stream::EventStream,
};

/// Rows deleted in one statement at most, so that none holds locks for long.
const DELETE_BATCH: usize = 5_000;

/// What the janitor works with.
#[derive(Clone)]
pub struct Params {
    /// Which streams to trim.
    pub stream: Arc<dyn EventStream>,
    /// Which outbox to clear, and how long its processed rows are kept; `None` keeps them for ever.
    pub outbox: Option<(Arc<dyn Outbox>, Duration)>,
    /// Time between two turns.
    pub every: Duration,
}

/// The actor.
pub struct Janitor {
    params: Params,
    life: Lifeline,
}

impl Janitor {
    /// A janitor that starts at once.
    #[must_use]
    pub fn new(params: Params, life: Lifeline) -> Self {
        Self { params, life }
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
            janitor.life.set_condition(match tidied {
                Ok(()) => Condition::Healthy,
                Err(error) => Condition::Degraded(outage::chain(&error)),
            });
            if janitor.life.is_stopping() {
                return ctx.stop();
            }
            ctx.run_later(janitor.params.every, Self::tidy);
        }));
    }
}

impl Actor for Janitor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.tidy(ctx);
        self.life.ready();
    }
}

async fn tidy(params: &Params) -> Result<(), Error> {
    for topic in params.stream.topics().await? {
        for partition in params.stream.partitions(&topic) {
            params.stream.trim(&partition).await?;
        }
    }
    if let Some((outbox, retention)) = &params.outbox {
        let retention = TimeDelta::from_std(*retention).unwrap_or(TimeDelta::MAX);
        if let Some(before) = Utc::now().checked_sub_signed(retention) {
            while outbox.delete_processed(before, DELETE_BATCH).await? == DELETE_BATCH as u64 {}
        }
    }
    Ok(())
}
