//! `kill -9` at random moments under load, as one process and as several.

use super::{
    load::Load,
    random::Random,
    scene::{BRISK, settled},
};
use crate::daemon::stage::{Daemon, Stage};

const KILLS: u32 = 12;

/// Kills one of the daemons, which is started again at once, whenever a random number of events more is recorded.
async fn kill_one_after_another(parts: &[&[&str]]) {
    let (mut random, _) = Random::seeded();
    let stage = Stage::new().await;
    let start = |part: &[&str]| stage.start_with(part, BRISK);
    let mut daemons: Vec<Daemon> = parts.iter().map(|part| start(part)).collect();
    let load = Load::on(&stage);
    for _ in 0..KILLS {
        let wanted = stage.recorded().await + i64::from(random.of(0..400));
        stage.until_recorded(wanted).await;
        let one = usize::try_from(random.of(0..u32::try_from(parts.len()).unwrap())).unwrap();
        daemons.swap_remove(one).kill().await;
        daemons.push(start(parts[one]));
        let last = daemons.len() - 1;
        daemons.swap(one, last);
    }
    load.end().await;
    settled(&stage).await;
    for daemon in daemons {
        assert!(daemon.stop().await.success());
    }
}

#[tokio::test]
async fn a_daemon_may_be_killed_at_any_moment() {
    kill_one_after_another(&[&["run"]]).await;
}

#[tokio::test]
async fn relays_and_consumers_of_their_own_may_be_killed_at_any_moment() {
    let relay: &[&str] = &["run", "--only", "relay"];
    let consumers: &[&str] = &["run", "--only", "consumers"];
    kill_one_after_another(&[relay, consumers]).await;
}

#[tokio::test]
async fn any_of_several_daemons_may_be_killed_at_any_moment() {
    kill_one_after_another(&[&["run"], &["run"]]).await;
}
