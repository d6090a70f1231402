//! `/api/v1/facts`: what is known.

use actix_web::{
    get,
    web::{Data, Json, Query},
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::page::{self, Limit, Page, Words};
use crate::{
    admin::{State, access::Viewer, problem::Problem},
    records::{FactFilter, FactRecord},
};

pub(super) fn routes(routes: &mut ServiceConfig<'_>) {
    routes.service(list);
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Facts about this subject.
    #[param(value_type = Option<String>)]
    subject: Option<Words>,
    /// Facts with this predicate.
    #[param(value_type = Option<String>)]
    predicate: Option<Words>,
    /// Facts of this conversation.
    #[param(value_type = Option<String>)]
    conversation_id: Option<Words>,
    /// Facts that this event stated first.
    event_id: Option<Uuid>,
    /// Also facts that a newer value has replaced.
    #[serde(default)]
    superseded: bool,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Facts, the newest first.
#[utoipa::path(
    tag = "facts",
    security(("bearer" = [])),
    params(Wanted),
    responses((status = OK, description = "a page of facts", body = Page<FactRecord>)),
)]
#[get("/api/v1/facts")]
async fn list(
    _: Viewer,
    state: Data<State>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page<FactRecord>>, Problem> {
    let filter = FactFilter {
        subject: wanted.subject.map(String::from),
        predicate: wanted.predicate.map(String::from),
        conversation_id: wanted.conversation_id.map(String::from),
        event_id: wanted.event_id,
        superseded: wanted.superseded,
        before: page::place("facts", wanted.cursor.as_deref())?,
        limit: wanted.limit.and_one(),
    };
    let facts = state.adapters.databases.records.facts(&filter).await?;
    Page::of("facts", facts, wanted.limit, |fact| fact.id).map(Json)
}
