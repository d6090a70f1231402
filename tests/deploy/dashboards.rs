//! The dashboards: that they are some, and that they and the rules ask for what the daemon tells.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{assert_success, root, rules, yaml};
use crate::daemon::stage::{PATIENCE, Stage, free_address};

/// Metrics of others: Prometheus itself, and the node exporter.
const FOREIGN: [&str; 4] = ["up", "ALERTS", "node_filesystem_avail_bytes", "node_filesystem_size_bytes"];

fn dashboards() -> Vec<Value> {
    let folder = root().join("deploy/grafana/dashboards");
    let files =
        std::fs::read_dir(folder).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    files.map(|text| serde_json::from_str(&text).unwrap()).collect()
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row").collect()
}

/// Everything that is asked of Prometheus.
fn expressions() -> Vec<String> {
    let mut expressions = Vec::new();
    for dashboard in dashboards() {
        for query in panels(&dashboard).iter().flat_map(|panel| panel["targets"].as_array().unwrap()) {
            expressions.push(query["expr"].as_str().unwrap().to_owned());
        }
        for annotation in dashboard["annotations"]["list"].as_array().unwrap() {
            expressions.push(annotation["expr"].as_str().unwrap().to_owned());
        }
    }
    let expressions = expressions.into_iter().map(|expression| expression.replace("$__rate_interval", "5m"));
    let rules = rules::rules().into_iter().map(|rule| rule["expr"].as_str().unwrap().to_owned());
    expressions.chain(rules).collect()
}

/// An expression without what is between these, which is no name of a metric.
fn without(expression: &str, open: char, close: char) -> String {
    let mut kept = String::new();
    let mut inside = false;
    for letter in expression.chars() {
        if letter == open && !inside {
            inside = true;
            kept.push(' ');
        } else if letter == close && inside {
            inside = false;
        } else if !inside {
            kept.push(letter);
        }
    }
    kept
}

/// The metrics that an expression asks for.
fn metrics_of(expression: &str) -> BTreeSet<String> {
    const KEYWORDS: [&str; 4] = ["and", "or", "unless", "bool"];
    const LABELS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
    let expression = without(&without(&without(expression, '"', '"'), '{', '}'), '[', ']');
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut metrics = BTreeSet::new();
    let mut rest = expression.as_str();
    while let Some(start) = rest.find(is_part) {
        let end = rest[start..].find(|c| !is_part(c)).map_or(rest.len(), |length| start + length);
        let word = &rest[start..end];
        rest = rest[end..].trim_start();
        let next = rest.split(|c| !is_part(c)).next().unwrap();
        if LABELS.contains(&word) {
            rest = rest.strip_prefix('(').map_or(rest, |labels| labels.split_once(')').unwrap().1);
        } else if !rest.starts_with('(')
            && !["by", "without"].contains(&next)
            && !KEYWORDS.contains(&word)
            && !word.starts_with(|c: char| c.is_ascii_digit())
        {
            metrics.insert(word.to_owned());
        }
    }
    metrics
}

#[test]
fn the_metrics_of_an_expression_are_found() {
    let found = |expression: &str| metrics_of(expression).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(
        found("sum by (le, b) (rate(x_total{a=\"y_total{\"}[5m])) / on (c) group_left (d) z:r5m > 0.05"),
        "x_total z:r5m"
    );
    assert_eq!(found("a or 0 * max by (job) (up == 1) unless b"), "a b up");
    assert_eq!(found("histogram_quantile(0.5, sum by (le) (rate(h_bucket[1m]))) or vector(1e3)"), "h_bucket");
}

#[test]
fn every_dashboard_is_one_of_its_own_and_asks_sources_that_are_provisioned() {
    let sources = yaml("deploy/grafana/provisioning/datasources/datasources.yml");
    let sources: Vec<&Value> =
        sources["datasources"].as_array().unwrap().iter().map(|source| &source["uid"]).collect();
    let dashboards = dashboards();
    let unique = |field: &str| {
        dashboards.iter().map(|one| one[field].as_str().unwrap()).collect::<BTreeSet<_>>().len()
    };
    assert!(dashboards.len() == 3 && unique("uid") == 3 && unique("title") == 3);
    for dashboard in &dashboards {
        let ids = dashboard["panels"].as_array().unwrap().iter().map(|panel| panel["id"].as_u64().unwrap());
        assert_eq!(ids.collect::<BTreeSet<_>>().len(), dashboard["panels"].as_array().unwrap().len());
        let mut taken = BTreeSet::new();
        for panel in panels(dashboard) {
            let title = &panel["title"];
            assert!(sources.contains(&&panel["datasource"]["uid"]), "{title}");
            assert!(!panel["targets"].as_array().unwrap().is_empty(), "{title}");
            let place = |field: &str| panel["gridPos"][field].as_u64().unwrap();
            for x in place("x")..place("x") + place("w") {
                for y in place("y")..place("y") + place("h") {
                    assert!(x < 24 && taken.insert((x, y)), "{title} lies over another panel");
                }
            }
        }
    }
    let overview = "/etc/factline/dashboards/overview.json";
    assert_eq!(
        super::services()["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"],
        overview
    );
    let provider = yaml("deploy/grafana/provisioning/dashboards/dashboards.yml");
    assert!(overview.starts_with(provider["providers"][0]["options"]["path"].as_str().unwrap()));
}

#[test]
fn every_query_is_one_that_prometheus_understands() {
    let rules: Vec<Value> = expressions()
        .iter()
        .enumerate()
        .map(|(number, expression)| json!({ "record": format!("query:{number}"), "expr": expression }))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let groups = json!({ "groups": [{ "name": "queries", "rules": rules }] });
    std::fs::write(folder.path().join("queries.yml"), groups.to_string()).unwrap();
    assert_success(&rules::promtool(&["check", "rules", "queries.yml"], folder.path()));
}

/// The names of all samples that the daemon tells now.
fn told(address: &str) -> BTreeSet<String> {
    let answer = ureq::get(format!("http://{address}/metrics")).call();
    let Ok(text) = answer.and_then(|mut answer| answer.body_mut().read_to_string()) else {
        return BTreeSet::new();
    };
    let samples = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    samples.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect()
}

/// What the daemon has to tell for every panel and alert: recorded rules and others' metrics taken away.
fn asked_of_the_daemon() -> BTreeSet<String> {
    let recorded: BTreeSet<String> =
        rules::rules().iter().filter_map(|rule| rule["record"].as_str().map(str::to_owned)).collect();
    let asked = expressions().iter().flat_map(|expression| metrics_of(expression)).collect::<BTreeSet<_>>();
    let is_ours = |name: &String| !recorded.contains(name) && !FOREIGN.contains(&name.as_str());
    asked.into_iter().filter(is_ours).collect()
}

#[tokio::test]
async fn every_metric_that_is_asked_for_is_told_by_a_daemon_that_has_seen_everything() {
    let stage = Stage::new().await;
    let admin = free_address();
    let daemon = stage.start_with(
        &["run"],
        &[
            ("FACTLINE__ADMIN__BIND", &admin),
            ("FACTLINE__GROUPS__FACTS__EXTRACTORS", r#"["patterns", "title", "misbehave"]"#),
            ("FACTLINE__EXTRACTORS__MISBEHAVE__KIND", "misbehave"),
            ("FACTLINE__TELEMETRY__OBSERVE_EVERY", "100ms"),
        ],
    );
    stage.insert_messages(20, 5).await;
    let says = |what: &str| {
        format!(
            "INSERT INTO outbox_events(topic, key, event_type, payload) VALUES ('chat', 'c', 'chat.message', \
             '{{\"conversation_id\": \"c\", \"content\": \"misbehave: {what}\"}}')"
        )
    };
    stage.execute(says("error once")).await;
    stage.execute(says("panic")).await;
    stage.until_recorded(22).await;
    // Once more: they have taken effect already.
    stage.execute("UPDATE outbox_events SET status = 'pending', processed_at = NULL").await;
    let asked = asked_of_the_daemon();
    assert!(asked.len() > 30, "{asked:?}");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let told = told(&admin);
        let missing: Vec<&String> = asked.difference(&told).collect();
        if missing.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "asked for and not told: {missing:?}\ntold: {told:?}");
        sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(daemon.stop().await.success());
}
