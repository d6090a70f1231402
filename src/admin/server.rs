//! What every request passes, and where it goes.

use std::{io, net::TcpListener, sync::Arc};

use actix_web::{
    App, HttpServer,
    dev::Server,
    web::{self, Data},
};

use super::{State, api, health, metrics};

/// A server on the listener, with one worker thread.
pub(super) fn listen(listener: &TcpListener, state: Arc<State>) -> io::Result<Server> {
    let state = Data::from(state);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .route("/health", web::get().to(health::alive))
            .route("/metrics", web::get().to(metrics::text))
            .route("/metrics.json", web::get().to(metrics::json))
            .route("/api/v1/tree", web::get().to(api::tree::tree))
    });
    Ok(server.workers(1).disable_signals().shutdown_timeout(1).listen(listener.try_clone()?)?.run())
}
