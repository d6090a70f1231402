//! The commands that people type.

use std::{
    io::Write,
    process::{Output, Stdio},
};

use super::stage::{Stage, bare_command, text};

/// Commands in an empty folder, on the embedded default.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.with_input(arguments, "")
    }

    fn with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = bare_command(arguments);
        command.current_dir(self.0.path()).env("FACTLINE__ADMIN__BIND", "").stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    fn pending(&self) -> u64 {
        let status = self.run(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        status["outbox"]["pending"].as_u64().unwrap()
    }
}

#[test]
fn emit_takes_a_payload_a_file_or_standard_input() {
    let folder = Folder::new();
    let id = "0198c0de-0000-7000-8000-000000000001";
    let one = folder.run(&["emit", "--key", "c-1", "--event-id", id, r#"{"content": "I like tea."}"#]);
    assert_eq!(text(&one.stdout), format!("1 event written to the outbox: {id}\n"), "{}", text(&one.stderr));
    assert_eq!(folder.pending(), 1);

    let lines = concat!(
        r#"{"conversation_id": "c-2", "content": "a payload alone"}"#,
        "\n\n",
        r#"{"topic": "mail", "key": "m", "event_type": "mail.sent", "occurred_at": 1769067099.568, "#,
        r#""traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "payload": {"to": "x"}}"#,
    );
    std::fs::write(folder.0.path().join("events.jsonl"), lines).unwrap();
    let file = folder.run(&["emit", "--file", "events.jsonl"]);
    assert_eq!(text(&file.stdout), "2 events written to the outbox\n", "{}", text(&file.stderr));
    let input = folder.with_input(&["emit", "--json"], lines);
    let ids: Vec<String> = serde_json::from_slice(&input.stdout).unwrap();
    assert_eq!(ids.len(), 2);
    assert_eq!(folder.pending(), 5);

    let explained = folder.run(&["explain", &ids[1]]);
    let told = text(&explained.stdout);
    assert!(told.contains("mail.sent on mail of key m") && told.contains("00-4bf92f"), "{told}");
    assert!(told.contains("ledger     not yet"), "{told}");
}

#[test]
fn emit_says_which_line_is_wrong_and_how_to_go_on() {
    let folder = Folder::new();
    let good = r#"{"conversation_id": "c", "content": "x"}"#;
    let lines = format!("{good}\n{good}\nnot json\n{good}\n");
    let wrong = folder.with_input(&["emit"], &lines);
    assert_eq!(wrong.status.code(), Some(1));
    let error = text(&wrong.stderr);
    assert!(
        error.contains("line 3") && error.contains("--from-line 3") && error.contains("not JSON"),
        "{error}"
    );
    assert_eq!(folder.pending(), 2);
    let mended = lines.replace("not json", good);
    let rest = folder.with_input(&["emit", "--from-line", "3"], &mended);
    assert_eq!(text(&rest.stdout), "2 events written to the outbox\n");
    assert_eq!(folder.pending(), 4);

    for (payload, reason) in
        [("nonsense", "not JSON"), ("[1]", "not a JSON object"), (r#"{"a": 1}"#, "no key")]
    {
        let refused = folder.run(&["emit", payload]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused.stderr).contains(reason), "{}", text(&refused.stderr));
    }
    assert_eq!(folder.pending(), 4);
}

#[test]
fn an_event_id_is_written_once() {
    let folder = Folder::new();
    let emit =
        ["emit", "--key", "c", "--event-id", "0198c0de-0000-7000-8000-000000000001", r#"{"content": "x"}"#];
    assert!(folder.run(&emit).status.success());
    let again = folder.run(&emit);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("nothing was written"), "{}", text(&again.stderr));
    assert_eq!(folder.pending(), 1);
}

#[test]
fn an_unknown_event_is_an_error_and_wrong_usage_has_its_own_code() {
    let folder = Folder::new();
    assert!(folder.run(&["migrate", "up"]).status.success());
    let unknown = folder.run(&["explain", "chat-1769035355992"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("no event chat-1769035355992"));
    assert_eq!(folder.run(&["emmit"]).status.code(), Some(2));
    assert_eq!(folder.run(&["facts", "--limit", "0"]).status.code(), Some(2));
}

#[test]
fn only_those_commands_make_a_database_that_are_for_that() {
    let folder = Folder::new();
    let event = "0198c0de-0000-7000-8000-000000000001";
    for (arguments, code) in [
        (&["status"][..], 3),
        (&["doctor", "--watch", "1ms"], 3),
        (&["facts"], 1),
        (&["explain", event], 1),
        (&["dlq", "list"], 1),
        (&["ledger", "show", event], 1),
        (&["verify"], 1),
        (&["reconcile", "--dry-run"], 1),
        (&["stream", "drop", "chat"], 1),
    ] {
        let output = folder.run(arguments);
        let told = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        assert!(told.contains("there is no database here") && told.contains(".url"), "{arguments:?}: {told}");
        assert!(told.contains(folder.0.path().to_str().unwrap()), "{arguments:?}: {told}");
    }
    assert_eq!(folder.run(&["migrate", "status"]).status.code(), Some(3));
    let left = text(&folder.run(&["migrate", "down", "--yes"]).stdout);
    assert!(left.contains("nothing is applied"), "{left}");
    assert!(!folder.0.path().join("factline-data").exists(), "none of them made anything");
    assert!(folder.run(&["emit", r#"{"conversation_id": "c", "content": "x"}"#]).status.success());
    assert_eq!(folder.pending(), 1);
}

/// An outbox that was there before us is nobody's to migrate.
#[tokio::test]
async fn an_outbox_of_the_applications_own_lacks_no_migration() {
    let stage = Stage::unmigrated().await;
    assert_eq!(stage.run(&["migrate", "status"]).status.code(), Some(3));
    assert!(stage.run(&["migrate", "up", "--store-only"]).status.success());
    assert_eq!(stage.run(&["migrate", "status"]).status.code(), Some(3), "there is no outbox at all");
    stage.execute("CREATE TABLE outbox_events (id bigint PRIMARY KEY)").await;
    let status = stage.run(&["migrate", "status"]);
    assert_eq!(status.status.code(), Some(0));
    assert!(text(&status.stdout).contains("the application's own"), "{}", text(&status.stdout));
}

#[test]
fn what_is_mistyped_is_told_how_it_is_written() {
    let folder = Folder::new();
    for arguments in [
        &["dlq", "list", "--since", "soon"][..],
        &["dlq", "purge", "--older-than", "30"],
        &["ledger", "cleanup", "--older-than", "long ago"],
    ] {
        let output = folder.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(text(&output.stderr).contains("write 90min, 24h or 7d"), "{output:?}");
    }
    let mut command = bare_command(&["status"]);
    command.current_dir(folder.0.path()).env("FACTLINE_ADMIN_BIND", "127.0.0.1:1");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("FACTLINE__ADMIN__BIND"), "{output:?}");
    for command in ["emit", "drill", "dlq"] {
        let help = folder.run(&[command, "--help"]);
        assert!(help.status.success() && !text(&help.stdout).contains('`'), "{}", text(&help.stdout));
    }
}

#[test]
fn the_embedded_tables_go_down_and_up() {
    let folder = Folder::new();
    let status = folder.run(&["migrate", "status", "--json"]);
    assert_eq!(status.status.code(), Some(3));
    assert!(folder.run(&["migrate", "up"]).status.success());
    let status = folder.run(&["migrate", "status", "--json"]);
    assert_eq!(status.status.code(), Some(0));
    let sets: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(sets[0]["set"], "embedded");
    assert_eq!(sets[0]["migrations"][0]["applied"], true);
    assert_eq!(folder.run(&["migrate", "down"]).status.code(), Some(1), "nobody is there to ask");
    assert!(folder.run(&["migrate", "down", "--yes"]).status.success());
    assert_eq!(folder.run(&["migrate", "status"]).status.code(), Some(3));
}

#[tokio::test]
async fn source_and_store_share_a_database_and_leave_nothing_of_each_other_behind() {
    let stage = Stage::new().await;
    // Twice is once.
    assert!(stage.run(&["migrate", "up"]).status.success());
    let dry = stage.run(&["migrate", "down", "--dry-run"]);
    assert!(text(&dry.stdout).contains("nothing was changed"));
    assert_eq!(stage.run(&["migrate", "status"]).status.code(), Some(0));

    let store = stage.run(&["migrate", "down", "--yes", "--store-only"]);
    assert!(store.status.success(), "{}", text(&store.stderr));
    let kept = "SELECT count(*) FROM pg_class WHERE oid IN (to_regclass('outbox_events'))";
    assert_eq!(stage.count(kept).await, 1);
    while !text(&stage.run(&["migrate", "down", "--yes"]).stdout).contains("nothing is applied") {}
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname IN ('public', 'factline') \
                  AND tablename NOT LIKE '%migrations'";
    assert_eq!(stage.count(tables).await, 0);
    assert_eq!(stage.count("SELECT count(*) FROM pg_proc WHERE proname LIKE 'outbox%'").await, 0);
    assert!(stage.run(&["migrate", "up"]).status.success());
    assert_eq!(stage.run(&["migrate", "status"]).status.code(), Some(0));
}

#[tokio::test]
async fn explain_tells_the_story_of_an_event_from_the_outbox_to_its_facts() {
    let stage = Stage::new().await;
    let payload = r#"{"conversation_id": "c-1", "speaker": "Ada", "content": "I live in Turin."}"#;
    let emitted = stage.run(&["emit", "--json", payload]);
    let ids: Vec<String> = serde_json::from_slice(&emitted.stdout).unwrap();
    let daemon = stage.start(&["run"]);
    stage.until_recorded(1).await;
    super::stage::until("the row is marked", || async {
        stage.count("SELECT count(*) FROM outbox_events WHERE status = 'processed'").await == 1
    })
    .await;
    let told = text(&stage.run(&["explain", &ids[0]]).stdout);
    for part in ["published", "read from chat:", "processed", "1 fact", "Ada", "lives_in", "Turin"] {
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
    let facts = text(&stage.run(&["facts", "--subject", "Ada"]).stdout);
    assert!(facts.contains("Turin"), "{facts}");
    assert!(!facts.contains("there may be more"), "{facts}");
    let some = text(&stage.run(&["facts", "--limit", "1"]).stdout);
    assert!(some.contains("1 fact shown; there may be more: ask for them with --limit"), "{some}");
    let nobody = text(&stage.run(&["facts", "--subject", "Bob"]).stdout);
    assert!(nobody.starts_with("no facts"), "{nobody}");
    assert!(daemon.stop().await.success());
}
