//! What a batch does to the store: ledger, facts and conversations, in one statement.
//!
//! A statement is a transaction of its own: where nothing else belongs to it there is one round trip, and no moment at
//! which the server holds locks for somebody who has gone. What the facts become depends on those that are known,
//! which are looked up before; the statement does nothing unless they are as they were then.

use factline_pipeline::{conversation, lease::Fence, ledger::Recording, merge, outage::Error};
use sqlx::{PgConnection, Row as _};

use super::{
    Overtaken,
    facts::{self, Touched},
    failed, leases,
    ledger_rows::LedgerRows,
    unusable,
};

/// Of several rows, the leases are locked by name, the facts by identity, the conversations by id. The parts that write
/// wait for each other, so that all statements come by the tables in the same order.
const TAKE_EFFECT: &str = "\
WITH held AS MATERIALIZED ( \
  SELECT l.name, l.token FROM factline.leases AS l JOIN unnest($1::text[], $2::bigint[]) AS f(name, token) \
  ON l.name = f.name AND l.token = f.token WHERE l.expires_at > clock_timestamp() ORDER BY l.name FOR SHARE OF l), \
known AS MATERIALIZED ( \
  SELECT FROM factline.facts AS f JOIN unnest($3::uuid[], $4::real[]) AS t(id, seen) \
  ON f.id = t.id AND f.confidence = t.seen WHERE f.id = ANY ($3) AND f.superseded_by IS NULL \
  ORDER BY f.identity FOR UPDATE OF f), \
may AS MATERIALIZED ( \
  SELECT (SELECT count(*) FROM held) = cardinality($1) AND (SELECT count(*) FROM known) = cardinality($3) AS it), \
recorded AS ( \
  INSERT INTO factline.event_ledger (consumer_group, event_id, topic, partition, position, event_type, outcome, \
    facts, attempts, occurred_at, traceparent) \
  SELECT $8, r.* FROM unnest($9::uuid[], $10::text[], $11::int[], $12::text[], $13::text[], $14::text[], $15::int[], \
    $16::int[], $17::timestamptz[], $18::text[]) AS r WHERE (SELECT it FROM may) RETURNING 1), \
changed AS ( \
  UPDATE factline.facts AS f SET confidence = c.confidence, valid_to = coalesce(f.valid_to, c.valid_to), \
    superseded_by = c.superseded_by \
  FROM unnest($3::uuid[], $5::real[], $6::timestamptz[], $7::uuid[]) AS c(id, confidence, valid_to, superseded_by) \
  WHERE f.id = c.id AND f.id = ANY ($3) AND (SELECT it FROM may) AND (SELECT count(*) FROM recorded) >= 0 \
  RETURNING 1), \
stated AS ( \
  INSERT INTO factline.facts (id, identity, subject, predicate, object, confidence, valid_from, valid_to, \
    superseded_by, event_id, conversation_id, message_id, quote, span_start, span_end, extractor, extractor_version) \
  SELECT s.* FROM unnest($19::uuid[], $20::uuid[], $21::text[], $22::text[], $23::text[], $24::real[], \
    $25::timestamptz[], $26::timestamptz[], $27::uuid[], $28::uuid[], $29::text[], $30::text[], $31::text[], \
    $32::int[], $33::int[], $34::text[], $35::smallint[]) AS s \
  WHERE (SELECT it FROM may) AND (SELECT count(*) FROM changed) >= 0 RETURNING 1), \
told AS ( \
  INSERT INTO factline.conversations AS c \
    (conversation_id, title, title_source, message_count, checksum, watermark_ms) \
  SELECT t.* FROM unnest($36::text[], $37::text[], $38::text[], $39::bigint[], $40::bigint[], $41::bigint[]) AS t \
  WHERE (SELECT it FROM may) AND (SELECT count(*) FROM stated) >= 0 \
  ON CONFLICT (conversation_id) DO UPDATE SET \
    title = coalesce(c.title, excluded.title), \
    title_source = CASE WHEN c.title IS NULL THEN excluded.title_source ELSE c.title_source END, \
    message_count = c.message_count + excluded.message_count, \
    checksum = c.checksum # excluded.checksum, \
    watermark_ms = greatest(c.watermark_ms, excluded.watermark_ms), updated_at = clock_timestamp()) \
SELECT (SELECT it FROM may) AS done, ARRAY(SELECT name FROM held) AS names, ARRAY(SELECT token FROM held) AS tokens";

/// What events do.
pub(super) struct Effects<'a> {
    recordings: Vec<&'a Recording>,
}

impl<'a> Effects<'a> {
    pub(super) fn of(recordings: impl IntoIterator<Item = &'a Recording>) -> Self {
        Self { recordings: recordings.into_iter().collect() }
    }

    /// Takes effect, and inserts these rows of the ledger beside; nothing happens unless all fences hold.
    ///
    /// The error is [`Error::Fenced`] where a lease is lost, and an [`Overtaken`] where somebody else changed the same
    /// facts meanwhile: then it is worth trying again at once.
    pub(super) async fn take(
        &self,
        connection: &mut PgConnection,
        fences: &[Fence],
        group: &str,
        rows: &LedgerRows<'_>,
    ) -> Result<(), Error> {
        let stated = merge::stated(self.recordings.iter().copied());
        let known = facts::select_known(connection, &stated).await?;
        let seen = known.iter().map(|fact| (fact.id, fact.confidence)).collect();
        let mut changes = merge::merge(stated, known);
        // In one order for all: of two that state the same new facts, one waits for the other, and never both.
        changes.insert.sort_by_key(|fact| fact.identity);
        let touched = Touched::by(&changes, seen);
        let told = conversation::changes(self.recordings.iter().copied());
        if rows.is_empty() && touched.is_empty() && changes.insert.is_empty() && told.is_empty() {
            return Ok(());
        }
        let (names, tokens): (Vec<&str>, Vec<i64>) =
            fences.iter().map(|fence| (fence.name.as_str(), fence.token)).unzip();
        let query = sqlx::query(TAKE_EFFECT).bind(names).bind(tokens);
        let query = rows.bind(touched.bind(query), group);
        let query = facts::bind(query, &changes.insert)
            .bind(told.iter().map(|change| change.conversation_id).collect::<Vec<_>>())
            .bind(told.iter().map(|change| change.title.map(|title| title.text.as_str())).collect::<Vec<_>>())
            .bind(told.iter().map(|change| change.title.map(|title| title.source)).collect::<Vec<_>>())
            .bind(told.iter().map(|change| change.messages).collect::<Vec<_>>())
            .bind(told.iter().map(|change| change.checksum).collect::<Vec<_>>())
            .bind(told.iter().map(|change| change.watermark_ms).collect::<Vec<_>>());
        let row = query.fetch_one(connection).await.map_err(failed)?;
        if row.try_get("done").map_err(failed)? {
            return Ok(());
        }
        let names: Vec<String> = row.try_get("names").map_err(failed)?;
        let tokens: Vec<i64> = row.try_get("tokens").map_err(failed)?;
        leases::all_held(fences, &names.into_iter().zip(tokens).collect::<Vec<_>>())?;
        Err(unusable(Overtaken))
    }
}
