//! `/api/v1/tree`: every supervisor and actor, and what can be asked of them.

use actix_web::{HttpResponse, get, web::Data};
use utoipa_actix_web::service_config::ServiceConfig;

use crate::admin::{State, access::Viewer, problem::Problem};

pub(super) fn routes(routes: &mut ServiceConfig<'_>) {
    routes.service(whole);
}

/// Every supervisor and actor, as it is now.
#[utoipa::path(tag = "tree", security(("bearer" = [])), responses((status = OK, description = "the root")))]
#[get("/api/v1/tree")]
async fn whole(_: Viewer, state: Data<State>) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(state.tree()?.observe()))
}
