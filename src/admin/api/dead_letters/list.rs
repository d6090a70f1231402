//! The letters, their causes, and what came and went.

use actix_web::{
    get,
    web::{Data, Json, Query},
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Selection, ago};
use crate::{
    admin::{
        State,
        access::Viewer,
        api::page::{self, Limit, Page, Words},
        problem::Problem,
    },
    dead_letters::{CauseGroup, Report},
    records::{DeadLetterFilter, DeadLetterRecord},
};

pub(super) fn routes(routes: &mut ServiceConfig<'_>) {
    routes.service(list).service(causes).service(report);
}

/// In which state letters are.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// Nobody has dealt with it.
    #[default]
    Open,
    /// It waits in a reprocessing run.
    Reprocessing,
    /// Its event has been dealt with.
    Resolved,
    /// Nobody will.
    Discarded,
    /// Any of these.
    All,
}

impl Status {
    fn name(self) -> Option<String> {
        let name = match self {
            Self::Open => "open",
            Self::Reprocessing => "reprocessing",
            Self::Resolved => "resolved",
            Self::Discarded => "discarded",
            Self::All => return None,
        };
        Some(name.to_owned())
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// In this state.
    #[serde(default)]
    #[param(inline, required = false)]
    status: Status,
    /// Of this topic.
    #[param(value_type = Option<String>)]
    topic: Option<Words>,
    /// Of this event type.
    #[param(value_type = Option<String>)]
    event_type: Option<Words>,
    /// With this cause.
    #[param(value_type = Option<String>)]
    fingerprint: Option<Words>,
    /// Of this consumer group; `relay` for rows that were never published.
    #[param(value_type = Option<String>)]
    consumer_group: Option<Words>,
    /// Of this event, by its id as it came.
    #[param(value_type = Option<String>)]
    event_id: Option<Words>,
    /// Set aside in this time: `90min`, `24h`, `7d`.
    #[param(pattern = r"^([0-9]{1,5}(ms|s|min|m|h|d|w) ?)+$")]
    since: Option<String>,
    /// With this text in the error, the payload, the key or the event's id.
    #[param(value_type = Option<String>)]
    text: Option<Words>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Limit,
    /// `next` of the page before; causes have one page only.
    cursor: Option<String>,
}

impl Wanted {
    fn filter(self, limit: u32) -> Result<DeadLetterFilter, Problem> {
        let selection = Selection {
            topic: self.topic,
            event_type: self.event_type,
            fingerprint: self.fingerprint,
            consumer_group: self.consumer_group,
            event_id: self.event_id,
            since: self.since,
            text: self.text,
        };
        let before = page::place("dead-letters", self.cursor.as_deref())?;
        let filter = selection.filter(limit)?;
        Ok(DeadLetterFilter { status: self.status.name(), before, without_payload: true, ..filter })
    }
}

/// Dead letters, the newest first, without their payloads.
#[utoipa::path(
    tag = "dead letters",
    security(("bearer" = [])),
    params(Wanted),
    responses((status = OK, description = "a page of letters", body = Page<DeadLetterRecord>)),
)]
#[get("/api/v1/dead-letters")]
async fn list(
    _: Viewer,
    state: Data<State>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page<DeadLetterRecord>>, Problem> {
    let limit = wanted.limit;
    let filter = wanted.filter(limit.and_one())?;
    let letters = state.adapters.databases.records.dead_letters(&filter).await?;
    Page::of("dead-letters", letters, limit, |letter| letter.id).map(Json)
}

/// Dead letters by cause, the most frequent first.
#[utoipa::path(
    tag = "dead letters",
    security(("bearer" = [])),
    params(Wanted),
    responses((status = OK, description = "the causes", body = Vec<CauseGroup>)),
)]
#[get("/api/v1/dead-letters/causes")]
async fn causes(
    _: Viewer,
    state: Data<State>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Vec<CauseGroup>>, Problem> {
    let limit = wanted.limit.get();
    let filter = wanted.filter(limit)?;
    Ok(Json(state.adapters.databases.dead_letters.causes(&filter).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Period {
    /// How far back: `90min`, `24h`, `7d`.
    #[serde(default = "one_day")]
    #[param(required = false, default = "24h", pattern = r"^([0-9]{1,5}(ms|s|min|m|h|d|w) ?)+$")]
    since: String,
}

fn one_day() -> String {
    "24h".to_owned()
}

/// What came and went in the last hours, and who did what.
#[utoipa::path(
    tag = "dead letters",
    security(("bearer" = [])),
    params(Period),
    responses((status = OK, description = "the report", body = Report)),
)]
#[get("/api/v1/dead-letters/report")]
async fn report(
    _: Viewer,
    state: Data<State>,
    Query(period): Query<Period>,
) -> Result<Json<Report>, Problem> {
    let since = ago("since", &period.since)?;
    Ok(Json(state.adapters.databases.dead_letters.report(since).await?))
}
