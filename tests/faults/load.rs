//! Events that keep coming, whatever fails: an application that writes its outbox and tries again when it cannot.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use sqlx::{AssertSqlSafe, PgPool, postgres::PgPoolOptions};
use tokio::task::JoinHandle;

use crate::daemon::stage::{Stage, until};

/// Conversations, each of which gets one message in a round.
pub(super) const KEYS: u32 = 40;

/// Rows that may wait in the outbox before the application holds back, so that a test ends soon after its fault.
const BACKLOG: i64 = 600;

/// A writer in the background.
pub(super) struct Load {
    over: Arc<AtomicBool>,
    writer: JoinHandle<()>,
}

impl Load {
    /// On the stage's database itself, whatever stands before it for the daemon.
    pub(super) fn on(stage: &Stage) -> Self {
        Self::of_writer(stage, 0)
    }

    /// One of several, each with conversations of its own.
    pub(super) fn of_writer(stage: &Stage, writer: u32) -> Self {
        let url = stage.direct.clone();
        let pool = PgPoolOptions::new().max_connections(1).connect_lazy(&url).unwrap();
        Self::of_rounds(move |round| write_round(pool.clone(), writer, round))
    }

    /// Calls for a round again and again; what says `false` is tried again a little later.
    pub(super) fn of_rounds<F>(write: impl Fn(u32) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = bool> + Send,
    {
        let over = Arc::new(AtomicBool::new(false));
        let told = over.clone();
        let writer = tokio::spawn(async move {
            let mut round = 0;
            while !told.load(Ordering::SeqCst) {
                until("a round of messages is written", || async {
                    told.load(Ordering::SeqCst) || write(round).await
                })
                .await;
                round += 1;
            }
        });
        Self { over, writer }
    }

    /// No more.
    pub(super) async fn end(self) {
        self.over.store(true, Ordering::SeqCst);
        self.writer.await.unwrap();
    }
}

/// The town that everybody moves to in this round.
pub(super) fn town(round: u32) -> String {
    let letter = |number: u32| char::from_u32(u32::from(b'a') + number % 26).unwrap();
    format!("{}{}town", letter(round / 26).to_ascii_uppercase(), letter(round))
}

async fn write_round(pool: PgPool, writer: u32, round: u32) -> bool {
    let waiting = sqlx::query_scalar("SELECT count(*) FROM outbox_events WHERE status = 'pending'");
    let waiting: Result<i64, _> = waiting.fetch_one(&pool).await;
    if waiting.map_or(true, |waiting| waiting > BACKLOG) {
        return false;
    }
    let insert = format!(
        "INSERT INTO outbox_events(topic, key, event_type, payload) \
         SELECT 'chat', 'k{writer}-' || g, 'chat.message', jsonb_build_object('conversation_id', 'k{writer}-' || g, \
           'message_id', '{round}-' || g, 'role', 'user', 'content', 'I live in {}.') \
         FROM generate_series(1, {KEYS}) AS g",
        town(round)
    );
    sqlx::raw_sql(AssertSqlSafe(insert)).execute(&pool).await.is_ok()
}
