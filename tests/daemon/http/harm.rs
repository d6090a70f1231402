//! Whatever is asked over HTTP takes nothing from the pipeline.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::daemon::stage::{Daemon, Stage, bare_command, free_address, text, unique, until};

/// Questions at once: more than any pool has connections.
const QUESTIONS: usize = 30;

#[tokio::test]
async fn questions_that_are_never_answered_keep_no_event_waiting() {
    let (stage, address) = (Stage::new().await, free_address());
    let mut command = stage.command(&["run"]);
    command.env("FACTLINE__ADMIN__BIND", &address);
    let daemon = Daemon::start(command, stage.folder.path().join(unique("log")));
    daemon.until_logged("factline is running").await;
    let mut lock = stage.pool.begin().await.unwrap();
    sqlx::raw_sql("LOCK factline.operator_log IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();

    let answered = Arc::new(AtomicUsize::new(0));
    for _ in 0..QUESTIONS {
        let (address, answered) = (address.clone(), answered.clone());
        std::thread::spawn(move || {
            let asked = ureq::get(format!("http://{address}/api/v1/operator-log")).call();
            assert!(asked.is_err(), "nothing could be read");
            answered.fetch_add(1, Ordering::SeqCst);
        });
    }
    stage.insert_messages(500, 50).await;
    stage.until_recorded(500).await;
    until("all questions have been given up", || async { answered.load(Ordering::SeqCst) == QUESTIONS })
        .await;
    // Whoever gives up a question leaves nobody behind who works on it for ever.
    until("what was asked has ended in the server, too", || async {
        let asking = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'factline' \
                      AND datname = current_database() AND query LIKE '%operator_log%' AND state = 'active' \
                      AND pid <> pg_backend_pid()";
        stage.count(asking).await == 0
    })
    .await;
    lock.rollback().await.unwrap();
    let log = daemon.log();
    assert!(!log.contains("could not be renewed"), "{log}");
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn no_proxy_comes_between_a_command_and_the_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let address = free_address();
    let command = |arguments: &[&str]| {
        let mut command = bare_command(arguments);
        command.current_dir(folder.path()).env("FACTLINE__ADMIN__BIND", &address);
        command
    };
    let daemon = Daemon::start(command(&["run"]), folder.path().join("log"));
    daemon.until_logged("factline is running").await;
    let nobody = format!("http://{}", free_address());
    let health = command(&["health"]).env("HTTP_PROXY", &nobody).env("ALL_PROXY", &nobody).output().unwrap();
    assert!(health.status.success(), "{}", text(&health.stderr));
    daemon.stop().await;
}
