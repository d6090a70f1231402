//! The quick starts of the README, word for word.

use std::process::{Command, Output, Stdio};

use super::stage::{Stage, bare_command, free_address, text, until};

const README: &str = include_str!("../../README.md");

/// The lines of the first shell block below a heading.
fn commands_below(heading: &str) -> Vec<String> {
    let section = README.split(&format!("\n## {heading}\n")).nth(1).unwrap();
    let block = section.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    block.lines().map(str::to_owned).collect()
}

/// A shell in which `factline` is this build, and which ends with all that it started.
fn shell(command: &Command, line: &str) -> Command {
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_factline")).parent().unwrap().to_owned();
    let path = std::env::var("PATH").unwrap();
    let mut shell = Command::new("bash");
    shell.args(["-c", line]).stdin(Stdio::null()).env("PATH", format!("{}:{path}", binary.display()));
    shell.current_dir(command.get_current_dir().unwrap());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

async fn follow(heading: &str, environment: &Command, told: &[&str]) {
    let mut daemon = None;
    for line in commands_below(heading) {
        if line.starts_with("export ") || line == "kill %1" {
            continue; // the stage's own servers, under the same names; and the daemon ends below
        }
        if let Some(background) = line.strip_suffix(" &") {
            let mut shell = shell(environment, &format!("exec {background}"));
            let log = environment.get_current_dir().unwrap().join("daemon.log");
            shell.env("FACTLINE__ADMIN__BIND", free_address());
            daemon = Some(super::stage::Daemon::start(shell, log));
            continue;
        }
        let run = || -> Output { shell(environment, &line).output().unwrap() };
        if line.starts_with("factline facts") {
            until(&line, || async { told.iter().all(|word| text(&run().stdout).contains(word)) }).await;
        } else if !line.starts_with("factline status") {
            let output = run();
            assert!(output.status.success(), "{line}: {}{}", text(&output.stdout), text(&output.stderr));
        }
    }
    assert!(daemon.unwrap().stop().await.success());
}

#[tokio::test]
async fn the_embedded_quick_start_works_as_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut environment = bare_command(&[]);
    environment.current_dir(folder.path());
    follow("Quick start, embedded", &environment, &["Turin", "tea"]).await;
    assert!(folder.path().join("factline-data/factline.db").exists());
}

#[tokio::test]
async fn the_quick_start_on_postgres_and_redis_works_as_written() {
    let stage = Stage::unmigrated().await;
    std::os::unix::fs::symlink(
        concat!(env!("CARGO_MANIFEST_DIR"), "/examples"),
        stage.folder.path().join("examples"),
    )
    .unwrap();
    follow("Quick start, PostgreSQL and Redis", &stage.command(&[]), &["Olivetti"]).await;
}

#[tokio::test]
async fn the_insert_of_the_readme_is_the_one_of_the_example() {
    let example = include_str!("../../examples/insert.sql");
    let insert = example.split_once('\n').unwrap().1;
    assert!(README.contains(insert.trim()));
}

#[tokio::test]
async fn an_entry_appended_by_another_producer_is_read() {
    let stage = Stage::new().await;
    let daemon = stage.start(&["run"]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/append.sh");
    let appended = Command::new(script)
        .env("REDIS_URL", &stage.redis)
        .env("STREAM_PREFIX", &stage.prefix)
        .output()
        .unwrap();
    assert!(appended.status.success(), "{}", text(&appended.stderr));
    stage.until_recorded(1).await;
    let known = "SELECT count(*) FROM factline.facts WHERE subject = 'Grace' AND object = 'Arlington'";
    assert_eq!(stage.count(known).await, 1);
    assert!(daemon.stop().await.success());
}

#[test]
fn every_command_of_the_readme_exists_and_every_command_is_in_it() {
    let help = text(&bare_command(&["help"]).output().unwrap().stdout);
    let commands =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    for command in commands.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
        let named = format!("factline {command}");
        assert!(
            README.contains(&named) || README.contains(&format!("-- {command}")),
            "{command} is not in the README"
        );
    }
}

/// What a line asks of Factline, if it does: as it is, in a list, in a container, or with a database of its own.
fn command_of(line: &str) -> Option<&str> {
    let line = line.trim_start();
    if line.starts_with("docker compose run ") || line.starts_with("DATABASE_URL=") {
        return line.split_once(" factline ").map(|(_, command)| command);
    }
    line.strip_prefix("factline ")
}

#[test]
fn every_command_of_the_runbooks_exists_with_its_options() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/runbooks");
    let mut commands = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let text_of_file = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for line in text_of_file.lines().filter_map(command_of) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let is_command = |word: &&&str| {
                !word.starts_with('-') && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
            };
            let mut asked: Vec<&str> = words.iter().take_while(is_command).copied().collect();
            asked.push("--help");
            let help = bare_command(&asked).output().unwrap();
            assert!(help.status.success(), "{line}: {}", text(&help.stderr));
            let help = text(&help.stdout);
            for option in words.iter().filter(|word| word.starts_with("--")) {
                assert!(
                    help.contains(&format!("{option} ")) || help.contains(&format!("{option}\n")),
                    "{line}: {option}"
                );
            }
            commands += 1;
        }
    }
    assert!(commands > 20);
}
