//! Factline's own tables in PostgreSQL: the ledger with the facts, conversations and dead letters it guards, and the
//! leases.

use std::{collections::HashSet, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use factline_pipeline::{
    conversation,
    dead_letter::DeadLetter,
    lease::{Fence, Lease, Leases},
    ledger::{Ledger, Outcome, Recorded, Recording},
    merge::{self, Closed, Current, NewFact},
    outage::Error,
};
use sqlx::{PgConnection, PgPool, Row as _};
use uuid::Uuid;

use super::failed;

/// The consumer group under which rows are recorded that never left the outbox.
pub const RELAY: &str = "relay";

/// The store.
#[derive(Clone)]
pub struct Store {
    pub(super) pool: PgPool,
}

impl Store {
    /// Nothing is looked up; a store without its tables is unavailable until they are there.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }
}

#[async_trait]
impl Ledger for Store {
    async fn record(&self, group: &str, fences: &[Fence], batch: &[Recording]) -> Result<Recorded, Error> {
        let mut transaction = self.pool.begin().await.map_err(failed)?;
        let connection = &mut *transaction;
        check_fences(connection, fences).await?;
        let mut new_ids = insert_ledger_rows(connection, group, batch).await?;
        // An event that stands in the batch twice takes effect where it stands first.
        let new: Vec<&Recording> = batch.iter().filter(|one| new_ids.remove(&one.event_id)).collect();
        record_facts(connection, &new).await?;
        update_conversations(connection, &new).await?;
        let letters = new.iter().filter_map(|one| match &one.outcome {
            Outcome::DeadLettered(letter) => Some(letter.as_ref()),
            Outcome::Processed(_) => None,
        });
        let letters: Vec<&DeadLetter> = letters.collect();
        insert_dead_letters(connection, group, &letters).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(Recorded {
            new: new.len() as u64,
            dead_lettered: letters.len() as u64,
            duplicates: (batch.len() - new.len()) as u64,
        })
    }

    async fn record_unpublishable(&self, letters: &[DeadLetter]) -> Result<(), Error> {
        let mut transaction = self.pool.begin().await.map_err(failed)?;
        let connection = &mut *transaction;
        let mut new = Vec::new();
        for letter in letters {
            let inserted = sqlx::query(
                "INSERT INTO factline.event_ledger (consumer_group, event_id, topic, position, event_type, outcome, \
                 facts, occurred_at) VALUES ($1, $2, $3, $4, $5, 'dead_lettered', 0, $6) ON CONFLICT DO NOTHING",
            )
            .bind(RELAY)
            .bind(letter.ledger_id)
            .bind(without_nul(&letter.topic))
            .bind(&letter.position)
            .bind(without_nul(letter.event_type.as_deref().unwrap_or_default()))
            .bind(letter.occurred_at)
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
            if inserted.rows_affected() == 1 {
                new.push(letter);
            }
        }
        insert_dead_letters(connection, RELAY, &new).await?;
        transaction.commit().await.map_err(failed)
    }
}

/// Locks the leases until the transaction ends, so that nobody can take one over while it still counts on it.
async fn check_fences(connection: &mut PgConnection, fences: &[Fence]) -> Result<(), Error> {
    if fences.is_empty() {
        return Ok(());
    }
    let (names, tokens): (Vec<&str>, Vec<i64>) =
        fences.iter().map(|fence| (fence.name.as_str(), fence.token)).unzip();
    let held: Vec<String> = sqlx::query_scalar(
        "SELECT l.name FROM factline.leases AS l \
         JOIN unnest($1::text[], $2::bigint[]) AS f(name, token) ON l.name = f.name AND l.token = f.token \
         WHERE l.expires_at > clock_timestamp() ORDER BY l.name FOR SHARE OF l",
    )
    .bind(&names)
    .bind(&tokens)
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    match names.iter().find(|name| !held.iter().any(|held| held == *name)) {
        Some(lost) => Err(Error::Fenced { lease: (*lost).to_owned() }),
        None => Ok(()),
    }
}

/// One row an event; gives the ids of those that were not there.
async fn insert_ledger_rows(
    connection: &mut PgConnection,
    group: &str,
    batch: &[Recording],
) -> Result<HashSet<Uuid>, Error> {
    let mut rows = LedgerRows::default();
    for recording in batch {
        rows.push(recording);
    }
    let inserted: Vec<Uuid> = sqlx::query_scalar(
        "INSERT INTO factline.event_ledger (consumer_group, event_id, topic, partition, position, event_type, \
         outcome, facts, attempts, occurred_at, traceparent) \
         SELECT $1, * FROM unnest($2::uuid[], $3::text[], $4::int[], $5::text[], $6::text[], $7::text[], $8::int[], \
         $9::int[], $10::timestamptz[], $11::text[]) ON CONFLICT DO NOTHING RETURNING event_id",
    )
    .bind(group)
    .bind(rows.event_ids)
    .bind(rows.topics)
    .bind(rows.partitions)
    .bind(rows.positions)
    .bind(rows.event_types)
    .bind(rows.outcomes)
    .bind(rows.facts)
    .bind(rows.attempts)
    .bind(rows.times)
    .bind(rows.traces)
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    Ok(inserted.into_iter().collect())
}

/// The columns of ledger rows, each an array.
#[derive(Default)]
struct LedgerRows<'a> {
    event_ids: Vec<Uuid>,
    topics: Vec<&'a str>,
    partitions: Vec<i32>,
    positions: Vec<String>,
    event_types: Vec<&'a str>,
    outcomes: Vec<&'static str>,
    facts: Vec<i32>,
    attempts: Vec<i32>,
    times: Vec<Option<DateTime<Utc>>>,
    traces: Vec<Option<&'a str>>,
}

impl<'a> LedgerRows<'a> {
    fn push(&mut self, recording: &'a Recording) {
        let entry = &recording.entry;
        let event = entry.event.as_ref().ok();
        let (outcome, facts, attempts) = match &recording.outcome {
            Outcome::Processed(said) => ("processed", said.as_ref().map_or(0, |said| said.facts.len()), 1),
            Outcome::DeadLettered(letter) => ("dead_lettered", 0, letter.cause.attempts),
        };
        self.event_ids.push(recording.event_id);
        self.topics.push(&entry.partition.topic);
        self.partitions.push(i32::from(entry.partition.number));
        self.positions.push(entry.position.to_string());
        // A dead letter's own row must not be refused for what the letter is about.
        self.event_types
            .push(event.map_or("", |event| &event.event_type).split('\0').next().unwrap_or_default());
        self.outcomes.push(outcome);
        self.facts.push(i32::try_from(facts).unwrap_or(i32::MAX));
        self.attempts.push(i32::try_from(attempts).unwrap_or(i32::MAX));
        self.times.push(event.map(|event| event.occurred_at));
        let trace = event.and_then(|event| event.trace.as_ref());
        self.traces.push(trace.map(|trace| trace.traceparent.split('\0').next().unwrap_or_default()));
    }
}

/// Merges what the events state into what is known.
async fn record_facts(connection: &mut PgConnection, new: &[&Recording]) -> Result<(), Error> {
    let stated = merge::stated(new.iter().copied());
    if stated.is_empty() {
        return Ok(());
    }
    let mut identities: Vec<Uuid> = stated.iter().map(|fact| fact.identity).collect();
    identities.sort_unstable();
    identities.dedup();
    let current = current_facts(connection, &identities).await?;
    let changes = merge::merge(stated, current);
    close_facts(connection, &changes.close).await?;
    strengthen_facts(connection, &changes.strengthen).await?;
    insert_facts(connection, &changes.insert).await
}

async fn current_facts(connection: &mut PgConnection, identities: &[Uuid]) -> Result<Vec<Current>, Error> {
    let rows = sqlx::query(
        "SELECT id, identity, object, confidence, valid_from FROM factline.facts \
         WHERE identity = ANY ($1) AND superseded_by IS NULL ORDER BY identity FOR UPDATE",
    )
    .bind(identities)
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.iter()
        .map(|row| {
            Ok(Current {
                id: row.try_get("id")?,
                identity: row.try_get("identity")?,
                object: row.try_get("object")?,
                confidence: row.try_get("confidence")?,
                valid_from: row.try_get("valid_from")?,
            })
        })
        .collect::<Result<_, _>>()
        .map_err(failed)
}

async fn close_facts(connection: &mut PgConnection, closed: &[Closed]) -> Result<(), Error> {
    if closed.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE factline.facts AS f SET valid_to = coalesce(f.valid_to, c.valid_to), superseded_by = c.superseded_by \
         FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[]) AS c(id, valid_to, superseded_by) WHERE f.id = c.id",
    )
    .bind(closed.iter().map(|fact| fact.id).collect::<Vec<_>>())
    .bind(closed.iter().map(|fact| fact.valid_to).collect::<Vec<_>>())
    .bind(closed.iter().map(|fact| fact.superseded_by).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

async fn strengthen_facts(connection: &mut PgConnection, strengthened: &[(Uuid, f32)]) -> Result<(), Error> {
    if strengthened.is_empty() {
        return Ok(());
    }
    let (ids, confidences): (Vec<Uuid>, Vec<f32>) = strengthened.iter().copied().unzip();
    sqlx::query(
        "UPDATE factline.facts AS f SET confidence = s.confidence \
         FROM unnest($1::uuid[], $2::real[]) AS s(id, confidence) WHERE f.id = s.id",
    )
    .bind(ids)
    .bind(confidences)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

async fn insert_facts(connection: &mut PgConnection, facts: &[NewFact<'_>]) -> Result<(), Error> {
    if facts.is_empty() {
        return Ok(());
    }
    let spans = |of: fn(&NewFact<'_>) -> u32| {
        facts.iter().map(|fact| i32::try_from(of(fact)).unwrap_or(i32::MAX)).collect::<Vec<_>>()
    };
    sqlx::query(
        "INSERT INTO factline.facts (id, identity, subject, predicate, object, confidence, valid_from, valid_to, \
         superseded_by, event_id, conversation_id, message_id, quote, span_start, span_end, extractor, \
         extractor_version) \
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::real[], \
         $7::timestamptz[], $8::timestamptz[], $9::uuid[], $10::uuid[], $11::text[], $12::text[], $13::text[], \
         $14::int[], $15::int[], $16::text[], $17::smallint[])",
    )
    .bind(facts.iter().map(|new| new.id).collect::<Vec<_>>())
    .bind(facts.iter().map(|new| new.identity).collect::<Vec<_>>())
    .bind(facts.iter().map(|new| new.fact.subject.as_str()).collect::<Vec<_>>())
    .bind(facts.iter().map(|new| new.fact.predicate.as_str()).collect::<Vec<_>>())
    .bind(facts.iter().map(|new| new.fact.object.as_str()).collect::<Vec<_>>())
    .bind(facts.iter().map(|new| new.confidence).collect::<Vec<_>>())
    .bind(facts.iter().map(|new| new.fact.valid_from).collect::<Vec<_>>())
    .bind(facts.iter().map(|new| new.valid_to).collect::<Vec<_>>())
    .bind(facts.iter().map(|new| new.superseded_by).collect::<Vec<_>>())
    .bind(facts.iter().map(|new| new.event_id).collect::<Vec<_>>())
    .bind(facts.iter().map(|new| new.conversation_id).collect::<Vec<_>>())
    .bind(facts.iter().map(|new| new.message_id).collect::<Vec<_>>())
    .bind(facts.iter().map(|new| new.fact.quote.as_str()).collect::<Vec<_>>())
    .bind(spans(|new| new.fact.span_start))
    .bind(spans(|new| new.fact.span_end))
    .bind(facts.iter().map(|new| new.fact.extractor).collect::<Vec<_>>())
    .bind(facts.iter().map(|new| new.fact.extractor_version.cast_signed()).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Counts the messages, moves the watermarks, keeps the first titles.
async fn update_conversations(connection: &mut PgConnection, new: &[&Recording]) -> Result<(), Error> {
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

/// Dead letters are rare: a statement each. Their text never makes the insert fail; their payload is kept as it is.
async fn insert_dead_letters(
    connection: &mut PgConnection,
    group: &str,
    letters: &[&DeadLetter],
) -> Result<(), Error> {
    for letter in letters {
        sqlx::query(
            "INSERT INTO factline.dead_letters (id, consumer_group, stage, event_id, topic, partition, position, key, \
             event_type, payload, headers, error_kind, error, fingerprint, attempts) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::text::jsonb, $12, $13, $14, $15)",
        )
        .bind(letter.id)
        .bind(group)
        .bind(letter.cause.stage.as_str())
        .bind(without_nul(&letter.event_id))
        .bind(without_nul(&letter.topic))
        .bind(letter.partition.map(i32::from))
        .bind(&letter.position)
        .bind(letter.key.as_deref().map(without_nul))
        .bind(letter.event_type.as_deref().map(without_nul))
        .bind(&letter.payload)
        .bind(letter.headers.to_string().replace("\\u0000", "\u{fffd}"))
        .bind(letter.cause.kind.as_str())
        .bind(without_nul(&letter.cause.error))
        .bind(letter.fingerprint())
        .bind(i32::try_from(letter.cause.attempts).unwrap_or(i32::MAX))
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    }
    Ok(())
}

/// PostgreSQL's text holds every character but this one.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

#[async_trait]
impl Leases for Store {
    async fn acquire(&self, names: &[String], holder: &str, ttl: Duration) -> Result<Vec<Fence>, Error> {
        let rows = sqlx::query(
            "INSERT INTO factline.leases AS l (name, holder, token, expires_at) \
             SELECT name, $2, 1, clock_timestamp() + make_interval(secs => $3) \
             FROM unnest($1::text[]) AS name ORDER BY name \
             ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at, \
             token = CASE WHEN l.holder = excluded.holder THEN l.token ELSE l.token + 1 END \
             WHERE l.holder = excluded.holder OR l.expires_at <= clock_timestamp() RETURNING name, token",
        )
        .bind(names)
        .bind(holder)
        .bind(ttl.as_secs_f64())
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        rows.iter()
            .map(|row| Ok(Fence { name: row.try_get("name")?, token: row.try_get("token")? }))
            .collect::<Result<_, _>>()
            .map_err(failed)
    }

    async fn release(&self, names: &[String], holder: &str) -> Result<(), Error> {
        sqlx::query(
            "UPDATE factline.leases SET expires_at = clock_timestamp() WHERE name = ANY ($1) AND holder = $2",
        )
        .bind(names)
        .bind(holder)
        .execute(&self.pool)
        .await
        .map_err(failed)?;
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Lease>, Error> {
        let rows = sqlx::query(
            "SELECT name, holder, token, expires_at > clock_timestamp() AS held FROM factline.leases ORDER BY name",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        rows.iter()
            .map(|row| {
                Ok(Lease {
                    name: row.try_get("name")?,
                    holder: row.try_get("holder")?,
                    token: row.try_get("token")?,
                    held: row.try_get("held")?,
                })
            })
            .collect::<Result<_, _>>()
            .map_err(failed)
    }
}

/// Whether the server answers and has the store's tables.
pub async fn ready(pool: &PgPool) -> Result<(), Error> {
    let there: bool = sqlx::query_scalar("SELECT to_regclass('factline.event_ledger') IS NOT NULL")
        .fetch_one(pool)
        .await
        .map_err(failed)?;
    if there { Ok(()) } else { Err(super::unusable("the store has no tables; run `factline migrate up`")) }
}
