//! `factline doctor` finds what goes wrong in the pipeline: each finding is caused on real servers, and says what to
//! type.

use std::process::Command;

use serde_json::Value;
use sqlx::{SqlitePool, sqlite::SqliteConnectOptions};

use super::{
    place::Place,
    stage::{Daemon, Stage, bare_command, free_address, text, until},
};
use crate::servers;

/// What a doctor said.
pub(super) struct Diagnosis {
    pub(super) code: i32,
    findings: Vec<Value>,
}

impl Diagnosis {
    pub(super) async fn of(mut command: Command) -> Self {
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        let findings = report["findings"].as_array().unwrap().clone();
        Self { code: output.status.code().unwrap(), findings }
    }

    /// What a check has to complain of.
    pub(super) fn complaints(&self, check: &str) -> Vec<&Value> {
        let of_check = self.findings.iter().filter(|finding| finding["check"] == check);
        of_check.filter(|finding| finding["severity"] != "ok").collect()
    }

    /// The one complaint of a check, whose sentence has these words, and whose next command is this one.
    pub(super) fn assert_finds(&self, check: &str, severity: &str, words: &[&str], next: &str) -> &Value {
        let complaints = self.complaints(check);
        let [finding] = complaints[..] else { panic!("{check}: {:#?}", self.findings) };
        let sentence = finding["sentence"].as_str().unwrap();
        assert!(words.iter().all(|word| sentence.contains(word)), "{words:?} are not in: {sentence}");
        assert_eq!(finding["severity"], severity, "{sentence}");
        let told = finding["next"].as_str().unwrap_or_default();
        assert!(told.starts_with(next), "{finding}");
        if let Some(command) = told.strip_prefix("factline ") {
            let exists =
                bare_command(&[command.split(' ').collect(), vec!["--help"]].concat()).output().unwrap();
            assert!(exists.status.success(), "{told}: {exists:?}");
        }
        assert_eq!(self.code, 3);
        finding
    }
}

/// What the doctor says while this is done over and over.
pub(super) async fn found_while<F: Future>(
    looking: impl Future<Output = Diagnosis>,
    mut over_and_over: impl FnMut() -> F,
) -> Diagnosis {
    let mut looking = std::pin::pin!(looking);
    loop {
        tokio::select! {
            found = &mut looking => return found,
            _ = over_and_over() => {}
        }
    }
}

pub(super) fn doctor(stage: &Stage, environment: &[(&str, &str)]) -> impl Future<Output = Diagnosis> + use<> {
    with_arguments(stage, &["--watch", "100ms"], environment)
}

pub(super) fn with_arguments(
    stage: &Stage,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> impl Future<Output = Diagnosis> + use<> {
    let mut command = stage.command(&[&["doctor", "--json"], arguments].concat());
    command.envs(environment.iter().copied());
    Diagnosis::of(command)
}

/// A stage whose Redis is the test's own and keeps what it is given.
async fn stage_with_own_redis() -> (Stage, servers::Redis) {
    let redis = tokio::task::spawn_blocking(servers::Redis::start_own).await.unwrap();
    let database = servers::Postgres::shared().database();
    let stage = Stage::on(&database, &redis.url(), &redis.prefix()).await;
    assert!(stage.run(&["migrate", "up"]).status.success());
    (stage, redis)
}

/// Runs one command of Redis.
pub(super) async fn redis(stage: &Stage, command: &[&str]) -> ::redis::Value {
    let client = ::redis::Client::open(stage.redis.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut asked = ::redis::cmd(command[0]);
    asked.arg(&command[1..]);
    asked.query_async(&mut connection).await.unwrap()
}

/// An entry in the first partition of a topic, as another program would append it.
async fn append(stage: &Stage, topic: &str) {
    redis(stage, &["SADD", &format!("{}:topics", stage.prefix), topic]).await;
    redis(stage, &["XADD", &format!("{}:{topic}:0", stage.prefix), "*", "hello", "world"]).await;
}

fn start(stage: &Stage, arguments: &[&str], bind: &str) -> Daemon {
    stage.start_with(arguments, &[("FACTLINE__ADMIN__BIND", bind)])
}

#[tokio::test]
async fn a_deployment_that_is_well_has_no_finding() {
    let (stage, _redis) = stage_with_own_redis().await;
    let bind = free_address();
    let daemon = start(&stage, &["run"], &bind);
    daemon.until_logged("partitions taken on").await;
    stage.insert_messages(100, 10).await;
    stage.until_recorded(100).await;
    let environment = [("FACTLINE__ADMIN__BIND", bind.as_str())];
    until("doctor finds nothing", || async { doctor(&stage, &environment).await.code == 0 }).await;
    let told = stage.command(&["doctor"]).envs(environment).output().unwrap();
    let lines = text(&told.stdout);
    assert!(lines.lines().all(|line| line.starts_with("ok ")), "{lines}");
    for words in ["relays", "every actor runs", "same streams", "all migrations are applied"] {
        assert!(lines.contains(words), "{words:?} is not in:\n{lines}");
    }
    assert!(daemon.stop().await.success());
    assert_eq!(stage.run(&["doctor", "--watch", "soon"]).status.code(), Some(2));
}

#[tokio::test]
async fn a_relay_that_nobody_runs_and_a_daemon_that_does_not_answer() {
    let stage = Stage::new().await;
    stage.insert_messages(3, 1).await;
    let bind = free_address();
    let found = doctor(&stage, &[("FACTLINE__ADMIN__BIND", &bind)]).await;
    found.assert_finds("relay", "problem", &["no relay runs"], "factline run");
    found.assert_finds("backlog", "problem", &["the relay takes nothing", "3 rows"], "factline status");
    found.assert_finds("daemon", "problem", &[&bind], "factline run");

    let daemon = stage.start(&["run", "--only", "consumers"]);
    daemon.until_logged("partitions taken on").await;
    let found = doctor(&stage, &[]).await;
    found.assert_finds("relay", "problem", &["no relay runs"], "factline run");
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn a_backlog_that_grows() {
    let stage = Stage::new().await;
    stage.insert_messages(100, 1).await;
    let looking = with_arguments(&stage, &["--watch", "1s"], &[]);
    let found = found_while(looking, || stage.insert_messages(10, 1)).await;
    let finding = found.assert_finds("backlog", "problem", &["grows", "more than"], "factline status");
    assert!(finding["data"]["now"].as_u64() > finding["data"]["before"].as_u64(), "{finding}");
}

#[tokio::test]
async fn a_lag_that_grows() {
    let stage = Stage::new().await;
    append(&stage, "chat").await;
    let key = format!("{}:chat:0", stage.prefix);
    redis(&stage, &["XGROUP", "CREATE", &key, "facts", "0"]).await;
    let add = "for i = 1, tonumber(ARGV[1]) do redis.call('XADD', KEYS[1], '*', 'hello', 'world') end";
    redis(&stage, &["EVAL", add, "1", &key, "1000"]).await;
    let looking = with_arguments(&stage, &["--watch", "1s"], &[]);
    let ten_more = ["EVAL", add, "1", &key, "10"];
    let found = found_while(looking, || redis(&stage, &ten_more)).await;
    let finding = found.assert_finds("lag", "warning", &["the lag grows", "group facts"], "factline status");
    assert!(finding["data"]["now"].as_u64() > finding["data"]["before"].as_u64(), "{finding}");
}

#[tokio::test]
async fn a_daemon_that_could_relay_and_does_not() {
    let stage = Stage::new().await;
    // Frozen, it loses its leases one after the other.
    let environment =
        [("FACTLINE__STORE__LEASE_TTL", "500ms"), ("FACTLINE__TELEMETRY__OBSERVE_EVERY", "10m")];
    let daemon = stage.start_with(&["run"], &environment);
    daemon.until_logged("this relay is active").await;
    let told = "SELECT count(*) FROM factline.leases WHERE name LIKE '%streams:all:%'";
    until("it has told which streams it uses", || async { stage.count(told).await == 1 }).await;
    daemon.signal("STOP");
    until("its relay's lease is over", || async {
        !doctor(&stage, &[]).await.complaints("relay").is_empty()
    })
    .await;
    let found = doctor(&stage, &[]).await;
    let words = ["no relay is active", "could be", "the last was"];
    found.assert_finds("relay", "problem", &words, "factline tree");
    daemon.signal("CONT");
    until("it relays again", || async { doctor(&stage, &[]).await.complaints("relay").is_empty() }).await;
    assert!(daemon.stop().await.success());
}

/// Of an embedded outbox, whose ids may be anything, a row whose id is none is never published.
#[tokio::test]
async fn rows_that_could_not_be_published_are_a_finding_until_somebody_has_dealt_with_them() {
    let place = Place::embedded();
    place.said(&["migrate", "up"]);
    let file = place.folder().join("factline-data/factline.db");
    let pool = SqlitePool::connect_with(SqliteConnectOptions::new().filename(file)).await.unwrap();
    let insert = "INSERT INTO outbox_events (event_id, topic, key, event_type, payload) \
                  VALUES ('chat-1769035355992', 'chat', 'c', 'chat.message', '{}')";
    sqlx::query(insert).execute(&pool).await.unwrap();
    place.process_until_open(1).await;
    let doctor = || Diagnosis::of(place.command(&["doctor", "--json", "--watch", "100ms"]));
    let next = "factline dlq list --consumer-group relay";
    doctor().await.assert_finds("failed_rows", "warning", &["1 row", "dead letters"], next);
    let letter = place.letters("open").remove(0);
    place.said(&["dlq", "discard", &letter, "--note", "nobody needs it", "--yes"]);
    assert!(doctor().await.complaints("failed_rows").is_empty());
    assert_eq!(place.number("SELECT count(*) FROM outbox_events WHERE status = 'failed'").await, 1);
}

#[tokio::test]
async fn entries_that_are_pending_for_a_consumer_that_is_gone() {
    let stage = Stage::new().await;
    append(&stage, "chat").await;
    let key = format!("{}:chat:0", stage.prefix);
    redis(&stage, &["XGROUP", "CREATE", &key, "facts", "0"]).await;
    redis(&stage, &["XREADGROUP", "GROUP", "facts", "host-1a2b3c4d.1", "STREAMS", &key, ">"]).await;
    redis(&stage, &["XGROUP", "CREATE", &key, "another-programs", "0"]).await;
    redis(&stage, &["XREADGROUP", "GROUP", "another-programs", "it", "STREAMS", &key, ">"]).await;
    let found = doctor(&stage, &[]).await;
    let words = ["1 entry", "host-1a2b3c4d.1", "chat:0", "gone"];
    found.assert_finds("vanished_consumer", "problem", &words, "factline run --only consumers");
    found.assert_finds("consumers", "problem", &["nobody reads chat:0"], "factline run --only consumers");

    let daemon = stage.start(&["run"]);
    until("somebody has taken it over", || async {
        doctor(&stage, &[]).await.complaints("vanished_consumer").is_empty()
    })
    .await;
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn a_relay_and_consumers_that_do_not_meet() {
    let stage = Stage::new().await;
    let elsewhere = format!("{}-elsewhere", stage.prefix);
    let relay = stage.start(&["run", "--only", "relay"]);
    relay.until_logged("this relay is active").await;
    let other = [("FACTLINE__STREAM__PREFIX", elsewhere.as_str())];
    let consumers = stage.start_with(&["run", "--only", "consumers"], &other);
    consumers.until_logged("set stream.url and stream.prefix alike").await;
    let found = doctor(&stage, &[]).await;
    let words = [stage.prefix.as_str(), &elsewhere, "does not read"];
    found.assert_finds("streams", "problem", &words, "factline config show");

    assert!(consumers.stop().await.success());
    assert!(doctor(&stage, &[]).await.complaints("streams").is_empty(), "whoever has left counts no more");
    let found = doctor(&stage, &other).await;
    found.assert_finds("streams", "problem", &["this configuration leads to"], "factline config show");
    assert!(relay.stop().await.success());

    let found = doctor(&stage, &[("FACTLINE__STREAM__PARTITIONS", "16")]).await;
    found.assert_finds("reach", "problem", &["stream.partitions is 16", "8"], "factline config check");
}

#[tokio::test]
async fn streams_that_lost_everything_are_the_same_for_all_again() {
    let (stage, redis) = stage_with_own_redis().await;
    let brisk = [("FACTLINE__TELEMETRY__OBSERVE_EVERY", "100ms")];
    let relay = stage.start_with(&["run", "--only", "relay"], &brisk);
    let consumers = stage.start_with(&["run", "--only", "consumers"], &brisk);
    consumers.until_logged("partitions taken on").await;
    redis.flush_all();
    until("all agree on the new streams", || async {
        let found = doctor(&stage, &[]).await;
        found.complaints("streams").is_empty() && found.complaints("reach").is_empty()
    })
    .await;
    assert!(relay.stop().await.success() && consumers.stop().await.success());
}

#[tokio::test]
async fn dead_letters_and_keys_that_wait() {
    let stage = Stage::new().await;
    stage
        .execute(
            "INSERT INTO factline.dead_letters (id, consumer_group, stage, event_id, topic, payload, error_kind, error, \
             fingerprint) VALUES (gen_random_uuid(), 'facts', 'extract', 'e', 'chat', '{}', 'malformed', 'why', 'f')",
        )
        .await;
    let event = "0198c0de-0000-7000-8000-000000000001";
    stage
        .execute(format!(
            "INSERT INTO factline.event_attempts (consumer_group, event_id, attempts, last_error, next_attempt_at) \
             VALUES ('facts', '{event}', 2, 'the model is asleep', now() + interval '90 minutes')"
        ))
        .await;
    let found = doctor(&stage, &[]).await;
    found.assert_finds("dead_letters", "problem", &["rise", "1 event", "1 open"], "factline dlq list");
    let words = [event, "facts", "2 tries", "the model is asleep", "next try in 1h"];
    found.assert_finds("retries", "warning", &words, &format!("factline explain {event}"));

    stage.execute("UPDATE factline.dead_letters SET status = 'resolved'").await;
    assert!(
        doctor(&stage, &[]).await.complaints("dead_letters").is_empty(),
        "somebody dealt with all of them"
    );
    stage
        .execute("UPDATE factline.dead_letters SET status = 'open', dead_at = now() - interval '2 hours'")
        .await;
    let found = doctor(&stage, &[]).await;
    found.assert_finds("dead_letters", "warning", &["1 dead letter open", "2h"], "factline dlq list");
    stage.execute("UPDATE factline.dead_letters SET status = 'resolved'").await;
    assert!(doctor(&stage, &[]).await.complaints("dead_letters").is_empty());
}

#[tokio::test]
async fn a_topic_that_no_group_reads_has_two_ways_out() {
    let stage = Stage::new().await;
    append(&stage, "mail").await;
    let found = doctor(&stage, &[]).await;
    found.assert_finds("unread_topic", "warning", &["mail"], "factline stream drop mail");
    let wrong = stage.status().await["wrong"].to_string();
    assert!(wrong.contains("mail") && wrong.contains("factline stream drop mail"), "{wrong}");

    let dry = text(&stage.run(&["stream", "drop", "mail", "--dry-run"]).stdout);
    assert!(dry.contains("holds 1 event") && dry.contains("nothing was changed"), "{dry}");
    assert_eq!(stage.run(&["stream", "drop", "mail"]).status.code(), Some(1), "nobody is there to ask");
    assert!(stage.run(&["stream", "drop", "mail", "--yes"]).status.success());
    assert!(doctor(&stage, &[]).await.complaints("unread_topic").is_empty());
    assert_eq!(stage.status().await["wrong"].as_array().unwrap().len(), 0);

    // What a group reads is the janitor's to trim.
    append(&stage, "chat").await;
    redis(&stage, &["XGROUP", "CREATE", &format!("{}:chat:0", stage.prefix), "facts", "0"]).await;
    let refused = stage.run(&["stream", "drop", "chat", "--yes"]);
    assert!(text(&refused.stderr).contains("group facts reads"), "{}", text(&refused.stderr));
    assert_eq!(refused.status.code(), Some(1));
}

#[tokio::test]
async fn another_deployments_daemon_is_not_taken_for_ours() {
    let (stage, other) = (Stage::new().await, Stage::new().await);
    let bind = free_address();
    let daemon = start(&other, &["run"], &bind);
    daemon.until_logged("partitions taken on").await;
    let environment = [("FACTLINE__ADMIN__BIND", bind.as_str())];
    until("the daemon has looked", || async {
        !doctor(&stage, &environment).await.complaints("deployment").is_empty()
    })
    .await;
    let found = doctor(&stage, &environment).await;
    found.assert_finds("deployment", "problem", &[&bind, "another one's"], "factline config show");
    let status = stage.command(&["status", "--json"]).envs(environment).output().unwrap();
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert!(
        status["wrong"].to_string().contains("another deployment") && status["tree"].is_null(),
        "{status}"
    );
    assert!(doctor(&other, &environment).await.complaints("deployment").is_empty());
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn an_actor_that_is_unwell() {
    let (stage, redis) = stage_with_own_redis().await;
    let bind = free_address();
    let daemon = start(&stage, &["run"], &bind);
    daemon.until_logged("partitions taken on").await;
    redis.stop();
    stage.insert_messages(10, 1).await;
    let environment = [("FACTLINE__ADMIN__BIND", bind.as_str())];
    until("an actor is degraded", || async {
        !doctor(&stage, &environment).await.complaints("tree").is_empty()
    })
    .await;
    let found = doctor(&stage, &environment).await;
    assert!(found.complaints("tree")[0]["sentence"].as_str().unwrap().contains("degraded"));
    // What can be told is told although the streams are away.
    found.assert_finds("reach", "problem", &["streams", "Connection refused"], "factline config check");
    assert!(found.complaints("relay").is_empty());
    redis.start();
    assert!(daemon.stop().await.success());
}
