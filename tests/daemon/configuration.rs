//! `run` refuses to start on what cannot work, and names the key and the fix.

use std::process::Output;

use super::stage::{Stage, bare_command, free_address, text};

fn run_with(file: &str, environment: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("factline.toml"), file).unwrap();
    bare_command(&["run"])
        .current_dir(folder.path())
        .env("FACTLINE__ADMIN__BIND", "")
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

#[test]
fn every_impossible_configuration_is_refused_with_its_key_and_the_fix() {
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("[relay]\nbatch_sise = 1", &[]),
        ("", &[("FACTLINE__RELAY__BATCH_SISE", "1")]),
        ("[relay]\nbatch_size = \"many\"", &[]),
        ("[relay]\nbatch_size = 0", &[]),
        ("[relay]\npoll_min = \"1s\"", &[]),
        ("[relay]\nretention = \"a while\"", &[]),
        ("not toml", &[]),
        ("[stream]\nbackend = \"redis\"", &[]),
        ("[stream]\nbackend = \"embedded\"", &[("REDIS_URL", "redis://127.0.0.1:1")]),
        ("", &[("DATABASE_URL", "mysql://db/chat")]),
        ("[store]\nurl = \"sqlite::memory:\"", &[]),
        ("[source.columns]\nkey = \"chat_id\"", &[]),
        ("[[groups]]\nname = \"a/b\"", &[]),
        ("[[groups]]\nname = \"a\"\n[[groups]]\nname = \"a\"", &[]),
        ("[[groups]]\nname = \"a\"\nextractors = [\"llm\"]", &[]),
        ("[[groups]]\nname = \"a\"\n[[groups]]\nname = \"b\"", &[]),
        ("[[groups]]\nextract_timeout = \"0s\"", &[]),
        ("[extractors.llm]\nkind = \"llm\"", &[]),
        ("[supervision.\"root/relays\"]\nmax_restarts = 1", &[]),
        ("[supervision.\"root/relay/outbox_poller\"]\nstrategy = \"one_for_all\"", &[]),
        (
            "[supervision.\"root/janitor\"]\nsignificant = true\nstall_after = \"0s\"\nbackoff_jitter = 7.0",
            &[],
        ),
        ("[admin]\nbind = \"nowhere\"", &[("FACTLINE__ADMIN__BIND", "0.0.0.0:8080")]),
        ("", &[("FACTLINE__GROUPS__NOBODY__WORKERS", "1")]),
    ];
    let mut told = Vec::new();
    for (file, environment) in cases {
        let output = run_with(file, environment);
        assert_eq!(output.status.code(), Some(1), "{file}{environment:?}");
        let environment: Vec<String> =
            environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let given = [file.replace('\n', " "), environment.join(" ")].join(" ");
        told.push(format!("{}\n  {}", given.trim(), text(&output.stderr).trim().replace('\n', "\n  ")));
    }
    insta::assert_snapshot!(told.join("\n\n"));
}

#[test]
fn unreachable_servers_end_the_start_after_a_bounded_wait() {
    let nobody = free_address();
    let database = format!("postgres://app:s3cret@{nobody}/chat");
    let output =
        run_with("startup_timeout = \"1s\"", &[("DATABASE_URL", database.as_str()), ("RUST_LOG", "error")]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(
        error.contains("source.url: gave up after 1s") && error.contains("check that PostgreSQL runs"),
        "{error}"
    );
    assert!(!error.contains("s3cret"), "{error}");

    let redis = format!("redis://:s3cret@{nobody}");
    let output =
        run_with("startup_timeout = \"1s\"", &[("REDIS_URL", redis.as_str()), ("RUST_LOG", "error")]);
    let error = text(&output.stderr);
    assert!(
        error.contains("stream.url: gave up after 1s") && error.contains("check that Redis runs"),
        "{error}"
    );
    assert!(!error.contains("s3cret"), "{error}");
}

#[tokio::test]
async fn a_database_or_role_that_does_not_exist_ends_the_start_at_once() {
    let stage = Stage::new().await;
    let missing = url::Url::parse(&stage.direct).unwrap().join("/nowhere").unwrap().to_string();
    let stranger = stage.direct.replace("postgres@", "stranger@");
    let cases =
        [(&missing, "database \"nowhere\" does not exist"), (&stranger, "role \"stranger\" does not exist")];
    for (url, words) in cases {
        for (variable, key) in [("DATABASE_URL", "source.url"), ("FACTLINE__STORE__URL", "store.url")] {
            let mut run = stage.command(&["run"]);
            // Longer than anybody waits: it is not tried again.
            run.env(variable, url).env("FACTLINE__STARTUP_TIMEOUT", "1day");
            let output = run.output().unwrap();
            let error = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{error}");
            assert!(error.contains(&format!("{key} is unusable")) && error.contains(words), "{error}");
        }
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run_with("", &[("FACTLINE__ADMIN__BIND", address.as_str())]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(&format!("admin.bind: cannot listen on {address}")));
}

#[tokio::test]
async fn missing_tables_are_named_with_the_command_that_makes_them() {
    let stage = Stage::unmigrated().await;
    let output = stage.command(&["run"]).env("FACTLINE__STARTUP_TIMEOUT", "500ms").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("run `factline migrate up`"), "{}", text(&output.stderr));
}

#[tokio::test]
async fn a_producer_and_a_consumer_that_disagree_about_the_partitions_do_not_start() {
    let stage = Stage::new().await;
    let relay = stage.start(&["run", "--only", "relay"]);
    relay.until_logged("factline is running").await;
    let output = stage
        .command(&["run", "--only", "consumers"])
        .env("FACTLINE__STREAM__PARTITIONS", "16")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("stream.partitions is 16, but these streams have 8"), "{error}");
}

#[test]
fn the_environment_overrides_the_file_and_the_file_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let file = "[relay]\nbatch_size = 7\nin_flight = 3\n[[groups]]\nname = \"facts\"\nworkers = 5";
    std::fs::write(folder.path().join("factline.toml"), file).unwrap();
    let output = bare_command(&["config", "show", "--json"])
        .current_dir(folder.path())
        .env("FACTLINE__RELAY__IN_FLIGHT", "9")
        .env("FACTLINE__GROUPS__FACTS__TOPICS", "[\"chat\", \"mail\"]")
        .env("FACTLINE__SUPERVISION__ROOT/RELAY__MAX_RESTARTS", "8")
        .env("DATABASE_URL", "postgres://app:s3cret@db/chat")
        .env("SOURCE_DATABASE_URL", "postgres://app:s3cret@app-db/app")
        .output()
        .unwrap();
    let config: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    assert_eq!(config["relay"]["batch_size"], 7);
    assert_eq!(config["relay"]["in_flight"], 9);
    assert_eq!(config["relay"]["poll_max"], "100ms");
    assert_eq!(config["groups"][0]["workers"], 5);
    assert_eq!(config["groups"][0]["topics"], serde_json::json!(["chat", "mail"]));
    assert_eq!(config["supervision"]["root/relay"]["max_restarts"], 8);
    assert_eq!(config["store"]["url"], "postgres://app:***@db/chat");
    assert_eq!(config["source"]["url"], "postgres://app:***@app-db/app");
}

#[test]
fn config_check_says_whether_it_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let check = |arguments: &[&str]| bare_command(arguments).current_dir(folder.path()).output().unwrap();
    assert_eq!(text(&check(&["config", "check"]).stdout), "the configuration is right\n");
    std::fs::write(folder.path().join("factline.toml"), "[relay]\nin_flight = 0").unwrap();
    let wrong = check(&["config", "check", "--json"]);
    assert_eq!(wrong.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&wrong.stdout).unwrap();
    assert_eq!(report["errors"][0], "relay.in_flight is 0: write 1 or more");
    let missing = check(&["--config", "elsewhere.toml", "config", "check"]);
    assert!(text(&missing.stderr).contains("configuration file elsewhere.toml does not exist"));
}
