//! The HTTP server, a supervised child on a thread of its own, so that a busy pipeline cannot starve it.

use std::{
    net::TcpListener,
    sync::{Arc, OnceLock},
};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, WrapFuture};
use actix_web::{App, HttpResponse, HttpServer, Responder, dev::ServerHandle, web};
use factline_supervision::{ChildSpec, Lifeline, Placement, Tree, mailbox};
use serde_json::json;

/// The tree that the server is part of: known only once it has started.
pub type Seen = Arc<OnceLock<Tree>>;

/// The actor that holds the server.
struct Admin {
    listener: Arc<TcpListener>,
    seen: Seen,
    life: Lifeline,
    server: Option<ServerHandle>,
}

/// `root/admin`, listening where it is told to.
#[must_use]
pub fn child(listener: TcpListener, seen: Seen) -> ChildSpec {
    let (_, admin_mailbox) = mailbox::<Admin>(1);
    let listener = Arc::new(listener);
    let make =
        move |life: Lifeline| Admin { listener: listener.clone(), seen: seen.clone(), life, server: None };
    ChildSpec::actor("admin", admin_mailbox, make).placement(Placement::OwnArbiter)
}

impl Actor for Admin {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let seen = web::Data::new(self.seen.clone());
        let server = HttpServer::new(move || {
            App::new()
                .app_data(seen.clone())
                .route("/health", web::get().to(health))
                .route("/api/v1/tree", web::get().to(tree))
        });
        let listener = match self.listener.try_clone() {
            Ok(listener) => listener,
            Err(error) => return self.life.fail(error),
        };
        let server = match server.workers(1).disable_signals().shutdown_timeout(1).listen(listener) {
            Ok(server) => server.run(),
            Err(error) => return self.life.fail(format_args!("the HTTP server cannot listen: {error}")),
        };
        self.server = Some(server.handle());
        self.life.on_stop(ctx, |admin, ctx| {
            let server = admin.server.take();
            let stopped = async move {
                if let Some(server) = server {
                    server.stop(true).await;
                }
            };
            ctx.spawn(stopped.into_actor(admin).map(|(), _, ctx| ctx.stop()));
        });
        ctx.spawn(server.into_actor(self).map(|ended, admin, _| {
            if !admin.life.is_stopping() {
                admin.life.fail(format_args!("the HTTP server ended: {ended:?}"));
            }
        }));
        self.life.ready();
    }
}

/// Alive: the process answers.
async fn health() -> impl Responder {
    HttpResponse::Ok().json(json!({ "status": "alive" }))
}

/// Every supervisor and actor, as it is now.
async fn tree(seen: web::Data<Seen>) -> impl Responder {
    match seen.get() {
        Some(tree) => HttpResponse::Ok().json(tree.observe()),
        None => HttpResponse::ServiceUnavailable().json(json!({ "status": "starting" })),
    }
}
