//! The way to an OpenTelemetry collector, over gRPC or HTTP.
//!
//! Spans wait in a bounded queue and are dropped when it is full; they are sent by threads of their own. So a collector
//! that is slow or away costs the pipeline nothing but the spans. That it is away is told once, and once when it is back.

use std::{
    fmt::Debug,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    metrics::PeriodicReader,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SpanData, SpanExporter as Port},
};
use tokio::{runtime::Handle, sync::oneshot};

use crate::config::{self, OtlpProtocol};

/// How long the collector may take for one delivery.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Spans that may wait for their delivery: some 10 MB.
const WAITING_SPANS: usize = 8192;

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint is none.
    #[error("telemetry.otlp_endpoint is unusable")]
    Endpoint(#[from] opentelemetry_otlp::ExporterBuildError),
    /// No thread could be started to send from.
    #[error("no thread for the deliveries to telemetry.otlp_endpoint")]
    Thread(#[from] std::io::Error),
    /// The metrics cannot be exposed.
    #[error("metrics cannot be exposed")]
    Metrics(#[from] OTelSdkError),
    /// Nor those of the process.
    #[error("metrics of the process cannot be exposed")]
    Process(#[from] prometheus::Error),
}

/// What is sent, and how.
pub(super) struct Delivery {
    pub(super) metrics: PeriodicReader<MetricExporter>,
    pub(super) spans: BatchSpanProcessor,
    pub(super) sampler: Sampler,
    pub(super) connections: Connections,
}

impl Delivery {
    /// Nothing, if there is no endpoint.
    pub(super) fn of(config: &config::Telemetry) -> Result<Option<Self>, Error> {
        if config.otlp_endpoint.is_empty() {
            return Ok(None);
        }
        let connections = Connections::start()?;
        let (spans, metrics) = exporters(config, &connections.handle)?;
        let batches = BatchConfigBuilder::default().with_max_queue_size(WAITING_SPANS).build();
        let spans = BatchSpanProcessor::builder(Telling::new(spans)).with_batch_config(batches).build();
        let metrics = PeriodicReader::builder(metrics).with_interval(config.metrics_interval).build();
        // What the producer has decided stands.
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.sample_ratio)));
        Ok(Some(Self { metrics, spans, sampler, connections }))
    }
}

fn exporters(
    config: &config::Telemetry,
    runtime: &Handle,
) -> Result<(SpanExporter, MetricExporter), opentelemetry_otlp::ExporterBuildError> {
    let endpoint = config.otlp_endpoint.trim_end_matches('/');
    Ok(match config.otlp_protocol {
        OtlpProtocol::Grpc => {
            // The connection lives there.
            let _entered = runtime.enter();
            let spans = SpanExporter::builder().with_tonic();
            let metrics = MetricExporter::builder().with_tonic();
            (
                spans.with_endpoint(endpoint).with_timeout(DELIVERY_TIMEOUT).build()?,
                metrics.with_endpoint(endpoint).with_timeout(DELIVERY_TIMEOUT).build()?,
            )
        }
        OtlpProtocol::Http => {
            let spans = SpanExporter::builder().with_http();
            let metrics = MetricExporter::builder().with_http();
            let (to_spans, to_metrics) = (format!("{endpoint}/v1/traces"), format!("{endpoint}/v1/metrics"));
            (
                spans.with_endpoint(to_spans).with_timeout(DELIVERY_TIMEOUT).build()?,
                metrics.with_endpoint(to_metrics).with_timeout(DELIVERY_TIMEOUT).build()?,
            )
        }
    })
}

/// A thread on which connections by gRPC live, until it is dropped.
pub(super) struct Connections {
    handle: Handle,
    _until: oneshot::Sender<()>,
}

impl Connections {
    fn start() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (until, dropped) = oneshot::channel::<()>();
        std::thread::Builder::new().name("otlp".into()).spawn(move || runtime.block_on(dropped).ok())?;
        Ok(Self { handle, _until: until })
    }
}

/// An exporter that tells when it stops and begins to work.
#[derive(Debug)]
struct Telling<E> {
    exporter: E,
    is_away: AtomicBool,
}

impl<E> Telling<E> {
    fn new(exporter: E) -> Self {
        Self { exporter, is_away: AtomicBool::new(false) }
    }

    fn tell(&self, delivered: &OTelSdkResult) {
        let was_away = self.is_away.swap(delivered.is_err(), Ordering::Relaxed);
        match delivered {
            Err(error) if !was_away => {
                tracing::warn!(%error, "the collector does not take spans; they are dropped until it does");
            }
            Ok(()) if was_away => tracing::info!("the collector takes spans again"),
            _ => {}
        }
    }
}

impl<E: Port> Port for Telling<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let delivered = self.exporter.export(batch).await;
        self.tell(&delivered);
        delivered
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
