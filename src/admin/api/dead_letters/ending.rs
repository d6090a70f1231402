//! The ends of a letter's story: resolved, discarded, deleted.

use actix_web::{
    HttpResponse, post,
    web::{Data, Json, Path},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::{ago, check_number, letter};
use crate::{
    admin::{State, access::Operator, problem::Problem},
    dead_letters::End,
    operator_log,
};

/// Letters deleted in one transaction.
const BATCH: u32 = 500;

/// Transactions of one request: it shall not take for ever.
const BATCHES: u32 = 20;

pub(super) fn routes(routes: &mut ServiceConfig<'_>) {
    routes.service(resolve).service(discard).service(purge).service(resolve_one).service(discard_one);
}

/// Why a letter's story ends.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Why {
    /// What was done, or why nothing will be: at most 4096 bytes.
    #[schema(max_length = 4096)]
    note: String,
}

/// Which letters' stories end, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Ending {
    /// The letters.
    #[schema(min_items = 1, max_items = 1000)]
    ids: Vec<Uuid>,
    /// What was done, or why nothing will be: at most 4096 bytes.
    #[schema(max_length = 4096)]
    note: String,
}

/// What was changed.
#[derive(Debug, Serialize, ToSchema)]
struct Ended {
    /// Letters whose stories have ended now.
    ended: Vec<Uuid>,
    /// Letters that had ended before, or that are none.
    left_alone: Vec<Uuid>,
}

async fn end_all(
    operator: &Operator,
    state: &State,
    ending: Ending,
    end: End,
) -> Result<Json<Ended>, Problem> {
    check_number(&ending.ids)?;
    check_note(&ending.note)?;
    let letters = &state.adapters.databases.dead_letters;
    let mut ended = letters.end(&operator.actor(), &ending.ids, end, &ending.note).await?;
    ended.sort_unstable();
    let mut left_alone = ending.ids;
    left_alone.sort_unstable();
    left_alone.dedup();
    left_alone.retain(|id| ended.binary_search(id).is_err());
    Ok(Json(Ended { ended, left_alone }))
}

fn check_note(note: &str) -> Result<(), Problem> {
    operator_log::check_note(note).map_err(Problem::unprocessable)
}

async fn end_one(
    operator: &Operator,
    state: &State,
    id: Uuid,
    why: &Why,
    end: End,
) -> Result<HttpResponse, Problem> {
    check_note(&why.note)?;
    let letters = &state.adapters.databases.dead_letters;
    let ended = letters.end(&operator.actor(), &[id], end, &why.note).await?;
    let found = letter::find(state, id).await?;
    if ended.is_empty() {
        return Err(Problem::conflict(format!(
            "the letter is {} already; nothing was changed",
            found.record.status
        )));
    }
    Ok(letter::told(found))
}

/// Says that the events of these letters have been dealt with.
#[utoipa::path(
    tag = "dead letters",
    security(("bearer" = [])),
    responses(
        (status = OK, description = "what was changed", body = Ended),
        (status = UNPROCESSABLE_ENTITY, description = "no letter or too many, or a note too long", body = Problem),
    ),
)]
#[post("/api/v1/dead-letters/resolve")]
async fn resolve(
    operator: Operator,
    state: Data<State>,
    Json(ending): Json<Ending>,
) -> Result<Json<Ended>, Problem> {
    end_all(&operator, &state, ending, End::Resolved).await
}

/// Says that nobody will ever deal with the events of these letters; the ledger says so too.
#[utoipa::path(
    tag = "dead letters",
    security(("bearer" = [])),
    responses(
        (status = OK, description = "what was changed", body = Ended),
        (status = UNPROCESSABLE_ENTITY, description = "no letter or too many, or a note too long", body = Problem),
    ),
)]
#[post("/api/v1/dead-letters/discard")]
async fn discard(
    operator: Operator,
    state: Data<State>,
    Json(ending): Json<Ending>,
) -> Result<Json<Ended>, Problem> {
    end_all(&operator, &state, ending, End::Discarded).await
}

/// Says that the letter's event has been dealt with.
#[utoipa::path(
    tag = "dead letters",
    security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "The letter's id.")),
    responses(
        (status = OK, description = "the letter", body = letter::Told, headers(("ETag" = String, description = "Tells its payload from others."))),
        (status = NOT_FOUND, description = "no letter has this id", body = Problem),
        (status = CONFLICT, description = "it had ended before", body = Problem),
        (status = UNPROCESSABLE_ENTITY, description = "the note is too long", body = Problem),
    ),
)]
#[post("/api/v1/dead-letters/{id}/resolve")]
async fn resolve_one(
    operator: Operator,
    state: Data<State>,
    id: Path<Uuid>,
    Json(why): Json<Why>,
) -> Result<HttpResponse, Problem> {
    end_one(&operator, &state, id.into_inner(), &why, End::Resolved).await
}

/// Says that nobody will ever deal with the letter's event; the ledger says so too.
#[utoipa::path(
    tag = "dead letters",
    security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "The letter's id.")),
    responses(
        (status = OK, description = "the letter", body = letter::Told, headers(("ETag" = String, description = "Tells its payload from others."))),
        (status = NOT_FOUND, description = "no letter has this id", body = Problem),
        (status = CONFLICT, description = "it had ended before", body = Problem),
        (status = UNPROCESSABLE_ENTITY, description = "the note is too long", body = Problem),
    ),
)]
#[post("/api/v1/dead-letters/{id}/discard")]
async fn discard_one(
    operator: Operator,
    state: Data<State>,
    id: Path<Uuid>,
    Json(why): Json<Why>,
) -> Result<HttpResponse, Problem> {
    end_one(&operator, &state, id.into_inner(), &why, End::Discarded).await
}

/// Which letters to delete.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Purge {
    /// Those that were resolved or discarded longer ago than this: `30d`, `12h`.
    #[schema(pattern = r"^([0-9]{1,5}(ms|s|min|m|h|d|w) ?)+$")]
    older_than: String,
    /// Only say how many they are.
    #[serde(default)]
    dry_run: bool,
}

/// What was deleted.
#[derive(Debug, Serialize, ToSchema)]
struct Purged {
    /// Letters that ended longer ago.
    found: u64,
    /// Those of them that are gone now: at most 10,000 a request.
    deleted: u64,
}

/// Deletes letters that were resolved or discarded long ago.
#[utoipa::path(
    tag = "dead letters",
    security(("bearer" = [])),
    responses((status = OK, description = "what was deleted", body = Purged)),
)]
#[post("/api/v1/dead-letters/purge")]
async fn purge(
    operator: Operator,
    state: Data<State>,
    Json(purge): Json<Purge>,
) -> Result<Json<Purged>, Problem> {
    let before = ago("older_than", &purge.older_than)?;
    let letters = &state.adapters.databases.dead_letters;
    let mut purged = Purged { found: letters.ended_before(before).await?, deleted: 0 };
    let batches = if purge.dry_run { 0 } else { BATCHES };
    for _ in 0..batches {
        let deleted = letters.purge(&operator.actor(), before, BATCH).await?;
        purged.deleted += deleted;
        if deleted < u64::from(BATCH) {
            break;
        }
    }
    Ok(Json(purged))
}
