//! `/api/v1/config`: the configuration in force.

use actix_web::{HttpResponse, get, web::Data};
use utoipa_actix_web::service_config::ServiceConfig;

use crate::admin::{State, access::Viewer};

pub(super) fn routes(routes: &mut ServiceConfig<'_>) {
    routes.service(config);
}

/// The configuration in force, without secrets: what `factline config show` prints.
#[utoipa::path(tag = "config", security(("bearer" = [])), responses(
    (status = OK, body = Object, description = "all keys with their values"),
))]
#[get("/api/v1/config")]
async fn config(_: Viewer, state: Data<State>) -> HttpResponse {
    HttpResponse::Ok().json(state.config.clone().without_secrets())
}
