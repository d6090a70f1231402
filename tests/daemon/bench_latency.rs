//! `factline bench latency`, `overload` and `flat`: there are figures, and nothing stays behind. How fast anything is is
//! not asked.

use std::{path::Path, process::Command};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    bench::{assert_figures, figure, is_empty, left_behind, own_stage, report, run},
    stage::{Stage, bare_command, text},
};
use crate::servers;

const LATENCY: [&str; 10] =
    ["latency", "--rate", "200", "--seconds", "1", "--warm-up", "1", "--rounds", "2", "--json"];
const OVERLOAD: [&str; 6] = ["overload", "--seconds", "1", "--events", "2000", "--json"];
const FLAT: [&str; 8] = ["flat", "--scale", "0.0002", "--events", "300", "--rounds", "1", "--json"];

/// The benchmark with a temporary folder of its own, so that what it leaves there shows.
fn bench(mut command: Command, arguments: &[&str], temporary: &TempDir) -> Command {
    command.arg("bench").args(arguments).env("TMPDIR", temporary.path());
    command
}

fn embedded(folder: &Path) -> Command {
    let mut command = bare_command(&[]);
    command.current_dir(folder);
    command
}

fn assert_drawn(file: &Path, labels: &[&str]) {
    let svg = std::fs::read_to_string(file).unwrap();
    for label in labels {
        assert!(svg.contains(label), "{label} in {svg}");
    }
}

/// All shares of both kinds rise, and the later beginning never makes a time longer.
fn assert_latency(report: &Value) {
    let shares = ["p50", "p90", "p99", "p99.9", "max"];
    let of = |kind: &str| shares.map(|share| figure(report, &format!("{kind}, {share}")));
    let (made, due) = (of("commit to commit"), of("from when the insert was due"));
    assert!(made[0] > 0.0 && made.is_sorted() && due.is_sorted(), "{report:#}");
    assert!(made.iter().zip(due).all(|(made, due)| *made <= due), "{report:#}");
    assert_figures(report, &["floor: one event by hand, p50", "ratio of the p50 to the floor's", "inserted"]);
    assert!(figure(report, "of it the look's, at most, p50") <= made[0]);
    let target = |name: &str| {
        let figures = report["figures"].as_array().unwrap();
        figures.iter().find(|figure| figure["name"] == name).unwrap()["target"].clone()
    };
    assert_eq!(target("commit to commit, p50"), "≤ 3");
    assert_eq!(target("commit to commit, p99"), "≤ 7");
    assert_eq!(target("inserted"), Value::Null);
}

fn assert_overload(report: &Value) {
    assert_figures(
        report,
        &[
            "what the daemon can take",
            "inserted",
            "inserted, times what it can take",
            "second half, of what it can take",
            "memory after the first quarter",
            "memory, end to first quarter",
        ],
    );
    assert!(figure(report, "draining the rest") >= 0.0);
}

fn assert_flat(report: &Value, cases: &[&str]) {
    for case in cases {
        for what in ["small", "large", "throughput, large to small"] {
            assert_figures(report, &[&format!("{case}: {what}")]);
        }
    }
    assert_eq!(
        report["figures"].as_array().unwrap().iter().filter(|one| one["unit"] == "events/s").count(),
        2 * cases.len()
    );
}

async fn assert_all_three(command: impl Fn() -> Command, cases: &[&str]) {
    let temporary = tempfile::tempdir().unwrap();
    let plots = tempfile::tempdir().unwrap();
    let plot = plots.path().join("plot.svg");
    let with_plot = |arguments: &[&str]| {
        let mut command = bench(command(), arguments, &temporary);
        command.arg("--plot").arg(&plot);
        command
    };
    assert_latency(&report(with_plot(&LATENCY)).await);
    assert_drawn(&plot, &["round 1", "round 2", "share of the events", "99 %", "p99 in ms"]);
    assert_overload(&report(with_plot(&OVERLOAD)).await);
    assert_drawn(&plot, &["recorded", "inserted", "what it can take", "MiB", "seconds"]);
    assert_flat(&report(bench(command(), &FLAT, &temporary)).await, cases);
    assert!(is_empty(temporary.path()), "a folder stays behind");
}

#[tokio::test]
async fn latency_overload_and_flatness_of_the_embedded_default_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    assert_all_three(|| embedded(folder.path()), &["outbox", "ledger", "subject", "keys", "partitions"])
        .await;
    assert!(is_empty(folder.path()));
}

#[tokio::test]
async fn latency_overload_and_flatness_of_servers_are_measured() {
    let (postgres, redis) = (servers::Postgres::start_own(), servers::Redis::start_own());
    let stage: Stage = own_stage(&postgres, &redis).await;
    assert_all_three(
        || stage.command(&[]),
        &["outbox", "dead-tuples", "ledger", "subject", "keys", "partitions"],
    )
    .await;
    assert_eq!(left_behind(&stage).await, (0, Vec::new()));
}

#[tokio::test]
async fn throughput_over_time_is_drawn() {
    let (folder, temporary) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let plot = folder.path().join("plot.svg");
    for (name, title) in
        [("relay", "throughput of relay"), ("consume", "of consume"), ("end-to-end", "of all stages at once")]
    {
        let small = [name, "--events", "300", "--rounds", "2", "--plot", plot.to_str().unwrap(), "--json"];
        report(bench(embedded(folder.path()), &small, &temporary)).await;
        assert_drawn(&plot, &[title, "round 1", "round 2", "events/s"]);
        std::fs::remove_file(&plot).unwrap();
    }
}

#[tokio::test]
async fn what_cannot_be_measured_or_drawn_is_told_at_once() {
    let (folder, temporary) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let plot = folder.path().join("none/plot.svg");
    let latency = ["latency", "--plot", plot.to_str().unwrap()];
    let output = run(bench(embedded(folder.path()), &latency, &temporary)).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("choose another place"), "{}", text(&output.stderr));
    let dead = ["flat", "--case", "dead-tuples", "--json"];
    let told = report(bench(embedded(folder.path()), &dead, &temporary)).await;
    assert!(told["notes"].to_string().contains("left out"), "{told:#}");
}
