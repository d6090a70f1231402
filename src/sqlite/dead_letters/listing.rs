//! Which dead letters a filter means, and what is read of them.

use factline_pipeline::{dead_letter::Origin, outage::Error};
use serde_json::Value;
use sqlx::{
    Row as _, Sqlite,
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};
use uuid::Uuid;

use crate::{
    dead_letters::{CauseGroup, Letter},
    records::{DeadLetterFilter, DeadLetterRecord},
    sqlite::{bytes_in, json, optional_time_in, parsed_in, store::Store, text_of, time_in},
};

/// A statement about the letters that a filter means: the parameters 1 to 12, bound by [`bind`].
macro_rules! filtered {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            " FROM dead_letters WHERE (?1 IS NULL OR id IN (SELECT value FROM json_each(?1))) \
             AND (?2 IS NULL OR id >= ?2) AND (?3 IS NULL OR id <= ?3) AND (?4 IS NULL OR id < ?4) \
             AND (?5 IS NULL OR event_id = ?5) AND (?6 IS NULL OR status = ?6 OR ?6 = 'unfinished' AND status IN ('open', 'reprocessing')) AND (?7 IS NULL OR topic = ?7) \
             AND (?8 IS NULL OR event_type = ?8) AND (?9 IS NULL OR substr(fingerprint, 1, length(?9)) = ?9) \
             AND (?10 IS NULL OR consumer_group = ?10) AND (?11 IS NULL OR dead_at >= ?11) \
             AND (?12 IS NULL OR instr(error, ?12) OR instr(key, ?12) OR instr(event_id, ?12) \
               OR instr(payload, CAST(?12 AS BLOB))) ",
            $after
        )
    };
}
pub(super) use filtered;

pub(super) type Arguments = Query<'static, Sqlite, SqliteArguments>;

pub(super) fn bind(query: Arguments, filter: &DeadLetterFilter) -> Result<Arguments, Error> {
    let text = |id: Option<Uuid>| id.map(|id| id.to_string());
    Ok(query
        .bind(filter.ids.as_deref().map(json).transpose()?)
        .bind(text(filter.between.map(|(first, _)| first)))
        .bind(text(filter.between.map(|(_, last)| last)))
        .bind(text(filter.before))
        .bind(filter.event_id.clone())
        .bind(filter.status.clone())
        .bind(filter.topic.clone())
        .bind(filter.event_type.clone())
        .bind(filter.fingerprint.clone())
        .bind(filter.consumer_group.clone())
        .bind(filter.since.map(text_of))
        .bind(filter.text.clone()))
}

/// The letters of a filter, the newest first.
pub(in crate::sqlite) async fn list(
    store: &Store,
    filter: &DeadLetterFilter,
) -> Result<Vec<DeadLetterRecord>, Error> {
    let select = sqlx::query(filtered!(
        "SELECT id, consumer_group, stage, event_id, topic, partition, position, key, event_type, \
         CASE WHEN ?14 THEN NULL ELSE payload END AS payload, headers, error_kind, error, fingerprint, attempts, \
         first_failed_at, dead_at, status, resolved_by, resolved_at, note, reprocess_run",
        "ORDER BY id DESC LIMIT ?13"
    ));
    store.all(bind(select, filter)?.bind(filter.limit).bind(filter.without_payload), record).await
}

/// The open letters that were set aside last, without their payloads; a statement of its own, which the index of those
/// that are open serves.
pub(in crate::sqlite) async fn newest_open(
    store: &Store,
    limit: u32,
) -> Result<Vec<DeadLetterRecord>, Error> {
    store.all(sqlx::query(NEWEST_OPEN).bind(limit), record).await
}

const NEWEST_OPEN: &str = "SELECT id, consumer_group, stage, event_id, topic, partition, position, key, event_type, NULL AS payload, \
         headers, error_kind, error, fingerprint, attempts, first_failed_at, dead_at, status, resolved_by, resolved_at, \
         note, reprocess_run FROM dead_letters WHERE status = 'open' ORDER BY dead_at DESC LIMIT ?1";

/// The letters of a filter by cause, the most frequent first. The latest letter of each stands for it.
pub(super) async fn group_by_cause(
    store: &Store,
    filter: &DeadLetterFilter,
) -> Result<Vec<CauseGroup>, Error> {
    let select = sqlx::query(filtered!(
        "WITH causes AS (SELECT fingerprint, count(*) AS letters, min(first_failed_at) AS first_seen, \
         max(dead_at) AS last_seen, max(id) AS latest",
        "GROUP BY fingerprint) \
         SELECT c.*, l.stage, l.error_kind, l.topic, l.error FROM causes AS c \
         JOIN dead_letters AS l ON l.id = c.latest ORDER BY letters DESC, latest DESC LIMIT ?13"
    ));
    store.all(bind(select, filter)?.bind(filter.limit), cause_group).await
}

fn cause_group(row: &SqliteRow) -> Result<CauseGroup, sqlx::Error> {
    Ok(CauseGroup {
        fingerprint: row.try_get("fingerprint")?,
        letters: row.try_get("letters")?,
        first_seen: time_in(row, "first_seen")?,
        last_seen: time_in(row, "last_seen")?,
        stage: row.try_get("stage")?,
        error_kind: row.try_get("error_kind")?,
        topic: row.try_get("topic")?,
        error: row.try_get("error")?,
    })
}

pub(super) fn letter(row: &SqliteRow) -> Result<Letter, sqlx::Error> {
    Ok(Letter {
        record: record(row)?,
        payload: bytes_in(row, "payload")?.unwrap_or_default(),
        original_payload: bytes_in(row, "original_payload")?,
    })
}

/// A letter that has ended, and the key of its ledger row: many end at once, so no more is read of them.
pub(super) struct Ended {
    pub(super) id: Uuid,
    pub(super) consumer_group: String,
    pub(super) ledger_id: Option<Uuid>,
}

pub(super) fn ended(row: &SqliteRow) -> Result<Ended, sqlx::Error> {
    let headers: Value = parsed_in(row, "headers")?;
    let origin = Origin {
        stage: row.try_get("stage")?,
        kind: row.try_get("error_kind")?,
        event_id: row.try_get("event_id")?,
        source: headers.get("source").and_then(Value::as_str),
        topic: row.try_get("topic")?,
        partition: row.try_get("partition")?,
        position: row.try_get("position")?,
    };
    let ledger_id = origin.ledger_id();
    Ok(Ended { id: parsed_in(row, "id")?, consumer_group: row.try_get("consumer_group")?, ledger_id })
}

pub(super) fn record(row: &SqliteRow) -> Result<DeadLetterRecord, sqlx::Error> {
    let payload = bytes_in(row, "payload")?;
    let reprocess_run: Option<&str> = row.try_get("reprocess_run")?;
    Ok(DeadLetterRecord {
        id: parsed_in(row, "id")?,
        consumer_group: row.try_get("consumer_group")?,
        stage: row.try_get("stage")?,
        event_id: row.try_get("event_id")?,
        topic: row.try_get("topic")?,
        partition: row.try_get("partition")?,
        position: row.try_get("position")?,
        key: row.try_get("key")?,
        event_type: row.try_get("event_type")?,
        payload: payload.map(|payload| String::from_utf8_lossy(&payload).into_owned()),
        headers: parsed_in(row, "headers")?,
        error_kind: row.try_get("error_kind")?,
        error: row.try_get("error")?,
        fingerprint: row.try_get("fingerprint")?,
        attempts: row.try_get("attempts")?,
        first_failed_at: time_in(row, "first_failed_at")?,
        dead_at: time_in(row, "dead_at")?,
        status: row.try_get("status")?,
        resolved_by: row.try_get("resolved_by")?,
        resolved_at: optional_time_in(row, "resolved_at")?,
        note: row.try_get("note")?,
        reprocess_run: reprocess_run.map(|_| parsed_in(row, "reprocess_run")).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use sqlx::Row as _;

    use super::NEWEST_OPEN;
    use crate::sqlite::Database;

    #[tokio::test]
    async fn what_is_open_is_looked_up_in_its_index() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path().join("factline.db").to_str().unwrap()).await.unwrap();
        database.migrate_up().await.unwrap();
        let explain = sqlx::query(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {NEWEST_OPEN}"))).bind(100);
        let plan = explain.fetch_all(database.reader()).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
        assert!(plan.len() == 1 && plan[0].contains("INDEX dead_letters_open"), "{plan:?}");
    }
}
