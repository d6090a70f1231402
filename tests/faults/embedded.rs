//! The embedded default under load: one file, and SQL that looks into it.

use sqlx::{
    AssertSqlSafe, SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use tempfile::TempDir;

use super::{
    load::{KEYS, Load, town},
    scene::BRISK,
};
use crate::daemon::stage::{Daemon, bare_command, unique, until};

/// Rows that may wait before the application holds back.
const BACKLOG: i64 = 600;

/// A folder with an embedded database, and somebody else who reads and writes it.
pub(super) struct Embedded {
    pub(super) folder: TempDir,
    pub(super) pool: SqlitePool,
}

impl Embedded {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut migrate = bare_command(&["migrate", "up"]);
        assert!(migrate.current_dir(folder.path()).status().unwrap().success());
        let file = folder.path().join("factline-data/factline.db");
        let options = SqliteConnectOptions::new().filename(file);
        let pool = SqlitePoolOptions::new().max_connections(2).connect_with(options).await.unwrap();
        Self { folder, pool }
    }

    pub(super) fn start(&self, environment: &[(&str, &str)]) -> Daemon {
        let mut command = bare_command(&["run"]);
        command.current_dir(self.folder.path()).env("FACTLINE__ADMIN__BIND", "");
        command.envs([BRISK, environment].concat());
        Daemon::start(command, self.folder.path().join(unique("log")))
    }

    pub(super) fn load(&self) -> Load {
        let pool = self.pool.clone();
        Load::of_rounds(move |round| write_round(pool.clone(), round))
    }

    pub(super) async fn count(&self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&self.pool).await.unwrap()
    }

    /// Waits until everything that was written is recorded; then nothing is lost, doubled or out of order.
    pub(super) async fn settled(&self) {
        self.recorded_once().await;
        let misordered = "SELECT count(*) FROM (SELECT l.processed_at, \
                            lag(l.processed_at) OVER (PARTITION BY o.key ORDER BY o.id) AS previous \
                            FROM outbox_events AS o JOIN event_ledger AS l USING (event_id)) AS pairs \
                          WHERE processed_at < previous";
        assert_eq!(self.count(misordered).await, 0, "misordered");
    }

    /// The same where the clock does not tell the order.
    pub(super) async fn recorded_once(&self) {
        until("everything is recorded", || async {
            let counts = "SELECT (SELECT count(*) FROM outbox_events) - (SELECT count(*) FROM event_ledger)";
            self.count(counts).await == 0
        })
        .await;
        let lost = "SELECT count(*) FROM outbox_events AS o WHERE status <> 'processed' \
                    OR event_id NOT IN (SELECT event_id FROM event_ledger)";
        until("no row is lost, and all are marked", || async { self.count(lost).await == 0 }).await;
        let doubled = "SELECT count(*) FROM conversations AS c WHERE message_count <> ( \
                       SELECT count(*) FROM outbox_events AS o WHERE o.key = c.conversation_id)";
        let settled = "SELECT count(*) FROM outbox_events AS o JOIN facts AS f ON f.conversation_id = o.key \
                       WHERE o.id IN (SELECT max(id) FROM outbox_events GROUP BY key) \
                       AND f.predicate = 'lives_in' AND f.superseded_by IS NULL \
                       AND o.payload ->> 'content' = 'I live in ' || f.object || '.'";
        let found = (self.count(doubled).await, self.count(settled).await);
        assert_eq!(found, (0, i64::from(KEYS)), "(doubled, in the town that was said last)");
    }
}

async fn write_round(pool: SqlitePool, round: u32) -> bool {
    let waiting = sqlx::query_scalar("SELECT count(*) FROM outbox_events WHERE status = 'pending'");
    let waiting: Result<i64, _> = waiting.fetch_one(&pool).await;
    if waiting.map_or(true, |waiting| waiting > BACKLOG) {
        return false;
    }
    let insert = format!(
        "WITH RECURSIVE keys(g) AS (SELECT 1 UNION ALL SELECT g + 1 FROM keys WHERE g < {KEYS}) \
         INSERT INTO outbox_events(topic, key, event_type, payload) \
         SELECT 'chat', 'k' || g, 'chat.message', json_object('conversation_id', 'k' || g, \
           'message_id', '{round}-' || g, 'role', 'user', 'content', 'I live in {}.') FROM keys",
        town(round)
    );
    sqlx::raw_sql(AssertSqlSafe(insert)).execute(&pool).await.is_ok()
}
