//! What operators reach over HTTP: a supervised child on a thread of its own, so that a busy pipeline cannot starve it.
//!
//! # Layout
//!
//! - `server`: where a request goes; `gate`: what every one passes: `rate`, `origin`; [`access`]: who may;
//!   [`problem`]: every way to say no; `methods`: which there are;
//! - `health`, `metrics`, `live`: what monitoring asks; `api`: what people and programs ask, and what they may change.
//!
//! The child also looks at the deployment now and then, whether anybody asks or not: see [`crate::observation`].

use std::{
    net::TcpListener,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, SpawnHandle, WrapFuture};
use actix_web::dev::ServerHandle;
use factline_supervision::{ChildSpec, Lifeline, Placement, Tree, mailbox};

use crate::{
    app::{self, Adapters, Process},
    config::Config,
    health::{Health, Memory, Seen, judge},
    observation::Observer,
    telemetry::Exposition,
};

pub mod access;
mod api;
mod clients;
mod gate;
mod health;
mod live;
mod methods;
mod metrics;
mod origin;
pub mod problem;
mod rate;
mod server;

/// Time between two looks until the tree has started: nobody should be found unready for longer than they are.
const WHILE_STARTING: Duration = Duration::from_millis(100);

/// What the handlers work with.
pub struct State {
    /// The configuration in force.
    pub config: Config,
    /// Outbox, store and streams.
    pub adapters: Adapters,
    /// What was seen of them.
    pub observer: Observer,
    /// The metrics.
    pub exposition: Exposition,
    /// The tree that the server is part of: known only once it has started.
    pub tree: OnceLock<Tree>,
    access: access::Access,
    runs: api::Runs,
    verdict: Mutex<Verdict>,
}

/// What was made of the last look, and what the next verdict needs.
#[derive(Default)]
struct Verdict {
    memory: Memory,
    latest: Option<(Arc<Health>, Instant)>,
}

impl State {
    /// Before the tree has started.
    #[must_use]
    pub fn new(config: &Config, adapters: Adapters, exposition: Exposition, process: &Process) -> Self {
        let observer = Observer::new(adapters.clone());
        let access = access::Access::new(&config.admin);
        let runs = api::Runs::new(process.stuck.clone());
        let (tree, verdict) = (OnceLock::new(), Mutex::default());
        Self { config: config.clone(), adapters, observer, exposition, tree, access, verdict, runs }
    }

    /// How the deployment did when it was last looked at, and when that was.
    pub fn health(&self) -> Option<(Arc<Health>, Instant)> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).latest.clone()
    }

    /// Looks at the deployment, and judges what it sees.
    async fn look(&self) {
        let observation = self.observer.look().await;
        let tree = self.tree.get().map(Tree::observe);
        let seen = Seen {
            observation: &observation,
            tree: tree.as_ref(),
            relay_lease: &app::relay_lease(&self.config),
            unready_after: self.config.admin.unready_after,
        };
        let mut verdict = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        let health = judge(&seen, &mut verdict.memory);
        verdict.latest = Some((Arc::new(health), Instant::now()));
    }

    /// The tree; a request may come before it has started.
    pub fn tree(&self) -> Result<&Tree, problem::Problem> {
        self.tree.get().ok_or_else(|| problem::Problem::unavailable("the tree is starting; try again"))
    }
}

/// What the child works with.
#[derive(Clone)]
pub struct Params {
    /// Where it listens, if anywhere.
    pub listener: Option<Arc<TcpListener>>,
    /// What the handlers work with.
    pub state: Arc<State>,
}

/// The actor that holds the server.
struct Admin {
    params: Params,
    life: Lifeline,
    server: Option<ServerHandle>,
    /// What tells the listeners; they go when it does.
    telling: Option<SpawnHandle>,
}

/// `root/admin`.
#[must_use]
pub fn child(params: Params) -> ChildSpec {
    let (_, admin_mailbox) = mailbox::<Admin>(1);
    let make = move |life: Lifeline| Admin { params: params.clone(), life, server: None, telling: None };
    ChildSpec::actor("admin", admin_mailbox, make).placement(Placement::OwnArbiter)
}

impl Admin {
    fn look(&mut self, ctx: &mut Context<Self>) {
        let state = self.params.state.clone();
        let looking = async move { state.look().await };
        ctx.spawn(looking.into_actor(self).map(|(), admin, ctx| {
            let state = &admin.params.state;
            let started = state.tree.get().is_some();
            let pause = if started { state.config.telemetry.observe_every } else { WHILE_STARTING };
            ctx.run_later(pause, Self::look);
        }));
    }

    fn serve(&mut self, listener: &TcpListener, ctx: &mut Context<Self>) {
        let (hub, looking) = live::hub::Hub::new(self.params.state.clone());
        self.telling = Some(ctx.spawn(looking.into_actor(self)));
        let server = match server::listen(listener, self.params.state.clone(), hub) {
            Ok(server) => server,
            Err(error) => return self.life.fail(format_args!("the HTTP server cannot listen: {error}")),
        };
        self.server = Some(server.handle());
        ctx.spawn(server.into_actor(self).map(|ended, admin, _| {
            if !admin.life.is_stopping() {
                admin.life.fail(format_args!("the HTTP server ended: {ended:?}"));
            }
        }));
    }
}

impl Actor for Admin {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(listener) = self.params.listener.clone() {
            self.serve(&listener, ctx);
        }
        self.life.on_stop(ctx, |admin, ctx| {
            if let Some(telling) = admin.telling.take() {
                ctx.cancel_future(telling);
            }
            let server = admin.server.take();
            let stopped = async move {
                if let Some(server) = server {
                    server.stop(true).await;
                }
            };
            ctx.spawn(stopped.into_actor(admin).map(|(), _, ctx| ctx.stop()));
        });
        self.look(ctx);
        self.life.ready();
    }
}
