//! What is deployed: that its files are right, agree with each other and with the daemon, and do what they say.
//!
//! There is no container engine where these run. What one would do with `docker-compose.yml` is checked against the
//! specification's own schema, and by reading; what runs inside is run here: the configuration, the rules, the scripts.

mod backup;
mod compose;
mod compose_wiring;
mod dashboards;
mod drill;
mod environment;
mod image;
mod restore;
mod rules;
mod runbooks;

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::daemon::stage::text;

const MISSING: &str = "run scripts/test once: it installs what the tests need into target/tools";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the repository.
fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A program that scripts/test has put there.
fn tool(name: &str) -> PathBuf {
    let tool = root().join("target/tools/bin").join(name);
    assert!(tool.exists(), "{} is missing; {MISSING}", tool.display());
    tool
}

/// A YAML file of the repository, anchors and merges resolved.
fn yaml(path: &str) -> Value {
    const READ: &str = "import json, sys; from ruamel.yaml import YAML; \
                        json.dump(YAML(typ='safe').load(sys.stdin), sys.stdout)";
    let mut python = Command::new(tool("python"))
        .args(["-c", READ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(read(path).as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "{path} is no YAML");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn assert_success(output: &Output) {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

/// The texts of a list.
fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().map(|item| item.as_str().unwrap()).collect()
}

/// The services of docker-compose.yml by name.
fn services() -> BTreeMap<String, Value> {
    let compose = yaml("docker-compose.yml");
    compose["services"].as_object().unwrap().clone().into_iter().collect()
}

/// Every variable of a text, with what follows its name: `:-default`, `:?message`, or nothing.
fn variables(text: &str) -> Vec<(&str, &str)> {
    let text = text.split("$$").flat_map(|part| part.split("${").skip(1));
    let inside = text.filter_map(|part| part.split_once('}')).map(|(inside, _)| inside);
    inside.map(|inside| inside.split_at(inside.find(':').unwrap_or(inside.len()))).collect()
}

/// A text with its variables replaced, as docker compose does it.
fn expanded(text: &str, environment: &BTreeMap<String, String>) -> String {
    let mut expanded = text.to_owned();
    for (name, rest) in variables(text) {
        let value = environment.get(name).filter(|value| !value.is_empty()).cloned();
        let value = value.or_else(|| rest.strip_prefix(":-").map(str::to_owned));
        let value = value.unwrap_or_else(|| panic!("{name} is not set: {rest}"));
        expanded = expanded.replace(&format!("${{{name}{rest}}}"), &value);
    }
    expanded.replace("$$", "$")
}

/// The variables of a file like `.env`.
fn dotenv(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.split_once('=').unwrap_or_else(|| panic!("{line:?} is no NAME=value")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn variables_are_found_and_replaced_as_docker_compose_does_it() {
    let text = "a${A:-1}b${B:?say B}c${C}d$${D}";
    assert_eq!(variables(text), [("A", ":-1"), ("B", ":?say B"), ("C", "")]);
    let environment = [("A", ""), ("B", "2"), ("C", "3")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    assert_eq!(expanded(text, &environment), "a1b2c3d${D}");
}
