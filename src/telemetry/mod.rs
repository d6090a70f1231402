//! What the daemon tells of itself: logs to standard error, metrics to whoever asks, and both traces and metrics to an
//! OpenTelemetry collector, if there is one.
//!
//! # Layout
//!
//! - `logs`: what lines look like; `otlp`: the way to a collector, which costs nothing while it is away;
//! - [`gauges`]: what is read when somebody asks for metrics; what is counted on the way is in
//!   [`factline_pipeline::metrics`].

use std::time::Duration;

use factline_pipeline::{metrics::Metrics, trace};
use opentelemetry::{KeyValue, metrics::MeterProvider, trace::TracerProvider};
use opentelemetry_sdk::{Resource, metrics::SdkMeterProvider, trace::SdkTracerProvider};
use prometheus::{Registry, TextEncoder, proto::MetricFamily};
use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{Config, LogFormat};

pub mod gauges;
mod logs;
mod otlp;

pub use otlp::Error;

/// How long the end of the process waits for the collector to take the last spans.
const LAST_DELIVERY: Duration = Duration::from_secs(2);

/// The name of all instruments' and spans' scope.
const SCOPE: &str = "factline";

/// Starts logging to standard error; `RUST_LOG` decides what, `default` where it says nothing.
pub fn log(format: LogFormat, default: &str) {
    // A second start, in a test say, leaves the first one standing.
    if let Err(error) = tracing_subscriber::registry().with(logs::layer(format, default)).try_init() {
        tracing::debug!(%error, "logging had been started before");
    }
}

/// Everything that the daemon tells, until it is dropped.
pub struct Telemetry {
    registry: Registry,
    meters: SdkMeterProvider,
    traces: Option<SdkTracerProvider>,
    /// Where deliveries by gRPC run.
    _connections: Option<otlp::Connections>,
}

impl Telemetry {
    /// Starts logs, metrics and traces. Not to be called within a runtime.
    pub fn start(config: &Config, default_level: &str) -> Result<Self, Error> {
        let resource = resource(config);
        let registry = Registry::new();
        let exposed = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .scope_info_enabled(false)
            .build()?;
        let meters = SdkMeterProvider::builder().with_resource(resource.clone()).with_reader(exposed);
        let delivery = otlp::Delivery::of(&config.telemetry)?;
        let (meters, traces, connections) = match delivery {
            None => (meters.build(), None, None),
            Some(otlp::Delivery { metrics, spans, sampler, connections }) => {
                let traces = SdkTracerProvider::builder()
                    .with_resource(resource)
                    .with_sampler(sampler)
                    .with_span_processor(spans)
                    .build();
                (meters.with_reader(metrics).build(), Some(traces), Some(connections))
            }
        };
        let spans = traces.as_ref().map(|traces| {
            trace::record();
            tracing_opentelemetry::layer()
                .with_tracer(traces.tracer(SCOPE))
                .with_location(false)
                .with_threads(false)
                .with_level(false)
                .with_target(false)
                .with_tracked_inactivity(false)
                .with_filter(Targets::new().with_target(trace::TARGET, tracing::Level::INFO))
        });
        let logs = logs::layer(config.telemetry.log_format, default_level);
        if let Err(error) = tracing_subscriber::registry().with(spans).with(logs).try_init() {
            tracing::debug!(%error, "logging had been started before");
        }
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Self { registry, meters, traces, _connections: connections })
    }

    /// The pipeline's instruments.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics::new(&self.meters.meter(SCOPE))
    }

    /// Has the gauges read what they tell from there, from now on.
    pub fn watch(&self, source: &gauges::Source) {
        gauges::register(&self.meters.meter(SCOPE), source);
    }

    /// What there is to be exposed.
    #[must_use]
    pub fn exposition(&self) -> Exposition {
        Exposition(self.registry.clone())
    }
}

impl Drop for Telemetry {
    /// The last spans and numbers are delivered, if the collector is there.
    fn drop(&mut self) {
        if let Some(traces) = &self.traces {
            if let Err(error) = traces.shutdown_with_timeout(LAST_DELIVERY) {
                tracing::debug!(%error, "the last spans were not delivered");
            }
            if let Err(error) = self.meters.shutdown_with_timeout(LAST_DELIVERY) {
                tracing::debug!(%error, "the last metrics were not delivered");
            }
        }
    }
}

/// All metrics, as they are at the moment somebody asks.
#[derive(Clone, Default)]
pub struct Exposition(Registry);

impl Exposition {
    /// The metrics by their names.
    #[must_use]
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.0.gather()
    }

    /// In Prometheus' text format.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.gather())
    }
}

/// Who tells it.
fn resource(config: &Config) -> Resource {
    let instance = if config.instance.is_empty() {
        gethostname::gethostname().to_string_lossy().into_owned()
    } else {
        config.instance.clone()
    };
    Resource::builder()
        .with_attributes([
            KeyValue::new("service.name", "factline"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", instance),
        ])
        .build()
}
