//! Which dead letters a filter means, and what is read of them.

use factline_pipeline::{dead_letter::Origin, outage::Error};
use serde_json::Value;
use sqlx::{
    Postgres, Row as _,
    postgres::{PgArguments, PgRow},
    query::Query,
};
use uuid::Uuid;

use crate::{
    dead_letters::{CauseGroup, Letter},
    postgres::{failed, store::Store},
    records::{DeadLetterFilter, DeadLetterRecord},
};

/// A statement about the letters that a filter means: the parameters 1 to 12, bound by [`bind`].
macro_rules! filtered {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            " FROM factline.dead_letters WHERE ($1::uuid[] IS NULL OR id = ANY ($1)) \
             AND ($2::uuid IS NULL OR id >= $2) AND ($3::uuid IS NULL OR id <= $3) \
             AND ($4::uuid IS NULL OR id < $4) AND ($5::text IS NULL OR event_id = $5) \
             AND ($6::text IS NULL OR status = $6 OR $6 = 'unfinished' AND status IN ('open', 'reprocessing')) AND ($7::text IS NULL OR topic = $7) \
             AND ($8::text IS NULL OR event_type = $8) AND ($9::text IS NULL OR starts_with(fingerprint, $9)) \
             AND ($10::text IS NULL OR consumer_group = $10) AND ($11::timestamptz IS NULL OR dead_at >= $11) \
             AND ($12::text IS NULL OR strpos(error, $12) > 0 OR strpos(key, $12) > 0 OR strpos(event_id, $12) > 0 \
               OR position(convert_to($12, 'UTF8') IN payload) > 0) ",
            $after
        )
    };
}
pub(super) use filtered;

pub(super) fn bind<'q>(
    query: Query<'q, Postgres, PgArguments>,
    filter: &'q DeadLetterFilter,
) -> Query<'q, Postgres, PgArguments> {
    query
        .bind(&filter.ids)
        .bind(filter.between.map(|(first, _)| first))
        .bind(filter.between.map(|(_, last)| last))
        .bind(filter.before)
        .bind(&filter.event_id)
        .bind(&filter.status)
        .bind(&filter.topic)
        .bind(&filter.event_type)
        .bind(&filter.fingerprint)
        .bind(&filter.consumer_group)
        .bind(filter.since)
        .bind(&filter.text)
}

/// The letters of a filter, the newest first.
pub(in crate::postgres) async fn list(
    store: &Store,
    filter: &DeadLetterFilter,
) -> Result<Vec<DeadLetterRecord>, Error> {
    // What is not wanted is not even fetched from where the server keeps large values.
    let select = sqlx::query(filtered!(
        "SELECT id, consumer_group, stage, event_id, topic, partition, position, key, event_type, \
         CASE WHEN $14 THEN NULL ELSE payload END AS payload, headers, error_kind, error, fingerprint, attempts, \
         first_failed_at, dead_at, status, resolved_by, resolved_at, note, reprocess_run",
        "ORDER BY id DESC LIMIT $13"
    ));
    let select = bind(select, filter).bind(i64::from(filter.limit)).bind(filter.without_payload);
    store.all(select, record).await
}

/// The open letters that were set aside last, without their payloads.
///
/// A statement of its own: that of a filter could mean letters in any state, so no plan of it relies on the index of
/// those that are open.
pub(in crate::postgres) async fn newest_open(
    store: &Store,
    limit: u32,
) -> Result<Vec<DeadLetterRecord>, Error> {
    let select = sqlx::query(
        "SELECT id, consumer_group, stage, event_id, topic, partition, position, key, event_type, NULL::bytea AS payload, \
         headers, error_kind, error, fingerprint, attempts, first_failed_at, dead_at, status, resolved_by, resolved_at, \
         note, reprocess_run FROM factline.dead_letters WHERE status = 'open' ORDER BY dead_at DESC LIMIT $1",
    );
    let rows = store.database.select_by_index(select.bind(i64::from(limit))).await?;
    rows.iter().map(record).collect::<Result<_, _>>().map_err(failed)
}

/// The letters of a filter by cause, the most frequent first. The latest letter of each stands for it.
pub(super) async fn group_by_cause(
    store: &Store,
    filter: &DeadLetterFilter,
) -> Result<Vec<CauseGroup>, Error> {
    let select = sqlx::query(filtered!(
        "WITH causes AS (SELECT fingerprint, count(*) AS letters, min(first_failed_at) AS first_seen, \
         max(dead_at) AS last_seen, max(id::text COLLATE \"C\")::uuid AS latest",
        "GROUP BY fingerprint) \
         SELECT c.*, l.stage, l.error_kind, l.topic, l.error FROM causes AS c \
         JOIN factline.dead_letters AS l ON l.id = c.latest ORDER BY letters DESC, latest DESC LIMIT $13"
    ));
    store.all(bind(select, filter).bind(i64::from(filter.limit)), cause_group).await
}

fn cause_group(row: &PgRow) -> Result<CauseGroup, sqlx::Error> {
    Ok(CauseGroup {
        fingerprint: row.try_get("fingerprint")?,
        letters: row.try_get("letters")?,
        first_seen: row.try_get("first_seen")?,
        last_seen: row.try_get("last_seen")?,
        stage: row.try_get("stage")?,
        error_kind: row.try_get("error_kind")?,
        topic: row.try_get("topic")?,
        error: row.try_get("error")?,
    })
}

pub(super) fn letter(row: &PgRow) -> Result<Letter, sqlx::Error> {
    Ok(Letter {
        record: record(row)?,
        payload: row.try_get("payload")?,
        original_payload: row.try_get("original_payload")?,
    })
}

/// A letter that has ended, and the key of its ledger row: many end at once, so no more is read of them.
pub(super) struct Ended {
    pub(super) id: Uuid,
    pub(super) consumer_group: String,
    pub(super) ledger_id: Option<Uuid>,
}

pub(super) fn ended(row: &PgRow) -> Result<Ended, sqlx::Error> {
    let headers: Value = row.try_get("headers")?;
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
    Ok(Ended { id: row.try_get("id")?, consumer_group: row.try_get("consumer_group")?, ledger_id })
}

pub(super) fn record(row: &PgRow) -> Result<DeadLetterRecord, sqlx::Error> {
    let payload: Option<&[u8]> = row.try_get("payload")?;
    Ok(DeadLetterRecord {
        id: row.try_get("id")?,
        consumer_group: row.try_get("consumer_group")?,
        stage: row.try_get("stage")?,
        event_id: row.try_get("event_id")?,
        topic: row.try_get("topic")?,
        partition: row.try_get("partition")?,
        position: row.try_get("position")?,
        key: row.try_get("key")?,
        event_type: row.try_get("event_type")?,
        payload: payload.map(|payload| String::from_utf8_lossy(payload).into_owned()),
        headers: row.try_get("headers")?,
        error_kind: row.try_get("error_kind")?,
        error: row.try_get("error")?,
        fingerprint: row.try_get("fingerprint")?,
        attempts: row.try_get("attempts")?,
        first_failed_at: row.try_get("first_failed_at")?,
        dead_at: row.try_get("dead_at")?,
        status: row.try_get("status")?,
        resolved_by: row.try_get("resolved_by")?,
        resolved_at: row.try_get("resolved_at")?,
        note: row.try_get("note")?,
        reprocess_run: row.try_get("reprocess_run")?,
    })
}
