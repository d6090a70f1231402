//! Extracting and recording the letters' events now.
//!
//! A run is a task beside the requests, so that whoever asked may go away. Extraction itself is on a thread of its own:
//! see [`crate::reprocessing`]. A request waits a moment for its run, and is told where to look if that was not enough.

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpResponse, get,
    http::header::LOCATION,
    post, rt,
    web::{Data, Json, Path},
};
use factline_pipeline::outage;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::{
    MOST, Selection, check_number, duration,
    runs::{Run, RunState},
};
use crate::{
    admin::{State, access::Operator, access::Viewer, problem::Problem},
    dead_letters::Selected,
    operator_log::Actor,
    records::DeadLetterFilter,
    reprocessing::{self, Limits, Reprocessor, Tally},
};

/// How long a request waits for its run.
const WAIT: Duration = Duration::from_secs(5);

/// The longest rest between two tries.
const LONGEST_INTERVAL: Duration = Duration::from_mins(1);

pub(super) fn routes(routes: &mut ServiceConfig<'_>) {
    routes.service(reprocess).service(show);
}

/// Which letters to reprocess, and how: one of `ids`, `filter` and `resume`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Reprocess {
    /// These letters, if they are open.
    #[schema(min_items = 1, max_items = 1000)]
    ids: Option<Vec<Uuid>>,
    /// The open letters that this means, the oldest first; `{}` means all.
    filter: Option<Selection>,
    /// What interrupted runs have left; runs that somebody is at are left alone.
    #[serde(default)]
    resume: bool,
    /// How many letters of the filter at most.
    #[schema(minimum = 1, maximum = 1000, default = 1000)]
    limit: Option<u32>,
    /// Try so many first, and no others if one of them fails.
    #[schema(minimum = 1, maximum = 1000)]
    canary: Option<u32>,
    /// Stop when more than so many have failed.
    #[schema(maximum = 1000)]
    max_failures: Option<u32>,
    /// A rest between the beginnings of two tries, at most a minute: `200ms`.
    #[schema(pattern = r"^([0-9]{1,5}(ms|s|min|m|h|d|w) ?)+$")]
    interval: Option<String>,
    /// Only say what would come of it; the extractors run, nothing is recorded.
    #[serde(default)]
    dry_run: bool,
}

/// What a run is about.
enum Letters {
    /// Open letters.
    Open(Box<DeadLetterFilter>),
    /// What was selected before.
    Left,
}

impl Reprocess {
    fn letters(&mut self) -> Result<Letters, Problem> {
        let most = u32::try_from(MOST).unwrap_or(u32::MAX);
        let limit = self.limit.unwrap_or(most);
        if !(1..=most).contains(&limit) {
            return Err(Problem::unprocessable(format!("limit is from 1 to {MOST}")));
        }
        match (self.ids.take(), self.filter.take(), self.resume) {
            (Some(ids), None, false) => {
                check_number(&ids)?;
                let filter = DeadLetterFilter { ids: Some(ids), limit, ..DeadLetterFilter::default() };
                Ok(Letters::Open(Box::new(filter)))
            }
            (None, Some(selection), false) => Ok(Letters::Open(Box::new(selection.filter(limit)?))),
            (None, None, true) if !self.dry_run => Ok(Letters::Left),
            (None, None, true) => {
                Err(Problem::unprocessable("what was selected cannot be tried with dry_run; leave it out"))
            }
            _ => Err(Problem::unprocessable("say which letters: one of ids, filter and resume")),
        }
    }

    fn limits(&self) -> Result<Limits, Problem> {
        let most = u32::try_from(MOST).unwrap_or(u32::MAX);
        if self.canary.is_some_and(|canary| !(1..=most).contains(&canary)) {
            return Err(Problem::unprocessable(format!("canary is from 1 to {MOST}")));
        }
        if self.max_failures.is_some_and(|failures| failures > most) {
            return Err(Problem::unprocessable(format!("max_failures is {MOST} at most")));
        }
        let interval = self.interval.as_deref().map(|time| duration("interval", time)).transpose()?;
        if interval.is_some_and(|interval| interval > LONGEST_INTERVAL) {
            return Err(Problem::unprocessable("interval is a minute at most"));
        }
        Ok(Limits {
            canary: self.canary.map(|letters| letters as usize),
            max_failures: self.max_failures.map(u64::from),
            interval,
        })
    }
}

/// Reprocesses dead letters: their events take effect once, however often this is asked for. One run at a time.
///
/// A letter whose event has ended a process is left alone: `factline dlq reprocess` risks one of its own.
#[utoipa::path(
    tag = "dead letters",
    security(("bearer" = [])),
    responses(
        (status = OK, description = "the run has ended", body = Run),
        (status = ACCEPTED, description = "the run goes on", body = Run, headers(("Location" = String, description = "Where the run is."))),
        (status = CONFLICT, description = "another run goes on", body = Problem),
        (status = UNPROCESSABLE_ENTITY, description = "no letter, or too many", body = Problem),
        (status = SERVICE_UNAVAILABLE, description = "too many extractions have never ended", body = Problem),
    ),
)]
#[post("/api/v1/dead-letters/reprocess")]
async fn reprocess(
    operator: Operator,
    state: Data<State>,
    Json(mut wanted): Json<Reprocess>,
) -> Result<HttpResponse, Problem> {
    let (letters, limits) = (wanted.letters()?, wanted.limits()?);
    let by = operator.actor();
    let id = Uuid::now_v7();
    state.runs.begin(id, &by.who, wanted.dry_run)?;
    let running = Running { state: state.clone(), id, by, limits, dry_run: wanted.dry_run };
    let task = rt::spawn(running.go(letters));
    let ended = tokio::time::timeout(WAIT, task).await.is_ok();
    let run = state.runs.get(id).ok_or_else(|| Problem::unavailable("the run was forgotten"))?;
    Ok(if ended {
        HttpResponse::Ok().json(run)
    } else {
        HttpResponse::Accepted()
            .insert_header((LOCATION, format!("/api/v1/dead-letters/runs/{id}")))
            .json(run)
    })
}

/// One of the last runs of this daemon.
#[utoipa::path(
    tag = "dead letters",
    security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "The run's id.")),
    responses(
        (status = OK, description = "how it is", body = Run),
        (status = NOT_FOUND, description = "no run has this id", body = Problem),
    ),
)]
#[get("/api/v1/dead-letters/runs/{id}")]
async fn show(_: Viewer, state: Data<State>, id: Path<Uuid>) -> Result<Json<Run>, Problem> {
    let missing = || {
        Problem::not_found(
            "this daemon remembers no such run; what one left undone is in /api/v1/dead-letters?status=reprocessing",
        )
    };
    state.runs.get(id.into_inner()).map(Json).ok_or_else(missing)
}

/// A run that goes on. Dropped before it has ended, it says so.
struct Running {
    state: Data<State>,
    id: Uuid,
    by: Actor,
    limits: Limits,
    dry_run: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        let reason = "it was interrupted; go on with {\"resume\": true}".to_owned();
        self.state.runs.end(self.id, RunState::Failed, Some(reason));
    }
}

impl Running {
    async fn go(self, letters: Letters) {
        let runs = &self.state.runs;
        let ended = match letters {
            Letters::Open(filter) if self.dry_run => self.rehearse(*filter).await,
            letters => self.take_turns(letters).await,
        };
        match ended {
            Ok(None) => runs.end(self.id, RunState::Done, None),
            Ok(reason) => runs.end(self.id, RunState::Stopped, reason),
            Err(error) => {
                let reason = format!("{}; go on with {{\"resume\": true}}", outage::chain(&error));
                tracing::warn!(run = %self.id, error = reason, "a reprocessing run failed");
                runs.end(self.id, RunState::Failed, Some(reason));
            }
        }
    }

    /// Extractors are foreign code, and may take their time to be made: that is done once, and beside the requests.
    async fn reprocessor(&self) -> Result<Reprocessor, outage::Error> {
        let State { config, adapters, runs, .. } = &**self.state;
        let make = || async {
            let state = self.state.clone();
            let made =
                rt::task::spawn_blocking(move || reprocessing::tools(&state.config, &state.runs.stuck));
            let failed =
                |error| outage::Error::Misconfigured { service: "extractors", source: Box::new(error) };
            made.await.map(Arc::new).map_err(failed)
        };
        let tools = runs.tools.get_or_try_init(make).await?;
        Ok(Reprocessor::in_daemon(config, adapters.databases.clone(), &self.by, tools.clone()))
    }

    async fn take_turns(&self, letters: Letters) -> Result<Option<String>, outage::Error> {
        let State { adapters, runs, .. } = &**self.state;
        let port = &adapters.databases.dead_letters;
        let reprocessor = self.reprocessor().await?;
        let mut letters = match letters {
            Letters::Left => {
                let (left, attended) = reprocessor.unattended(port.selected(None).await?).await?;
                runs.attended(self.id, attended);
                left
            }
            Letters::Open(filter) => {
                port.select(&self.by, self.id, &filter).await?;
                port.selected(Some(self.id)).await?
            }
        };
        letters.truncate(MOST);
        runs.selected(self.id, letters.len());
        let mut tally = Tally::default();
        let told = |selected: Selected, turn: &_| runs.told(self.id, selected.letter, turn);
        let stopped = reprocessor.run(&letters, self.limits, &mut tally, told).await;
        runs.put_back(self.id, tally.put_back);
        stopped
    }

    /// What would come of it; the letters' order is that of a run, and so is what ends it early.
    async fn rehearse(&self, mut filter: DeadLetterFilter) -> Result<Option<String>, outage::Error> {
        let State { adapters, runs, .. } = &**self.state;
        filter.status = Some("open".to_owned());
        filter.without_payload = true;
        let records = adapters.databases.records.dead_letters(&filter).await?;
        runs.selected(self.id, records.len());
        let reprocessor = self.reprocessor().await?;
        for (index, id) in records.iter().map(|record| record.id).enumerate().rev() {
            let Some(letter) = adapters.databases.dead_letters.letter(id).await? else { continue };
            let turn = reprocessor.rehearse(&letter).await?;
            runs.told(self.id, id, &turn);
            if let Some(reason) = reprocessor.reason_to_stop(&turn).filter(|_| index > 0) {
                return Ok(Some(reason));
            }
        }
        Ok(None)
    }
}
