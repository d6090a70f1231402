//! The server: its settings, and where a request goes.

use std::{io, net::TcpListener, sync::Arc};

use actix_web::{
    App, HttpServer,
    dev::Server,
    middleware::from_fn,
    rt::net::TcpStream,
    web::{Data, FormConfig, JsonConfig, PathConfig, PayloadConfig, QueryConfig},
};
use utoipa_actix_web::{AppExt, service_config::ServiceConfig};

use super::{
    State, api, clients::Clients, gate, health, live, methods::Methods, metrics, problem, rate::Rates,
};

/// How much less urgent a request is than an event, as `nice` counts.
const NICENESS: i32 = 10;

/// Connections at once; more wait until there is room. Each has two file descriptors, and servers must be left some.
const MAX_CONNECTIONS: usize = 256;

/// A server on the listener, with one worker thread.
pub(super) fn listen(listener: &TcpListener, state: Arc<State>, hub: live::hub::Hub) -> io::Result<Server> {
    let hub = Data::new(hub);
    let rates = Data::new(Rates::new(state.config.admin.rate));
    let state = Data::from(state);
    let limit = state.config.admin.max_body;
    let server = HttpServer::new(move || {
        give_way(); // whoever calls this is the worker's thread
        let (app, document) = App::new()
            .into_utoipa_app()
            .openapi(api::document())
            .configure(|routes| extractors(routes, limit))
            .configure(health::routes)
            .configure(metrics::routes)
            .configure(live::routes)
            .configure(api::routes)
            .split_for_parts();
        let document = api::complete(document);
        app.app_data(state.clone())
            .app_data(rates.clone())
            .app_data(hub.clone())
            .app_data(Data::new(Methods::new(&document)))
            .app_data(Data::new(document))
            .wrap(from_fn(gate::pass))
    });
    let clients = Clients::default();
    let server = server.on_connect(move |connection, data| {
        if let Some(stream) = connection.downcast_ref::<TcpStream>() {
            data.insert(clients.admit(stream));
        }
    });
    let server = server.max_connections(MAX_CONNECTIONS);
    Ok(server.workers(1).disable_signals().shutdown_timeout(1).listen(listener.try_clone()?)?.run())
}

/// Has the present thread give way to the pipeline's where there is not enough of the processors for both. It is not
/// starved: the system gives it a tenth of what it gives one of the others.
fn give_way() {
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "what is asked over HTTP is as urgent as the pipeline");
    }
}

/// What handlers take apart is limited, and what does not fit is a problem like others.
pub(super) fn extractors(routes: &mut ServiceConfig<'_>, limit: usize) {
    routes
        .app_data(PayloadConfig::new(limit))
        .app_data(FormConfig::default().limit(limit))
        .app_data(
            JsonConfig::default()
                .limit(limit)
                .error_handler(move |error, _| problem::of_json(&error, limit).into()),
        )
        .app_data(QueryConfig::default().error_handler(|error, _| problem::of_query(&error).into()))
        .app_data(PathConfig::default().error_handler(|error, _| problem::of_path(&error).into()));
}
