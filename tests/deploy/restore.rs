//! `scripts/restore` on databases that are not empty, and what neither script shows on its command lines.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    assert_success,
    backup::{assert_refused, migrated, script, stopped},
    root,
};
use crate::{
    daemon::stage::text,
    servers::{Postgres, Redis},
};

/// What a newer version might have made: a table and a view in its schema, a table and a view beside the outbox.
const UPGRADE: &str = "
    CREATE TABLE factline.later (id bigint);
    CREATE VIEW factline.latest AS SELECT * FROM factline.event_ledger;
    CREATE TABLE outbox_later (id bigint);
    CREATE VIEW outbox_latest AS SELECT * FROM outbox_events;
    INSERT INTO factline.migrations (version, description, success, checksum, execution_time)
        VALUES (9999, 'later', true, '', 0);
    INSERT INTO factline_source_migrations (version, description, success, checksum, execution_time)
        VALUES (9999, 'later', true, '', 0)";

#[tokio::test]
async fn a_backup_from_before_an_upgrade_takes_the_upgrade_back() {
    let redis = Redis::start_own();
    let stage = migrated(&Postgres::shared().database(), &redis).await;
    let daemon = stage.start(&["run"]);
    stage.insert_messages(20, 10).await;
    stage.until_recorded(20).await;
    stopped(daemon, &stage).await;
    assert_success(&script("backup", &stage, &["one"]));
    stage.execute(UPGRADE).await;
    stage.execute("UPDATE factline.event_ledger SET outcome = 'dead_lettered'").await;

    let output = script("restore", &stage, &["--replace", "--yes", "one"]);
    assert_success(&output);
    let said = text(&output.stdout);
    assert!(said.contains("for the backup has it not: \"public\".\"outbox_later\"\n"), "{said}");
    for (sql, expected) in [
        ("SELECT count(*) FROM pg_class WHERE relname IN ('later', 'latest', 'outbox_latest')", 0),
        ("SELECT count(*) FROM factline.migrations WHERE version = 9999", 0),
        ("SELECT count(*) FROM factline_source_migrations WHERE version = 9999", 0),
        ("SELECT count(*) FROM factline.event_ledger WHERE outcome = 'processed'", 20),
        ("SELECT count(*) FROM outbox_events", 20),
    ] {
        assert_eq!(stage.count(sql).await, expected, "{sql}");
    }
    let verified = stage.run(&["verify"]);
    assert_success(&verified);
    assert!(text(&verified.stdout).contains("lost=0 doubled=0 misordered=0"), "{}", text(&verified.stdout));
}

#[tokio::test]
async fn a_backup_that_breaks_off_changes_nothing() {
    let redis = Redis::start_own();
    let stage = migrated(&Postgres::shared().database(), &redis).await;
    stage.insert_messages(200, 10).await;
    assert_success(&script("backup", &stage, &["one"]));
    stage.execute(UPGRADE).await;
    stage.insert_messages(10, 10).await;
    // Its checksum is right, so it was damaged before.
    let backup = stage.folder.path().join("one");
    let dump = std::fs::read(backup.join("store.dump")).unwrap();
    std::fs::write(backup.join("store.dump"), &dump[..dump.len() - 500]).unwrap();
    let sums = Command::new("sh").args(["-c", "sha256sum -- *.* >SHA256SUMS"]).current_dir(&backup).status();
    assert!(sums.unwrap().success());
    assert_refused(&script("restore", &stage, &["--replace", "--yes", "one"]), "store.dump was not restored");
    assert_eq!(stage.count("SELECT count(*) FROM outbox_events").await, 210);
    assert_eq!(stage.count("SELECT count(*) FROM factline.later").await, 0);
}

/// In place of a program: writes down how it was called, and does it.
const WATCHED: &str = r#"#!/usr/bin/env bash
name=$(basename "$0")
echo "$name $*" >>"$CALLS"
echo "$name ${PGPASSWORD:-}${REDISCLI_AUTH:-}" >>"$CALLS.passwords"
PATH=${PATH#*:}
exec "$name" "$@"
"#;

const PASSWORD: &str = "ge:heim@/\\n 1";
const ENCODED: &str = "ge%3Aheim%40%2F%5Cn%201";

fn with_password(url: &str, user: Option<&str>) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (old, server) = rest.split_once('@').unwrap_or(("", rest));
    let user = user.unwrap_or_else(|| old.split(':').next().unwrap());
    format!("{scheme}://{user}:{ENCODED}@{server}")
}

#[tokio::test]
async fn no_command_line_has_a_password() {
    let redis = Redis::start_own();
    let stage = migrated(&Postgres::shared().database(), &redis).await;
    stage.insert_messages(5, 5).await;
    let port = redis.url().rsplit(':').next().unwrap().to_owned();
    let rule = format!(">{PASSWORD}");
    let user = ["-p", &port, "ACL", "SETUSER", "keeper", "on", &rule, "~*", "&*", "+@all"];
    assert!(text(&Command::new("redis-cli").args(user).output().unwrap().stdout).starts_with("OK"));

    let folder = stage.folder.path();
    let programs = folder.join("programs");
    std::fs::create_dir(&programs).unwrap();
    for name in ["pg_dump", "pg_restore", "psql", "redis-cli"] {
        write_program(&programs.join(name), WATCHED);
    }
    let calls = folder.join("calls");
    let script = |name: &str, arguments: &[&str]| {
        let mut command = Command::new(root().join("scripts").join(name));
        command.args(arguments).current_dir(folder).env_remove("SOURCE_DATABASE_URL").env("CALLS", &calls);
        command.env("PATH", format!("{}:{}", programs.display(), std::env::var("PATH").unwrap()));
        command.env("DATABASE_URL", with_password(&stage.database, None));
        command.env("REDIS_URL", with_password(&redis.url(), Some("keeper"))).output().unwrap()
    };
    assert_success(&script("backup", &["one"]));
    assert!(folder.join("one/redis.rdb").exists());
    let restored = script("restore", &["--replace", "--yes", "one"]);
    assert_success(&restored);
    assert!(text(&restored.stdout).contains(":***@"), "{}", text(&restored.stdout));
    let (calls, passwords) = (read(&calls), read(&folder.join("calls.passwords")));
    for (name, argument) in
        [("pg_dump", "--dbname="), ("psql", "--dbname="), ("redis-cli", "-u redis://127.")]
    {
        assert!(calls.lines().any(|line| line.starts_with(name) && line.contains(argument)), "{calls}");
        assert!(passwords.contains(&format!("{name} {PASSWORD}\n")), "{name} in {passwords}");
    }
    for shown in [&calls, &text(&restored.stdout), &text(&restored.stderr)] {
        assert!(!shown.contains("heim"), "{shown}");
    }
}

fn read(path: &PathBuf) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn write_program(path: &Path, program: &str) {
    std::fs::write(path, program).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
