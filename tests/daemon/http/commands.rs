//! The commands that ask the daemon, or make what it is asked with.

use super::{Site, token, variables};
use crate::daemon::{
    doctor::Diagnosis,
    stage::{bare_command, free_address, text},
};

#[actix_web::test]
async fn a_token_works_by_what_was_printed_for_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let made = bare_command(&["token", "kim", "--role", "operator"]).output().unwrap();
    let told = text(&made.stdout);
    let lines: Vec<&str> = told.lines().collect();
    let begin = lines.iter().position(|line| *line == "[admin.tokens.kim]").unwrap();
    std::fs::write(folder.path().join("factline.toml"), lines[begin..begin + 3].join("\n")).unwrap();
    let mut check = bare_command(&["config", "show", "--json"]);
    let shown = check.current_dir(folder.path()).output().unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["admin"]["tokens"]["kim"]["role"], "operator");
    let printed = lines[begin + 2].split('"').nth(1).unwrap();
    assert!(told.contains(&format!("FACTLINE__ADMIN__TOKENS__KIM__SHA256={printed}")), "{told}");
    assert!(lines[0].starts_with("factline_") && lines[0].len() == "factline_".len() + 64, "{told}");
}

#[test]
fn no_two_tokens_are_alike_and_names_are_checked() {
    assert_ne!(token("kim", "viewer").0, token("kim", "viewer").0);
    for name in ["Kim", "on-call", ""] {
        let refused = bare_command(&["token", name]).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{name}");
        assert!(text(&refused.stderr).contains("lower-case letters"), "{refused:?}");
    }
}

#[actix_web::test]
async fn a_daemon_that_listens_everywhere_is_asked_at_home() {
    let (_, environment) = token("kim", "operator");
    let site = Site::embedded(environment).await;
    let port = site.address.rsplit(':').next().unwrap();
    let everywhere = format!("0.0.0.0:{port}");
    let health = site.command(&["health"]).env("FACTLINE__ADMIN__BIND", &everywhere).output().unwrap();
    assert!(health.status.success(), "{health:?}");
    assert_eq!(text(&health.stdout), "alive\n");
}

#[actix_web::test]
async fn a_daemon_listens_everywhere_once_there_is_a_token() {
    let (viewer, mut environment) = token("grafana", "viewer");
    let port = free_address().rsplit(':').next().unwrap().to_owned();
    environment.extend(variables(&[("FACTLINE__ADMIN__HOSTS", "[\"factline\"]")]));
    let site = Site::listening_on(&format!("0.0.0.0:{port}"), environment).await;
    let json = site.command(&["health", "--json"]).output().unwrap();
    let health: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(health["status"], "alive");
    let status =
        |token: &str| site.command(&["status", "--json"]).env("FACTLINE_TOKEN", token).output().unwrap();
    let with: serde_json::Value = serde_json::from_slice(&status(&viewer).stdout).unwrap();
    assert_eq!(with["tree"]["path"], "root", "{with}");
    let without: serde_json::Value = serde_json::from_slice(&status("").stdout).unwrap();
    assert!(
        without["tree"].is_null() && without["wrong"].to_string().contains("set FACTLINE_TOKEN"),
        "{without}"
    );
}

#[actix_web::test]
async fn whoever_has_no_token_is_told_that_one_is_needed() {
    let (viewer, environment) = token("grafana", "viewer");
    let site = Site::embedded(environment).await;
    let doctor = |token: &str| {
        let mut command = site.command(&["doctor", "--json", "--watch", "100ms"]);
        command.env("FACTLINE_TOKEN", token);
        Diagnosis::of(command)
    };
    for wrong in ["", "factline_guessed"] {
        let words = ["does not show its tree", "set FACTLINE_TOKEN"];
        doctor(wrong).await.assert_finds("daemon", "warning", &words, "export FACTLINE_TOKEN=");
    }
    assert!(doctor(&viewer).await.complaints("daemon").is_empty());

    let mut drill = site.command(&["drill", "poison", "--yes", "--json"]);
    drill.env_remove("FACTLINE_TOKEN");
    let drilled = tokio::task::spawn_blocking(move || drill.output().unwrap()).await.unwrap();
    assert!(text(&drilled.stdout).contains("set FACTLINE_TOKEN"), "{drilled:?}");
}

#[test]
fn without_a_daemon_its_health_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let ask = |bind: &str| {
        let mut command = bare_command(&["health", "--ready"]);
        command.current_dir(folder.path()).env("FACTLINE__ADMIN__BIND", bind).output().unwrap()
    };
    let nobody = ask(&free_address());
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(&nobody.stderr).contains("no daemon answers on"), "{nobody:?}");
    let nowhere = ask("");
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(text(&nowhere.stderr).contains("admin.bind is empty"), "{nowhere:?}");
}
