//! kill -9 under load, again and again: every event in the ledger once.

use super::stage::Stage;

#[tokio::test]
async fn a_daemon_killed_under_load_goes_on_where_it_was() {
    let stage = Stage::new().await;
    stage.insert_messages(6000, 200).await;
    for killed_at in [1, 1500, 3500] {
        let daemon = stage.command(&["run"]).env("FACTLINE__STORE__LEASE_TTL", "500ms").spawn_daemon(&stage);
        stage.until_recorded(killed_at).await;
        daemon.kill().await;
    }
    let daemon = stage.start(&["run"]);
    stage.until_recorded(6000).await;
    stage.assert_exactly_once_in_order().await;
    assert_eq!(stage.recorded().await, 6000);
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn relay_and_consumers_run_as_separate_processes_and_each_may_die() {
    let stage = Stage::new().await;
    let short = |arguments: &[&str]| {
        let mut command = stage.command(arguments);
        command.env("FACTLINE__STORE__LEASE_TTL", "500ms");
        command
    };
    let relay = short(&["run", "--only", "relay"]).spawn_daemon(&stage);
    let consumers = short(&["run", "--only", "consumers"]).spawn_daemon(&stage);
    stage.insert_messages(4000, 100).await;
    stage.until_recorded(500).await;
    consumers.kill().await;
    let consumers = short(&["run", "--only", "consumers"]).spawn_daemon(&stage);
    relay.kill().await;
    let relay = short(&["run", "--only", "relay"]).spawn_daemon(&stage);
    stage.insert_messages(1000, 100).await;
    stage.until_recorded(5000).await;
    stage.assert_exactly_once_in_order().await;
    assert!(relay.stop().await.success() && consumers.stop().await.success());
}

trait SpawnDaemon {
    fn spawn_daemon(&mut self, stage: &Stage) -> super::stage::Daemon;
}

impl SpawnDaemon for std::process::Command {
    fn spawn_daemon(&mut self, stage: &Stage) -> super::stage::Daemon {
        let command = std::mem::replace(self, std::process::Command::new("true"));
        super::stage::Daemon::start(command, stage.folder.path().join(super::stage::unique("log")))
    }
}
