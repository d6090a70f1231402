//! What there is to read, page by page.

use std::collections::HashSet;

use serde_json::Value;

use super::ask::{Api, malformed, message, until_recorded};
use crate::daemon::{
    place::{Place, on_both},
    stage::until,
};

on_both! {
    paging_gives_everything_once_whatever_happens_meanwhile,
    what_is_asked_for_is_what_is_listed,
}

fn texts(items: &[Value], field: &str) -> Vec<String> {
    items.iter().map(|item| item[field].to_string()).collect()
}

async fn paging_gives_everything_once_whatever_happens_meanwhile(place: &Place) {
    let api = Api::start(place).await;
    let events: Vec<Value> = (0..12).map(message).chain((20..27).map(malformed)).collect();
    api.send_batch(&events).with(202);
    until_recorded(place, 19).await;
    let until_marked = |rows: i64| async move {
        until("the rows are marked", || async {
            place.number("SELECT count(*) FROM outbox_events WHERE status = 'processed'").await == rows
        })
        .await;
    };
    until_marked(19).await;
    for (round, (path, field, limit, there)) in [
        ("/api/v1/facts", "id", 5, 12),
        ("/api/v1/conversations", "conversation_id", 5, 12),
        ("/api/v1/dead-letters", "id", 3, 7),
        ("/api/v1/outbox/rows?status=processed", "id", 7, 19),
    ]
    .into_iter()
    .enumerate()
    {
        let before =
            api.get(&format!("{path}{}limit=1000", if path.contains('?') { '&' } else { '?' })).with(200);
        let before = texts(before["items"].as_array().unwrap(), field);
        let added = i64::try_from(round).unwrap();
        assert!(before.len() >= there, "{path}: {before:?}");
        let number = 30 + 2 * u32::try_from(round).unwrap();
        let walked = api
            .walk(path, limit, async || {
                // Something new of each kind, and an old conversation goes on.
                let mut again = message(number);
                again["data"]["conversation_id"] = "c-000".into();
                api.send_batch(&[again, malformed(number + 1)]).with(202);
                until_recorded(place, 19 + 2 * (added + 1)).await;
                until_marked(19 + 2 * (added + 1)).await;
            })
            .await;
        let walked = texts(&walked, field);
        let once: HashSet<&String> = walked.iter().collect();
        assert_eq!(once.len(), walked.len(), "{path}: {walked:?}");
        assert!(before.iter().all(|id| once.contains(id)), "{path}: {before:?} {walked:?}");
    }
    api.stop().await;
}

async fn what_is_asked_for_is_what_is_listed(place: &Place) {
    let api = Api::start(place).await;
    assert_eq!(api.get("/api/v1/facts").with(200), serde_json::json!({ "items": [], "next": null }));
    api.send_batch(&[message(1), message(2), malformed(3)]).with(202);
    until_recorded(place, 3).await;
    let listed = |path: &str| api.get(path).with(200)["items"].as_array().unwrap().len();
    for (query, facts) in [
        ("", 2),
        ("?subject=Adab", 1),
        ("?predicate=lives_in&conversation_id=c-002", 1),
        ("?event_id=0198c0de-0000-7000-8000-000000000001", 1),
        ("?subject=Bob&superseded=true", 0),
    ] {
        assert_eq!(listed(&format!("/api/v1/facts{query}")), facts, "{query}");
    }
    let conversation = api.get("/api/v1/conversations/c-001").with(200);
    assert_eq!(
        (&conversation["message_count"], &conversation["title"]),
        (&1.into(), &"I live in Turin.".into())
    );
    api.get("/api/v1/conversations/nobody").refuses(404, "/api/v1/conversations lists them");

    // A newer value: the old one is history.
    let mut moved = message(4);
    moved["data"] =
        serde_json::json!({ "conversation_id": "c-001", "speaker": "Adab", "content": "I live in Rome." });
    api.send_structured(&moved).with(202);
    until_recorded(place, 4).await;
    assert_eq!(listed("/api/v1/facts?subject=Adab"), 1);
    assert_eq!(listed("/api/v1/facts?subject=Adab&superseded=true"), 2);

    let backlog = api.get("/api/v1/outbox").with(200);
    assert_eq!(backlog["failed"], 0, "{backlog}");
    place.number("UPDATE outbox_events SET status = 'failed', error = 'no such topic' WHERE topic = 'chat' AND id = 2 RETURNING CAST(1 AS bigint)").await;
    let failed = api.get("/api/v1/outbox/rows?status=failed").with(200);
    assert_eq!(
        (&failed["items"][0]["id"], &failed["items"][0]["error"]),
        (&"2".into(), &"no such topic".into())
    );
    assert_eq!(listed("/api/v1/outbox/rows?status=pending"), 0);
    let streams = api.get("/api/v1/streams").with(200);
    assert_eq!(streams[0]["topic"], "chat", "{streams}");
    let partitions = streams[0]["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 8, "{streams}");
    assert!(
        partitions
            .iter()
            .all(|one| one["groups"][0]["group"] == "facts" && one["groups"][0]["reader"].is_string())
    );

    for path in ["facts", "conversations", "dead-letters", "operator-log", "outbox/rows?status=failed"] {
        let mark = if path.contains('?') { '&' } else { '?' };
        for (wrong, words) in [
            ("limit=0", "limit is from 1 to 1000"),
            ("limit=1001", "limit is"),
            ("cursor=x", "cursor is none of this listing"),
            ("colour=red", "unknown field"),
        ] {
            api.get(&format!("/api/v1/{path}{mark}{wrong}")).refuses(400, words);
        }
    }
    let other = api.get("/api/v1/facts?limit=1").with(200)["next"].as_str().unwrap().to_owned();
    api.get(&format!("/api/v1/dead-letters?cursor={other}")).refuses(400, "cursor is none of this listing");
    api.get("/api/v1/facts?subject=%00").refuses(400, "NUL");
    api.get("/api/v1/facts?event_id=7").refuses(400, "query");
    api.get("/api/v1/outbox/rows").refuses(400, "status");
    api.stop().await;
}
