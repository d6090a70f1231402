//! That the services find each other: every name and port that one file says is one that another file opens.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{dotenv, expanded, read, services, texts, yaml};

/// The settings of `.env.example`, and something for each secret.
fn example() -> BTreeMap<String, String> {
    let with_secrets = |(name, value): (String, String)| {
        let value = if value.is_empty() { "0123456789abcdef".repeat(4) } else { value };
        (name, value)
    };
    let mut example: BTreeMap<_, _> = dotenv(&read(".env.example")).into_iter().map(with_secrets).collect();
    example.insert("SOURCE_DATABASE_URL".into(), String::new());
    example
}

fn environment_of(service: &str) -> BTreeMap<String, String> {
    let environment = services()[service]["environment"].as_object().unwrap().clone();
    let texts = environment.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())));
    texts.map(|(name, value)| (name, expanded(&value, &example()))).collect()
}

#[test]
fn the_daemons_environment_is_a_configuration_and_without_tokens_none() {
    let environment = environment_of("factline");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("factline.toml"), read("deploy/factline.toml")).unwrap();
    let check = |without: &str| {
        let mut command = crate::daemon::stage::bare_command(&["config", "check"]);
        let environment =
            environment.iter().filter(|(name, _)| without.is_empty() || !name.contains(without));
        command.current_dir(folder.path()).envs(environment).output().unwrap()
    };
    super::assert_success(&check(""));
    let refused = check("__TOKENS__");
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("admin.bind is reachable from outside"));
}

#[test]
fn the_daemon_and_its_migrations_look_at_the_same_servers() {
    let (daemon, migrations) = (environment_of("factline"), environment_of("migrate"));
    for name in ["DATABASE_URL", "SOURCE_DATABASE_URL", "REDIS_URL"] {
        assert_eq!(daemon[name], migrations[name]);
    }
    let postgres = environment_of("postgres");
    let url = url::Url::parse(&daemon["DATABASE_URL"]).unwrap();
    assert_eq!(url.host_str(), Some("postgres"));
    assert_eq!(url.username(), postgres["POSTGRES_USER"]);
    assert_eq!(url.password(), Some(postgres["POSTGRES_PASSWORD"].as_str()));
    assert_eq!(url.path(), format!("/{}", postgres["POSTGRES_DB"]));
    let redis = url::Url::parse(&daemon["REDIS_URL"]).unwrap();
    assert_eq!(redis.host_str(), Some("redis"));
    assert_eq!(redis.password(), Some(environment_of("redis")["REDISCLI_AUTH"].as_str()));
    let sample = environment_of("sample");
    assert_eq!(sample["PGPASSWORD"], postgres["POSTGRES_PASSWORD"]);
}

/// Both are in one of their networks together.
fn share_a_network(one: &str, other: &str) -> bool {
    let services = services();
    let of_one = texts(&services[one]["networks"]);
    texts(&services[other]["networks"]).iter().any(|network| of_one.contains(network))
}

#[test]
fn whoever_is_called_by_name_is_a_service_that_can_be_reached() {
    let mut calls = vec![
        ("factline", "http://otel-collector:4317".to_owned()),
        ("factline", "postgres://postgres:5432".to_owned()),
        ("factline", "redis://redis:6379".to_owned()),
        ("migrate", "postgres://postgres:5432".to_owned()),
        ("sample", "postgres://postgres:5432".to_owned()),
    ];
    assert_eq!(environment_of("factline")["OTEL_EXPORTER_OTLP_ENDPOINT"], calls[0].1);
    let prometheus = yaml("deploy/prometheus/prometheus.yml");
    let targets = |jobs: &Value| -> Vec<String> {
        let configs =
            jobs.as_array().unwrap().iter().flat_map(|job| job["static_configs"].as_array().unwrap());
        configs.flat_map(|config| texts(&config["targets"])).map(str::to_owned).collect()
    };
    let scraped = targets(&prometheus["scrape_configs"]);
    let told = targets(&prometheus["alerting"]["alertmanagers"]);
    let other = scraped.iter().chain(&told).filter(|target| !target.starts_with("localhost"));
    calls.extend(other.map(|target| ("prometheus", format!("http://{target}"))));
    for source in
        yaml("deploy/grafana/provisioning/datasources/datasources.yml")["datasources"].as_array().unwrap()
    {
        calls.push(("grafana", source["url"].as_str().unwrap().to_owned()));
    }
    let collector = yaml("otel-collector.yaml");
    calls.push((
        "otel-collector",
        format!("http://{}", collector["exporters"]["otlp/jaeger"]["endpoint"].as_str().unwrap()),
    ));
    let services = services();
    for (caller, url) in &calls {
        let url = url::Url::parse(url).unwrap();
        let called = url.host_str().unwrap();
        assert!(services.contains_key(called), "{caller} calls {url}");
        assert!(share_a_network(caller, called), "{caller} does not reach {called}");
    }
    assert!(calls.len() > 11);
}

#[test]
fn the_collectors_parts_are_all_in_use_and_listen_where_they_are_called() {
    let collector = yaml("otel-collector.yaml");
    let service = &collector["service"];
    for kind in ["receivers", "processors", "exporters"] {
        let mut used: Vec<&str> = Vec::new();
        for pipeline in service["pipelines"].as_object().unwrap().values() {
            used.extend(texts(&pipeline[kind]));
        }
        used.sort_unstable();
        used.dedup();
        let defined: Vec<&String> = collector[kind].as_object().unwrap().keys().collect();
        assert_eq!(defined, used, "{kind}");
    }
    let protocols = &collector["receivers"]["otlp"]["protocols"];
    assert_eq!(protocols["grpc"]["endpoint"], "0.0.0.0:4317");
    assert_eq!(protocols["http"]["endpoint"], "0.0.0.0:4318");
    for pipeline in service["pipelines"].as_object().unwrap().values() {
        assert_eq!(pipeline["processors"][0], "memory_limiter", "it refuses before anything else is done");
    }
    let jaeger = yaml("deploy/jaeger/jaeger.yaml");
    assert_eq!(jaeger["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"], "0.0.0.0:4317");
    // What the health checks ask for.
    let asked = |name: &str| services()[name]["healthcheck"]["test"][5].as_str().unwrap().to_owned();
    assert!(
        asked("otel-collector")
            .contains(collector["extensions"]["health_check"]["endpoint"].as_str().unwrap())
    );
    assert!(
        asked("jaeger").contains(":13133/")
            && jaeger["extensions"]["healthcheckv2"]["http"]["endpoint"] == "0.0.0.0:13133"
    );
}

#[test]
fn prometheus_has_the_token_that_the_daemon_takes() {
    let prometheus = yaml("deploy/prometheus/prometheus.yml");
    let job = &prometheus["scrape_configs"][0];
    assert_eq!(job["job_name"], "factline");
    let secret = texts(&services()["prometheus"]["secrets"])[0].to_owned();
    assert_eq!(job["authorization"]["credentials_file"], format!("/run/secrets/{secret}"));
    assert_eq!(environment_of("factline")["FACTLINE__ADMIN__TOKENS__PROMETHEUS__ROLE"], "viewer");
    // By the name under which Prometheus calls it, for it looks at Host.
    assert_eq!(environment_of("factline")["FACTLINE__ADMIN__HOSTS"], "[\"factline\"]");
    assert_eq!(job["static_configs"][0]["targets"][0], "factline:8080");
}
