//! The process dies at each step of an event, before and after it, as `kill -9` would have it: no destructor runs.

use std::os::unix::process::ExitStatusExt as _;

use factline::failpoints::Step;

use super::{
    embedded::Embedded,
    load::Load,
    scene::{BRISK, settled},
};
use crate::daemon::stage::{Daemon, Stage, bare_command};

/// Some while after the start, and a little later.
const ROUNDS: [u32; 2] = [2, 5];

/// What `abort` ends a process with.
const ABORTED: Option<i32> = Some(6);

/// Starts a daemon for each step, twice, and waits until it has died there.
async fn die_at_every_step(start: impl Fn(&str) -> Daemon) {
    for passed in ROUNDS {
        for step in Step::ALL {
            // There is something to take over only when the one before has died with it.
            let passed = if *step == Step::AfterTakeOver { 0 } else { passed };
            let mut daemon = start(&format!("{}={passed}*off->return", step.name()));
            let died = daemon.ended().await;
            assert_eq!(died.signal(), ABORTED, "at {step:?}: {died}\n{}", daemon.log());
        }
    }
}

#[tokio::test]
async fn a_daemon_that_dies_at_every_step_loses_doubles_and_misorders_nothing() {
    let stage = Stage::new().await;
    let load = Load::on(&stage);
    die_at_every_step(|failpoints| {
        stage.start_with(&["run"], &[BRISK, &[("FAILPOINTS", failpoints)]].concat())
    })
    .await;
    load.end().await;
    let daemon = stage.start_with(&["run"], BRISK);
    settled(&stage).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn neither_does_an_embedded_one() {
    let embedded = Embedded::new().await;
    let load = embedded.load();
    die_at_every_step(|failpoints| embedded.start(&[("FAILPOINTS", failpoints)])).await;
    load.end().await;
    let daemon = embedded.start(&[]);
    embedded.settled().await;
    assert!(daemon.stop().await.success());
}

#[test]
fn failpoints_are_there_in_this_binary() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = bare_command(&["demo"]);
    let demo = demo.current_dir(folder.path()).env("FAILPOINTS", "after_claim=return").output().unwrap();
    assert!(!demo.status.success(), "scripts/no-failpoints shows the same of one that has none");
}
