//! A daemon under load, and what must be true when a fault is over: it is the same process, nothing in it was
//! restarted, no event was blamed, and everything is recorded once and in order.

use serde_json::Value;

use super::load::Load;
use crate::{
    daemon::stage::{Daemon, Stage, free_address, until},
    servers::{Postgres, Redis},
};

/// So small that every step happens often, and so impatient that a test ends soon after its fault.
pub(super) const BRISK: &[(&str, &str)] = &[
    ("FACTLINE__RELAY__BATCH_SIZE", "20"),
    ("FACTLINE__GROUPS__FACTS__BATCH_SIZE", "20"),
    ("FACTLINE__STORE__LEASE_TTL", "600ms"),
    ("FACTLINE__JANITOR__EVERY", "50ms"),
    ("FACTLINE__OUTAGE__MAX", "200ms"),
    ("FACTLINE__STARTUP_TIMEOUT", "2m"),
];

/// A stage on the given servers, migrated.
pub(super) async fn stage_on(postgres: &Postgres, redis: &Redis) -> Stage {
    let stage = Stage::on(&postgres.database(), &redis.url(), &redis.prefix()).await;
    assert!(stage.run(&["migrate", "up"]).status.success());
    stage
}

/// The whole daemon under load.
pub(super) struct Scene {
    pub(super) stage: Stage,
    pub(super) daemon: Daemon,
    admin: String,
    load: Load,
}

impl Scene {
    /// When something is recorded already.
    pub(super) async fn start(stage: Stage) -> Self {
        Self::start_with(stage, &[]).await
    }

    pub(super) async fn start_with(stage: Stage, environment: &[(&str, &str)]) -> Self {
        let admin = free_address();
        let environment = [BRISK, &[("FACTLINE__ADMIN__BIND", &admin)], environment].concat();
        let daemon = stage.start_with(&["run"], &environment);
        let load = Load::on(&stage);
        stage.until_recorded(1).await;
        Self { stage, daemon, admin, load }
    }

    /// Whether some stage says that it is degraded or paused for this reason.
    pub(super) async fn says(&self, reason: &str) -> bool {
        let tree = tree_at(&self.admin).await;
        let said =
            |node: &&Value| node["condition"]["reason"].as_str().is_some_and(|said| said.contains(reason));
        nodes(&tree).iter().any(said)
    }

    pub(super) async fn until_said(&self, reason: &str) {
        until(&format!("a stage says {reason:?}"), || self.says(reason)).await;
    }

    /// So many events more than now are recorded; the database answers now.
    pub(super) async fn until_more(&self, events: i64) {
        let wanted = self.stage.recorded().await + events;
        self.stage.until_recorded(wanted).await;
    }

    /// The fault is over, and nothing is to be seen of it.
    pub(super) async fn unharmed(self) {
        self.load.end().await;
        settled(&self.stage).await;
        let tree = tree_at(&self.admin).await;
        for node in nodes(&tree) {
            assert_eq!(node["restarts"], 0, "{node}\n{}", self.daemon.log());
        }
        assert_eq!(self.stage.count("SELECT count(*) FROM factline.event_attempts").await, 0);
        assert!(self.daemon.stop().await.success(), "it is the process that was started");
    }
}

/// Waits until everything that was written is recorded; then nothing is lost, doubled or out of order.
pub(super) async fn settled(stage: &Stage) {
    until("everything is recorded", || async {
        // Counted, for whatever is asked row by row takes its time after a long run.
        let all = "SELECT (SELECT count(*) FROM outbox_events) = \
                   (SELECT count(*) FROM outbox_events JOIN factline.event_ledger USING (event_id))";
        sqlx::query_scalar(all).fetch_one(&stage.pool).await.unwrap_or(false)
    })
    .await;
    stage.assert_exactly_once_in_order().await;
    // Events of one transaction may be recorded at one time: what is believed in the end shows their order.
    let misplaced = "SELECT count(*) FROM ( \
                       SELECT DISTINCT ON (key) key, payload ->> 'content' AS said FROM outbox_events \
                       WHERE key ~ '^k[0-9]+-[0-9]+$' ORDER BY key, id DESC) AS last \
                     LEFT JOIN factline.facts \
                     ON conversation_id = key AND predicate = 'lives_in' AND superseded_by IS NULL \
                     WHERE said IS DISTINCT FROM 'I live in ' || object || '.'";
    assert_eq!(stage.count(misplaced).await, 0, "conversations not in the town that was said last");
}

async fn tree_at(admin: &str) -> Value {
    let url = format!("http://{admin}/api/v1/tree");
    let asked = tokio::task::spawn_blocking(move || {
        let text = ureq::get(url).call().ok()?.body_mut().read_to_string().ok()?;
        serde_json::from_str(&text).ok()
    });
    asked.await.unwrap().expect("the daemon answers whatever fails around it")
}

/// All nodes of a tree.
fn nodes(root: &Value) -> Vec<&Value> {
    let mut nodes = vec![root];
    let mut next = 0;
    while let Some(node) = nodes.get(next).copied() {
        nodes.extend(node["children"].as_array().into_iter().flatten());
        next += 1;
    }
    nodes
}
