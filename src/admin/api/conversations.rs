//! `/api/v1/conversations`: what is known of each, with its title.

use actix_web::{
    get,
    web::{Data, Json, Path, Query},
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_actix_web::service_config::ServiceConfig;

use super::page::{self, Limit, Page, Words};
use crate::{
    admin::{State, access::Viewer, problem::Problem},
    records::ConversationRecord,
};

pub(super) fn routes(routes: &mut ServiceConfig<'_>) {
    routes.service(list).service(show);
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// How many at most.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Conversations by their ids: the only order in which one that goes on meanwhile is neither missed nor met twice.
#[utoipa::path(
    tag = "conversations",
    security(("bearer" = [])),
    params(Wanted),
    responses((status = OK, description = "a page of conversations", body = Page<ConversationRecord>)),
)]
#[get("/api/v1/conversations")]
async fn list(
    _: Viewer,
    state: Data<State>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page<ConversationRecord>>, Problem> {
    let after: Option<Words> = page::place("conversations", wanted.cursor.as_deref())?;
    let after = after.map(String::from);
    let records = &state.adapters.databases.records;
    let conversations = records.conversations_after(after.as_deref(), wanted.limit.and_one()).await?;
    let id = |conversation: &ConversationRecord| conversation.conversation_id.clone();
    Page::of("conversations", conversations, wanted.limit, id).map(Json)
}

/// One conversation.
#[utoipa::path(
    tag = "conversations",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The conversation's id.")),
    responses(
        (status = OK, description = "the conversation", body = ConversationRecord),
        (status = NOT_FOUND, description = "none has this id", body = Problem),
    ),
)]
#[get("/api/v1/conversations/{id}")]
async fn show(_: Viewer, state: Data<State>, id: Path<Words>) -> Result<Json<ConversationRecord>, Problem> {
    let id = String::from(id.into_inner());
    let found = state.adapters.databases.records.conversation(&id).await?;
    let missing = || Problem::not_found("no conversation has this id; /api/v1/conversations lists them");
    found.map(Json).ok_or_else(missing)
}
