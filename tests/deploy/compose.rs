//! `docker-compose.yml`: what every service must have, and that it is written in the specification's own words.

use std::process::Command;

use serde_json::{Value, json};

use super::{assert_success, read, root, services, texts, tool, variables, yaml};

/// Runs once and is done.
const ONE_SHOT: &str = "migrate";

#[test]
fn it_follows_the_specification_to_the_letter() {
    let check = |file: &std::path::Path| {
        let mut command = Command::new(tool("check-jsonschema"));
        command.args(["--builtin-schema", "vendor.compose-spec"]).arg(file).output().unwrap()
    };
    assert_success(&check(&root().join("docker-compose.yml")));
    // That it would say so.
    let folder = tempfile::tempdir().unwrap();
    let mut compose = yaml("docker-compose.yml");
    compose["services"]["factline"]["restarts"] = json!("always");
    let wrong = folder.path().join("compose.json");
    std::fs::write(&wrong, compose.to_string()).unwrap();
    assert!(!check(&wrong).status.success());
}

/// A version that will be the same tomorrow: numbers with points between them, or a day.
fn is_exact(tag: &str) -> bool {
    let numbers: Vec<&str> =
        tag.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty()).collect();
    let is_version = tag.trim_start_matches('v').split('-').next().is_some_and(|version| {
        version.split('.').count() == 3 && version.split('.').all(|part| part.parse::<u32>().is_ok())
    });
    let is_release = tag.split('-').next().is_some_and(|version| {
        version.split('.').count() == 2 && version.split('.').all(|part| part.parse::<u32>().is_ok())
    });
    is_version || is_release || numbers.iter().any(|number| number.len() == 8)
}

#[test]
fn every_image_has_an_exact_version() {
    let mut images = Vec::new();
    for service in services().into_values() {
        images.push(service["image"].as_str().unwrap().to_owned());
        images.extend(service["build"]["args"]["IMAGE"].as_str().map(str::to_owned));
    }
    for dockerfile in ["deploy/Dockerfile", "deploy/with-wget.Dockerfile"] {
        let text = read(dockerfile);
        let argument = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("ARG {name}=")));
            line.map(str::to_owned)
        };
        for line in text.lines().filter_map(|line| line.strip_prefix("FROM ")) {
            let mut image = line.split(' ').next().unwrap().to_owned();
            for name in ["RUST_VERSION", "DEBIAN_VERSION"] {
                image = image.replace(&format!("${{{name}}}"), &argument(name).unwrap_or_default());
            }
            images.push(image);
        }
    }
    // Comes from docker-compose.yml.
    images.retain(|image| image != "${IMAGE}");
    for image in &images {
        let image = image.replace("${FACTLINE_VERSION:-", "").replace('}', "");
        let (_, tag) = image.rsplit_once(':').unwrap_or_else(|| panic!("{image} has no tag"));
        assert!(is_exact(tag), "{image}");
    }
    assert!(images.len() > 12, "{images:?}");
    assert!(!is_exact("latest") && !is_exact("15") && !is_exact("v3") && !is_exact("bookworm-slim"));
}

#[test]
fn every_mounted_file_is_there_and_cannot_be_written() {
    let mut mounts = 0;
    for (name, service) in services() {
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let Some(source) = volume["source"].as_str() else {
                let (volume, _) = volume.as_str().unwrap().split_once(':').unwrap();
                assert!(yaml("docker-compose.yml")["volumes"][volume].is_object(), "{name}: {volume}");
                continue;
            };
            assert!(root().join(source).exists(), "{name}: {source}");
            assert!(volume["bind"]["propagation"].is_null(), "{name}: {source}; a host may refuse it");
            assert_eq!(volume["read_only"], true, "{name}: {source}");
            mounts += 1;
        }
    }
    assert!(mounts > 8);
}

#[test]
fn every_variable_has_a_default_or_must_be_given_and_is_in_the_example() {
    let text = read("docker-compose.yml");
    let example = super::dotenv(&read(".env.example"));
    let mut used: Vec<&str> = variables(&text).into_iter().map(|(name, _)| name).collect();
    used.push("FACTLINE_VIEWER_TOKEN"); // the secret's
    assert!(
        yaml("docker-compose.yml")["secrets"]["factline-viewer-token"]["environment"]
            == "FACTLINE_VIEWER_TOKEN"
    );
    for (name, rest) in variables(&text) {
        let example = example.get(name).unwrap_or_else(|| panic!("{name} is not in .env.example"));
        match rest.strip_prefix(":-") {
            Some(default) => assert_eq!(default, example, "{name}"),
            None => assert!(rest.starts_with(":?") && example.is_empty(), "{name}{rest}"),
        }
    }
    for name in example.keys() {
        assert!(used.contains(&name.as_str()), "{name} of .env.example is not used");
    }
}

#[test]
fn every_service_is_bounded_and_has_no_rights_that_it_does_not_need() {
    for (name, service) in services() {
        let limits = &service["deploy"]["resources"]["limits"];
        for limit in ["cpus", "memory", "pids"] {
            assert!(!limits[limit].is_null(), "{name}: {limit}");
        }
        assert_eq!(texts(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(texts(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
        assert_eq!(service["logging"]["options"]["max-size"], "10m", "{name}");
        let restart = if name == ONE_SHOT { "no" } else { "unless-stopped" };
        assert_eq!(service["restart"], restart, "{name}");
        // Docker writes a secret that comes from the environment into the container's own file system.
        assert_eq!(service["read_only"] == true, service["secrets"].is_null(), "{name}");
        let is_privileged = |key: &str| !service[key].is_null();
        assert!(!["privileged", "network_mode", "pid", "ipc"].into_iter().any(is_privileged), "{name}");
        assert!(service["cap_add"].is_null() || name == "postgres", "{name}");
    }
}

#[test]
fn nothing_is_published_beyond_loopback() {
    let mut published = Vec::new();
    for (name, service) in services() {
        for port in texts(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:${"), "{name}: {port}");
            assert!(
                texts(&service["networks"]).contains(&"front"),
                "{name} has a port that Docker would not publish"
            );
            published.push(name.clone());
        }
    }
    assert_eq!(published, ["alertmanager", "factline", "grafana", "jaeger", "postgres", "prometheus"]);
    let networks = &yaml("docker-compose.yml")["networks"];
    for (network, internal) in [("data", true), ("telemetry", true), ("front", false)] {
        assert_eq!(networks[network]["internal"] == true, internal, "{network}");
    }
    let is_outside = |name: &str| {
        texts(&services()[name]["networks"]).iter().any(|network| networks[network]["internal"] != true)
    };
    // Either may be told of an outbox on another server.
    assert_eq!(is_outside(ONE_SHOT), is_outside("factline"));
    assert!(is_outside("factline") && !is_outside("redis"));
    // The streams are for the daemon alone.
    assert_eq!(texts(&services()["redis"]["networks"]), ["data"]);
}

#[test]
fn every_service_can_be_asked_and_starts_after_what_it_needs() {
    let services = services();
    for (name, service) in &services {
        assert_eq!(service["healthcheck"]["test"].is_array(), name != ONE_SHOT, "{name}");
        for (other, how) in service["depends_on"].as_object().into_iter().flatten() {
            let other_service = services.get(other).unwrap_or_else(|| panic!("{name} waits for {other}"));
            match how["condition"].as_str().unwrap() {
                "service_healthy" => assert!(other_service["healthcheck"].is_object(), "{name}: {other}"),
                "service_completed_successfully" => assert_eq!(other, ONE_SHOT, "{name}"),
                "service_started" => {}
                condition => panic!("{name} waits for {other}: {condition}"),
            }
        }
    }
    let waits = |name: &str, other: &str| services[name]["depends_on"][other]["condition"].clone();
    assert_eq!(waits("migrate", "postgres"), "service_healthy");
    assert_eq!(waits("factline", "migrate"), "service_completed_successfully");
    assert_eq!(waits("factline", "redis"), "service_healthy");
    // What watches must not keep it from starting.
    for other in ["otel-collector", "jaeger", "prometheus"] {
        assert_ne!(waits("factline", other), "service_healthy");
    }
    assert_eq!(waits("otel-collector", "jaeger"), "service_started");
}

#[test]
fn a_stop_may_take_as_long_as_the_daemon_takes_to_drain() {
    let defaults: toml::Table = read("config/default.toml").parse().unwrap();
    let seconds = |text: &Value| humantime::parse_duration(text.as_str().unwrap()).unwrap();
    let configured = |key: &str| humantime::parse_duration(defaults[key].as_str().unwrap()).unwrap();
    let factline = &services()["factline"];
    assert!(seconds(&factline["stop_grace_period"]) > configured("shutdown_timeout"));
    assert!(seconds(&factline["healthcheck"]["start_period"]) > configured("startup_timeout"));
}
