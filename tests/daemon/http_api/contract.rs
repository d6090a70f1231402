//! The `OpenAPI` document is what the server does.

use std::process::Command;

use serde_json::Value;

use super::ask::{Api, OPERATOR, VIEWER, malformed, message, until_recorded};
use crate::daemon::{
    place::Place,
    stage::{text, until},
};

/// Where `scripts/test` has put it.
const SCHEMATHESIS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/bin/schemathesis");

/// What is not asked for at random: a WebSocket, and what would stop parts of the daemon.
const LEFT_OUT: [&str; 2] = ["/ws", "/api/v1/tree/{path}/{action}"];

const DOCUMENTATION: &str = include_str!("../../../docs/http-data.md");

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,negative_data_rejection,\
                      unsupported_method,ignored_auth";

fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, item): (&String, &Value)| {
        let operations = item.as_object().unwrap().clone();
        let path = path.clone();
        operations.into_iter().map(move |(method, operation)| (path.clone(), method, operation))
    };
    paths.iter().flat_map(of_path).collect()
}

#[tokio::test]
async fn every_operation_asks_who_it_is_and_what_they_may() {
    let place = Place::embedded();
    let api = Api::start(&place).await;
    let document = api.get("/api/v1/openapi.json").with(200);
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let operations = operations(&document);
    let open: Vec<&str> = operations
        .iter()
        .filter(|(_, _, operation)| operation["security"].is_null())
        .map(|(path, _, _)| path.as_str())
        .collect();
    assert!(open.iter().all(|path| ["/health", "/health/ready"].contains(path)), "{open:?}");
    for (path, method, operation) in operations.iter().filter(|(_, _, one)| !one["security"].is_null()) {
        let path = path.replace("{action}", "stop").replace("{path}", "root");
        let path = path
            .split('/')
            .map(|part| if part.starts_with('{') { "0198c0de-0000-7000-8000-000000000001" } else { part });
        let (path, method) = (path.collect::<Vec<_>>().join("/"), method.to_uppercase());
        let ask = |token| api.ask(token, &method, &path, &[("content-type", "application/json")], b"{}");
        for stranger in [None, Some("guessed"), Some("")] {
            assert_eq!(ask(stranger).status, 401, "{method} {path} {stranger:?}");
        }
        let viewer = ask(Some(VIEWER)).status;
        if method == "GET" {
            assert!(![401, 403].contains(&viewer), "{method} {path}: {viewer}");
        } else {
            assert_eq!(viewer, 403, "{method} {path}");
        }
        for status in ["400", "401", "403", "429", "500", "503"] {
            assert!(operation["responses"][status].is_object(), "{method} {path} does not say {status}");
        }
        assert!(operation["summary"].is_string(), "{method} {path} does not say what it does");
    }
    api.stop().await;
}

/// Every example of the documentation, as it stands there; and none is missing.
#[tokio::test]
async fn the_documentation_has_an_example_of_everything_and_all_of_them_work() {
    let place = Place::embedded();
    let api = Api::start(&place).await;
    api.send_batch(&[message(1), malformed(2), malformed(3), malformed(4)]).with(202);
    until_recorded(&place, 4).await;
    let blocks = DOCUMENTATION.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let script: String = blocks.collect();
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &script]).current_dir(place.folder());
    shell.env("FACTLINE", format!("http://{}", api.address)).env("TOKEN", OPERATOR);
    let output = tokio::task::spawn_blocking(move || shell.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(place.letters("open"), [""; 0]);
    assert_eq!((place.letters("resolved").len(), place.letters("discarded").len()), (2, 1));

    let document = api.get("/api/v1/openapi.json").with(200);
    for (path, method, operation) in operations(&document) {
        let tag = operation["tags"][0].as_str().unwrap();
        if !["health", "metrics", "live", "tree", "config", "openapi"].contains(&tag) {
            let name = format!("| `{} {path}` |", method.to_uppercase());
            assert!(DOCUMENTATION.contains(&name), "{name} is not in docs/http-data.md");
        }
    }
    api.stop().await;
}

#[tokio::test]
async fn schemathesis_finds_no_answer_that_the_document_does_not_have() {
    let place = Place::embedded();
    let api = Api::start(&place).await;
    api.send_batch(&[message(1), malformed(2)]).with(202);
    until_recorded(&place, 2).await;
    // Until it is ready, /health/ready answers 503, as it should.
    until("the daemon is ready", || async { api.get("/health/ready").status == 200 }).await;
    let document = api.get("/api/v1/openapi.json").with(200);
    // HEAD is GET without its body: it need not be asked as well.
    let asks =
        |(path, method, _): &&(String, String, Value)| method != "head" && !LEFT_OUT.contains(&path.as_str());
    let asked = operations(&document).iter().filter(asks).count();
    let mut command = Command::new(SCHEMATHESIS);
    command.current_dir(place.folder()).arg("run").arg(format!("http://{}/api/v1/openapi.json", api.address));
    command.args(["--header", &format!("Authorization: Bearer {OPERATOR}")]);
    command.args(["--checks", CHECKS, "--phases", "coverage,fuzzing", "--seed", "4", "--max-examples", "10"]);
    command.args(["--no-color", "--request-timeout", "60"]);
    for path in LEFT_OUT {
        command.args(["--exclude-path", path]);
    }
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let output = output.unwrap_or_else(|error| panic!("{SCHEMATHESIS}: {error}; `scripts/test` installs it"));
    let told = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{told}");
    let tested = told.split("Tested: ").nth(1).and_then(|rest| rest.split_whitespace().next());
    let tested: usize = tested.unwrap().parse().unwrap();
    assert!(tested >= asked, "{tested} of {asked} were asked:\n{told}");
    api.stop().await;
}
