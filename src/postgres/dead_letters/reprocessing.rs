//! The steps of reprocessing a dead letter.

use factline_pipeline::outage::Error;
use serde_json::json;
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use uuid::Uuid;

use crate::{
    dead_letters::{Effect, Failed, Selected, Success},
    nul::without_nul,
    operator_log::Actor,
    postgres::{effects::Effects, failed, ledger_rows::LedgerRows, operator_log::log, store::Store},
};

pub(super) async fn selected(store: &Store, run: Option<Uuid>) -> Result<Vec<Selected>, Error> {
    let select = sqlx::query(
        "SELECT id, reprocess_run FROM factline.dead_letters WHERE status = 'reprocessing' \
         AND reprocess_run IS NOT NULL AND ($1::uuid IS NULL OR reprocess_run = $1) ORDER BY reprocess_run, id",
    );
    let selected =
        |row: &PgRow| Ok(Selected { letter: row.try_get("id")?, run: row.try_get("reprocess_run")? });
    store.all(select.bind(run), selected).await
}

pub(super) async fn begin_try(
    connection: &mut PgConnection,
    by: &Actor,
    Selected { letter, run }: Selected,
) -> Result<Option<i32>, Error> {
    let attempts: Option<i32> = sqlx::query_scalar(
        "UPDATE factline.dead_letters SET status = 'open', attempts = attempts + 1 \
         WHERE id = $1 AND reprocess_run = $2 AND status = 'reprocessing' RETURNING attempts",
    )
    .bind(letter)
    .bind(run)
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed)?;
    if attempts.is_some() {
        log(connection, by, "try", &[letter], &json!({ "run": run, "attempt": attempts })).await?;
    }
    Ok(attempts)
}

pub(super) async fn record_failure(
    connection: &mut PgConnection,
    by: &Actor,
    Selected { letter, run }: Selected,
    failure: &Failed,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE factline.dead_letters SET error_kind = $2, error = $3, fingerprint = $4 \
         WHERE id = $1 AND status IN ('open', 'reprocessing')",
    )
    .bind(letter)
    .bind(&failure.kind)
    .bind(without_nul(&failure.error))
    .bind(&failure.fingerprint)
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    log(connection, by, "failed", &[letter], &json!({ "run": run, "error": failure.error })).await
}

pub(super) async fn record_success(
    connection: &mut PgConnection,
    by: &Actor,
    Selected { letter, run }: Selected,
    success: Success<'_>,
) -> Result<Effect, Error> {
    let status = lock(connection, letter).await?;
    if !matches!(status.as_str(), "open" | "reprocessing") {
        return Ok(Effect::Settled(status));
    }
    let effect = if take_in_ledger(connection, success).await? {
        let effects = Effects::of([success.recording]);
        effects.take(connection, &[], success.group, &LedgerRows::none()).await?;
        Effect::Took
    } else {
        Effect::KnownBefore
    };
    sqlx::query(
        "UPDATE factline.dead_letters SET status = 'resolved', resolved_by = $2, resolved_at = clock_timestamp() \
         WHERE id = $1",
    )
    .bind(letter)
    .bind(without_nul(&by.who))
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let detail = json!({ "run": run, "took_effect": effect == Effect::Took, "facts": success.facts() });
    log(connection, by, "reprocessed", &[letter], &detail).await?;
    Ok(effect)
}

/// The letter's status, which nobody else changes until the transaction ends.
async fn lock(connection: &mut PgConnection, letter: Uuid) -> Result<String, Error> {
    let status = sqlx::query_scalar("SELECT status FROM factline.dead_letters WHERE id = $1 FOR UPDATE");
    let status = status.bind(letter).fetch_optional(connection).await.map_err(failed)?;
    Ok(status.unwrap_or_else(|| "deleted".to_owned()))
}

/// Makes the event's ledger row a processed one; says whether it was none. A row that was deleted after its retention
/// time comes back.
async fn take_in_ledger(connection: &mut PgConnection, success: Success<'_>) -> Result<bool, Error> {
    let rows = LedgerRows::of_recordings(std::slice::from_ref(success.recording));
    let inserted = !rows.insert_new(connection, success.group).await?.is_empty();
    let updated = sqlx::query(
        "UPDATE factline.event_ledger SET outcome = 'processed', facts = $3, attempts = $4, \
         processed_at = clock_timestamp() \
         WHERE consumer_group = $1 AND event_id = $2 AND ($5 OR outcome = 'dead_lettered')",
    )
    .bind(success.group)
    .bind(success.recording.event_id)
    .bind(success.facts())
    .bind(success.attempts)
    .bind(inserted)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(updated.rows_affected() > 0)
}

pub(super) async fn put_back(connection: &mut PgConnection, by: &Actor, run: Uuid) -> Result<u64, Error> {
    let update = sqlx::query(
        "UPDATE factline.dead_letters SET status = 'open' WHERE reprocess_run = $1 AND status = 'reprocessing'",
    );
    let letters = update.bind(run).execute(&mut *connection).await.map_err(failed)?.rows_affected();
    if letters > 0 {
        log(connection, by, "put_back", &[run], &json!({ "letters": letters })).await?;
    }
    Ok(letters)
}
