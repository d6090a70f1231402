//! `factline bench`: there are figures, the user's tables are left alone, and nothing of the benchmark stays behind.

use std::{path::Path, process::Command};

use serde_json::Value;
use tempfile::TempDir;

use super::stage::{Daemon, Stage, bare_command, text, unique, until};
use crate::servers;

/// Few events: these tests say that it works, not how fast it is.
const SMALL: [&str; 7] = ["--events", "400", "--rounds", "1", "--keys", "20", "--json"];

/// The benchmark with a temporary folder of its own, so that what it leaves there shows.
fn bench(mut command: Command, bench: &str, temporary: &TempDir) -> Command {
    command.args(["bench", bench]).args(SMALL).env("TMPDIR", temporary.path());
    command
}

pub(super) async fn report(command: Command) -> Value {
    let output = run(command).await;
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

pub(super) async fn run(mut command: Command) -> std::process::Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

pub(super) fn figure(report: &Value, name: &str) -> f64 {
    let figures = report["figures"].as_array().unwrap();
    let figure = figures.iter().find(|figure| figure["name"] == name);
    figure.unwrap_or_else(|| panic!("no {name:?} in {report:#}"))["median"].as_f64().unwrap()
}

/// Names the figures that are there and greater than nothing.
pub(super) fn assert_figures(report: &Value, names: &[&str]) {
    for name in names {
        assert!(figure(report, name) > 0.0, "{name} in {report:#}");
    }
}

pub(super) fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

/// All three benchmarks that have a floor.
async fn assert_all_three(command: impl Fn() -> Command) {
    let temporary = tempfile::tempdir().unwrap();
    for (name, rate) in [("relay", "relay"), ("consume", "consume"), ("end-to-end", "end to end")] {
        let report = report(bench(command(), name, &temporary)).await;
        assert_eq!(report["bench"], name);
        assert_figures(&report, &[rate, "ratio to the floor", "memory, daemon at its peak"]);
    }
    assert!(is_empty(temporary.path()), "a folder stays behind");
}

/// What is there besides the stage's own.
pub(super) async fn left_behind(stage: &Stage) -> (i64, Vec<String>) {
    let databases =
        stage.count("SELECT count(*) FROM pg_database WHERE datname LIKE 'factline_bench%'").await;
    let client = redis::Client::open(stage.redis.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> =
        redis::cmd("KEYS").arg("factline_bench*").query_async(&mut connection).await.unwrap();
    (databases, keys)
}

pub(super) async fn own_stage(postgres: &servers::Postgres, redis: &servers::Redis) -> Stage {
    let stage = Stage::on(&postgres.database(), &redis.url(), "mine").await;
    assert!(stage.run(&["migrate", "up"]).status.success());
    stage
}

#[tokio::test]
async fn the_embedded_default_is_measured_in_a_folder_that_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    assert_all_three(|| {
        let mut command = bare_command(&[]);
        command.current_dir(folder.path());
        command
    })
    .await;
    assert!(is_empty(folder.path()), "the embedded database of the deployment is not even made");
}

#[tokio::test]
async fn servers_are_measured_in_a_database_and_under_keys_that_are_removed() {
    let (postgres, redis) = (servers::Postgres::start_own(), servers::Redis::start_own());
    let stage = own_stage(&postgres, &redis).await;
    stage.insert_messages(3, 3).await;
    assert_all_three(|| stage.command(&[])).await;
    let temporary = tempfile::tempdir().unwrap();
    let report = report(bench(stage.command(&[]), "end-to-end", &temporary)).await;
    let here =
        ["processor, PostgreSQL", "log of changes", "batch, claimed", "batch, published", "batch, recorded"];
    assert_figures(&report, &here);
    assert_figures(&report, &["ratio to the hand-written loop"]);
    assert_eq!(left_behind(&stage).await, (0, Vec::new()));
    assert_eq!(stage.count("SELECT count(*) FROM outbox_events WHERE status = 'pending'").await, 3);
}

#[tokio::test]
async fn a_mixture_of_servers_and_files_is_measured() {
    let (postgres, redis) = (servers::Postgres::start_own(), servers::Redis::start_own());
    let stage = own_stage(&postgres, &redis).await;
    let file = format!("sqlite:{}", stage.folder.path().join("mine.db").display());
    assert_all_three(|| {
        let mut command = stage.command(&[]);
        command.env_remove("REDIS_URL").env("FACTLINE__STREAM__URL", &file);
        command
    })
    .await;
    assert_all_three(|| {
        let mut command = stage.command(&[]);
        command.env_remove("DATABASE_URL");
        command.env("FACTLINE__SOURCE__URL", &file).env("FACTLINE__STORE__URL", &file);
        command
    })
    .await;
    assert_eq!(left_behind(&stage).await, (0, Vec::new()));
    assert!(is_empty(stage.folder.path()));
}

#[tokio::test]
async fn what_is_interrupted_tidies_up_and_what_is_killed_is_tidied_up_after() {
    let (postgres, redis) = (servers::Postgres::start_own(), servers::Redis::start_own());
    let stage = own_stage(&postgres, &redis).await;
    let begin = |events: &str| {
        let mut command = stage.command(&["bench", "end-to-end", "--rounds", "1000", "--events", events]);
        command.env("TMPDIR", stage.folder.path());
        Daemon::start(command, stage.folder.path().join(unique("log")))
    };
    let relays = async || {
        stage.count("SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'factline_bench%' AND query LIKE '%factline.leases%'").await > 0
    };

    for signal in ["INT", "TERM"] {
        let mut interrupted = begin("2000");
        until("a daemon is measured", relays).await;
        interrupted.signal(signal);
        assert_eq!(interrupted.ended().await.code(), Some(1));
        assert!(interrupted.log().contains("it was interrupted"), "{}", interrupted.log());
        assert_eq!(left_behind(&stage).await, (0, Vec::new()));
    }

    let killed = begin("2000");
    until("a daemon is measured", relays).await;
    killed.kill().await;
    let connected = "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'factline_bench%'";
    until("the daemon has ended with the benchmark", async || stage.count(connected).await == 0).await;
    assert_ne!(left_behind(&stage).await, (0, Vec::new()));

    let temporary = tempfile::tempdir().unwrap();
    let output = run(bench(stage.command(&[]), "relay", &temporary)).await;
    let told = text(&output.stderr);
    assert!(told.contains("left behind when killed: factline_bench_"), "{told}");
    assert_eq!(left_behind(&stage).await, (0, Vec::new()));
}

#[tokio::test]
async fn a_role_that_may_not_make_databases_is_told_what_to_grant() {
    let postgres = servers::Postgres::start_own();
    let redis = servers::Redis::start_own();
    let stage = own_stage(&postgres, &redis).await;
    stage.execute("CREATE ROLE app LOGIN").await;
    let mut command = stage.command(&["bench", "relay"]);
    command.env("DATABASE_URL", stage.database.replacen("postgres@", "app@", 1));
    let output = run(command).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(r#"ALTER ROLE "app" CREATEDB"#), "{}", text(&output.stderr));
    assert_eq!(left_behind(&stage).await, (0, Vec::new()));
}

#[tokio::test]
async fn an_idle_daemon_and_a_backlog_are_measured() {
    let (folder, temporary) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let command = |arguments: &[&str]| {
        let mut command = bare_command(arguments);
        command.current_dir(folder.path()).env("TMPDIR", temporary.path());
        command
    };
    let idle = report(command(&["bench", "idle", "--seconds", "1", "--json"])).await;
    assert_figures(&idle, &["start to ready", "memory, daemon at its peak"]);
    assert!(figure(&idle, "processor, daemon") >= 0.0);
    let backlog = report(command(&["bench", "backlog", "--events", "500", "--json"])).await;
    assert_figures(&backlog, &["end to end", "memory, daemon at its peak"]);
    assert!(is_empty(temporary.path()));
}
