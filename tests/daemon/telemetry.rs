//! What the daemon tells: the whole trace of one event over gRPC and HTTP, its id on log lines and dead letters, metrics
//! for Prometheus and for the collector, and that a collector that is away costs nothing.

use serde_json::Value;

use super::stage::{Daemon, Stage, free_address, text, unique, until};
use crate::servers::{Collector, Protocol, Seen};

const PRODUCER: &str = "00f067aa0ba902b7";

/// A chat message whose producer's trace is this one, sampled or not.
async fn insert(stage: &Stage, key: &str, content: &str, trace: &str, flags: &str) {
    stage
        .execute(format!(
            "INSERT INTO outbox_events(topic, key, event_type, payload, headers) VALUES ('chat', '{key}', \
             'chat.message', jsonb_build_object('conversation_id', '{key}', 'message_id', 'm', 'role', 'user', \
             'content', '{content}'), jsonb_build_object('traceparent', '00-{trace}-{PRODUCER}-{flags}'))"
        ))
        .await;
}

fn a_trace() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

fn start(stage: &Stage, collector: &str, protocol: &str, more: &[(&str, &str)]) -> Daemon {
    let mut command = stage.command(&["run"]);
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
        .env("FACTLINE__TELEMETRY__OTLP_PROTOCOL", protocol)
        .env("FACTLINE__TELEMETRY__METRICS_INTERVAL", "200ms")
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .env("FACTLINE__EXTRACTORS__MISBEHAVE__KIND", "misbehave")
        .env("FACTLINE__GROUPS__FACTS__EXTRACTORS", r#"["patterns", "title", "misbehave"]"#)
        .envs(more.iter().copied());
    Daemon::start(command, stage.folder.path().join(unique("log")))
}

/// The spans of a trace with this operation.
fn spans_of(collector: &Collector, trace: &str, operation: &str) -> Vec<Seen> {
    let is_it = |span: &Seen| span.trace() == trace && span.name().split(' ').next() == Some(operation);
    collector.spans().into_iter().filter(is_it).collect()
}

async fn span_of(collector: &Collector, trace: &str, operation: &str) -> Seen {
    until(&format!("{operation} of {trace}"), || async { !spans_of(collector, trace, operation).is_empty() })
        .await;
    let mut spans = spans_of(collector, trace, operation);
    assert_eq!(spans.len(), 1, "{spans:?}");
    spans.remove(0)
}

#[tokio::test]
async fn the_whole_trace_of_an_event_arrives_by_grpc() {
    the_whole_trace_arrives(Protocol::Grpc, "grpc").await;
}

#[tokio::test]
async fn the_whole_trace_of_an_event_arrives_by_http() {
    the_whole_trace_arrives(Protocol::Http, "http").await;
}

async fn the_whole_trace_arrives(protocol: Protocol, name: &str) {
    let (stage, collector, trace) = (Stage::new().await, Collector::start(protocol), a_trace());
    let daemon = start(&stage, &collector.endpoint, name, &[]);
    insert(&stage, "c-1", "I live in Porto.", &trace, "01").await;
    stage.until_recorded(1).await;

    let (publish, process) =
        (span_of(&collector, &trace, "publish").await, span_of(&collector, &trace, "process").await);
    let (extract, record) =
        (span_of(&collector, &trace, "extract").await, span_of(&collector, &trace, "record").await);
    // producer → publish → process → extract, record
    assert_eq!(publish.parent(), PRODUCER);
    assert_eq!(process.parent(), publish.id());
    assert_eq!((extract.parent(), record.parent()), (process.id(), process.id()));
    assert_eq!((publish.kind(), process.kind(), extract.kind(), record.kind()), (4, 5, 1, 3));
    assert!(process.encloses(&extract) && process.encloses(&record));
    let event: String =
        sqlx::query_scalar("SELECT event_id::text FROM outbox_events").fetch_one(&stage.pool).await.unwrap();
    for (span, operation, kind) in [(&publish, "publish", "send"), (&process, "process", "process")] {
        assert_eq!(span.name(), format!("{operation} chat"));
        assert_eq!(span.service, "factline");
        assert_eq!(span.attribute("messaging.system"), "factline");
        assert_eq!(span.attribute("messaging.operation.name"), operation);
        assert_eq!(span.attribute("messaging.operation.type"), kind);
        assert_eq!(span.attribute("messaging.destination.name"), "chat");
        assert_eq!(span.attribute("messaging.message.id"), event);
        assert!(!span.has_failed());
    }
    assert_eq!(process.attribute("messaging.consumer.group.name"), "facts");
    assert_eq!(process.attribute("factline.attempt"), "1");
    assert_eq!(
        (record.attribute("factline.outcome"), record.attribute("factline.facts")),
        ("processed".into(), "1".into())
    );

    // What is done to many at once is a span of its own, with links.
    for (batch, to) in [("send", &publish), ("process batch", &publish), ("record batch", &process)] {
        until(&format!("{batch} with its link"), || async {
            let linked = |span: &Seen| span.name() == batch && span.links().contains(&to.id());
            collector.spans().iter().any(linked)
        })
        .await;
    }
    until("metrics", || async { collector.metrics().iter().any(|name| name == "factline.events.processed") })
        .await;

    let told = text(&stage.run(&["explain", &event]).stdout);
    assert!(told.contains(&trace), "{told}");
    assert_eq!(daemon.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_retry_is_a_span_of_its_own_and_what_is_set_aside_keeps_its_trace() {
    let (stage, collector) = (Stage::new().await, Collector::start(Protocol::Grpc));
    let daemon =
        start(&stage, &collector.endpoint, "grpc", &[("FACTLINE__GROUPS__FACTS__RETRY_INITIAL", "10ms")]);
    let (retried, dead, unsampled) = (a_trace(), a_trace(), a_trace());
    insert(&stage, "c-1", "misbehave: error once", &retried, "01").await;
    insert(&stage, "c-2", "misbehave: panic", &dead, "01").await;
    insert(&stage, "c-3", "Hello.", &unsampled, "00").await;
    let behind = a_trace();
    insert(&stage, "c-1", "Hello.", &behind, "01").await;
    stage.until_recorded(4).await;

    until("both tries", || async { spans_of(&collector, &retried, "process").len() == 2 }).await;
    let mut tries = spans_of(&collector, &retried, "process");
    tries.sort_by_key(|span| span.attribute("factline.attempt"));
    assert_eq!(tries[1].links(), [tries[0].id()]);
    assert_eq!((tries[0].has_failed(), tries[1].has_failed()), (true, false));
    assert_eq!(tries[0].attribute("error.type"), "exhausted");
    assert_eq!(tries[0].parent(), tries[1].parent(), "both are tries at the same message");

    let waited = span_of(&collector, &behind, "process").await;
    assert_eq!(
        waited.attribute("factline.attempt"),
        "1",
        "to wait behind another event of its key is no try"
    );

    let failed = span_of(&collector, &dead, "process").await;
    assert!(failed.has_failed() && failed.attribute("error.type") == "panic");
    assert_eq!(span_of(&collector, &dead, "record").await.attribute("factline.outcome"), "dead_lettered");
    let letters =
        format!("SELECT count(*) FROM factline.dead_letters WHERE headers ->> 'traceparent' LIKE '%{dead}%'");
    assert_eq!(stage.count(letters).await, 1);
    let lines = daemon.log();
    let line_of = |words: &str| lines.lines().find(|line| line.contains(words)).unwrap().to_owned();
    let set_aside: Value = serde_json::from_str(&line_of("event set aside")).unwrap();
    assert_eq!(set_aside["trace_id"], dead);
    assert!(set_aside["event_id"].is_string() && set_aside["group"] == "facts");
    let waits: Value = serde_json::from_str(&line_of("extraction failed for now")).unwrap();
    assert_eq!(waits["trace_id"], retried);
    assert!(
        !collector.spans().iter().any(|span| span.trace() == unsampled),
        "its producer did not want it recorded"
    );
    daemon.stop().await;
}

#[tokio::test]
async fn an_event_without_a_trace_begins_one_unless_the_ratio_says_no() {
    for (ratio, is_traced) in [("1.0", true), ("0.0", false)] {
        let (stage, collector, sampled) = (Stage::new().await, Collector::start(Protocol::Grpc), a_trace());
        let ratio = [("FACTLINE__TELEMETRY__SAMPLE_RATIO", ratio)];
        let daemon = start(&stage, &collector.endpoint, "grpc", &ratio);
        stage.insert_messages(3, 3).await;
        stage.until_recorded(3).await;
        // Whatever came before it has arrived when this one has, for its producer's decision stands.
        insert(&stage, "c-1", "Hello.", &sampled, "01").await;
        span_of(&collector, &sampled, "process").await;
        daemon.stop().await;
        let publish: Vec<Seen> =
            collector.spans().into_iter().filter(|span| span.name() == "publish chat").collect();
        assert_eq!(publish.len(), if is_traced { 4 } else { 1 });
        let traced = "SELECT count(*) FROM factline.event_ledger WHERE traceparent IS NOT NULL";
        assert_eq!(stage.count(traced).await, if is_traced { 4 } else { 1 });
    }
}

#[tokio::test]
async fn a_collector_that_is_away_costs_nothing_and_is_told_once() {
    let (stage, address) = (Stage::new().await, free_address());
    let daemon = start(&stage, &format!("http://{address}"), "grpc", &[]);
    stage.insert_messages(2000, 50).await;
    stage.until_recorded(2000).await;
    stage.assert_exactly_once_in_order().await;
    daemon.until_logged("the collector does not take spans").await;
    let collector = Collector::start_on(Protocol::Grpc, &address);
    until("it is told that it is back", || async {
        stage.insert_messages(1, 1).await;
        daemon.log().contains("the collector takes spans again")
    })
    .await;
    assert!(!collector.spans().is_empty());
    assert_eq!(daemon.log().matches("the collector does not take spans").count(), 1);
    assert_eq!(daemon.stop().await.code(), Some(0));
}
