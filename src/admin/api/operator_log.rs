//! `/api/v1/operator-log`: who did what, and from where.

use actix_web::{
    get,
    web::{Data, Json, Query},
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_actix_web::service_config::ServiceConfig;

use super::page::{self, Limit, Page, Words};
use crate::{
    admin::{State, access::Viewer, problem::Problem},
    operator_log::{Entry, Filter},
};

pub(super) fn routes(routes: &mut ServiceConfig<'_>) {
    routes.service(list);
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Done by this person.
    #[param(value_type = Option<String>)]
    who: Option<Words>,
    /// Of this kind: `resolved`, `edit`, `restart`.
    #[param(value_type = Option<String>)]
    action: Option<Words>,
    /// Done to this: a dead letter's id, a path of the tree.
    #[param(value_type = Option<String>)]
    target: Option<Words>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// What was done, the latest first.
#[utoipa::path(
    tag = "operator log",
    security(("bearer" = [])),
    params(Wanted),
    responses((status = OK, description = "a page of entries", body = Page<Entry>)),
)]
#[get("/api/v1/operator-log")]
async fn list(
    _: Viewer,
    state: Data<State>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page<Entry>>, Problem> {
    let filter = Filter {
        who: wanted.who.map(String::from),
        action: wanted.action.map(String::from),
        target: wanted.target.map(String::from),
        before: page::place("operator-log", wanted.cursor.as_deref())?,
        limit: wanted.limit.and_one(),
    };
    let entries = state.adapters.databases.operator_log.entries(&filter).await?;
    Page::of("operator-log", entries, wanted.limit, |entry| entry.id).map(Json)
}
