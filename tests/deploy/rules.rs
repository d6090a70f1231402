//! The alert rules: that they are rules, that each fires when it should and not when it should not, and that each says what
//! to do.

use std::{path::Path, process::Command};

use serde_json::{Value, json};

use super::{assert_success, read, root, yaml};
use crate::daemon::stage::text;

const MISSING: &str = "promtool is not installed; run `apt-get install prometheus`";

pub(super) fn promtool(arguments: &[&str], folder: &Path) -> std::process::Output {
    Command::new("promtool").args(arguments).current_dir(folder).output().expect(MISSING)
}

/// Every rule, of all groups.
pub(super) fn rules() -> Vec<Value> {
    let groups = yaml("deploy/prometheus/rules.yml")["groups"].take();
    groups.as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

pub(super) fn alerts() -> Vec<Value> {
    rules().into_iter().filter(|rule| !rule["alert"].is_null()).collect()
}

#[test]
fn prometheus_takes_its_configuration_and_the_rules() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let token = folder.path().join("token");
    write("token", "secret");
    let secret = "/run/secrets/factline-viewer-token";
    write(
        "prometheus.yml",
        &read("deploy/prometheus/prometheus.yml").replace(secret, token.to_str().unwrap()),
    );
    write("rules.yml", &read("deploy/prometheus/rules.yml"));
    assert_success(&promtool(&["check", "config", "prometheus.yml"], folder.path()));
    assert_success(&promtool(&["check", "rules", "--lint-fatal", "rules.yml"], folder.path()));
}

#[test]
fn alerts_fire_when_they_should_and_otherwise_do_not() {
    let folder = root().join("deploy/prometheus");
    assert_success(&promtool(&["test", "rules", "rules.test.yml"], &folder));
}

/// All alerts are made such that never fire, and then such that always do: the tests must see it of each.
#[test]
fn every_alert_has_a_test_that_fires_it_and_one_that_does_not() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.test.yml"), read("deploy/prometheus/rules.test.yml")).unwrap();
    for (what, expression) in [("fires it", "vector(1) > 2"), ("does not fire it", "vector(1)")] {
        let mut rules = yaml("deploy/prometheus/rules.yml");
        for group in rules["groups"].as_array_mut().unwrap() {
            for rule in group["rules"].as_array_mut().unwrap() {
                if !rule["alert"].is_null() {
                    rule["expr"] = json!(expression);
                }
            }
        }
        std::fs::write(folder.path().join("rules.yml"), rules.to_string()).unwrap();
        let tested = promtool(&["test", "rules", "rules.test.yml"], folder.path());
        assert!(!tested.status.success());
        let complaints = (text(&tested.stdout) + &text(&tested.stderr)).replace('\\', "");
        for alert in alerts() {
            let name = alert["alert"].as_str().unwrap();
            let seen = [format!("\"{name}\""), format!("alertname: {name},")];
            assert!(
                seen.iter().any(|seen| complaints.contains(seen)),
                "no test {what}: {name}\n{complaints}"
            );
        }
    }
}

#[test]
fn every_alert_says_how_bad_it_is_and_what_to_do() {
    let alerts = alerts();
    assert!(alerts.len() >= 15);
    for alert in &alerts {
        let name = alert["alert"].as_str().unwrap();
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(["warning", "critical"].contains(&severity), "{name}");
        let annotations = &alert["annotations"];
        assert!(!annotations["summary"].as_str().unwrap().is_empty(), "{name}");
        assert!(annotations["description"].as_str().unwrap().contains("Next: "), "{name}");
        let page = annotations["runbook_url"].as_str().unwrap();
        // FactlineRelayDown: deploy/runbooks/relay-down.md
        let mut kebab = String::new();
        for letter in name.strip_prefix("Factline").unwrap().chars() {
            if letter.is_ascii_uppercase() && !kebab.is_empty() {
                kebab.push('-');
            }
            kebab.push(letter.to_ascii_lowercase());
        }
        assert_eq!(page, format!("deploy/runbooks/{kebab}.md"), "{name}");
        assert!(read(page).contains(&format!("`{name}`")), "{page} does not name {name}");
    }
}

#[test]
fn alertmanager_holds_back_alerts_that_there_are() {
    let alertmanager = yaml("deploy/alertmanager/alertmanager.yml");
    let names: Vec<String> =
        alerts().iter().map(|alert| alert["alert"].as_str().unwrap().to_owned()).collect();
    for rule in alertmanager["inhibit_rules"].as_array().unwrap() {
        for matcher in rule["source_matchers"]
            .as_array()
            .unwrap()
            .iter()
            .chain(rule["target_matchers"].as_array().unwrap())
        {
            let matcher = matcher.as_str().unwrap();
            let target = matcher.rsplit(['=', '~']).next().unwrap().trim().trim_matches('"');
            let (prefix, rest) = target.split_once('(').unwrap_or((target, ""));
            let alternatives =
                if rest.is_empty() { vec![""] } else { rest.trim_end_matches(')').split('|').collect() };
            for alternative in alternatives {
                let name = format!("{prefix}{alternative}");
                assert!(names.contains(&name), "{matcher}: there is no {name}");
            }
        }
    }
    let receivers = alertmanager["receivers"].as_array().unwrap();
    assert_eq!(receivers[0]["name"], alertmanager["route"]["receiver"]);
    assert!(text(read("docker-compose.yml").as_bytes()).contains("deploy/alertmanager/alertmanager.yml"));
}
