//! Dead letters.
//!
//! Nothing in them makes the insert fail.
//!
//! `listing` is what there is to read of them; `work` what people do with them, with the steps of `reprocessing` and
//! the `report`.

use factline_pipeline::{dead_letter::DeadLetter, outage::Error};
use sqlx::PgConnection;

use super::failed;
use crate::nul::{json_without_nul, without_nul};

pub(super) mod listing;
mod report;
mod reprocessing;
mod work;

/// What one statement carries of letters, if they are not a single one.
const STATEMENT_BYTES: usize = 8 << 20;

/// Inserts the letters: as many in a statement as it should carry.
pub(super) async fn insert(
    connection: &mut PgConnection,
    group: &str,
    letters: &[&DeadLetter],
) -> Result<(), Error> {
    let mut left = letters;
    while !left.is_empty() {
        let (some, others) = left.split_at(few_enough(left));
        insert_some(connection, group, some).await?;
        left = others;
    }
    Ok(())
}

/// How many of the first ones a statement carries.
fn few_enough(letters: &[&DeadLetter]) -> usize {
    let mut bytes = 0;
    let fits = |letter: &&&DeadLetter| {
        let texts = [&letter.key, &letter.event_type].into_iter().flatten().map(String::len).sum::<usize>();
        bytes += letter.payload.len() + letter.headers.to_string().len() + letter.cause.error.len() + texts;
        bytes <= STATEMENT_BYTES
    };
    letters.iter().take_while(fits).count().max(1)
}

async fn insert_some(
    connection: &mut PgConnection,
    group: &str,
    letters: &[&DeadLetter],
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO factline.dead_letters (id, consumer_group, stage, event_id, topic, partition, position, key, \
         event_type, payload, headers, error_kind, error, fingerprint, attempts, first_failed_at) \
         SELECT l.id, $1, l.stage, l.event_id, l.topic, l.partition, l.position, l.key, l.event_type, l.payload, \
         l.headers::jsonb, l.error_kind, l.error, l.fingerprint, l.attempts, \
         coalesce(a.first_failed_at, clock_timestamp()) \
         FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::int[], $7::text[], $8::text[], $9::text[], \
           $10::bytea[], $11::text[], $12::text[], $13::text[], $14::text[], $15::int[], $16::uuid[]) \
         AS l(id, stage, event_id, topic, partition, position, key, event_type, payload, headers, error_kind, error, \
           fingerprint, attempts, ledger_id) \
         LEFT JOIN factline.event_attempts AS a ON a.consumer_group = $1 AND a.event_id = l.ledger_id::text",
    )
    .bind(group)
    .bind(letters.iter().map(|letter| letter.id).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| letter.cause.stage.as_str()).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| without_nul(&letter.event_id)).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| without_nul(&letter.topic)).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| letter.partition.map(i32::from)).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| letter.position.as_deref().map(without_nul)).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| letter.key.as_deref().map(without_nul)).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| letter.event_type.as_deref().map(without_nul)).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| letter.payload.as_slice()).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| json_without_nul(&letter.headers).to_string()).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| letter.cause.kind.as_str()).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| without_nul(&letter.cause.error)).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| letter.fingerprint()).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| i32::try_from(letter.cause.attempts).unwrap_or(i32::MAX)).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| letter.ledger_id).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
