//! A server that refuses, a full disk say, or whose answer is lost, at each step: an outage, for which nobody is
//! blamed.

use factline::failpoints::Step;

use super::{embedded::Embedded, scene::Scene};
use crate::daemon::stage::{Stage, until};

const REFUSAL: &str = "no space left on device";

/// At each step, twice in a row, and again. What happens only now and then is refused where it happens first.
fn refusals() -> String {
    let refuse =
        |step: &Step| format!("{}=2*off->2*return({REFUSAL})->5*off->2*return({REFUSAL})->off", step.name());
    Step::ALL.iter().map(refuse).collect::<Vec<_>>().join(";")
}

#[tokio::test]
async fn a_server_that_refuses_at_every_step_is_waited_for() {
    let scene = Scene::start_with(Stage::new().await, &[("FAILPOINTS", &refusals())]).await;
    scene.until_more(4000).await;
    assert!(scene.daemon.log().contains(REFUSAL));
    scene.unharmed().await;
}

#[tokio::test]
async fn so_is_an_embedded_one() {
    let embedded = Embedded::new().await;
    let load = embedded.load();
    let daemon = embedded.start(&[("FAILPOINTS", &refusals())]);
    until("much is recorded", || async { embedded.count("SELECT count(*) FROM event_ledger").await >= 4000 })
        .await;
    assert!(daemon.log().contains(REFUSAL));
    load.end().await;
    embedded.settled().await;
    assert_eq!(embedded.count("SELECT count(*) FROM event_attempts").await, 0);
    assert!(!daemon.log().contains("restarting it"), "{}", daemon.log());
    assert!(daemon.stop().await.success());
}
