//! `/health`: whether it lives, gets on, and how each part does.

use actix_web::{HttpResponse, Responder, get};
use serde_json::json;
use utoipa_actix_web::service_config::ServiceConfig;

pub(super) fn routes(routes: &mut ServiceConfig<'_>) {
    routes.service(alive);
}

/// Alive: the process answers.
#[utoipa::path(tag = "health", responses((status = OK, description = "it lives")))]
#[get("/health")]
async fn alive() -> impl Responder {
    HttpResponse::Ok().json(json!({ "status": "alive" }))
}
