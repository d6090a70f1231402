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

/// A letter, and its other attributes as JSON.
type Written<'a> = (&'a DeadLetter, String);

/// Inserts the letters: as many in a statement as it should carry.
pub(super) async fn insert(
    connection: &mut PgConnection,
    group: &str,
    letters: &[&DeadLetter],
) -> Result<(), Error> {
    let written = |letter: &&'_ DeadLetter| json_without_nul(&letter.headers).to_string();
    let letters: Vec<Written<'_>> = letters.iter().map(|letter| (*letter, written(letter))).collect();
    let mut left = &letters[..];
    while !left.is_empty() {
        let (some, others) = left.split_at(few_enough(left));
        insert_some(connection, group, some).await?;
        left = others;
    }
    Ok(())
}

/// How many of the first ones a statement carries.
fn few_enough(letters: &[Written<'_>]) -> usize {
    let mut bytes = 0;
    let fits = |(letter, headers): &&Written<'_>| {
        let texts = [Some(&letter.event_id), letter.key.as_ref(), letter.event_type.as_ref()];
        let texts = texts.into_iter().flatten().map(String::len).sum::<usize>();
        bytes += letter.payload.len() + headers.len() + letter.cause.error.len() + texts;
        bytes <= STATEMENT_BYTES
    };
    letters.iter().take_while(fits).count().max(1)
}

async fn insert_some(
    connection: &mut PgConnection,
    group: &str,
    letters: &[Written<'_>],
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
    .bind(letters.iter().map(|(letter, _)| letter.id).collect::<Vec<_>>())
    .bind(letters.iter().map(|(letter, _)| letter.cause.stage.as_str()).collect::<Vec<_>>())
    .bind(letters.iter().map(|(letter, _)| without_nul(&letter.event_id)).collect::<Vec<_>>())
    .bind(letters.iter().map(|(letter, _)| without_nul(&letter.topic)).collect::<Vec<_>>())
    .bind(letters.iter().map(|(letter, _)| letter.partition.map(i32::from)).collect::<Vec<_>>())
    .bind(letters.iter().map(|(letter, _)| letter.position.as_deref().map(without_nul)).collect::<Vec<_>>())
    .bind(letters.iter().map(|(letter, _)| letter.key.as_deref().map(without_nul)).collect::<Vec<_>>())
    .bind(letters.iter().map(|(letter, _)| letter.event_type.as_deref().map(without_nul)).collect::<Vec<_>>())
    .bind(letters.iter().map(|(letter, _)| letter.payload.as_slice()).collect::<Vec<_>>())
    .bind(letters.iter().map(|(_, headers)| headers).collect::<Vec<_>>())
    .bind(letters.iter().map(|(letter, _)| letter.cause.kind.as_str()).collect::<Vec<_>>())
    .bind(letters.iter().map(|(letter, _)| without_nul(&letter.cause.error)).collect::<Vec<_>>())
    .bind(letters.iter().map(|(letter, _)| letter.fingerprint()).collect::<Vec<_>>())
    .bind(letters.iter().map(|(letter, _)| i32::try_from(letter.cause.attempts).unwrap_or(i32::MAX)).collect::<Vec<_>>())
    .bind(letters.iter().map(|(letter, _)| letter.ledger_id).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use factline_pipeline::dead_letter::{Cause, ErrorKind, Stage};
    use uuid::Uuid;

    use super::*;

    fn letter(payload: usize) -> DeadLetter {
        let cause =
            Cause { stage: Stage::Extract, kind: ErrorKind::Malformed, error: "no".into(), attempts: 1 };
        DeadLetter {
            id: Uuid::now_v7(),
            ledger_id: Uuid::now_v7(),
            event_id: "e".into(),
            topic: "chat".into(),
            partition: None,
            position: None,
            key: None,
            event_type: None,
            payload: vec![b'x'; payload],
            headers: serde_json::json!({}),
            occurred_at: None,
            cause,
        }
    }

    #[test]
    fn a_statement_carries_as_many_letters_as_it_should_and_at_least_one() {
        let (small, large) = (letter(10), letter(STATEMENT_BYTES));
        let written = |letter| (letter, "{}".to_owned());
        assert_eq!(few_enough(&vec![written(&small); 1_000]), 1_000);
        assert_eq!(few_enough(&[written(&small), written(&large), written(&small)]), 1);
        assert_eq!(few_enough(&[written(&large), written(&small)]), 1);
        let attributes = (&small, "x".repeat(STATEMENT_BYTES));
        assert_eq!(few_enough(&[written(&small), attributes]), 1);
    }
}
