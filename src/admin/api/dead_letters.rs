//! `/api/v1/dead-letters`: working what was set aside, as `factline dlq` does.
//!
//! `list` and `letter` are what there is to read, with the edit of a payload; `ending` resolves, discards and purges;
//! `reprocess` has `runs`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::page::Words;
use crate::{admin::problem::Problem, dead_letters, records::DeadLetterFilter};

mod ending;
mod letter;
mod list;
mod reprocess;
mod runs;

pub(in crate::admin) use runs::Runs;

/// Letters that one request may be about.
const MOST: usize = 1000;

pub(super) fn routes(routes: &mut ServiceConfig<'_>) {
    // Names before ids: whatever matches first is taken.
    routes
        .configure(list::routes)
        .configure(ending::routes)
        .configure(reprocess::routes)
        .configure(letter::routes);
}

/// Which letters.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Selection {
    /// Of this topic.
    #[schema(value_type = Option<String>)]
    topic: Option<Words>,
    /// Of this event type.
    #[schema(value_type = Option<String>)]
    event_type: Option<Words>,
    /// With this cause.
    #[schema(value_type = Option<String>)]
    fingerprint: Option<Words>,
    /// Of this consumer group; `relay` for rows that were never published.
    #[schema(value_type = Option<String>)]
    consumer_group: Option<Words>,
    /// Of this event.
    #[schema(value_type = Option<String>)]
    event_id: Option<Words>,
    /// Set aside in this time: `90min`, `24h`, `7d`.
    #[schema(pattern = r"^([0-9]{1,5}(ms|s|min|m|h|d|w) ?)+$")]
    since: Option<String>,
    /// With this text in the error, the payload, the key or the event's id.
    #[schema(value_type = Option<String>)]
    text: Option<Words>,
}

impl Selection {
    fn filter(self, limit: u32) -> Result<DeadLetterFilter, Problem> {
        Ok(DeadLetterFilter {
            topic: self.topic.map(String::from),
            event_type: self.event_type.map(String::from),
            fingerprint: self.fingerprint.map(String::from),
            consumer_group: self.consumer_group.map(String::from),
            event_id: self.event_id.map(String::from),
            since: self.since.as_deref().map(|time| ago("since", time)).transpose()?,
            text: self.text.map(String::from),
            limit,
            ..DeadLetterFilter::default()
        })
    }
}

/// The time so long ago.
fn ago(name: &str, time: &str) -> Result<DateTime<Utc>, Problem> {
    let time = duration(name, time)?;
    dead_letters::ago(time)
        .ok_or_else(|| Problem::bad_request(format!("{name} is too long ago: a hundred years at most")))
}

fn duration(name: &str, time: &str) -> Result<Duration, Problem> {
    let with_unit = time.ends_with(|last: char| last.is_ascii_alphabetic());
    let duration = humantime::parse_duration(time).ok().filter(|_| with_unit);
    duration.ok_or_else(|| Problem::bad_request(format!("{name} is no time: write 90min, 24h or 7d")))
}

fn check_number(ids: &[Uuid]) -> Result<(), Problem> {
    match ids.len() {
        0 => Err(Problem::unprocessable("ids is empty: name at least one letter")),
        many if many > MOST => {
            Err(Problem::unprocessable(format!("{many} ids: name at most {MOST} at once")))
        }
        _ => Ok(()),
    }
}

fn no_letter() -> Problem {
    Problem::not_found("no dead letter has this id; /api/v1/dead-letters?status=all lists them")
}
