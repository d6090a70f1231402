//! `/health`: whether it lives, gets on, and how each part does.

use actix_web::{HttpResponse, Responder};
use serde_json::json;

/// Alive: the process answers.
pub(super) async fn alive() -> impl Responder {
    HttpResponse::Ok().json(json!({ "status": "alive" }))
}
