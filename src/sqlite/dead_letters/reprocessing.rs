//! The steps of reprocessing a dead letter.

use factline_pipeline::outage::Error;
use serde_json::json;
use sqlx::{SqliteConnection, sqlite::SqliteRow};
use uuid::Uuid;

use crate::{
    dead_letters::{Effect, Failed, Selected, Success},
    nul::without_nul,
    operator_log::Actor,
    sqlite::{
        facts, failed,
        operator_log::log,
        parsed_in,
        store::{LedgerRow, Store, insert_ledger_rows, update_conversations},
    },
};

pub(super) async fn selected(store: &Store, run: Option<Uuid>) -> Result<Vec<Selected>, Error> {
    let select = sqlx::query(
        "SELECT id, reprocess_run FROM dead_letters WHERE status = 'reprocessing' \
         AND reprocess_run IS NOT NULL AND (?1 IS NULL OR reprocess_run = ?1) ORDER BY reprocess_run, id",
    );
    let selected = |row: &SqliteRow| {
        Ok(Selected { letter: parsed_in(row, "id")?, run: parsed_in(row, "reprocess_run")? })
    };
    store.all(select.bind(run.map(|run| run.to_string())), selected).await
}

pub(super) async fn begin_try(
    connection: &mut SqliteConnection,
    by: &Actor,
    Selected { letter, run }: Selected,
) -> Result<Option<i32>, Error> {
    let attempts: Option<i32> = sqlx::query_scalar(
        "UPDATE dead_letters SET status = 'open', attempts = attempts + 1 \
         WHERE id = ?1 AND reprocess_run = ?2 AND status = 'reprocessing' RETURNING attempts",
    )
    .bind(letter.to_string())
    .bind(run.to_string())
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed)?;
    if attempts.is_some() {
        log(connection, by, "try", &[letter], &json!({ "run": run, "attempt": attempts })).await?;
    }
    Ok(attempts)
}

pub(super) async fn record_failure(
    connection: &mut SqliteConnection,
    by: &Actor,
    Selected { letter, run }: Selected,
    failure: &Failed,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE dead_letters SET error_kind = ?2, error = ?3, fingerprint = ?4 \
         WHERE id = ?1 AND status IN ('open', 'reprocessing')",
    )
    .bind(letter.to_string())
    .bind(&failure.kind)
    .bind(without_nul(&failure.error).into_owned())
    .bind(&failure.fingerprint)
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    log(connection, by, "failed", &[letter], &json!({ "run": run, "error": failure.error })).await
}

pub(super) async fn record_success(
    connection: &mut SqliteConnection,
    by: &Actor,
    Selected { letter, run }: Selected,
    success: Success<'_>,
) -> Result<Effect, Error> {
    let status = status_of(connection, letter).await?;
    if !matches!(status.as_str(), "open" | "reprocessing") {
        return Ok(Effect::Settled(status));
    }
    let effect = if take_in_ledger(connection, success).await? {
        facts::record(connection, &[success.recording]).await?;
        update_conversations(connection, &[success.recording]).await?;
        Effect::Took
    } else {
        Effect::KnownBefore
    };
    sqlx::query(concat!(
        "UPDATE dead_letters SET status = 'resolved', resolved_by = ?2, resolved_at = ",
        now!(),
        " WHERE id = ?1",
    ))
    .bind(letter.to_string())
    .bind(without_nul(&by.who).into_owned())
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let detail = json!({ "run": run, "took_effect": effect == Effect::Took, "facts": success.facts() });
    log(connection, by, "reprocessed", &[letter], &detail).await?;
    Ok(effect)
}

/// The letter's status; this transaction is the only one that writes.
async fn status_of(connection: &mut SqliteConnection, letter: Uuid) -> Result<String, Error> {
    let status = sqlx::query_scalar("SELECT status FROM dead_letters WHERE id = ?1");
    let status = status.bind(letter.to_string()).fetch_optional(connection).await.map_err(failed)?;
    Ok(status.unwrap_or_else(|| "deleted".to_owned()))
}

/// Makes the event's ledger row a processed one; says whether it was none. A row that was deleted after its retention
/// time comes back.
async fn take_in_ledger(connection: &mut SqliteConnection, success: Success<'_>) -> Result<bool, Error> {
    let row = LedgerRow::of_recording(success.recording);
    let inserted = !insert_ledger_rows(connection, success.group, &[row]).await?.is_empty();
    let updated = sqlx::query(concat!(
        "UPDATE event_ledger SET outcome = 'processed', facts = ?3, attempts = ?4, processed_at = ",
        now!(),
        " WHERE consumer_group = ?1 AND event_id = ?2 AND (?5 OR outcome = 'dead_lettered')",
    ))
    .bind(success.group)
    .bind(success.recording.event_id.to_string())
    .bind(success.facts())
    .bind(success.attempts)
    .bind(inserted)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(updated.rows_affected() > 0)
}

pub(super) async fn put_back(connection: &mut SqliteConnection, by: &Actor, run: Uuid) -> Result<u64, Error> {
    let update = sqlx::query(
        "UPDATE dead_letters SET status = 'open' WHERE reprocess_run = ?1 AND status = 'reprocessing'",
    );
    let letters =
        update.bind(run.to_string()).execute(&mut *connection).await.map_err(failed)?.rows_affected();
    if letters > 0 {
        log(connection, by, "put_back", &[run], &json!({ "letters": letters })).await?;
    }
    Ok(letters)
}
