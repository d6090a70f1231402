//! Malformed events among good ones, through the outbox and straight into the stream: each is recorded, or a dead
//! letter with its reason, and its neighbours know nothing of it. `daemon/main_job.rs` has the common ones.

use super::scene::Scene;
use crate::daemon::stage::{Stage, until};

const MIB: usize = 1 << 20;

/// Deeper than any parser of ours goes.
const DEPTH: usize = 10_000;

type Entry = Vec<(Vec<u8>, Vec<u8>)>;

/// An entry that would be good, with one attribute changed or, if that is `None`, left out.
fn entry(name: &str, value: Option<&[u8]>) -> Entry {
    let attributes: [(&str, Vec<u8>); 5] = [
        ("id", uuid::Uuid::now_v7().to_string().into_bytes()),
        ("type", b"chat.message".to_vec()),
        ("partitionkey", b"k1-malformed".to_vec()),
        ("time", b"2026-01-22T07:31:39Z".to_vec()),
        (
            "data",
            br#"{"conversation_id": "m", "message_id": "m", "role": "user", "content": "Hi."}"#.to_vec(),
        ),
    ];
    let mut entry: Entry = attributes
        .into_iter()
        .filter(|(known, _)| *known != name)
        .map(|(name, value)| (name.as_bytes().to_vec(), value))
        .collect();
    entry.extend(value.map(|value| (name.as_bytes().to_vec(), value.to_vec())));
    entry
}

fn deep() -> Vec<u8> {
    format!(r#"{{"content": {}{}}}"#, "[".repeat(DEPTH), "]".repeat(DEPTH)).into_bytes()
}

fn large() -> Vec<u8> {
    format!(r#"{{"conversation_id": "m", "content": "{}"}}"#, "I live in Cork. ".repeat(MIB / 16))
        .into_bytes()
}

fn malformed_entries() -> Vec<Entry> {
    let huge = vec![b'k'; MIB];
    let mut entries = vec![
        entry("id", Some(b"chat-1769035355992")),
        entry("id", Some(b"")),
        entry("id", Some(b"\xff\xfe\x00")),
        entry("id", None),
        entry("time", Some(b"1769067099.568")),
        entry("time", Some(b"yesterday")),
        entry("time", Some(b"9e999")),
        entry("time", Some(b"")),
        entry("type", Some(b"")),
        entry("type", Some(b"\xff\x00")),
        entry("partitionkey", Some(b"")),
        entry("partitionkey", Some(&huge)),
        entry("partitionkey", Some(b"a\x00b")),
        entry("traceparent", Some(b"\x00not a trace")),
        entry("data", Some(b"")),
        entry("data", Some(b"\x00")),
        entry("data", Some(&deep())),
        entry("data", Some(&large())),
        entry("data", Some(&huge)),
        entry("data", None),
        entry("\x00unknown\x00", Some(b"\xff")),
    ];
    entries.push(vec![(Vec::new(), Vec::new())]);
    entries
}

async fn append(stage: &Stage, entries: &[Entry]) {
    let client = redis::Client::open(stage.redis.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    for (partition, entry) in entries.iter().enumerate() {
        let mut append = redis::cmd("XADD");
        append.arg(format!("{}:chat:{}", stage.prefix, partition % 8)).arg("*");
        for (name, value) in entry {
            append.arg(name.as_slice()).arg(value.as_slice());
        }
        let _: String = append.query_async(&mut connection).await.unwrap();
    }
}

/// What the outbox's own columns let through.
async fn insert_malformed(stage: &Stage) {
    let insert =
        "INSERT INTO outbox_events(topic, key, event_type, payload) VALUES ('chat', $1, $2, $3::jsonb)";
    let deep = format!("{}{}", "[".repeat(DEPTH / 2), "]".repeat(DEPTH / 2));
    let large = String::from_utf8(large()).unwrap();
    let huge = "k".repeat(MIB);
    let rows = [
        ("", "chat.message", r#"{"content": "no key"}"#),
        (&*huge, "chat.message", r#"{"content": "a huge key"}"#),
        ("m", "", r#"{"content": "no type"}"#),
        ("m", "chat.message", &deep),
        ("m", "chat.message", &large),
        ("m", "chat.message", "null"),
        ("m", "chat.message", r#"{"content": 5, "sent_at": "yesterday", "role": []}"#),
        ("m", "chat.message", r#"{"content": "", "conversation_id": "", "message_id": ""}"#),
    ];
    for (key, event_type, payload) in rows {
        sqlx::query(insert).bind(key).bind(event_type).bind(payload).execute(&stage.pool).await.unwrap();
    }
}

#[tokio::test]
async fn whatever_is_malformed_is_recorded_or_set_aside_with_its_reason_and_disturbs_nobody() {
    let scene = Scene::start(Stage::new().await).await;
    let entries = malformed_entries();
    append(&scene.stage, &entries).await;
    insert_malformed(&scene.stage).await;
    let strangers = "SELECT count(*) FROM factline.event_ledger AS l \
                     WHERE NOT EXISTS (SELECT FROM outbox_events AS o WHERE o.event_id = l.event_id)";
    until("all entries of others are in the ledger", || async {
        scene.stage.count(strangers).await == i64::try_from(entries.len()).unwrap()
    })
    .await;
    let waiting = "SELECT count(*) FROM outbox_events AS o WHERE key !~ '^k[0-9]+-[0-9]+$' \
                   AND NOT EXISTS (SELECT FROM factline.event_ledger AS l WHERE l.event_id = o.event_id)";
    until("so are all rows", || async { scene.stage.count(waiting).await == 0 }).await;
    scene.until_more(200).await;
    let unexplained = "SELECT count(*) FROM factline.dead_letters WHERE error = '' OR error_kind = ''";
    assert_eq!(scene.stage.count(unexplained).await, 0);
    let letters = "SELECT count(*) FROM factline.dead_letters";
    assert!(scene.stage.count(letters).await >= 10);
    let neighbours = "SELECT count(*) FROM factline.dead_letters WHERE key ~ '^k[0-9]+-[0-9]+$'";
    assert_eq!(scene.stage.count(neighbours).await, 0);
    assert!(!scene.daemon.log().contains("panicked"), "{}", scene.daemon.log());
    // What others have said is in no outbox to compare it with: away with it, and with all that was malformed.
    let mine = "DELETE FROM factline.conversations WHERE conversation_id !~ '^k[0-9]+-[0-9]+$'; \
                DELETE FROM outbox_events WHERE key !~ '^k[0-9]+-[0-9]+$'; \
                DELETE FROM factline.event_ledger AS l WHERE NOT EXISTS ( \
                  SELECT FROM outbox_events AS o WHERE o.event_id = l.event_id)";
    scene.stage.execute(mine).await;
    scene.unharmed().await;
}
