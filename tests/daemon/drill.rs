//! Drills on running deployments: those that must pass, and those that must not.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{JoinHandle, sleep},
    time::Duration,
};

use serde_json::Value;

use super::stage::{Daemon, Stage, bare_command, free_address, text, unique, until};
use crate::servers;

/// Has a server of the test stopped and started by commands: each leaves a file, and waits until it is gone.
pub(crate) struct Switch {
    folder: PathBuf,
    over: Arc<AtomicBool>,
    watcher: Option<JoinHandle<()>>,
}

impl Switch {
    fn of(folder: &Path, switch: impl Fn(&str) + Send + 'static) -> Self {
        let (folder, over) = (folder.to_owned(), Arc::new(AtomicBool::new(false)));
        let (place, ended) = (folder.clone(), over.clone());
        let watcher = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                for action in ["stop", "start"].into_iter().filter(|action| place.join(action).exists()) {
                    switch(action);
                    std::fs::remove_file(place.join(action)).unwrap();
                }
                sleep(Duration::from_millis(10));
            }
        });
        Self { folder, over, watcher: Some(watcher) }
    }

    pub(crate) fn redis(folder: &Path, server: Arc<servers::Redis>) -> Self {
        Self::of(folder, move |action| if action == "stop" { server.stop() } else { server.start() })
    }

    fn postgres(folder: &Path, server: Arc<servers::Postgres>) -> Self {
        Self::of(folder, move |action| if action == "stop" { server.stop() } else { server.start() })
    }

    fn command(&self, action: &str) -> String {
        let file = self.folder.join(action);
        let file = file.display();
        format!("touch {file}; while [ -e {file} ]; do sleep 0.02; done")
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(watcher) = self.watcher.take() {
            watcher.join().ok();
        }
    }
}

/// What a drill printed, and how it ended.
struct Drilled {
    output: Output,
    found: Value,
}

impl Drilled {
    fn of(output: Output) -> Self {
        let found = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        Self { output, found }
    }

    #[track_caller]
    fn has_passed(&self) {
        assert_eq!(self.output.status.code(), Some(0), "{:#}", self.found);
        assert_eq!(self.found["passed"], true, "{:#}", self.found);
        assert_eq!(self.found["not_looked_at"], serde_json::json!([]), "{:#}", self.found);
    }

    /// The checks that failed.
    #[track_caller]
    fn failures(&self) -> Vec<&str> {
        assert_eq!(self.output.status.code(), Some(1), "{:#}", self.found);
        assert_eq!(self.found["passed"], false, "{:#}", self.found);
        let checks = self.found["checks"].as_array().unwrap();
        let failed = checks.iter().filter(|check| check["passed"] == false);
        failed.map(|check| check["what"].as_str().unwrap()).collect()
    }

    #[track_caller]
    fn passed(&self, what: &str) -> bool {
        let checks = self.found["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["what"].as_str().unwrap().contains(what));
        check.unwrap_or_else(|| panic!("{what:?} in {:#}", self.found))["passed"] == true
    }

    #[track_caller]
    fn figure(&self, name: &str) -> i64 {
        self.found["figures"][name].as_i64().unwrap_or_else(|| panic!("{name} in {:#}", self.found))
    }

    #[track_caller]
    fn seconds(&self, name: &str) -> f64 {
        self.found["figures"][name].as_f64().unwrap_or_else(|| panic!("{name} in {:#}", self.found))
    }
}

/// A drill beside the test, which may be what it waits for.
async fn drilled(command: Command) -> Drilled {
    Drilled::of(output_of(command).await)
}

async fn output_of(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// A daemon with HTTP, whose partitions are taken.
async fn daemon(stage: &Stage, address: &str) -> Daemon {
    let mut command = stage.command(&["run"]);
    command.env("FACTLINE__ADMIN__BIND", address);
    let daemon = Daemon::start(command, stage.folder.path().join(unique("log")));
    daemon.until_logged("partitions taken on").await;
    daemon
}

fn drill(stage: &Stage, address: &str, arguments: &[&str]) -> Command {
    let mut command = stage.command(&[&["drill"], arguments, &["--yes", "--json"]].concat());
    command.env("FACTLINE__ADMIN__BIND", address).env("USER", "ada");
    command
}

/// The drill's events are of no consequence, and everything else is as it was.
async fn assert_nothing_else_is_left(stage: &Stage, conversations: i64) {
    stage.until_recorded(stage.count("SELECT count(*) FROM outbox_events").await).await;
    stage.assert_exactly_once_in_order().await;
    for (sql, expected) in [
        ("SELECT count(*) FROM outbox_events WHERE key NOT LIKE 'drill-%'", 0),
        ("SELECT count(*) FROM factline.facts", 0),
        ("SELECT count(*) FROM factline.conversations", conversations),
        ("SELECT count(*) FROM factline.conversations WHERE title IS NOT NULL", 0),
        ("SELECT count(*) FROM factline.dead_letters WHERE status IN ('open', 'reprocessing')", 0),
        ("SELECT count(*) FROM factline.operator_log WHERE who NOT LIKE 'drill by ada@%'", 0),
    ] {
        assert_eq!(stage.count(sql).await, expected, "{sql}");
    }
}

#[tokio::test]
async fn redis_goes_away_and_comes_back() {
    let redis = Arc::new(servers::Redis::start_own());
    let stage = Stage::on(&servers::Postgres::shared().database(), &redis.url(), "drill").await;
    assert!(stage.run(&["migrate", "up"]).status.success());
    let address = free_address();
    let daemon = daemon(&stage, &address).await;
    let switch = Switch::redis(stage.folder.path(), redis);
    let (stop, start) = (switch.command("stop"), switch.command("start"));
    let commands = ["redis-failure", "--stop", &stop, "--start", &start];

    let passed = drilled(drill(&stage, &address, &[&commands[..], &["--for", "3s"]].concat())).await;
    passed.has_passed();
    assert!(passed.passed("degraded") && passed.passed("no actor was restarted"), "{:#}", passed.found);
    assert!(passed.passed("the outbox held the events") && passed.figure("backlog_peak") > 50);
    assert!(passed.seconds("outage_seconds") >= 3.0 && passed.figure("events") > 200);
    assert_eq!((passed.figure("lost"), passed.figure("doubled")), (0, 0));
    assert!(passed.seconds("seconds_to_recover") >= 0.0);
    assert_eq!(passed.figure("events"), stage.count("SELECT count(*) FROM outbox_events").await);
    assert_nothing_else_is_left(&stage, 0).await;

    // One in which nothing goes away is none.
    let idle = ["redis-failure", "--stop", "true", "--start", "true", "--for", "1s"];
    let idle = drilled(drill(&stage, &address, &idle)).await;
    assert!(idle.failures().contains(&"Redis was away"), "{:#}", idle.found);
    assert!(!idle.passed("degraded") && idle.passed("every event was recorded once"));

    // Not back in time: what is written down by then is the verdict.
    let late = ["redis-failure", "--stop", &stop, "--start", "true", "--for", "1s", "--within", "3s"];
    let late = drilled(drill(&stage, &address, &late)).await;
    let failures = late.failures();
    assert!(
        failures.starts_with(&["it recovered within 3s", "every event was recorded once"]),
        "{failures:?}"
    );
    assert!(failures.contains(&"the daemon says that all is well"), "{failures:?}");
    assert!(late.figure("lost") > 0);
    let status = Command::new("sh").args(["-c", &start]).status().unwrap();
    assert!(status.success());
    assert_nothing_else_is_left(&stage, 0).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn postgres_goes_away_and_comes_back() {
    let postgres = Arc::new(servers::Postgres::start_own());
    let redis = servers::Redis::shared();
    let stage = Stage::on(&postgres.database(), &redis.url(), &redis.prefix()).await;
    assert!(stage.run(&["migrate", "up"]).status.success());
    let address = free_address();
    let daemon = daemon(&stage, &address).await;
    let switch = Switch::postgres(stage.folder.path(), postgres);
    let (stop, start) = (switch.command("stop"), switch.command("start"));
    let drill =
        drill(&stage, &address, &["postgres-failure", "--stop", &stop, "--start", &start, "--for", "3s"]);
    let passed = drilled(drill).await;
    passed.has_passed();
    assert!(passed.passed("degraded") && passed.passed("no actor was restarted"), "{:#}", passed.found);
    assert!(passed.passed("PostgreSQL was away") && passed.passed("the same processes"));
    assert!(passed.seconds("outage_seconds") >= 3.0 && passed.figure("events") > 100);
    assert_nothing_else_is_left(&stage, 0).await;
    assert!(daemon.stop().await.success());
}

/// It is back late, and the daemon hangs: both together must not take longer than `--within`.
#[tokio::test]
async fn the_time_to_recover_in_is_counted_once() {
    let postgres = Arc::new(servers::Postgres::start_own());
    let redis = servers::Redis::shared();
    let stage = Stage::on(&postgres.database(), &redis.url(), &redis.prefix()).await;
    assert!(stage.run(&["migrate", "up"]).status.success());
    let daemon = daemon(&stage, "").await;
    let switch = Switch::postgres(stage.folder.path(), postgres);
    let stop = format!("kill -STOP {}; {}", daemon.id(), switch.command("stop"));
    let start = format!("(sleep 4; {}) &", switch.command("start"));
    let late = ["postgres-failure", "--stop", &stop, "--start", &start, "--for", "1s", "--within", "8s"];
    let late = drilled(drill(&stage, "", &late)).await;
    assert!(late.failures().contains(&"it recovered within 8s"), "{:#}", late.found);
    let checks = late.found["checks"].as_array().unwrap();
    let recovery = checks.iter().find(|check| check["what"] == "it recovered within 8s").unwrap();
    let took: f64 = recovery["found"].as_str().unwrap().trim_end_matches(" s").parse().unwrap();
    let first_write = late.seconds("seconds_to_first_write");
    assert!(first_write >= 3.9 && took >= 8.0 && took < first_write + 8.0, "{first_write} s, {took} s");
    daemon.kill().await;
}

/// The other daemon takes over and nothing is lost; but an outage that costs a process is a failed drill.
#[tokio::test]
async fn a_process_that_dies_of_an_outage_fails_the_drill() {
    let redis = Arc::new(servers::Redis::start_own());
    let stage = Stage::on(&servers::Postgres::shared().database(), &redis.url(), "drill").await;
    assert!(stage.run(&["migrate", "up"]).status.success());
    let dying = daemon(&stage, "").await;
    let other = daemon(&stage, "").await;
    let switch = Switch::redis(stage.folder.path(), redis);
    let stop = format!("kill -9 {}; {}", dying.id(), switch.command("stop"));
    let start = switch.command("start");
    let failed =
        drilled(drill(&stage, "", &["redis-failure", "--stop", &stop, "--start", &start, "--for", "5s"]))
            .await;
    assert_eq!(failed.failures(), ["the same processes are at work"]);
    let unseen = [
        "the daemon said that it was degraded",
        "the daemon says that all is well",
        "no actor was restarted",
    ];
    assert_eq!(failed.found["not_looked_at"], serde_json::json!(unseen));
    assert_nothing_else_is_left(&stage, 0).await;
    assert!(other.stop().await.success());
}

#[tokio::test]
async fn the_server_is_brought_back_whatever_happens() {
    let redis = Arc::new(servers::Redis::start_own());
    let stage = Stage::on(&servers::Postgres::shared().database(), &redis.url(), "drill").await;
    assert!(stage.run(&["migrate", "up"]).status.success());
    let daemon = daemon(&stage, "").await;
    let mark = stage.folder.path().join("started");
    let start = format!("touch {}", mark.display());

    let failed = ["redis-failure", "--stop", "echo no such container; false", "--start", &start];
    let failed = drilled(drill(&stage, "", &failed)).await;
    assert_eq!(failed.failures(), ["the drill came to its end"]);
    assert!(mark.exists());
    std::fs::remove_file(&mark).unwrap();

    let away = stage.folder.path().join("away");
    for signal in ["INT", "TERM", "HUP"] {
        let stop = format!("touch {}", away.display());
        let arguments = ["redis-failure", "--stop", &stop, "--start", &start, "--for", "1h"];
        let mut command = drill(&stage, "", &arguments);
        let child = command.stdout(Stdio::piped()).spawn().unwrap();
        until("Redis is away", || async { away.exists() }).await;
        let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let ended = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap();
        let interrupted = Drilled::of(ended);
        assert_eq!(interrupted.failures(), ["the drill came to its end"], "{signal}");
        assert!(mark.exists(), "{signal}");
        std::fs::remove_file(&mark).unwrap();
        std::fs::remove_file(&away).unwrap();
    }
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn a_deployment_that_is_not_well_is_left_alone() {
    let stage = Stage::new().await;
    let mark = stage.folder.path().join("touched");
    let touch = format!("touch {}", mark.display());
    let refused = |command: Command| async {
        let output = output_of(command).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        text(&output.stderr)
    };
    let commands = ["redis-failure", "--stop", &touch, "--start", &touch];
    let nobody = refused(drill(&stage, "", &commands)).await;
    assert!(nobody.contains("nobody holds relay:outbox, partition:facts:chat:0"), "{nobody}");
    assert!(nobody.contains("factline run"), "{nobody}");
    let unread = refused(drill(&stage, "", &["poison", "--topic", "mail"])).await;
    assert!(unread.contains("no group reads the topic \"mail\""), "{unread}");

    let daemon = daemon(&stage, "").await;
    let unasked = refused(stage.command(&[&["drill"], &commands[..]].concat())).await;
    assert!(unasked.contains("nobody is there to ask; say --yes"), "{unasked}");
    assert!(!mark.exists());
    assert_eq!(stage.count("SELECT count(*) FROM outbox_events").await, 0);
    assert!(daemon.stop().await.success());

    let folder = tempfile::tempdir().unwrap();
    for (name, key) in [("redis-failure", "stream.url"), ("postgres-failure", "store.url")] {
        let mut embedded = bare_command(&["drill", name, "--yes"]);
        embedded.current_dir(folder.path());
        let told = refused(embedded).await;
        assert!(told.contains(key) && told.contains("is an embedded database"), "{told}");
    }
}

#[tokio::test]
async fn poison_is_set_aside_and_discarded_again() {
    let stage = Stage::new().await;
    let address = free_address();
    let daemon = daemon(&stage, &address).await;
    let passed = drilled(drill(&stage, &address, &["poison"])).await;
    passed.has_passed();
    for what in ["without content", "a list", "levels deep", "one MiB", "no actor was restarted"] {
        assert!(passed.passed(what), "{what}: {:#}", passed.found);
    }
    assert_eq!(passed.figure("letters_discarded"), 4);
    assert_eq!(passed.figure("poison") + passed.figure("refused_by_outbox"), 6);
    let discarded = "SELECT count(*) FROM factline.dead_letters WHERE status = 'discarded' \
                     AND resolved_by LIKE 'drill by ada@%' AND event_id LIKE 'd2111%'";
    assert_eq!(stage.count(discarded).await, 4);
    assert_nothing_else_is_left(&stage, 0).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn what_comes_again_takes_effect_once() {
    let stage = Stage::new().await;
    let address = free_address();
    let daemon = daemon(&stage, &address).await;
    let passed = drilled(drill(&stage, &address, &["replay"])).await;
    passed.has_passed();
    assert!(passed.passed("published again") && passed.passed("read again"), "{:#}", passed.found);
    assert!(passed.passed("counted them as duplicates") && passed.figure("duplicates") == 40);
    assert!(passed.passed("a reprocessed letter takes effect once"), "{:#}", passed.found);
    assert_eq!((passed.figure("published_again"), passed.figure("took_effect_twice")), (20, 0));
    assert_eq!(stage.count("SELECT message_count FROM factline.conversations").await, 22);
    assert_nothing_else_is_left(&stage, 1).await;
    assert!(daemon.stop().await.success());
}

/// On the embedded database, for people.
#[tokio::test]
async fn an_embedded_deployment_can_be_drilled_too() {
    let folder = tempfile::tempdir().unwrap();
    let command = |arguments: &[&str]| {
        let mut command = bare_command(arguments);
        command.current_dir(folder.path()).env("FACTLINE__ADMIN__BIND", "");
        command
    };
    let daemon = Daemon::start(command(&["run"]), folder.path().join("log"));
    daemon.until_logged("partitions taken on").await;
    for (name, unseen) in [("poison", 2), ("replay", 3)] {
        let output = output_of(command(&["drill", name, "--yes"])).await;
        let told = text(&output.stdout);
        assert!(output.status.success(), "{told}{}", text(&output.stderr));
        assert!(told.ends_with(&format!("passed, {unseen} checks not looked at: {name}\n")), "{told}");
        for part in ["writing", "every event was recorded once", "not looked at", "remains: "] {
            assert!(told.contains(part), "{part:?} is not in:\n{told}");
        }
        assert!(!told.contains("FAILED"), "{told}");
    }
    let open = output_of(command(&["dlq", "list"])).await;
    assert_eq!(text(&open.stdout), "no dead letters\n");
    assert!(daemon.stop().await.success());
}
