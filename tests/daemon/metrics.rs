//! What the daemon counts, asked by a real Prometheus and as JSON.

use serde_json::Value;

use super::stage::{Daemon, Stage, free_address, unique, until};
use crate::servers::Prometheus;

fn start(stage: &Stage, address: &str) -> Daemon {
    let mut command = stage.command(&["run"]);
    command.env("FACTLINE__ADMIN__BIND", address).env("FACTLINE__TELEMETRY__OBSERVE_EVERY", "100ms");
    Daemon::start(command, stage.folder.path().join(unique("log")))
}

/// The daemon may be asked by a test that is a daemon itself.
async fn get(address: &str, path: &str) -> Option<String> {
    let url = format!("http://{address}{path}");
    let asked =
        tokio::task::spawn_blocking(move || ureq::get(url).call().ok()?.body_mut().read_to_string().ok());
    asked.await.unwrap()
}

async fn summary(address: &str) -> Value {
    get(address, "/metrics.json").await.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

#[tokio::test]
async fn prometheus_scrapes_what_became_of_the_events() {
    let (stage, address) = (Stage::new().await, free_address());
    let daemon = start(&stage, &address);
    let scraping = address.clone();
    let prometheus = tokio::task::spawn_blocking(move || Prometheus::scraping(&scraping)).await.unwrap();
    let ask = |query: &str| prometheus.ask(query);
    until("it is scraped before anything happens", || async {
        ask("factline_events_dead_lettered_total") == Some(0.0)
    })
    .await;

    stage.insert_messages(100, 10).await;
    let poison = "INSERT INTO outbox_events(topic, key, event_type, payload) VALUES ('chat', 'p', 'chat.message', '{}')";
    stage.execute(poison).await;
    stage.until_recorded(101).await;
    // A second entry of an event that took effect.
    stage.execute("UPDATE outbox_events SET status = 'pending', processed_at = NULL WHERE id = 1").await;
    for (query, wanted) in [
        ("factline_events_published_total{topic='chat'}", 102.0),
        ("factline_events_consumed_total{group='facts',topic='chat'}", 102.0),
        ("factline_events_processed_total{group='facts',topic='chat'}", 100.0),
        ("factline_events_dead_lettered_total{group='facts',stage='extract',kind='malformed'}", 1.0),
        ("factline_events_duplicate_total{group='facts'}", 1.0),
        ("factline_event_latency_seconds_count{group='facts'}", 101.0),
        ("factline_publish_attempts_total{outcome='success'}", 102.0),
        ("factline_publish_attempts_total{outcome='failure'}", 0.0),
        ("factline_batch_size_sum{stage='record'}", 102.0),
        ("factline_outbox_pending", 0.0),
        ("factline_dead_letters_open", 1.0),
        ("factline_relay_active", 1.0),
        ("factline_up", 3.0),
        ("sum(factline_stream_lag) + sum(factline_stream_pending)", 0.0),
        ("factline_actor_state{path='root/relay/outbox_poller',state='running'}", 1.0),
        ("factline_actor_restarts_total", 0.0),
        ("up{job='factline'}", 1.0),
    ] {
        until(&format!("{query} is {wanted}"), || async { ask(query) == Some(wanted) }).await;
    }
    for stage in ["claim", "publish", "mark", "queue", "extract", "record"] {
        let count = format!("factline_stage_duration_seconds_count{{stage='{stage}'}}");
        assert!(ask(&count) > Some(0.0), "{stage}");
    }
    assert!(ask("factline_pool_connections{pool='store',state='max'}") == Some(8.0));
    let rising = "increase(factline_events_dead_lettered_total[10m]) > 0";
    assert!(ask(rising).is_some(), "the first dead letter of a daemon's life is a rise, too");

    let exposition = get(&address, "/metrics").await.unwrap();
    assert_eq!(Prometheus::lint(&exposition), "");
    let summary = summary(&address).await;
    for (name, wanted) in [
        ("events_published_total", serde_json::json!({ "chat": 102 })),
        ("events_consumed_total", serde_json::json!({ "chat": 102 })),
        ("events_dlq_total", serde_json::json!({ "chat": 1 })),
        ("outbox_backlog", 0.into()),
        ("publish_success_total", 102.into()),
        ("publish_failure_total", 0.into()),
        ("success_rate", 99.01.into()),
        ("consumer_lag_seconds", 0.into()),
        ("events_processed_success", 100.into()),
        ("events_processed_failure", 1.into()),
    ] {
        assert_eq!(summary[name], wanted, "{name} of {summary}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn latency_is_measured_from_the_insert_and_not_from_when_it_happened() {
    let (stage, address) = (Stage::new().await, free_address());
    let daemon = start(&stage, &address);
    stage
        .execute(
            "INSERT INTO outbox_events(topic, key, event_type, payload, occurred_at) \
             VALUES ('chat', 'c', 'x', '{}', now() - interval '1 year')",
        )
        .await;
    stage.until_recorded(1).await;
    let latency = async || {
        let text = get(&address, "/metrics").await.unwrap_or_default();
        let line =
            text.lines().find(|line| line.starts_with("factline_event_latency_seconds_sum"))?.to_owned();
        line.rsplit(' ').next()?.parse::<f64>().ok()
    };
    until("it is measured", || async { latency().await.is_some() }).await;
    // On whatever machine: a year it is not.
    assert!(latency().await.unwrap() < 86_400.0);
    daemon.stop().await;
}
