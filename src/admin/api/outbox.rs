//! `/api/v1/outbox`: what waits there, and the rows in each state.

use actix_web::{
    get,
    web::{Data, Json, Query},
};
use chrono::{DateTime, Utc};
use factline_pipeline::outbox::Status;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::page::{self, Limit, Page};
use crate::{
    admin::{State, access::Viewer, problem::Problem},
    records::OutboxRow,
};

pub(super) fn routes(routes: &mut ServiceConfig<'_>) {
    routes.service(backlog).service(rows);
}

/// How much waits in the outbox.
#[derive(Debug, Serialize, ToSchema)]
struct Backlog {
    /// Pending rows.
    pending: u64,
    /// Failed rows.
    failed: u64,
    /// When the oldest pending row was created.
    oldest_pending: Option<DateTime<Utc>>,
}

/// How much waits in the outbox, and since when.
#[utoipa::path(
    tag = "outbox",
    security(("bearer" = [])),
    responses((status = OK, description = "the backlog", body = Backlog)),
)]
#[get("/api/v1/outbox")]
async fn backlog(_: Viewer, state: Data<State>) -> Result<Json<Backlog>, Problem> {
    let backlog = state.adapters.databases.outbox.backlog().await?;
    Ok(Json(Backlog {
        pending: backlog.pending,
        failed: backlog.failed,
        oldest_pending: backlog.oldest_pending,
    }))
}

/// The state of a row.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum RowStatus {
    /// It waits to be published.
    Pending,
    /// The stream has had its event.
    Processed,
    /// It can never be published.
    Failed,
}

impl RowStatus {
    /// The state, and the name of its listing.
    fn listing(self) -> (Status, &'static str) {
        match self {
            Self::Pending => (Status::Pending, "outbox/pending"),
            Self::Processed => (Status::Processed, "outbox/processed"),
            Self::Failed => (Status::Failed, "outbox/failed"),
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Rows in this state.
    #[param(inline)]
    status: RowStatus,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Rows of the outbox in one state, the newest first. A failed one says why.
#[utoipa::path(
    tag = "outbox",
    security(("bearer" = [])),
    params(Wanted),
    responses((status = OK, description = "a page of rows", body = Page<OutboxRow>)),
)]
#[get("/api/v1/outbox/rows")]
async fn rows(
    _: Viewer,
    state: Data<State>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page<OutboxRow>>, Problem> {
    let (status, listing) = wanted.status.listing();
    let before: Option<page::Words> = page::place(listing, wanted.cursor.as_deref())?;
    let before = before.map(String::from);
    let outbox = &state.adapters.databases.outbox;
    let rows = outbox.list(status, before.as_deref(), wanted.limit.and_one()).await?;
    let rows = rows.into_iter().map(OutboxRow::from).collect();
    Page::of(listing, rows, wanted.limit, |row: &OutboxRow| row.id.clone()).map(Json)
}
