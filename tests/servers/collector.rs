//! An OpenTelemetry collector that keeps what it is sent: OTLP's own protobufs, over gRPC and over HTTP.

use std::{
    net::TcpListener,
    sync::{Arc, Mutex},
};

use actix_web::{App, HttpResponse, HttpServer, web};
use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{Span, status::StatusCode},
};
use prost::Message;
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

/// How it is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Grpc,
    Http,
}

/// A collector of the test. Its threads end with the test process.
#[derive(Clone)]
pub(crate) struct Collector {
    pub(crate) endpoint: String,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    spans: Vec<Seen>,
    metrics: Vec<String>,
}

/// A span as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) service: String,
    span: Span,
}

impl Seen {
    pub(crate) fn name(&self) -> &str {
        &self.span.name
    }

    pub(crate) fn trace(&self) -> String {
        hex(&self.span.trace_id)
    }

    pub(crate) fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    pub(crate) fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    /// OTLP's numbers: 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    pub(crate) fn kind(&self) -> i32 {
        self.span.kind
    }

    pub(crate) fn links(&self) -> Vec<String> {
        self.span.links.iter().map(|link| hex(&link.span_id)).collect()
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error)
    }

    /// An attribute as text; empty if there is none.
    pub(crate) fn attribute(&self, name: &str) -> String {
        text_of(&self.span.attributes, name)
    }

    pub(crate) fn encloses(&self, other: &Self) -> bool {
        self.span.start_time_unix_nano <= other.span.start_time_unix_nano
            && other.span.end_time_unix_nano <= self.span.end_time_unix_nano
    }
}

impl Collector {
    pub(crate) fn start(protocol: Protocol) -> Self {
        Self::start_on(protocol, "127.0.0.1:0")
    }

    pub(crate) fn start_on(protocol: Protocol, address: &str) -> Self {
        let listener = TcpListener::bind(address).expect("there is a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
        let collector = Self { endpoint, kept: Arc::default() };
        let serving = collector.clone();
        std::thread::spawn(move || match protocol {
            Protocol::Grpc => serve_grpc(serving, listener),
            Protocol::Http => serve_http(serving, listener),
        });
        collector
    }

    pub(crate) fn spans(&self) -> Vec<Seen> {
        self.kept.lock().unwrap().spans.clone()
    }

    /// The names of metrics.
    pub(crate) fn metrics(&self) -> Vec<String> {
        self.kept.lock().unwrap().metrics.clone()
    }

    fn keep_spans(&self, request: ExportTraceServiceRequest) {
        for resource in request.resource_spans {
            let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
            let service = text_of(&attributes, "service.name");
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let spans = spans.map(|span| Seen { service: service.clone(), span });
            self.kept.lock().unwrap().spans.extend(spans);
        }
    }

    fn keep_metrics(&self, request: ExportMetricsServiceRequest) {
        let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
        let names = scopes.flat_map(|scope| scope.metrics).map(|metric| metric.name);
        self.kept.lock().unwrap().metrics.extend(names);
    }
}

fn serve_grpc(collector: Collector, listener: TcpListener) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        listener.set_nonblocking(true).unwrap();
        let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener).unwrap());
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .add_service(MetricsServiceServer::new(collector));
        server.serve_with_incoming(incoming).await.unwrap();
    });
}

fn serve_http(collector: Collector, listener: TcpListener) {
    let app = move || {
        let (spans, metrics) = (collector.clone(), collector.clone());
        let keep_spans = move |body: web::Bytes| {
            spans.keep_spans(ExportTraceServiceRequest::decode(body).unwrap());
            std::future::ready(HttpResponse::Ok().finish())
        };
        let keep_metrics = move |body: web::Bytes| {
            metrics.keep_metrics(ExportMetricsServiceRequest::decode(body).unwrap());
            std::future::ready(HttpResponse::Ok().finish())
        };
        App::new()
            .app_data(web::PayloadConfig::new(64 << 20))
            .route("/v1/traces", web::post().to(keep_spans))
            .route("/v1/metrics", web::post().to(keep_metrics))
    };
    let server = HttpServer::new(app).workers(1).disable_signals().listen(listener).unwrap();
    actix_web::rt::System::new().block_on(server.run()).unwrap();
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.keep_spans(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.keep_metrics(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

fn text_of(attributes: &[KeyValue], name: &str) -> String {
    let value = attributes.iter().find(|one| one.key == name).and_then(|one| one.value.clone());
    match value {
        Some(AnyValue { value: Some(Value::StringValue(text)) }) => text,
        Some(AnyValue { value: Some(Value::IntValue(number)) }) => number.to_string(),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}
