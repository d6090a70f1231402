//! The embedded default: no server, no configuration, nothing to migrate.

use super::stage::{Daemon, bare_command, free_address, text, until};

const MESSAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/conversations.jsonl");

#[test]
fn the_demo_shows_facts_what_was_set_aside_and_the_tree() {
    let folder = tempfile::tempdir().unwrap();
    let demo = bare_command(&["demo"]).current_dir(folder.path()).output().unwrap();
    assert!(demo.status.success(), "{}", text(&demo.stderr));
    let told = text(&demo.stdout);
    for part in [
        "lives_in",
        "payload has no content",
        "payload is not a JSON object",
        "season",
        "outbox_poller",
        "ledger_writer",
    ] {
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
    assert!(told.contains("3 set aside, none lost"), "{told}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it leaves nothing behind");
}

#[tokio::test]
async fn messages_become_facts_in_one_file_and_a_kill_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let address = free_address();
    let command = |arguments: &[&str]| {
        let mut command = bare_command(arguments);
        command
            .current_dir(folder.path())
            .env("FACTLINE__ADMIN__BIND", &address)
            .env("FACTLINE__STORE__LEASE_TTL", "500ms");
        command
    };
    let output = |arguments: &[&str]| command(arguments).output().unwrap();
    let status = || {
        let status = output(&["status", "--json"]);
        serde_json::from_slice::<serde_json::Value>(&status.stdout).unwrap()
    };

    let emitted = output(&["emit", "--file", MESSAGES]);
    assert!(emitted.status.success(), "{}", text(&emitted.stderr));
    let messages = std::fs::read_to_string(MESSAGES).unwrap().lines().count();
    let daemon = Daemon::start(command(&["run"]), folder.path().join("first.log"));
    until("something is recorded", || async { status()["totals"]["processed"].as_i64().unwrap() > 0 }).await;
    daemon.kill().await;

    let daemon = Daemon::start(command(&["run"]), folder.path().join("second.log"));
    until("everything is recorded", || async {
        status()["totals"]["processed"].as_u64() == Some(messages as u64)
    })
    .await;
    until("everything is acknowledged", || async { status()["wrong"].as_array().unwrap().is_empty() }).await;
    let healthy = output(&["status"]);
    assert_eq!(healthy.status.code(), Some(0), "{}", text(&healthy.stdout));
    assert!(text(&healthy.stdout).contains("consumer_group  running"), "{}", text(&healthy.stdout));
    let facts = output(&["facts", "--json", "--limit", "1000"]);
    let facts: serde_json::Value = serde_json::from_slice(&facts.stdout).unwrap();
    assert!(facts.as_array().unwrap().len() > 20);
    assert!(daemon.stop().await.success());

    let down = output(&["status"]);
    assert_eq!(down.status.code(), Some(3));
    assert!(text(&down.stdout).contains("no daemon answers"), "{}", text(&down.stdout));
}
