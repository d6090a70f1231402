//! Events that misbehave in every way: each costs itself alone, whatever it does to the process.

use std::process::Command;

use super::stage::{Daemon, Stage, bare_command, unique, until};

/// The extractors of the default group, and the one that does what messages say.
const EXTRACTORS: &str = r#"["patterns", "title", "misbehave"]"#;

fn misbehaving(stage: &Stage) -> Command {
    let mut command = stage.command(&["run"]);
    allow_misbehaving(&mut command);
    command
}

fn allow_misbehaving(command: &mut Command) {
    command
        .env("FACTLINE__EXTRACTORS__MISBEHAVE__KIND", "misbehave")
        .env("FACTLINE__GROUPS__FACTS__EXTRACTORS", EXTRACTORS)
        .env("FACTLINE__GROUPS__FACTS__EXTRACT_TIMEOUT", "1s")
        .env("FACTLINE__GROUPS__FACTS__RETRY_MAX", "200ms")
        .env("FACTLINE__STORE__LEASE_TTL", "500ms");
}

/// A message of each of these keys that says `misbehave: {misdeed}`.
async fn insert_misdeeds(stage: &Stage, misdeed: &str, keys: impl Iterator<Item = String>) {
    for key in keys {
        stage
            .execute(format!(
                "INSERT INTO outbox_events(topic, key, event_type, payload) VALUES ('chat', '{key}', \
                 'chat.message', jsonb_build_object('conversation_id', '{key}', 'content', 'misbehave: {misdeed}'))"
            ))
            .await;
    }
}

/// Starts the daemon again whenever it ends, as a container's restart policy would; says how often it ended.
async fn restart_until(
    stage: &Stage,
    mut start: impl FnMut() -> Command,
    done: impl AsyncFn() -> bool,
) -> usize {
    let mut deaths = 0;
    while !done().await {
        let mut daemon = Daemon::start(start(), stage.folder.path().join(unique("log")));
        loop {
            if done().await {
                daemon.until_logged("factline is running").await;
                assert!(daemon.stop().await.success());
                return deaths;
            }
            if daemon.has_ended() {
                deaths += 1;
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    deaths
}

#[tokio::test]
async fn three_events_that_abort_the_process_among_a_thousand_good_ones_cost_only_themselves() {
    let stage = Stage::new().await;
    stage.insert_messages(400, 40).await;
    insert_misdeeds(&stage, "abort", ["c1", "c7", "elsewhere"].map(str::to_owned).into_iter()).await;
    stage.insert_messages(600, 60).await;
    let deaths = restart_until(&stage, || misbehaving(&stage), async || stage.recorded().await == 1003).await;
    // The default max_attempts, for each of them.
    assert!((3..=15).contains(&deaths), "{deaths} deaths");
    stage.assert_exactly_once_in_order().await;
    let crashed = "SELECT count(*) FROM factline.dead_letters WHERE error_kind = 'crashed' AND attempts = 5 \
                   AND encode(payload, 'escape') LIKE '%misbehave: abort%' AND first_failed_at < dead_at";
    assert_eq!(stage.count(crashed).await, 3);
    let processed = "SELECT count(*) FROM factline.event_ledger WHERE outcome = 'processed'";
    assert_eq!(stage.count(processed).await, 1000);
    assert_eq!(stage.count("SELECT count(*) FROM factline.event_attempts").await, 0);

    // Nor do they if they come once more: what a process died of is not tried again by itself.
    let daemon = Daemon::start(misbehaving(&stage), stage.folder.path().join(unique("log")));
    let again = "UPDATE outbox_events SET status = 'pending' WHERE payload ->> 'content' LIKE 'misbehave%'";
    stage.execute(again).await;
    stage.insert_messages(1, 1).await;
    stage.until_recorded(1004).await;
    until("everything is acknowledged", || async { stage.undrained().await == 0 }).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn an_event_that_fails_for_now_is_not_blamed_for_the_deaths_that_another_one_caused() {
    let stage = Stage::new().await;
    insert_misdeeds(&stage, "error always", std::iter::once("c1".to_owned())).await;
    stage.insert_messages(100, 10).await;
    insert_misdeeds(&stage, "abort", std::iter::once("elsewhere".to_owned())).await;
    let start = || {
        let mut command = misbehaving(&stage);
        // Due again at every start, and never exhausted before the other one has done its worst.
        command.env("FACTLINE__GROUPS__FACTS__MAX_ATTEMPTS", "20");
        command
    };
    restart_until(&stage, start, async || stage.recorded().await == 102).await;
    stage.assert_exactly_once_in_order().await;
    for kind in ["exhausted", "crashed"] {
        let letters = format!("SELECT count(*) FROM factline.dead_letters WHERE error_kind = '{kind}'");
        assert_eq!(stage.count(letters).await, 1, "{kind}");
    }
}

#[tokio::test]
async fn an_event_that_takes_all_memory_costs_only_itself() {
    let stage = Stage::new().await;
    stage.insert_messages(200, 20).await;
    insert_misdeeds(&stage, "exhaust", std::iter::once("c3".to_owned())).await;
    stage.insert_messages(200, 20).await;
    let limited = || {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -v 2000000; exec \"$0\" run", env!("CARGO_BIN_EXE_factline")]);
        for (name, value) in misbehaving(&stage).get_envs() {
            value.map(|value| command.env(name, value));
        }
        // Taking memory takes time, too.
        command.current_dir(stage.folder.path()).env("FACTLINE__GROUPS__FACTS__EXTRACT_TIMEOUT", "5m");
        command
    };
    restart_until(&stage, limited, async || stage.recorded().await == 401).await;
    stage.assert_exactly_once_in_order().await;
    let letters: Vec<(String, String)> =
        sqlx::query_as("SELECT error_kind, error FROM factline.dead_letters")
            .fetch_all(&stage.pool)
            .await
            .unwrap();
    assert!(matches!(letters.as_slice(), [(kind, _)] if kind == "crashed"), "{letters:?}");
}

#[tokio::test]
async fn an_event_that_aborts_the_process_costs_only_itself_in_the_embedded_database_too() {
    let folder = tempfile::tempdir().unwrap();
    let command = |arguments: &[&str]| {
        let mut command = bare_command(arguments);
        command.current_dir(folder.path()).env("FACTLINE__ADMIN__BIND", "");
        allow_misbehaving(&mut command);
        command
    };
    let lines = (0..50).map(|number| {
        let content =
            if number == 20 { "misbehave: abort".to_owned() } else { format!("I am in town {number}.") };
        serde_json::json!({ "conversation_id": format!("c{}", number % 5), "content": content }).to_string()
    });
    std::fs::write(folder.path().join("events.jsonl"), lines.collect::<Vec<_>>().join("\n")).unwrap();
    assert!(command(&["emit", "--file", "events.jsonl"]).status().unwrap().success());
    let totals = || {
        let status = command(&["status", "--json"]).output().unwrap();
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        let total = |name: &str| status["totals"][name].as_i64().unwrap();
        (total("processed"), total("dead_lettered"))
    };
    let mut deaths = 0;
    let mut daemon = Daemon::start(command(&["run"]), folder.path().join("0.log"));
    until("all are recorded", || {
        if daemon.has_ended() {
            deaths += 1;
            daemon = Daemon::start(command(&["run"]), folder.path().join(format!("{deaths}.log")));
        }
        let totals = totals();
        async move { totals == (49, 1) }
    })
    .await;
    assert!((2..=5).contains(&deaths), "{deaths} deaths");
}

#[tokio::test]
async fn one_in_twenty_poisoned_in_all_ways_at_once_restarts_nothing_and_costs_no_good_event() {
    let stage = Stage::new().await;
    let address = super::stage::free_address();
    stage.insert_messages(9_500, 300).await;
    // Those that take their time are few, so that the test does not take its.
    for (misdeed, count) in [
        ("panic", 240),
        ("fail", 240),
        ("error once", 240),
        ("error always", 60),
        ("hang", 3),
        ("block", 4),
        ("slow", 10),
    ] {
        stage
            .execute(format!(
                "INSERT INTO outbox_events(topic, key, event_type, payload) SELECT 'chat', 'c' || g % 300, \
                 'chat.message', jsonb_build_object('conversation_id', 'c' || g % 300, \
                 'content', 'misbehave: {misdeed}') FROM generate_series(1, {count}) AS g"
            ))
            .await;
        stage.insert_messages(1_350, 300).await;
    }
    let nonsense = "INSERT INTO outbox_events(topic, key, event_type, payload) SELECT 'chat', 'c' || g % 300, \
                    'chat.message', '[[]]' FROM generate_series(1, 203) AS g";
    stage.execute(nonsense).await;
    stage.insert_messages(50, 50).await;
    let mut command = misbehaving(&stage);
    command.env("FACTLINE__ADMIN__BIND", &address).env("FACTLINE__GROUPS__FACTS__MAX_ATTEMPTS", "3");
    let daemon = Daemon::start(command, stage.folder.path().join("log"));
    stage.until_recorded(20_000).await;
    stage.assert_exactly_once_in_order().await;
    let good = "SELECT count(*) FROM factline.event_ledger WHERE outcome = 'processed'";
    assert_eq!(stage.count(good).await, 19_000 + 240 + 10); // the last ones succeed in the end
    for (kind, count) in
        [("panic", 240), ("permanent", 240), ("exhausted", 60), ("timed_out", 7), ("malformed", 203)]
    {
        let letters = format!("SELECT count(*) FROM factline.dead_letters WHERE error_kind = '{kind}'");
        assert_eq!(stage.count(letters).await, count, "{kind}");
    }
    assert_eq!(stage.count("SELECT count(*) FROM factline.event_attempts").await, 0);
    let tree: serde_json::Value = serde_json::from_str(
        &ureq::get(format!("http://{address}/api/v1/tree"))
            .call()
            .unwrap()
            .body_mut()
            .read_to_string()
            .unwrap(),
    )
    .unwrap();
    assert!(!tree.to_string().contains("last_exit\":{"), "something was restarted: {tree}");
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn attempts_outlive_the_process_and_only_the_events_own_key_waits() {
    let stage = Stage::new().await;
    insert_misdeeds(&stage, "error always", std::iter::once("waits".to_owned())).await;
    stage
        .execute(
            "INSERT INTO outbox_events(topic, key, event_type, payload) \
             SELECT 'chat', 'waits', 'chat.message', '{\"content\": \"behind it\"}' FROM generate_series(1, 20)",
        )
        .await;
    stage.insert_messages(1000, 50).await;
    let patient = || {
        let mut command = misbehaving(&stage);
        command
            .env("FACTLINE__GROUPS__FACTS__RETRY_INITIAL", "30m")
            .env("FACTLINE__GROUPS__FACTS__RETRY_MAX", "30m")
            .env("FACTLINE__GROUPS__FACTS__MAX_ATTEMPTS", "3");
        Daemon::start(command, stage.folder.path().join(unique("log")))
    };
    let daemon = patient();
    stage.until_recorded(1000).await;
    let behind =
        "SELECT count(*) FROM factline.event_ledger JOIN outbox_events USING (event_id) WHERE key = 'waits'";
    assert_eq!(stage.count(behind).await, 0, "others went on while it waited");
    let attempts = "SELECT coalesce(max(attempts), 0)::bigint FROM factline.event_attempts";
    assert_eq!(stage.count(attempts).await, 1);
    daemon.kill().await;

    // Twice the time comes early, and the next daemon goes on from where the last one was.
    let make_due = "UPDATE factline.event_attempts SET next_attempt_at = now()";
    stage.execute(make_due).await;
    let daemon = patient();
    until("the second try is counted", || async { stage.count(attempts).await == 2 }).await;
    assert!(daemon.stop().await.success());
    // One daemon was killed with these in its hands, but they only waited there; others stopped, and left them on purpose.
    let daemon = patient();
    stage.insert_messages(100, 50).await;
    stage.until_recorded(1100).await;
    assert!(daemon.stop().await.success());
    let deaths = "SELECT max(suspect_count)::bigint FROM factline.event_attempts";
    assert_eq!(stage.count(deaths).await, 0);
    stage.execute(make_due).await;
    let daemon = patient();
    stage.until_recorded(1121).await;
    stage.assert_exactly_once_in_order().await;
    let exhausted =
        "SELECT count(*) FROM factline.dead_letters WHERE error_kind = 'exhausted' AND attempts = 3";
    assert_eq!(stage.count(exhausted).await, 1);
    let suspected = "SELECT count(*) FROM factline.event_attempts";
    assert_eq!(stage.count(suspected).await, 0);
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn a_process_that_has_lost_too_many_threads_ends_by_itself_and_the_next_one_goes_on() {
    let stage = Stage::new().await;
    insert_misdeeds(&stage, "block", (0..80).map(|key| format!("key-{key}"))).await;
    let threadbare = || {
        let mut command = misbehaving(&stage);
        command
            .env("FACTLINE__GROUPS__FACTS__EXTRACTORS", "[\"misbehave\"]")
            .env("FACTLINE__GROUPS__FACTS__EXTRACT_TIMEOUT", "50ms")
            .env("FACTLINE__GROUPS__FACTS__WORKERS", "16")
            .env("FACTLINE__STREAM__PARTITIONS", "16");
        command
    };
    let mut daemon = Daemon::start(threadbare(), stage.folder.path().join("first.log"));
    assert_eq!(daemon.ended().await.code(), Some(1));
    assert!(daemon.log().contains("too many extractions never returned"), "{}", daemon.log());
    let daemon = Daemon::start(threadbare(), stage.folder.path().join("second.log"));
    daemon.until_logged("factline is running").await;
    stage.until_recorded(80).await;
    assert!(daemon.stop().await.success());
    let timed_out = "SELECT count(*) FROM factline.dead_letters WHERE error_kind = 'timed_out'";
    assert_eq!(stage.count(timed_out).await, 80);
}
