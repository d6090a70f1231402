//! One letter in full, and another payload for it.
//!
//! Whoever edits says which payload they saw, by its `ETag`: of two who edit at once, the second one hears of it.

use actix_web::{
    HttpRequest, HttpResponse, get,
    http::{
        StatusCode,
        header::{ETAG, IF_MATCH},
    },
    put,
    web::{Bytes, Data, Path},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::no_letter;
use crate::{
    admin::{
        State,
        access::{Operator, Viewer},
        problem::{self, Problem},
    },
    dead_letters::{Edit, Letter},
    records::DeadLetterRecord,
    story::trace_id,
};

/// What stands where an id may stand, and is done to several letters.
const ACTIONS: [&str; 4] = ["discard", "purge", "reprocess", "resolve"];

pub(super) fn routes(routes: &mut ServiceConfig<'_>) {
    routes.service(show).service(edit);
}

/// A dead letter in full.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Told {
    /// What a listing has of it, and its payload if that is UTF-8.
    #[serde(flatten)]
    record: DeadLetterRecord,
    /// The payload in base64, if it is not UTF-8.
    payload_base64: Option<String>,
    /// The payload as it came, in base64, if somebody has edited it.
    original_payload_base64: Option<String>,
    /// The key of its ledger row.
    ledger_id: Option<Uuid>,
    /// The trace that its event is part of.
    trace_id: Option<String>,
}

impl Told {
    fn of(letter: Letter) -> Self {
        let Letter { mut record, payload, original_payload } = letter;
        let (text, binary) = match String::from_utf8(payload) {
            Ok(text) => (Some(text), None),
            Err(error) => (None, Some(STANDARD.encode(error.as_bytes()))),
        };
        record.payload = text;
        Self {
            payload_base64: binary,
            original_payload_base64: original_payload.map(|payload| STANDARD.encode(payload)),
            ledger_id: record.ledger_id(),
            trace_id: record.header("traceparent").and_then(trace_id).map(str::to_owned),
            record,
        }
    }
}

/// The letter as a response. Its tag is that of the payload.
pub(super) fn told(letter: Letter) -> HttpResponse {
    let tag = tag(&letter.payload);
    HttpResponse::Ok().insert_header((ETAG, tag)).json(Told::of(letter))
}

fn tag(payload: &[u8]) -> String {
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(Sha256::digest(payload)))
}

pub(super) async fn find(state: &State, id: Uuid) -> Result<Letter, Problem> {
    state.adapters.databases.dead_letters.letter(id).await?.ok_or_else(no_letter)
}

/// One letter with its payload.
#[utoipa::path(
    tag = "dead letters",
    security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "The letter's id.")),
    responses(
        (status = OK, description = "the letter", body = Told, headers(("ETag" = String, description = "Tells its payload from others."))),
        (status = NOT_FOUND, description = "no letter has this id", body = Problem),
    ),
)]
#[get("/api/v1/dead-letters/{id}")]
async fn show(_: Viewer, state: Data<State>, id: Path<String>) -> Result<HttpResponse, Problem> {
    if ACTIONS.contains(&id.as_str()) {
        return Err(problem::not_allowed(&["POST"]));
    }
    let id = Uuid::try_parse(&id).map_err(|_| Problem::bad_request("a letter's id is a UUID"))?;
    find(&state, id).await.map(told)
}

/// Gives an unfinished letter another payload; the first one is kept.
#[utoipa::path(
    tag = "dead letters",
    security(("bearer" = [])),
    params(
        ("id" = Uuid, Path, description = "The letter's id."),
        ("If-Match" = String, Header, description = "The letter's ETag, as it was when the edit began."),
    ),
    request_body(content((serde_json::Value = "application/json")), description = "the payload: JSON that the letter's event type allows"),
    responses(
        (status = OK, description = "the letter as it is now", body = Told, headers(("ETag" = String, description = "Tells its payload from others."))),
        (status = NOT_FOUND, description = "no letter has this id", body = Problem),
        (status = CONFLICT, description = "it is resolved or discarded already", body = Problem),
        (status = PRECONDITION_FAILED, description = "somebody else has changed it meanwhile", body = Problem),
        (status = UNPROCESSABLE_ENTITY, description = "its event could not be read with this payload either", body = Problem),
        (status = PRECONDITION_REQUIRED, description = "If-Match is missing", body = Problem),
    ),
)]
#[put("/api/v1/dead-letters/{id}/payload")]
async fn edit(
    operator: Operator,
    state: Data<State>,
    id: Path<Uuid>,
    request: HttpRequest,
    body: Bytes,
) -> Result<HttpResponse, Problem> {
    let id = id.into_inner();
    let seen = request.headers().get(IF_MATCH).and_then(|tag| tag.to_str().ok()).ok_or_else(|| {
        let detail = "say which payload you saw: send the letter's ETag as If-Match";
        Problem::new(StatusCode::PRECONDITION_REQUIRED, detail)
    })?;
    let letter = find(&state, id).await?;
    if !letter.record.is_unfinished() {
        return Err(Problem::conflict(format!(
            "the letter is {} already; nothing was changed",
            letter.record.status
        )));
    }
    if !seen.split(',').any(|seen| seen.trim() == tag(&letter.payload)) {
        return Err(changed());
    }
    let text = std::str::from_utf8(&body).map_err(|_| Problem::unprocessable("the payload is not UTF-8"))?;
    let text = text.trim();
    letter.check_payload(text).map_err(Problem::unprocessable)?;
    let edit = Edit { from: &letter.payload, to: text.as_bytes() };
    if edit.from != edit.to
        && !state.adapters.databases.dead_letters.edit(&operator.actor(), id, edit).await?
    {
        return Err(changed());
    }
    find(&state, id).await.map(told)
}

fn changed() -> Problem {
    let detail = "somebody else has changed it in the meantime: look at it again, and send its new ETag";
    Problem::new(StatusCode::PRECONDITION_FAILED, detail)
}
