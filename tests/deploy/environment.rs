//! `deploy/make-env`, and what is made with it: the sample producer, and Redis as it is configured.

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use sha2::{Digest, Sha256};

use super::{assert_success, dotenv, read, root, services};
use crate::daemon::stage::{Stage, text};

fn make_env(target: &Path) -> Output {
    Command::new(root().join("deploy/make-env")).arg(target).output().unwrap()
}

fn sha256(token: &str) -> String {
    Sha256::digest(token).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

#[test]
fn it_writes_everything_that_is_needed_for_its_owner_alone_and_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join(".env");
    let made = make_env(&target);
    assert_success(&made);
    let written = std::fs::read_to_string(&target).unwrap();
    let (values, example) = (dotenv(&written), dotenv(&read(".env.example")));
    assert_eq!(values.keys().collect::<Vec<_>>(), example.keys().collect::<Vec<_>>());
    for (name, default) in &example {
        let is_secret = read("docker-compose.yml").contains(&format!("${{{name}:?"));
        assert_eq!(is_secret, values[name] != *default, "{name}");
        assert!(
            !is_secret || values[name].chars().all(|c| c.is_ascii_alphanumeric()),
            "{name} goes into a URL"
        );
    }
    assert_eq!(std::fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);

    assert_eq!(values["FACTLINE_VIEWER_SHA256"], sha256(&values["FACTLINE_VIEWER_TOKEN"]));
    let said = text(&made.stdout);
    let operator = said.split_whitespace().last().unwrap();
    assert_eq!(values["FACTLINE_OPERATOR_SHA256"], sha256(operator));
    assert!(!written.contains(operator), "the operator's token is shown, and kept nowhere");

    // A volume keeps its password: the file that has it is never lost.
    assert!(!make_env(&target).status.success());
    assert_eq!(std::fs::read_to_string(&target).unwrap(), written);
    let other = folder.path().join("other");
    assert_success(&make_env(&other));
    assert_ne!(
        dotenv(&std::fs::read_to_string(other).unwrap())["POSTGRES_PASSWORD"],
        values["POSTGRES_PASSWORD"]
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left there");
}

#[tokio::test]
async fn the_sample_producer_says_what_becomes_facts_and_now_and_then_what_does_not() {
    let stage = Stage::new().await;
    let url = url::Url::parse(&stage.database).unwrap();
    let said = Command::new("bash")
        .arg(root().join("deploy/sample-producer"))
        .env("PGHOST", url.host_str().unwrap())
        .env("PGPORT", url.port().unwrap().to_string())
        .env("PGUSER", url.username())
        .env("PGDATABASE", &url.path()[1..])
        .envs([("EVERY_SECONDS", "0"), ("COUNT", "51")])
        .output()
        .unwrap();
    assert_success(&said);
    let daemon = stage.start(&["run"]);
    stage.until_recorded(51).await;
    assert_eq!(stage.count("SELECT count(*) FROM factline.dead_letters").await, 1);
    assert!(stage.count("SELECT count(*) FROM factline.facts").await > 3);
    assert!(daemon.stop().await.success());
}

#[test]
fn redis_is_configured_to_keep_what_it_has_and_by_its_command_to_ask_for_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("redis.conf"), read("deploy/redis/redis.conf")).unwrap();
    let command = services()["redis"]["command"][2].as_str().unwrap().replace("$$", "$");
    // All of it but the server, which would not end.
    let command = command
        .replace("/etc/redis.conf", &path("redis.conf"))
        .replace("/tmp/redis.conf", &path("made.conf"));
    let (command, started) = command.rsplit_once(" && exec ").unwrap();
    assert_eq!(started, format!("redis-server {}", path("made.conf")));
    let shell = Command::new("sh")
        .args(["-c", command])
        .envs([("REDISCLI_AUTH", "secret"), ("REDIS_MAXMEMORY", "512mb")])
        .output()
        .unwrap();
    assert_success(&shell);
    let made = std::fs::read_to_string(path("made.conf")).unwrap();
    let settings: BTreeMap<&str, &str> = made
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(' ').unwrap())
        .collect();
    for (key, value) in [
        ("requirepass", "secret"),
        ("maxmemory", "512mb"),
        ("maxmemory-policy", "noeviction"),
        ("appendonly", "yes"),
        ("dir", "/data"),
    ] {
        assert_eq!(settings.get(key), Some(&value), "{key}");
    }
    assert_eq!(std::fs::metadata(path("made.conf")).unwrap().permissions().mode() & 0o077, 0);
}
