//! `/metrics` for Prometheus, and `/metrics.json`, the same with the names that operators of outbox pipelines know.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, get, http::StatusCode, web::Data};
use factline_pipeline::metrics::RELAY;
use prometheus::{
    TEXT_FORMAT,
    proto::{Metric, MetricFamily},
};
use serde_json::{Value, json};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{State, access::Viewer, problem::Problem};

pub(super) fn routes(routes: &mut ServiceConfig<'_>) {
    routes.service(text).service(summarized);
}

/// The metrics in Prometheus' text format.
#[utoipa::path(tag = "metrics", security(("bearer" = [])), responses(
    (status = OK, body = String, content_type = "text/plain", description = "all metrics"),
))]
#[get("/metrics")]
async fn text(_: Viewer, state: Data<State>) -> Result<HttpResponse, Problem> {
    let text = state.exposition.text().map_err(|error| {
        tracing::error!(%error, "metrics cannot be written");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written; see the log")
    })?;
    Ok(HttpResponse::Ok().content_type(TEXT_FORMAT).body(text))
}

/// The numbers that a person asks for first, as one JSON object.
#[utoipa::path(tag = "metrics", security(("bearer" = [])), responses(
    (status = OK, body = Object, description = "a number for each name"),
))]
#[get("/metrics.json")]
async fn summarized(_: Viewer, state: Data<State>) -> HttpResponse {
    HttpResponse::Ok().json(summary(&state.exposition.gather()))
}

/// The numbers that a person asks for first. Counters are since the start of this daemon.
fn summary(families: &[MetricFamily]) -> Value {
    let numbers = Numbers(families);
    let attempts = |outcome: &str| {
        numbers.sum_where("factline_publish_attempts_total", |metric| label(metric, "outcome") == outcome)
    };
    let (succeeded, failed) = (attempts("success"), attempts("failure"));
    let processed = numbers.sum("factline_events_processed_total");
    let set_aside =
        numbers.sum_where("factline_events_dead_lettered_total", |metric| label(metric, "group") != RELAY);
    json!({
        "events_published_total": numbers.by("factline_events_published_total", "topic"),
        "events_consumed_total": numbers.by("factline_events_consumed_total", "topic"),
        "events_dlq_total": numbers.by("factline_events_dead_lettered_total", "topic"),
        "events_duplicate_total": number(numbers.sum("factline_events_duplicate_total")),
        "outbox_backlog": number(numbers.sum("factline_outbox_pending")),
        "outbox_oldest_seconds": number(numbers.sum("factline_outbox_oldest_age_seconds")),
        "publish_success_total": number(succeeded),
        "publish_failure_total": number(failed),
        "publish_success_rate": rate(succeeded, failed),
        "consumer_lag_seconds": number(numbers.most("factline_consumer_lag_seconds")),
        "consumer_lag": number(numbers.sum("factline_stream_lag")),
        "events_processed_success": number(processed),
        "events_processed_failure": number(set_aside),
        "success_rate": rate(processed, set_aside),
        "facts_stated_total": number(numbers.sum("factline_facts_stated_total")),
        "dead_letters_open": number(numbers.sum("factline_dead_letters_open")),
        "restarts_total": number(numbers.sum("factline_actor_restarts_total")),
    })
}

/// A count as a count.
fn number(value: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "whole, and far from where it would not fit")]
    if value.fract() == 0.0 && value.abs() < 1e15 { json!(value as i64) } else { json!(value) }
}

/// In per cent, with two decimals; all of nothing is everything.
fn rate(succeeded: f64, failed: f64) -> f64 {
    if failed == 0.0 { 100.0 } else { (succeeded / (succeeded + failed) * 10_000.0).round() / 100.0 }
}

struct Numbers<'a>(&'a [MetricFamily]);

impl Numbers<'_> {
    fn of(&self, name: &str) -> impl Iterator<Item = &Metric> {
        let family = self.0.iter().filter(move |family| family.name() == name);
        family.flat_map(MetricFamily::get_metric)
    }

    fn sum_where(&self, name: &str, counts: impl Fn(&Metric) -> bool) -> f64 {
        self.of(name).filter(|metric| counts(metric)).map(value).sum()
    }

    fn sum(&self, name: &str) -> f64 {
        self.sum_where(name, |_| true)
    }

    fn most(&self, name: &str) -> f64 {
        self.of(name).map(value).fold(0.0, f64::max)
    }

    fn by(&self, name: &str, by: &str) -> BTreeMap<String, Value> {
        let mut sums: BTreeMap<String, f64> = BTreeMap::new();
        for metric in self.of(name) {
            *sums.entry(label(metric, by).to_owned()).or_default() += value(metric);
        }
        sums.into_iter().map(|(name, sum)| (name, number(sum))).collect()
    }
}

/// A metric is a counter or a gauge, and 0 as the other one.
fn value(metric: &Metric) -> f64 {
    metric.get_counter().get_value() + metric.get_gauge().get_value()
}

fn label<'a>(metric: &'a Metric, name: &str) -> &'a str {
    metric.get_label().iter().find(|label| label.name() == name).map_or("", |label| label.value())
}
