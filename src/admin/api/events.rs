//! `/api/v1/events`: events into the outbox, as CloudEvents over HTTP, and what became of one.
//!
//! Whoever gets no answer sends again: an id that is in the outbox already is taken as accepted, and said to be a
//! duplicate. Only an id that was used for another event, of another topic, key or type, is a conflict.

use std::collections::{BTreeSet, HashMap, HashSet};

use actix_web::{
    HttpRequest, HttpResponse, get,
    http::header::{CONTENT_TYPE, HeaderMap, LOCATION},
    post,
    web::{Bytes, Data, Json, Path, ReqData},
};
use factline_pipeline::{
    event::TraceContext,
    outage::Error,
    outbox::{NewEvent, Outbox, Record},
};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::{note, page::Words};
use crate::{
    admin::{
        State,
        access::{Producer, Viewer},
        gate::RequestId,
        problem::Problem,
    },
    incoming::{self, Reader, is_json, is_traceparent},
    operator_log::Actor,
    story::Story,
};

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

/// Before the names of attributes in headers.
const PREFIX: &str = "ce-";

/// How often duplicates are looked for, while somebody else writes the same events.
const LOOKS: u32 = 3;

pub(super) fn routes(routes: &mut ServiceConfig<'_>) {
    routes.service(publish).service(story);
}

/// An event: CloudEvents 1.0 in JSON. Extensions that are not named here are not kept.
#[derive(ToSchema)]
#[expect(dead_code, reason = "says what a request looks like; it is read by crate::incoming")]
struct CloudEvent {
    /// `1.0`.
    specversion: String,
    /// The event's id for ever.
    id: Uuid,
    /// Who says so; the outbox' own source goes out with all its events.
    #[schema(min_length = 1)]
    source: String,
    /// The event type: `chat.message`.
    #[schema(min_length = 1)]
    r#type: String,
    /// What it is about: its key, if there is no `partitionkey`.
    subject: Option<String>,
    /// What order is kept for.
    partitionkey: Option<String>,
    /// The topic; otherwise `source.default_topic`.
    topic: Option<String>,
    /// When it happened, in RFC 3339; now otherwise.
    time: Option<String>,
    /// JSON, if it says so at all.
    datacontenttype: Option<String>,
    /// The producer's trace, as W3C has it; otherwise the request's own.
    traceparent: Option<String>,
    /// Vendors' data of the trace.
    tracestate: Option<String>,
    /// The payload: any JSON.
    data: Option<serde_json::Value>,
    /// The payload as JSON in base64, instead of `data`.
    data_base64: Option<String>,
}

/// Events that are in the outbox now.
#[derive(Debug, Serialize, ToSchema)]
struct Accepted {
    /// Their ids, in the order in which they came.
    ids: Vec<Uuid>,
    /// Those of them that were there before.
    duplicates: Vec<Uuid>,
}

/// Writes events to the outbox, all or none: one in structured or binary mode, or a batch of at most 1000.
///
/// An event whose id is in the outbox already counts as accepted, so a request may be repeated. For producers and
/// operators.
#[utoipa::path(
    tag = "events",
    security(("bearer" = [])),
    params(
        ("ce-specversion" = Option<String>, Header, description = "Binary mode: `1.0`."),
        ("ce-id" = Option<String>, Header, description = "Binary mode: the event's id, a UUID."),
        ("ce-source" = Option<String>, Header, description = "Binary mode: who says so."),
        ("ce-type" = Option<String>, Header, description = "Binary mode: the event type."),
        ("ce-subject" = Option<String>, Header, description = "Binary mode: what it is about."),
        ("ce-partitionkey" = Option<String>, Header, description = "Binary mode: what order is kept for."),
        ("ce-topic" = Option<String>, Header, description = "Binary mode: the topic."),
        ("ce-time" = Option<String>, Header, description = "Binary mode: when it happened."),
        ("traceparent" = Option<String>, Header, description = "The trace of events that name none."),
    ),
    request_body(content(
        (CloudEvent = "application/cloudevents+json"),
        (Vec<CloudEvent> = "application/cloudevents-batch+json"),
        (serde_json::Value = "application/json"),
    )),
    responses(
        (
            status = ACCEPTED,
            description = "they are in the outbox",
            body = Accepted,
            headers(("Location" = Option<String>, description = "Where the story of the event is, if it was one.")),
        ),
        (status = CONFLICT, description = "an id was used for another event", body = Problem),
        (status = UNSUPPORTED_MEDIA_TYPE, description = "no CloudEvents", body = Problem),
        (status = UNPROCESSABLE_ENTITY, description = "an attribute is missing or wrong", body = Problem),
    ),
)]
#[post("/api/v1/events")]
async fn publish(
    producer: Producer,
    state: Data<State>,
    request: HttpRequest,
    id: ReqData<RequestId>,
    body: Bytes,
) -> Result<HttpResponse, Problem> {
    let reader = Reader { trace: trace_of(request.headers()), ..Reader::new(&state.config.source) };
    let events = read(&reader, request.headers(), &body)?;
    let duplicates = insert(state.adapters.databases.outbox.as_ref(), &events).await?;
    note_all(&state, &producer.actor(), &id, &events, duplicates.len()).await;
    let ids: Vec<Uuid> = events.iter().filter_map(|event| event.event_id).collect();
    let mut response = HttpResponse::Accepted();
    if let [id] = ids[..] {
        response.insert_header((LOCATION, format!("/api/v1/events/{id}")));
    }
    Ok(response.json(Accepted { ids, duplicates }))
}

/// An entry for the whole request, about its first event: a row each would be as many as the outbox has.
///
/// One that brings nothing new has an entry too: whoever got no answer, and repeats it, may have got none because the
/// daemon ended before it could write one.
async fn note_all(
    state: &State,
    by: &Actor,
    RequestId(id): &RequestId,
    events: &[NewEvent],
    duplicates: usize,
) {
    let Some(first) = events.first().and_then(|event| event.event_id) else { return };
    let topics: BTreeSet<&str> = events.iter().map(|event| event.topic.as_str()).collect();
    let detail =
        json!({ "events": events.len(), "duplicates": duplicates, "topics": topics, "request_id": id });
    note::note(state, by, "publish", &first.to_string(), &detail).await;
}

fn read(reader: &Reader<'_>, headers: &HeaderMap, body: &[u8]) -> Result<Vec<NewEvent>, Problem> {
    let body = std::str::from_utf8(body).map_err(|_| Problem::bad_request("the body is not UTF-8"))?;
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let attributes: Vec<(&str, &[u8])> = headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().strip_prefix(PREFIX)?, value.as_bytes())))
        .collect();
    let one = |event: NewEvent| vec![event];
    let read = match essence.as_str() {
        STRUCTURED => reader.structured(body).map(one),
        BATCH => reader.batch(body),
        _ if !attributes.is_empty() && (kind.is_empty() || is_json(kind)) => {
            reader.binary(attributes, body).map(one)
        }
        _ => {
            return Err(Problem::new(
                actix_web::http::StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!(
                    "send an event as {STRUCTURED}, several as {BATCH}, or JSON with the attributes in ce- headers"
                ),
            ));
        }
    };
    let events = read.map_err(|error| match error {
        incoming::Error::Unreadable(_) => Problem::bad_request(error.to_string()),
        _ => Problem::unprocessable(error.to_string()),
    })?;
    check_ids(&events)?;
    Ok(events)
}

/// An id names one event.
fn check_ids(events: &[NewEvent]) -> Result<(), Problem> {
    let mut seen = HashSet::new();
    let twice = events.iter().enumerate().find(|(_, event)| !seen.insert(event.event_id));
    twice.map_or(Ok(()), |(index, _)| {
        Err(Problem::unprocessable(format!("event {index}: attribute \"id\" is that of an event before it")))
    })
}

/// The request's own trace. One that is none is passed over, as W3C wants it.
fn trace_of(headers: &HeaderMap) -> Option<TraceContext> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::to_owned);
    let traceparent = text("traceparent").filter(|traceparent| is_traceparent(traceparent))?;
    Some(TraceContext { traceparent, tracestate: text("tracestate") })
}

/// Writes the events; gives the ids of those that were there before.
async fn insert(outbox: &dyn Outbox, events: &[NewEvent]) -> Result<Vec<Uuid>, Problem> {
    let (mut new, mut duplicates) = (events.to_vec(), Vec::new());
    for _ in 0..LOOKS {
        if new.is_empty() {
            break;
        }
        let refusal = match outbox.insert(&new).await {
            Ok(_) => return Ok(duplicates),
            Err(error @ Error::Data { .. }) => error,
            Err(error) => return Err(error.into()),
        };
        let there = known(outbox, &new).await?;
        if there.is_empty() {
            return Err(refusal.into());
        }
        new.retain(|event| event.event_id.is_none_or(|id| !there.contains(&id)));
        duplicates.extend(there);
    }
    if new.is_empty() {
        return Ok(duplicates);
    }
    Err(Problem::unavailable("somebody else writes the same events just now; try again"))
}

/// The ids of those events that are in the outbox.
async fn known(outbox: &dyn Outbox, events: &[NewEvent]) -> Result<Vec<Uuid>, Problem> {
    let ids: Vec<Uuid> = events.iter().filter_map(|event| event.event_id).collect();
    let rows = outbox.find_many(&ids).await?;
    let by_id = |row: Record| Some((Uuid::try_parse(&row.event_id).ok()?, row));
    let rows: HashMap<Uuid, Record> = rows.into_iter().filter_map(by_id).collect();
    let (mut there, mut conflicts) = (Vec::new(), Vec::new());
    for event in events {
        let Some((id, row)) = event.event_id.and_then(|id| Some((id, rows.get(&id)?))) else { continue };
        there.push(id);
        let same = row.topic == event.topic && row.key == event.key && row.event_type == event.event_type;
        if !same {
            conflicts.push(id.to_string());
        }
    }
    if conflicts.is_empty() {
        return Ok(there);
    }
    Err(Problem::conflict(format!(
        "used before for events of another topic, key or type: {}; nothing was written",
        conflicts.join(", ")
    )))
}

/// The whole story of one event, from the outbox to its facts.
#[utoipa::path(
    tag = "events",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The event's id, as it is in the outbox or in a dead letter.")),
    responses(
        (status = OK, description = "its story", body = Story),
        (status = NOT_FOUND, description = "nobody knows such an event", body = Problem),
    ),
)]
#[get("/api/v1/events/{id}")]
async fn story(_: Viewer, state: Data<State>, id: Path<Words>) -> Result<Json<Story>, Problem> {
    let id = String::from(id.into_inner());
    let story = Story::of_event(&state.adapters.databases, &id).await?;
    let missing =
        || Problem::not_found("no such event in the outbox, the ledger or the dead letters; check the id");
    story.map(Json).ok_or_else(missing)
}

#[cfg(test)]
mod tests;
