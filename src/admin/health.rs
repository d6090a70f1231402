//! `/health`: whether it lives, gets on, and how each part does.
//!
//! The first two are for machines that have no token. They cost nothing, for they tell what the last look found: a
//! server that does not answer holds up nobody who asks.

use std::time::Duration;

use actix_web::{HttpResponse, get, route, web::Data};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{State, access::Viewer, problem::Problem};
use crate::health::{self, Health, Part};

pub(super) fn routes(routes: &mut ServiceConfig<'_>) {
    routes.service(alive).service(ready).service(detailed);
}

/// Whether it gets on.
#[derive(Serialize, ToSchema)]
struct Readiness {
    /// `ready` or `not_ready`.
    status: &'static str,
    /// Why not.
    reasons: Vec<Reason>,
}

/// A part that is in the way.
#[derive(Serialize, ToSchema)]
struct Reason {
    /// Which.
    part: String,
    /// How it does.
    state: health::State,
    /// Since when.
    since: DateTime<Utc>,
    /// The same in words.
    sentence: String,
}

impl From<&Part> for Reason {
    /// What it said itself is not for everybody.
    fn from(part: &Part) -> Self {
        let Part { part, state, since, sentence, .. } = part.clone();
        Self { part, state, since, sentence }
    }
}

/// Whether the process lives.
#[utoipa::path(method(get, head), path = "/health", tag = "health", responses((status = OK, description = "it does")))]
#[route("/health", method = "GET", method = "HEAD")]
async fn alive(state: Data<State>) -> HttpResponse {
    // Which deployment it works on tells nobody anything but those who know its store.
    let seen = state.observer.latest();
    let deployment = seen.as_ref().and_then(|seen| Some(seen.store.as_ref().ok()?.deployment));
    HttpResponse::Ok().json(json!({ "status": "alive", "deployment": deployment }))
}

/// Whether it makes progress, or has nothing to do. It is not ready when a part has been stuck or degraded for longer
/// than `admin.unready_after`.
#[utoipa::path(method(get, head), path = "/health/ready", tag = "health", responses(
    (status = OK, body = Readiness, description = "it does"),
    (status = SERVICE_UNAVAILABLE, body = Readiness, description = "it does not, and why"),
))]
#[route("/health/ready", method = "GET", method = "HEAD")]
async fn ready(state: Data<State>) -> HttpResponse {
    let reasons = match state.health() {
        Some((health, looked)) if looked.elapsed() > too_long(&state) => vec![not_looked(health.at)],
        Some((health, _)) if health.ready => return answer(HttpResponse::Ok(), "ready", Vec::new()),
        Some((health, _)) => health.reasons().map(Reason::from).collect(),
        None => vec![not_looked(Utc::now())],
    };
    answer(HttpResponse::ServiceUnavailable(), "not_ready", reasons)
}

/// Every part: how it does, since when, and in a sentence.
#[utoipa::path(tag = "health", security(("bearer" = [])), responses(
    (status = OK, body = Health, description = "how each part did when it was last looked at"),
    (status = SERVICE_UNAVAILABLE, body = Problem, description = "nothing was looked at yet"),
))]
#[get("/health/detailed")]
async fn detailed(_: Viewer, state: Data<State>) -> Result<HttpResponse, Problem> {
    let (health, _) = state
        .health()
        .ok_or_else(|| Problem::unavailable("the servers have not been looked at yet; try again"))?;
    Ok(HttpResponse::Ok().json(&*health))
}

fn answer(
    mut response: actix_web::HttpResponseBuilder,
    status: &'static str,
    reasons: Vec<Reason>,
) -> HttpResponse {
    response.json(Readiness { status, reasons })
}

/// A look that takes so long is one at servers that do not answer, nor refuse.
fn too_long(state: &State) -> Duration {
    state.config.admin.unready_after.max(state.config.telemetry.observe_every * 3)
}

fn not_looked(since: DateTime<Utc>) -> Reason {
    Reason {
        part: "observation".into(),
        state: health::State::Unknown,
        since,
        sentence: "the servers have not been looked at since".into(),
    }
}
