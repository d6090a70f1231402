//! Working dead letters: every change is one transaction, with its entry in the operator log.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use factline_pipeline::outage::Error;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{
    listing::{self, Ended, bind, filtered},
    report, reprocessing,
};
use crate::{
    dead_letters::{CauseGroup, DeadLetters, Edit, Effect, End, Failed, Letter, Report, Selected, Success},
    nul::without_nul,
    operator_log::Actor,
    postgres::{failed, horizons, operator_log::log, store::Store},
    records::DeadLetterFilter,
};

#[async_trait]
impl DeadLetters for Store {
    async fn letter(&self, id: Uuid) -> Result<Option<Letter>, Error> {
        let select = sqlx::query("SELECT * FROM factline.dead_letters WHERE id = $1").bind(id);
        Ok(self.all(select, listing::letter).await?.pop())
    }

    async fn causes(&self, filter: &DeadLetterFilter) -> Result<Vec<CauseGroup>, Error> {
        listing::group_by_cause(self, filter).await
    }

    async fn report(&self, since: DateTime<Utc>) -> Result<Report, Error> {
        report::since(self, since).await
    }

    async fn edit(&self, by: &Actor, id: Uuid, edit: Edit<'_>) -> Result<bool, Error> {
        self.change(async |connection| replace_payload(connection, by, id, edit).await).await
    }

    async fn end(&self, by: &Actor, ids: &[Uuid], end: End, note: &str) -> Result<Vec<Uuid>, Error> {
        self.change(async |connection| end_letters(connection, by, ids, end, note).await).await
    }

    async fn select(&self, by: &Actor, run: Uuid, filter: &DeadLetterFilter) -> Result<u64, Error> {
        self.change(async |connection| select_open(connection, by, run, filter).await).await
    }

    async fn selected(&self, run: Option<Uuid>) -> Result<Vec<Selected>, Error> {
        reprocessing::selected(self, run).await
    }

    async fn begin_try(&self, by: &Actor, selected: Selected) -> Result<Option<i32>, Error> {
        self.change(async |connection| reprocessing::begin_try(connection, by, selected).await).await
    }

    async fn record_failure(&self, by: &Actor, selected: Selected, failed: &Failed) -> Result<(), Error> {
        self.change(async |connection| reprocessing::record_failure(connection, by, selected, failed).await)
            .await
    }

    async fn record_success(
        &self,
        by: &Actor,
        selected: Selected,
        success: Success<'_>,
    ) -> Result<Effect, Error> {
        self.change(async |connection| reprocessing::record_success(connection, by, selected, success).await)
            .await
    }

    async fn put_back(&self, by: &Actor, run: Uuid) -> Result<u64, Error> {
        self.change(async |connection| reprocessing::put_back(connection, by, run).await).await
    }

    async fn ended_before(&self, before: DateTime<Utc>) -> Result<u64, Error> {
        let count = sqlx::query(
            "SELECT count(*) FROM factline.dead_letters \
             WHERE status IN ('resolved', 'discarded') AND coalesce(resolved_at, dead_at) < $1",
        )
        .bind(before);
        Ok(self.all(count, horizons::counted).await?.pop().unwrap_or_default())
    }

    async fn purge(&self, by: &Actor, before: DateTime<Utc>, limit: u32) -> Result<u64, Error> {
        self.change(async |connection| delete_ended(connection, by, before, limit).await).await
    }
}

impl Store {
    /// Does the work in a transaction.
    async fn change<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let change = async |connection: &mut PgConnection| {
            let mut transaction = connection.begin().await.map_err(failed)?;
            let result = work(&mut transaction).await?;
            transaction.commit().await.map_err(failed)?;
            Ok(result)
        };
        self.database.timely(change).await
    }
}

async fn replace_payload(
    connection: &mut PgConnection,
    by: &Actor,
    id: Uuid,
    edit: Edit<'_>,
) -> Result<bool, Error> {
    let edited: Option<Uuid> = sqlx::query_scalar(
        "UPDATE factline.dead_letters SET original_payload = coalesce(original_payload, payload), payload = $3 \
         WHERE id = $1 AND payload = $2 AND status IN ('open', 'reprocessing') RETURNING id",
    )
    .bind(id)
    .bind(edit.from)
    .bind(edit.to)
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed)?;
    let detail = json!({ "bytes_before": edit.from.len(), "bytes_after": edit.to.len() });
    log(connection, by, "edit", edited.as_slice(), &detail).await?;
    Ok(edited.is_some())
}

async fn end_letters(
    connection: &mut PgConnection,
    by: &Actor,
    ids: &[Uuid],
    end: End,
    note: &str,
) -> Result<Vec<Uuid>, Error> {
    let rows = sqlx::query(
        "UPDATE factline.dead_letters SET status = $2, note = $3, resolved_by = $4, resolved_at = clock_timestamp() \
         WHERE id = ANY ($1) AND status IN ('open', 'reprocessing') \
         RETURNING id, consumer_group, stage, event_id, topic, partition, position, headers, error_kind",
    )
    .bind(ids)
    .bind(end.as_str())
    .bind(without_nul(note))
    .bind(without_nul(&by.who))
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    let ended: Vec<Ended> = rows.iter().map(listing::ended).collect::<Result<_, _>>().map_err(failed)?;
    if end == End::Discarded {
        for letter in &ended {
            sqlx::query(
                "UPDATE factline.event_ledger SET outcome = 'discarded' \
                 WHERE consumer_group = $1 AND event_id = $2 AND outcome = 'dead_lettered'",
            )
            .bind(&letter.consumer_group)
            .bind(letter.ledger_id)
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
        }
    }
    let ended: Vec<Uuid> = ended.iter().map(|letter| letter.id).collect();
    log(connection, by, end.as_str(), &ended, &json!({ "note": note })).await?;
    Ok(ended)
}

async fn select_open(
    connection: &mut PgConnection,
    by: &Actor,
    run: Uuid,
    filter: &DeadLetterFilter,
) -> Result<u64, Error> {
    // The outer condition is looked at again when somebody else had the row: two runs never share a letter.
    let update = sqlx::query(filtered!(
        "UPDATE factline.dead_letters SET status = 'reprocessing', reprocess_run = $14 \
         WHERE status = 'open' AND id IN (SELECT id",
        "AND status = 'open' ORDER BY id LIMIT $13)"
    ));
    let update = bind(update, filter).bind(i64::from(filter.limit)).bind(run);
    let selected = update.execute(&mut *connection).await.map_err(failed)?.rows_affected();
    log(connection, by, "reprocess", &[run], &json!({ "letters": selected })).await?;
    Ok(selected)
}

async fn delete_ended(
    connection: &mut PgConnection,
    by: &Actor,
    before: DateTime<Utc>,
    limit: u32,
) -> Result<u64, Error> {
    let deleted = sqlx::query(
        "DELETE FROM factline.dead_letters WHERE id IN (SELECT id FROM factline.dead_letters \
         WHERE status IN ('resolved', 'discarded') AND coalesce(resolved_at, dead_at) < $1 ORDER BY id LIMIT $2)",
    )
    .bind(before)
    .bind(i64::from(limit))
    .execute(&mut *connection)
    .await
    .map_err(failed)?
    .rows_affected();
    if deleted > 0 {
        let detail = json!({ "letters": deleted, "ended_before": before });
        log(connection, by, "purge", &["dead_letters"], &detail).await?;
    }
    Ok(deleted)
}
