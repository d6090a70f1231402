//! An outbox that was there before Factline, drained as it is.

use super::stage::{Stage, text};

#[tokio::test]
async fn an_outbox_with_text_ids_and_other_names_is_drained_and_its_malformed_id_set_aside() {
    let stage = Stage::unmigrated().await;
    let migrated = stage.run(&["migrate", "up", "--store-only"]);
    assert!(migrated.status.success(), "{}", text(&migrated.stderr));
    stage
        .execute(
            r#"CREATE SCHEMA app;
               CREATE TABLE app.jobs (id text PRIMARY KEY, chat text NOT NULL, body json NOT NULL,
                 status text NOT NULL DEFAULT 'pending', made double precision NOT NULL, done timestamp, error text);
               INSERT INTO app.jobs (id, chat, body, made) SELECT gen_random_uuid()::text, 'c' || g % 3,
                 json_build_object('content', 'I live in Oslo.'), 1769067099.5 + g FROM generate_series(1, 30) AS g;
               INSERT INTO app.jobs (id, chat, body, made)
                 VALUES ('chat-1769035355992', 'c1', '{"content": "I live in Rome."}', 1769067105.25)"#,
        )
        .await;
    // The configuration of the README, word for word.
    let example =
        include_str!("../../README.md").split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    std::fs::write(stage.folder.path().join("factline.toml"), example).unwrap();
    let daemon = stage.start(&["run"]);
    stage.until_recorded(31).await;
    super::stage::until("no row is pending", || async {
        stage.count("SELECT count(*) FROM app.jobs WHERE status = 'pending'").await == 0
    })
    .await;

    let failed: (String, String) = sqlx::query_as("SELECT id, error FROM app.jobs WHERE status = 'failed'")
        .fetch_one(&stage.pool)
        .await
        .unwrap();
    assert_eq!(failed.0, "chat-1769035355992");
    assert_eq!(failed.1, r#"id is not a UUID: "chat-1769035355992""#);
    let letter: (String, String, Vec<u8>) =
        sqlx::query_as("SELECT stage, event_id, payload FROM factline.dead_letters")
            .fetch_one(&stage.pool)
            .await
            .unwrap();
    assert_eq!((letter.0.as_str(), letter.1.as_str()), ("relay", "chat-1769035355992"));
    assert_eq!(text(&letter.2), r#"{"content": "I live in Rome."}"#);
    let times = "SELECT count(*) FROM factline.event_ledger AS l JOIN app.jobs AS j ON j.id = l.event_id::text \
                 WHERE l.occurred_at = to_timestamp(j.made) AND j.done IS NOT NULL";
    assert_eq!(stage.count(times).await, 30);

    let explained = stage.run(&["explain", "chat-1769035355992"]);
    assert!(explained.status.success());
    assert!(text(&explained.stdout).contains("id is not a UUID"), "{}", text(&explained.stdout));
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn a_column_that_the_outbox_does_not_have_is_named_with_those_it_has() {
    let stage = Stage::new().await;
    let output = stage.command(&["facts"]).env("FACTLINE__SOURCE__COLUMNS__KEY", "chat_id").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("source.columns.key = \"chat_id\"") && error.contains("event_type"), "{error}");
    assert!(!error.contains("gave up"), "nobody waits for a table to change: {error}");
}
