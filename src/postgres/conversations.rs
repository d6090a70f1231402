//! What a batch changes in the conversations.

use factline_pipeline::{conversation, ledger::Recording, outage::Error};
use sqlx::PgConnection;

use super::failed;

/// Counts the messages, moves the watermarks, keeps the first titles.
pub(super) async fn update(connection: &mut PgConnection, new: &[&Recording]) -> Result<(), Error> {
    let changes = conversation::changes(new.iter().copied());
    if changes.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO factline.conversations AS c \
         (conversation_id, title, title_source, message_count, checksum, watermark_ms) \
         SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[]) \
         ON CONFLICT (conversation_id) DO UPDATE SET \
         title = coalesce(c.title, excluded.title), \
         title_source = CASE WHEN c.title IS NULL THEN excluded.title_source ELSE c.title_source END, \
         message_count = c.message_count + excluded.message_count, \
         checksum = c.checksum # excluded.checksum, \
         watermark_ms = greatest(c.watermark_ms, excluded.watermark_ms), updated_at = clock_timestamp()",
    )
    .bind(changes.iter().map(|change| change.conversation_id).collect::<Vec<_>>())
    .bind(changes.iter().map(|change| change.title.map(|title| title.text.as_str())).collect::<Vec<_>>())
    .bind(changes.iter().map(|change| change.title.map(|title| title.source)).collect::<Vec<_>>())
    .bind(changes.iter().map(|change| change.messages).collect::<Vec<_>>())
    .bind(changes.iter().map(|change| change.checksum).collect::<Vec<_>>())
    .bind(changes.iter().map(|change| change.watermark_ms).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
