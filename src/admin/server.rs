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

use super::{State, api, gate, health, methods::Methods, origin::LocalAddress, problem, rate::Rates};

/// A server on the listener, with one worker thread.
pub(super) fn listen(listener: &TcpListener, state: Arc<State>) -> io::Result<Server> {
    let rates = Data::new(Rates::new(state.config.admin.rate));
    let state = Data::from(state);
    let limit = state.config.admin.max_body;
    let server = HttpServer::new(move || {
        let (app, document) = App::new()
            .into_utoipa_app()
            .openapi(api::document())
            .configure(|routes| extractors(routes, limit))
            .configure(health::routes)
            .configure(api::routes)
            .split_for_parts();
        app.app_data(state.clone())
            .app_data(rates.clone())
            .app_data(Data::new(Methods::new(&document)))
            .app_data(Data::new(document))
            .wrap(from_fn(gate::pass))
    });
    let server = server.on_connect(|connection, data| {
        let address = connection.downcast_ref::<TcpStream>().map(TcpStream::local_addr);
        if let Some(Ok(address)) = address {
            data.insert(LocalAddress(address));
        }
    });
    Ok(server.workers(1).disable_signals().shutdown_timeout(1).listen(listener.try_clone()?)?.run())
}

/// What handlers take apart is limited, and what does not fit is a problem like others.
fn extractors(routes: &mut ServiceConfig<'_>, limit: usize) {
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
