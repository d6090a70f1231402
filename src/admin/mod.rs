//! What operators reach over HTTP: a supervised child on a thread of its own, so that a busy pipeline cannot starve it.
//!
//! # Layout
//!
//! - `server`: what every request passes, and where it goes; [`access`]: who may; [`problem`]: every way to say no;
//! - `health`, `metrics`, `live`: what monitoring asks; `api`: what people and programs ask, and what they may change.
//!
//! The child also looks at the deployment now and then, whether anybody asks or not: see [`crate::observation`].

use std::{
    net::TcpListener,
    sync::{Arc, OnceLock},
};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, WrapFuture};
use actix_web::dev::ServerHandle;
use factline_supervision::{ChildSpec, Lifeline, Placement, Tree, mailbox};

use crate::{app::Adapters, config::Config, observation::Observer, telemetry::Exposition};

pub mod access;
mod api;
mod health;
mod metrics;
pub mod problem;
mod server;

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
}

impl State {
    /// Before the tree has started.
    #[must_use]
    pub fn new(config: &Config, adapters: Adapters, exposition: Exposition) -> Self {
        let observer = Observer::new(adapters.clone());
        Self { config: config.clone(), adapters, observer, exposition, tree: OnceLock::new() }
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
}

/// `root/admin`.
#[must_use]
pub fn child(params: Params) -> ChildSpec {
    let (_, admin_mailbox) = mailbox::<Admin>(1);
    let make = move |life: Lifeline| Admin { params: params.clone(), life, server: None };
    ChildSpec::actor("admin", admin_mailbox, make).placement(Placement::OwnArbiter)
}

impl Admin {
    fn look(&mut self, ctx: &mut Context<Self>) {
        let state = self.params.state.clone();
        let looking = async move { state.observer.look().await };
        ctx.spawn(looking.into_actor(self).map(|_, admin, ctx| {
            ctx.run_later(admin.params.state.config.telemetry.observe_every, Self::look);
        }));
    }

    fn serve(&mut self, listener: &TcpListener, ctx: &mut Context<Self>) {
        let server = match server::listen(listener, self.params.state.clone()) {
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
