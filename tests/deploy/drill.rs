//! `scripts/drill`: a drill in the daemon's container, whose server is stopped and started by Docker outside of it.

use std::{
    os::unix::fs::{PermissionsExt, symlink},
    process::Output,
    sync::Arc,
};

use serde_json::Value;

use super::root;
use crate::{
    daemon::{
        drill::Switch,
        stage::{Stage, text},
    },
    servers::{Postgres, Redis},
};

/// In place of `docker`: runs here what would run in the container, and has the test's server stopped and started.
const DOCKER: &str = r#"#!/usr/bin/env bash
set -euo pipefail
[[ $1 == compose ]]; shift
verb=$1; shift
case $verb in
  stop | start)
    echo "$verb $1" >>"$FOLDER/calls"
    [[ ${REFUSES:-} != "$verb" ]] || exit 1
    # To start what runs changes nothing.
    if [[ $verb == stop ]]; then touch "$FOLDER/down"; else rm "$FOLDER/down" 2>/dev/null || exit 0; fi
    touch "$FOLDER/$verb"
    while [[ -e $FOLDER/$verb ]]; do sleep 0.02; done ;;
  exec)
    while [[ $1 == -* ]]; do shift; done
    [[ $1 == factline ]]; shift
    exec "$@" ;;
esac
"#;

#[tokio::test]
async fn a_drill_in_the_container_has_its_server_stopped_and_started_outside() {
    let redis = Arc::new(Redis::start_own());
    let stage = Stage::on(&Postgres::shared().database(), &redis.url(), "drill").await;
    assert!(stage.run(&["migrate", "up"]).status.success());
    let daemon = stage.start(&["run"]);
    daemon.until_logged("partitions taken on").await;
    let folder = stage.folder.path();
    let _switch = Switch::redis(folder, redis);
    std::fs::write(folder.join("docker"), DOCKER).unwrap();
    std::fs::set_permissions(folder.join("docker"), std::fs::Permissions::from_mode(0o755)).unwrap();
    symlink(env!("CARGO_BIN_EXE_factline"), folder.join("factline")).unwrap();

    let drill = async |refuses: &str| -> (Output, Value) {
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
        let mut command = stage.command_of(&root().join("scripts/drill"));
        command.args(["redis-failure", "--for", "2s", "--yes", "--json"]);
        command.env("PATH", path).env("FOLDER", folder).env("REFUSES", refuses);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let found = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        (output, found)
    };
    let calls = || {
        let calls = std::fs::read_to_string(folder.join("calls")).unwrap();
        std::fs::remove_file(folder.join("calls")).unwrap();
        calls
    };
    let (output, found) = drill("").await;
    assert_eq!(output.status.code(), Some(0), "{found:#} {}", text(&output.stderr));
    assert_eq!(found["passed"], true, "{found:#}");
    assert_eq!(calls(), "stop redis\nstart redis\n");

    // What Docker refuses fails the drill, and is no reason not to bring the server back.
    let (output, found) = drill("stop").await;
    assert_eq!(output.status.code(), Some(1), "{found:#}");
    let told = found["checks"][0]["found"].as_str().unwrap();
    assert!(told.contains("/tmp/drill-") && told.contains("failed: exit status: 1"), "{found:#}");
    assert_eq!(calls(), "stop redis\nstart redis\n");

    let (output, found) = drill("start").await;
    assert_eq!(output.status.code(), Some(1), "{found:#}");
    let calls = calls();
    assert!(calls.starts_with("stop redis\nstart redis\nstart redis\n"), "{calls}");
    assert!(text(&output.stderr).contains("redis may still be away"), "{}", text(&output.stderr));
}
