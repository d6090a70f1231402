//! PostgreSQL is restarted, throws connections out, has none left, or is held up by other sessions.

use sqlx::{Connection as _, PgConnection};

use super::scene::{Scene, stage_on};
use crate::{
    daemon::stage::{Stage, until},
    servers::{Postgres, Redis},
};

/// So few that a test can take them all.
const CONNECTIONS: &str = "max_connections=30";

const TERMINATE: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                         WHERE datname = current_database() AND application_name = 'factline'";

#[tokio::test]
async fn postgres_is_restarted_and_killed_under_load_and_nothing_is_to_be_seen_of_it() {
    let postgres = Postgres::start_own();
    let scene = Scene::start(stage_on(&postgres, Redis::shared()).await).await;
    for kill in [false, true, false, true] {
        if kill {
            postgres.kill();
        } else {
            postgres.stop();
        }
        scene.until_said("postgres is unavailable").await;
        postgres.start();
        until("the database is back", || async { scene.stage.try_recorded().await.is_some() }).await;
        scene.until_more(200).await;
    }
    scene.unharmed().await;
}

#[tokio::test]
async fn backends_that_are_terminated_again_and_again_are_replaced() {
    let scene = Scene::start(Stage::new().await).await;
    for _ in 0..20 {
        until("there is a backend to terminate", || async { scene.stage.count(TERMINATE).await > 0 }).await;
        scene.until_more(20).await;
    }
    scene.unharmed().await;
}

#[tokio::test]
async fn when_others_have_all_connections_those_are_waited_for() {
    let postgres = Postgres::start_own_with(&[CONNECTIONS]);
    let scene = Scene::start(stage_on(&postgres, Redis::shared()).await).await;
    let (mut others, mut left) = (Vec::new(), 1_i64);
    let mut first = PgConnection::connect(&scene.stage.direct).await.unwrap();
    while left > 0 {
        let terminate = sqlx::query_scalar(TERMINATE);
        left = terminate.fetch_one(&mut first).await.unwrap();
        while let Ok(other) = PgConnection::connect(&scene.stage.direct).await {
            others.push(other);
        }
    }
    scene.until_said("postgres is unavailable").await;
    drop(others);
    until("the database is back", || async { scene.stage.try_recorded().await.is_some() }).await;
    scene.until_more(200).await;
    scene.unharmed().await;
}

#[tokio::test]
async fn everything_goes_on_while_a_session_keeps_a_transaction_open() {
    let scene = Scene::start(Stage::new().await).await;
    let mut other = PgConnection::connect(&scene.stage.direct).await.unwrap();
    let mut held = other.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    let seen =
        "SELECT count(*) FROM outbox_events WHERE status = 'pending' AND pg_current_xact_id() IS NOT NULL";
    let before: i64 = sqlx::query_scalar(seen).fetch_one(&mut *held).await.unwrap();
    scene.until_more(4000).await;
    let after: i64 = sqlx::query_scalar(seen).fetch_one(&mut *held).await.unwrap();
    assert_eq!(before, after, "the transaction still sees the outbox as it was");
    held.rollback().await.unwrap();
    scene.unharmed().await;
}

#[tokio::test]
async fn rows_that_are_committed_late_are_found_behind_those_that_were_published() {
    let scene = Scene::start(Stage::new().await).await;
    for late in 0..5 {
        let mut other = PgConnection::connect(&scene.stage.direct).await.unwrap();
        let mut transaction = other.begin().await.unwrap();
        let id: i64 = sqlx::query_scalar(
            "INSERT INTO outbox_events(topic, key, event_type, payload) VALUES ('chat', $1, 'other', '{}') \
             RETURNING id",
        )
        .bind(format!("late-{late}"))
        .fetch_one(&mut *transaction)
        .await
        .unwrap();
        let published =
            format!("SELECT count(*) FROM outbox_events WHERE id > {id} AND status = 'processed'");
        until("later rows are published", || async { scene.stage.count(&published).await > 100 }).await;
        transaction.commit().await.unwrap();
        let found = format!(
            "SELECT count(*) FROM outbox_events JOIN factline.event_ledger USING (event_id) WHERE id = {id}"
        );
        until("the late row is recorded", || async { scene.stage.count(&found).await == 1 }).await;
    }
    scene.unharmed().await;
}
