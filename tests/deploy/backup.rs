//! `scripts/backup` and `scripts/restore`, against real servers: what was backed up comes back, and what is newer than that
//! on one side only is made good.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use super::{assert_success, root};
use crate::{
    daemon::stage::{Daemon, Stage, text, until},
    servers::{Postgres, Redis},
};

/// One of the two scripts, on the servers of a stage.
pub(super) fn script(name: &str, stage: &Stage, arguments: &[&str]) -> Output {
    let mut command = Command::new(root().join("scripts").join(name));
    command.args(arguments).current_dir(stage.folder.path());
    command
        .env("DATABASE_URL", &stage.database)
        .env("REDIS_URL", &stage.redis)
        .env_remove("SOURCE_DATABASE_URL");
    command.output().unwrap()
}

pub(super) fn assert_refused(output: &Output, reason: &str) {
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains(reason), "{said}{}", text(&output.stdout));
}

pub(super) async fn migrated(database: &str, redis: &Redis) -> Stage {
    let stage = Stage::on(database, &redis.url(), "backup").await;
    assert_success(&stage.run(&["migrate", "up"]));
    stage
}

/// A stop, and the end of its leases.
pub(super) async fn stopped(daemon: Daemon, stage: &Stage) {
    assert!(daemon.stop().await.success());
    until("no lease is held", || async {
        stage.count("SELECT count(*) FROM factline.leases WHERE expires_at > now()").await == 0
    })
    .await;
}

/// Messages that are recorded, one that nobody can process, and some that the streams alone have got so far.
async fn play(stage: &Stage) {
    let daemon = stage.start(&["run"]);
    stage.insert_messages(200, 10).await;
    stage.execute("INSERT INTO outbox_events(topic, key, event_type, payload) VALUES ('chat', 'c0', 'chat.message', '[]')").await;
    stage.until_recorded(201).await;
    stopped(daemon, stage).await;
    let relay = stage.start(&["run", "--only", "relay"]);
    stage.insert_messages(50, 10).await;
    until("they are in the streams", || async {
        stage.count("SELECT count(*) FROM outbox_events WHERE status = 'pending'").await == 0
    })
    .await;
    stopped(relay, stage).await;
}

#[tokio::test]
async fn what_was_backed_up_comes_back_on_fresh_servers_and_goes_on() {
    let redis = Redis::start_own();
    let stage = migrated(&Postgres::shared().database(), &redis).await;
    play(&stage).await;
    let backup = stage.folder.path().join("backups/one");
    assert_success(&script("backup", &stage, &["backups/one"]));
    assert_eq!(std::fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o700);

    // What comes after it is lost with the servers.
    stage.insert_messages(30, 10).await;
    stage.execute("DROP SCHEMA factline CASCADE; TRUNCATE outbox_events").await;
    redis.flush_all();

    let (fresh, fresh_redis) = (Postgres::shared().database(), Redis::start_own());
    let restored = Stage::on(&fresh, &fresh_redis.url(), "backup").await;
    fresh_redis.stop();
    std::fs::remove_dir_all(fresh_redis.folder().join("appendonlydir")).unwrap();
    let (backup, data) = (backup.to_str().unwrap(), fresh_redis.folder().to_str().unwrap());
    let output = script("restore", &restored, &["--redis-data", data, "--yes", backup]);
    assert_success(&output);
    assert!(text(&output.stdout).contains("factline reconcile"));
    fresh_redis.start();

    // The streams have what nobody had recorded, so there is nothing to publish again.
    let output = restored.run(&["reconcile", "--dry-run", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((report["carried"].as_u64(), report["republished"].as_u64()), (Some(50), Some(0)), "{report}");
    let daemon = restored.start(&["run"]);
    restored.insert_messages(30, 10).await;
    restored.until_recorded(281).await;
    restored.assert_exactly_once_in_order().await;
    assert_eq!(restored.recorded().await, 281);
    assert_eq!(restored.count("SELECT count(*) FROM factline.dead_letters").await, 1);
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn without_its_streams_reconcile_publishes_what_was_in_them() {
    let redis = Redis::start_own();
    let stage = migrated(&Postgres::shared().database(), &redis).await;
    play(&stage).await;
    assert_success(&script("backup", &stage, &["one"]));
    let (fresh, fresh_redis) = (Postgres::shared().database(), Redis::start_own());
    let restored = Stage::on(&fresh, &fresh_redis.url(), "backup").await;
    let backup = stage.folder.path().join("one");
    assert_success(&script("restore", &restored, &["--yes", backup.to_str().unwrap()]));
    let daemon = restored.start(&["run"]);
    assert_success(&restored.run(&["reconcile"]));
    restored.until_recorded(251).await;
    restored.assert_exactly_once_in_order().await;
    assert_eq!(restored.recorded().await, 251);
    assert!(daemon.stop().await.success());
}

/// The application's database is newer than the store that was restored, and the streams remember what it has forgotten.
#[tokio::test]
async fn an_older_store_is_made_good_from_the_outbox() {
    let redis = Redis::start_own();
    let source = Postgres::shared().database();
    let store = Postgres::shared().database();
    let stage = Stage::on(&source, &redis.url(), "backup").await;
    let both = [("DATABASE_URL", store.as_str()), ("SOURCE_DATABASE_URL", source.as_str())];
    let run = |arguments: &[&str]| stage.command(arguments).envs(both).output().unwrap();
    let script = |name: &str, arguments: &[&str]| {
        let mut command = Command::new(root().join("scripts").join(name));
        command.args(arguments).current_dir(stage.folder.path()).envs(both).output().unwrap()
    };
    assert_success(&run(&["migrate", "up"]));
    let at_store = Stage::on(&store, &redis.url(), "backup").await;
    let daemon = stage.start_with(&["run"], &both);
    stage.insert_messages(100, 10).await;
    at_store.until_recorded(100).await;
    // Its group has been there for long: clocks of two databases may differ by minutes, so younger ones do not count.
    at_store.execute("UPDATE factline.horizons SET at = at - interval '1 day'").await;
    assert_success(&script("backup", &["one"]));
    assert!(stage.folder.path().join("one/source.dump").exists());
    stage.insert_messages(100, 10).await;
    at_store.until_recorded(200).await;

    let restore = ["--only", "store", "--replace", "--yes", "one"];
    assert_refused(&script("restore", &restore), "a daemon works on");
    stopped(daemon, &at_store).await;
    assert_success(&script("restore", &restore));
    assert_eq!(at_store.recorded().await, 100);
    assert_success(&run(&["reconcile"]));
    let daemon = stage.start_with(&["run"], &both);
    at_store.until_recorded(200).await;
    let verified = run(&["verify"]);
    assert_success(&verified);
    assert!(text(&verified.stdout).contains("lost=0 doubled=0 misordered=0"), "{}", text(&verified.stdout));
    assert_eq!(at_store.recorded().await, 200);
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn nothing_is_overwritten_and_nothing_damaged_is_restored() {
    let redis = Redis::start_own();
    let stage = migrated(&Postgres::shared().database(), &redis).await;
    stage.insert_messages(5, 5).await;
    assert_success(&script("backup", &stage, &["one"]));
    assert_refused(&script("backup", &stage, &["one"]), "nothing is overwritten");
    assert_refused(&script("restore", &stage, &["--yes", "one"]), "say --replace");
    assert_refused(&script("restore", &stage, &["--replace", "one"]), "nobody is there to ask");
    assert_refused(&script("restore", &stage, &["--yes", "two"]), "is no backup");
    assert_refused(&script("restore", &stage, &["--only", "source", "--yes", "one"]), "of one database");
    let data = redis.folder().to_str().unwrap();
    assert_refused(
        &script("restore", &stage, &["--redis-data", data, "--replace", "--yes", "one"]),
        "stop Redis",
    );
    assert_eq!(stage.count("SELECT count(*) FROM outbox_events").await, 5);

    let dump = stage.folder.path().join("one/store.dump");
    let mut bytes = std::fs::read(&dump).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&dump, bytes).unwrap();
    assert_refused(&script("restore", &stage, &["--replace", "--yes", "one"]), "is damaged");

    // A backup that does not come to its end leaves nothing behind.
    redis.stop();
    assert!(!script("backup", &stage, &["three"]).status.success());
    let left = std::fs::read_dir(stage.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!left.into_iter().any(|name| name.to_string_lossy().contains("three")));
}

/// In place of `docker`: runs on this machine what would run in the containers.
const DOCKER: &str = r#"#!/usr/bin/env bash
set -euo pipefail
echo "$*" >>"$CALLS"
[[ $1 == compose ]]; shift
verb=$1; shift
[[ $verb != stop && $verb != start ]] || exit 0
entrypoint=()
while [[ $1 == -* ]]; do [[ $1 != --entrypoint ]] || { entrypoint=("$2"); shift; }; shift; done
service=$1; shift
case $service in
  redis)
    script=${!#}
    script=${script//redis-cli/redis-cli -p $REDIS_PORT}
    exec sh -c "${script//\/data/$REDIS_DATA}" ;;
  factline) echo "" ;;
  postgres) exec "$@" ;;
esac
"#;

#[tokio::test]
async fn the_containers_of_docker_compose_are_asked_in_their_own_words() {
    let (postgres, redis) = (Postgres::start_own(), Redis::start_own());
    let first = postgres.database();
    let server = url::Url::parse(&first).unwrap();
    let administrator = Stage::on(&first, &redis.url(), "unused").await;
    administrator.execute("CREATE ROLE factline SUPERUSER LOGIN").await;
    administrator.execute("CREATE DATABASE factline OWNER factline").await;
    let port = server.port().unwrap().to_string();
    let stage = migrated(&format!("postgres://factline@127.0.0.1:{port}/factline"), &redis).await;
    play(&stage).await;

    let folder = stage.folder.path();
    let docker = folder.join("docker");
    std::fs::write(&docker, DOCKER).unwrap();
    std::fs::set_permissions(&docker, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let redis_port = redis.url().rsplit(':').next().unwrap().to_owned();
    let script = |name: &str, arguments: &[&str]| {
        let mut command = Command::new(root().join("scripts").join(name));
        command.arg("--compose").args(arguments).current_dir(folder).env("PATH", &path);
        command.envs([("PGHOST", "127.0.0.1"), ("PGPORT", &port), ("REDIS_PORT", &redis_port)]);
        command.env("REDIS_DATA", redis.folder()).env("CALLS", folder.join("calls")).output().unwrap()
    };
    assert_success(&script("backup", &["one"]));
    assert_files(&folder.join("one"), &["SHA256SUMS", "redis.rdb", "store.dump"]);
    stage.execute("DELETE FROM outbox_events; TRUNCATE factline.event_ledger, factline.facts").await;
    redis.stop();
    assert_success(&script("restore", &["--replace", "--redis-data", "redis", "--yes", "one"]));
    redis.start();
    let calls = std::fs::read_to_string(folder.join("calls")).unwrap();
    assert!(calls.contains("compose stop redis\n") && calls.contains("compose start redis\n"), "{calls}");
    assert_eq!(stage.recorded().await, 201);
    let daemon = stage.start(&["run"]);
    stage.until_recorded(251).await;
    stage.assert_exactly_once_in_order().await;
    assert!(daemon.stop().await.success());
}

fn assert_files(folder: &Path, expected: &[&str]) {
    let files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let mut names: Vec<&str> = files.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, expected);
}
