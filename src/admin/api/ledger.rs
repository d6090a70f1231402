//! `/api/v1/ledger/{event_id}`: what became of an event, in each consumer group.

use actix_web::{
    get,
    web::{Data, Json, Path},
};
use utoipa_actix_web::service_config::ServiceConfig;

use super::page::Words;
use crate::{
    admin::{State, access::Viewer, problem::Problem},
    records::LedgerRecord,
    story,
};

pub(super) fn routes(routes: &mut ServiceConfig<'_>) {
    routes.service(rows);
}

/// The ledger's rows of an event, one for each group that has it.
#[utoipa::path(
    tag = "ledger",
    security(("bearer" = [])),
    params(("event_id" = String, Path, description = "The event's id, as it is in the outbox or in a dead letter.")),
    responses(
        (status = OK, description = "its rows", body = Vec<LedgerRecord>),
        (status = NOT_FOUND, description = "the ledger has no such event", body = Problem),
    ),
)]
#[get("/api/v1/ledger/{event_id}")]
async fn rows(
    _: Viewer,
    state: Data<State>,
    event_id: Path<Words>,
) -> Result<Json<Vec<LedgerRecord>>, Problem> {
    let event_id = String::from(event_id.into_inner());
    let rows = story::ledger_rows(&state.adapters.databases, &event_id).await?;
    if rows.is_empty() {
        return Err(Problem::not_found(
            "the ledger has no such event; /api/v1/events/{id} looks for it elsewhere",
        ));
    }
    Ok(Json(rows))
}
