//! CloudEvents over HTTP.

use serde_json::{Value, json};

use super::ask::{Api, OPERATOR, event, id, message, until_recorded};
use crate::daemon::place::{Place, on_both};

on_both! {
    events_are_taken_in_every_mode_and_take_effect_once,
    what_is_no_event_is_refused_and_nothing_is_written,
}

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn events_are_taken_in_every_mode_and_take_effect_once(place: &Place) {
    let api = Api::start(place).await;
    let answer = api.send_structured(&message(1));
    assert_eq!(answer.header("location"), format!("/api/v1/events/{}", id(1)));
    assert_eq!(answer.with(202), json!({ "ids": [id(1)], "duplicates": [] }));

    let mut traced = message(2);
    traced["traceparent"] = json!(TRACE);
    traced["data_base64"] = json!("eyJjb252ZXJzYXRpb25faWQiOiAiYyIsICJjb250ZW50IjogIkhpLiJ9");
    traced.as_object_mut().unwrap().remove("data");
    let batch = [traced, message(1), message(3)];
    assert_eq!(
        api.send_batch(&batch).with(202),
        json!({ "ids": [id(2), id(1), id(3)], "duplicates": [id(1)] })
    );

    let fourth = id(4);
    let headers = [
        ("content-type", "application/json; charset=utf-8"),
        ("ce-specversion", "1.0"),
        ("ce-id", fourth.as_str()),
        ("ce-source", "/test"),
        ("ce-type", "chat.message"),
        ("ce-partitionkey", "caf%C3%A9"),
        ("ce-time", "2026-01-22T07:31:39.568Z"),
        ("traceparent", "00-0000000000000000000000000000000a-000000000000000b-01"),
    ];
    let binary =
        api.send(&headers, r#"{"conversation_id": "c", "speaker": "Bob", "content": "I live in Rome."}"#);
    assert_eq!(binary.with(202)["ids"], json!([fourth]));
    assert_eq!(api.send_batch(&[]).with(202), json!({ "ids": [], "duplicates": [] }));

    until_recorded(place, 4).await;
    let story = api.get(&format!("/api/v1/events/{fourth}")).with(200);
    assert_eq!(story["trace_id"], "0000000000000000000000000000000a", "{story}");
    assert_eq!(
        (&story["outbox"]["key"], &story["outbox"]["topic"]),
        (&"café".into(), &"chat".into()),
        "{story}"
    );
    assert_eq!(
        (&story["ledger"][0]["outcome"], &story["facts"][0]["object"]),
        (&"processed".into(), &"Rome".into())
    );
    assert!(story["ledger"][0]["occurred_at"].as_str().unwrap().starts_with("2026-01-22T07:31:39.568"));
    let told = place.json(&["explain", &fourth]);
    assert_eq!(
        (&told["facts"], &told["ledger"], &told["trace_id"]),
        (&story["facts"], &story["ledger"], &story["trace_id"])
    );
    assert_eq!(
        api.get(&format!("/api/v1/events/{}", id(2))).with(200)["trace_id"],
        "4bf92f3577b34da6a3ce929d0e0e4736"
    );
    let ledger = api.get(&format!("/api/v1/ledger/{fourth}")).with(200);
    assert_eq!(ledger, story["ledger"]);
    assert_eq!(place.number("SELECT count(*) FROM outbox_events").await, 4);
    assert_eq!(
        place.number("SELECT CAST(sum(message_count) AS bigint) FROM factline.conversations").await,
        4
    );

    // Who has sent them is known, an entry for each request.
    let log = api.walk("/api/v1/operator-log?action=publish", 2, async || ()).await;
    let targets: Vec<&str> = log.iter().rev().map(|entry| entry["target"].as_str().unwrap()).collect();
    assert_eq!(targets, [id(1), id(2), id(4)]);
    let batch = &log[1];
    assert_eq!((&batch["who"], &batch["origin"]), (&"kim".into(), &"127.0.0.1".into()), "{batch}");
    assert_eq!(
        (&batch["detail"]["events"], &batch["detail"]["duplicates"], &batch["detail"]["topics"]),
        (&3.into(), &1.into(), &json!(["chat"])),
        "{batch}"
    );
    assert!(batch["detail"]["request_id"].is_string(), "{batch}");

    // The same id for something else is a mistake, and the batch is all or nothing.
    let mut other = message(1);
    other["subject"] = json!("c-2");
    api.send_batch(&[message(5), other]).refuses(409, &id(1));
    assert_eq!(place.number("SELECT count(*) FROM outbox_events").await, 4);
    api.get("/api/v1/events/chat-1769035355992").refuses(404, "no such event");
    api.get(&format!("/api/v1/ledger/{}", id(5))).refuses(404, "the ledger has no such event");
    api.stop().await;
}

async fn what_is_no_event_is_refused_and_nothing_is_written(place: &Place) {
    let api = Api::start(place).await;
    let without = |name: &str| {
        let mut event = message(1);
        event.as_object_mut().unwrap().remove(name);
        event
    };
    let with = |name: &str, value: Value| {
        let mut event = message(1);
        event[name] = value;
        event
    };
    for (wrong, words) in [
        (without("id"), "attribute \"id\" is missing"),
        (with("id", json!("chat-1769035355992")), "attribute \"id\" is not a UUID"),
        (without("source"), "attribute \"source\" is missing"),
        (without("subject"), "attribute \"partitionkey\" is missing"),
        (without("data"), "attribute \"data\" is missing"),
        (with("specversion", json!("2.0")), "attribute \"specversion\" is not 1.0"),
        (with("time", json!("yesterday")), "attribute \"time\""),
        (with("data", json!({ "content": "\0" })), "attribute \"data\" has a NUL"),
        (with("id", json!(id(2))), "attribute \"id\" is that of an event before it"),
    ] {
        api.send_batch(&[message(2), wrong]).refuses(422, &format!("event 1: {words}"));
    }
    let many: Vec<Value> = (0..1001).map(message).collect();
    api.send_batch(&many).refuses(422, "at most 1000");
    let structured = [("content-type", "application/cloudevents+json")];
    api.send(&structured, "{").refuses(400, "not a CloudEvent in JSON");
    api.ask(Some(OPERATOR), "POST", "/api/v1/events", &structured, b"\xff").refuses(400, "not UTF-8");
    for headers in
        [&[("content-type", "text/plain"), ("ce-id", "1")][..], &[("content-type", "application/json")], &[]]
    {
        api.send(headers, "{}").refuses(415, "ce- headers");
    }
    let large = event(1, json!({ "content": "x".repeat(9_000_000) }));
    assert_eq!(api.send_structured(&large).status, 413);
    // Only the database finds fault with this one.
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let deep = message(1).to_string().replace("\"I live in Turin.\"", &deep);
    assert_eq!(api.send(&structured, &deep).status, 422);
    assert_eq!(place.number("SELECT count(*) FROM outbox_events").await, 0);
    api.stop().await;
}
