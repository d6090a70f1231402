//! `factline bench extract`: figures for the examples and for a file of one's own; a file that is none is said to be so.

use serde_json::Value;

use super::stage::{bare_command, text};

fn bench(file: &std::path::Path, more: &[&str]) -> std::process::Output {
    let mut command = bare_command(&["bench", "extract", "--rounds", "1", "--file"]);
    command.arg(file).args(more);
    command.output().unwrap()
}

#[test]
fn the_figures_of_a_file_stand_beside_those_of_the_examples() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.jsonl");
    let lines = [
        r#"{"conversation_id": "c", "speaker": "Ada", "content": "I live in Turin and I like tea."}"#,
        r#"{"key": "c", "payload": {"content": "I work at Olivetti."}}"#,
        r#"{"conversation_id": "c", "role": "user"}"#,
    ];
    std::fs::write(&file, lines.join("\n\n")).unwrap();

    let output = bench(&file, &["--json"]);
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<_> = report["figures"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    let expected = ["a message of the examples", "a message of the file", "adversarial, the worst, per KiB"];
    assert_eq!(names, expected);
    for figure in report["figures"].as_array().unwrap() {
        assert!(figure["median"].as_f64().unwrap() > 0.0, "{figure}");
    }
    let header = report["header"].as_array().unwrap();
    let described = header.iter().find(|line| line[0] == "a message of the file").unwrap();
    assert_eq!(described[1], "2 messages, 3 facts, 2 titles, 1 failed");
}

#[test]
fn a_line_that_is_no_event_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.jsonl");
    std::fs::write(&file, "{\"conversation_id\": \"c\", \"content\": \"x\"}\nnot JSON\n").unwrap();
    let output = bench(&file, &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("line 2 of") && said.contains("not JSON"), "{said}");

    let missing = bench(&folder.path().join("nothing.jsonl"), &[]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("nothing.jsonl cannot be read"));
}
