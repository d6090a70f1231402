//! The clock of the daemon's machine is set back an hour. Servers keep their own; an embedded database has no other.

use std::{path::Path, process::Command};

use super::{
    embedded::Embedded,
    load::Load,
    scene::{BRISK, settled},
};
use crate::daemon::stage::{Stage, text, until};

/// Where Debian and its like put it.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// The environment of a process that lives an hour ago.
pub(crate) fn an_hour_ago() -> [(&'static str, &'static str); 3] {
    let library = LIBRARIES.into_iter().find(|library| Path::new(library).exists());
    let library =
        library.expect("libfaketime is missing; scripts/test installs it (apt-get install faketime)");
    let seconds = |ago: &str| {
        let mut date = Command::new("date");
        date.arg("+%s").envs([("LD_PRELOAD", library), ("FAKETIME", ago)]);
        text(&date.output().unwrap().stdout).trim().parse::<u64>().unwrap()
    };
    assert!(seconds("-1h") + 1800 < seconds("+0"), "{library} does not work here");
    // Pauses and timeouts go by the monotonic clock, which nobody sets.
    [("LD_PRELOAD", library), ("FAKETIME", "-1h"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")]
}

#[tokio::test]
async fn a_daemon_whose_clock_was_set_back_goes_on_where_it_was() {
    let an_hour_ago = an_hour_ago();
    let stage = Stage::new().await;
    let load = Load::on(&stage);
    for environment in [&[][..], &an_hour_ago, &[]] {
        let daemon = stage.start_with(&["run"], &[BRISK, environment].concat());
        let wanted = stage.recorded().await + 1000;
        stage.until_recorded(wanted).await;
        daemon.kill().await;
    }
    load.end().await;
    let daemon = stage.start_with(&["run"], &[BRISK, &an_hour_ago].concat());
    settled(&stage).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn so_does_an_embedded_one_whose_leases_seem_to_last_for_an_hour() {
    let an_hour_ago = an_hour_ago();
    let embedded = Embedded::new().await;
    let load = embedded.load();
    let mut wanted = 0;
    for environment in [&[][..], &an_hour_ago] {
        let daemon = embedded.start(environment);
        wanted += 1000;
        until("more is recorded", || async {
            embedded.count("SELECT count(*) FROM event_ledger").await >= wanted
        })
        .await;
        daemon.kill().await;
    }
    load.end().await;
    let daemon = embedded.start(&an_hour_ago);
    embedded.recorded_once().await;
    assert!(daemon.stop().await.success());
}
