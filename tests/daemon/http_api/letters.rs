//! Dead letters over HTTP.

use serde_json::{Value, json};

use super::ask::{Answer, Api, OPERATOR, event, malformed, message, until_recorded};
use crate::daemon::{
    place::{Place, on_both},
    stage::{text, until},
};

on_both! {
    a_letter_is_found_mended_and_reprocessed_once,
    letters_end_one_by_one_and_together,
    a_run_stops_as_it_is_told_to,
    a_run_that_somebody_is_at_is_not_resumed,
    an_extraction_that_never_ends_takes_nothing_but_its_thread,
}

const LETTERS: &str = "/api/v1/dead-letters";

fn edit(api: &Api, id: &str, tag: Option<&str>, payload: &Value) -> Answer {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(tag.map(|tag| ("if-match", tag)));
    let path = format!("{LETTERS}/{id}/payload");
    api.ask(Some(OPERATOR), "PUT", &path, &headers, payload.to_string().as_bytes())
}

/// A reprocessing run, when it has ended, however long that takes.
async fn ended_run(api: &Api, wanted: &Value) -> Value {
    let answer = api.post(&format!("{LETTERS}/reprocess"), wanted);
    assert!([200, 202].contains(&answer.status), "{answer:?}");
    let path = format!("{LETTERS}/runs/{}", answer.body["id"].as_str().unwrap());
    until("the run has ended", || async { api.get(&path).with(200)["state"] != "running" }).await;
    api.get(&path).with(200)
}

/// Sets so many letters aside; their ids, the oldest first.
async fn set_aside(place: &Place, api: &Api, letters: u32) -> Vec<String> {
    let events: Vec<Value> = (1..=letters).map(malformed).collect();
    api.send_batch(&events).with(202);
    until_recorded(place, i64::from(letters)).await;
    place.letters("open")
}

async fn a_letter_is_found_mended_and_reprocessed_once(place: &Place) {
    let api = Api::start(place).await;
    let ids = set_aside(place, &api, 2).await;
    let listed = api.get(&format!("{LETTERS}?topic=chat&since=1h&text=no%20content")).with(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 2, "{listed}");
    assert!(listed["items"][0].get("payload").is_none(), "a listing may be long: {listed}");
    assert_eq!(api.get(&format!("{LETTERS}?status=resolved")).with(200)["items"], json!([]));
    let causes = api.get(&format!("{LETTERS}/causes")).with(200);
    assert_eq!((&causes[0]["letters"], &causes[0]["error"]), (&2.into(), &"payload has no content".into()));

    let shown = api.get(&format!("{LETTERS}/{}", ids[0]));
    let tag = shown.header("etag");
    let shown = shown.with(200);
    assert!(shown["payload"].as_str().unwrap().contains("\"text\""), "{shown}");
    assert_eq!((&shown["payload_base64"], &shown["original_payload_base64"]), (&Value::Null, &Value::Null));

    let mended = json!({ "conversation_id": "c", "speaker": "Ada", "content": "I live in Turin." });
    edit(&api, &ids[0], None, &mended).refuses(428, "If-Match");
    edit(&api, &ids[0], Some("\"other\""), &mended).refuses(412, "somebody else has changed it");
    edit(&api, &ids[0], Some(&tag), &json!({})).refuses(422, "payload has no content");
    let edited = edit(&api, &ids[0], Some(&tag), &mended);
    let new_tag = edited.header("etag");
    let edited = edited.with(200);
    assert_eq!(serde_json::from_str::<Value>(edited["payload"].as_str().unwrap()).unwrap(), mended);
    assert!(edited["original_payload_base64"].is_string() && new_tag != tag, "{edited}");
    edit(&api, &ids[0], Some(&tag), &mended).refuses(412, "somebody else has changed it");
    edit(&api, &ids[0], Some(&new_tag), &mended).with(200);
    edit(&api, "0198c0de-0000-7000-8000-000000000000", Some(&tag), &mended).refuses(404, "no dead letter");

    let dry = ended_run(&api, &json!({ "filter": {}, "dry_run": true })).await;
    assert_eq!((&dry["tally"]["took_effect"], &dry["tally"]["failed"]), (&1.into(), &1.into()), "{dry}");
    assert_eq!(place.letters("open"), ids);
    let run = ended_run(&api, &json!({ "ids": [ids[0]] })).await;
    assert_eq!(
        (&run["state"], &run["tally"]["facts"], &run["by"]),
        (&"done".into(), &1.into(), &"kim".into()),
        "{run}"
    );
    assert_eq!(
        (&run["letters"][0]["letter"], &run["letters"][0]["outcome"]),
        (&json!(ids[0]), &"took_effect".into())
    );
    let again = ended_run(&api, &json!({ "ids": [ids[0]] })).await;
    assert_eq!((&again["selected"], &again["state"]), (&0.into(), &"done".into()), "{again}");
    assert_eq!(place.number("SELECT message_count FROM factline.conversations").await, 1);
    edit(&api, &ids[0], Some(&new_tag), &json!({})).refuses(409, "resolved already");
    api.get(&format!("{LETTERS}/runs/{}", ids[0])).refuses(404, "no such run");
    api.get(&format!("{LETTERS}/nobody")).refuses(400, "UUID");

    // Everything that was done says by whom, and from where.
    let log = api.walk("/api/v1/operator-log", 1, async || ()).await;
    let done: Vec<&str> = log.iter().rev().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(done, ["publish", "edit", "reprocess", "try", "reprocessed", "reprocess"]);
    assert!(log.iter().all(|entry| entry["who"] == "kim" && entry["origin"] == "127.0.0.1"), "{log:?}");
    let edits = api.get(&format!("/api/v1/operator-log?action=edit&target={}&who=kim", ids[0])).with(200);
    assert_eq!(edits["items"].as_array().unwrap().len(), 1, "{edits}");
    place.said(&["dlq", "resolve", &ids[1], "--note", "by hand", "--by", "bob"]);
    let last = api.get("/api/v1/operator-log?limit=1").with(200);
    assert_eq!(place.json(&["operator-log", "--limit", "1"]), last["items"]);
    assert_eq!(
        (&last["items"][0]["who"], &last["items"][0]["origin"]),
        (&"bob".into(), &Value::Null),
        "{last}"
    );
    api.stop().await;
}

async fn letters_end_one_by_one_and_together(place: &Place) {
    let api = Api::start(place).await;
    let ids = set_aside(place, &api, 4).await;
    let nobody = "0198c0de-0000-7000-8000-000000000000";
    let resolve = |id: &str| api.post(&format!("{LETTERS}/{id}/resolve"), &json!({ "note": "told them" }));
    let resolved = resolve(&ids[0]).with(200);
    assert_eq!(
        (&resolved["status"], &resolved["resolved_by"], &resolved["note"]),
        (&"resolved".into(), &"kim".into(), &"told them".into())
    );
    resolve(&ids[0]).refuses(409, "resolved already");
    resolve(nobody).refuses(404, "no dead letter");
    let discard = json!({ "ids": [ids[0], ids[1], ids[1], ids[2], nobody], "note": "spam" });
    let discarded = api.post(&format!("{LETTERS}/discard"), &discard).with(200);
    assert_eq!(discarded, json!({ "ended": [ids[1], ids[2]], "left_alone": [nobody, ids[0]] }));
    assert_eq!(place.letters("discarded"), ids[1..3]);
    assert_eq!(
        place.number("SELECT count(*) FROM factline.event_ledger WHERE outcome = 'discarded'").await,
        2
    );
    api.post(&format!("{LETTERS}/{}/discard", ids[3]), &json!({ "note": "spam" })).with(200);
    api.post(&format!("{LETTERS}/resolve"), &json!({ "ids": [], "note": "" })).refuses(422, "at least one");
    api.post(&format!("{LETTERS}/resolve"), &json!({ "ids": [nobody] })).refuses(400, "note");
    let long = "é".repeat(2049);
    for path in ["resolve", "discard"] {
        let path = format!("{LETTERS}/{path}");
        api.post(&path, &json!({ "ids": [nobody], "note": long })).refuses(422, "4098 bytes");
    }
    api.post(&format!("{LETTERS}/{}/resolve", ids[3]), &json!({ "note": long })).refuses(422, "4096 at most");
    let refused = place.output(&["dlq", "resolve", &ids[3], "--note", &long]);
    assert!(!refused.status.success() && text(&refused.stderr).contains("4096 at most"), "{refused:?}");
    assert_eq!(place.letters("open"), [""; 0]);

    let report = api.get(&format!("{LETTERS}/report?since=1h")).with(200);
    for (field, expected) in [("arrived", 4), ("resolved", 1), ("discarded", 3), ("open", 0)] {
        assert_eq!(report[field], expected, "{field} of {report}");
    }
    api.get(&format!("{LETTERS}/report?since=yesterday")).refuses(400, "since is no time");
    for long in ["101years", "6000years", "99999years"] {
        api.get(&format!("{LETTERS}/report?since={long}")).refuses(400, "a hundred years at most");
    }
    api.get(&format!("{LETTERS}/report?since=99years")).with(200);
    let purge = |body: Value| api.post(&format!("{LETTERS}/purge"), &body);
    assert_eq!(purge(json!({ "older_than": "30d" })).with(200), json!({ "found": 0, "deleted": 0 }));
    assert_eq!(
        purge(json!({ "older_than": "0s", "dry_run": true })).with(200),
        json!({ "found": 4, "deleted": 0 })
    );
    assert_eq!(purge(json!({ "older_than": "0s" })).with(200), json!({ "found": 4, "deleted": 4 }));
    assert_eq!(api.get(&format!("{LETTERS}?status=all")).with(200)["items"], json!([]));
    for action in ["discard", "purge", "reprocess", "resolve"] {
        let wrong = api.get(&format!("{LETTERS}/{action}"));
        assert_eq!(wrong.header("allow"), "POST", "{wrong:?}");
        wrong.refuses(405, "POST");
    }
    api.stop().await;
}

async fn a_run_stops_as_it_is_told_to(place: &Place) {
    let api = Api::start(place).await;
    let ids = set_aside(place, &api, 4).await;
    let reprocess = |body: Value| api.post(&format!("{LETTERS}/reprocess"), &body);
    let canary = ended_run(&api, &json!({ "filter": { "topic": "chat" }, "canary": 2 })).await;
    assert_eq!((&canary["state"], &canary["reason"]), (&"stopped".into(), &"2 of the first 2 failed".into()));
    assert_eq!(
        (&canary["tally"]["failed"], &canary["tally"]["put_back"]),
        (&2.into(), &2.into()),
        "{canary}"
    );
    let most = ended_run(&api, &json!({ "filter": {}, "max_failures": 0, "limit": 3 })).await;
    assert_eq!(
        (&most["selected"], &most["tally"]["failed"], &most["tally"]["put_back"]),
        (&3.into(), &1.into(), &2.into())
    );
    // What has ended a process is not tried in this one.
    let crashed = "UPDATE factline.dead_letters SET error_kind = 'crashed' WHERE attempts = 1 RETURNING CAST(1 AS bigint)";
    place.number(crashed).await;
    let spared = ended_run(&api, &json!({ "ids": [ids[3]] })).await;
    assert_eq!(spared["letters"][0]["outcome"], "unfit", "{spared}");
    assert!(spared["letters"][0]["detail"].as_str().unwrap().contains("factline dlq reprocess"), "{spared}");

    for (wrong, words) in [
        (json!({}), "one of ids, filter and resume"),
        (json!({ "ids": [ids[0]], "filter": {} }), "one of ids, filter and resume"),
        (json!({ "ids": [] }), "at least one"),
        (json!({ "filter": {}, "limit": 1001 }), "limit is from 1 to 1000"),
        (json!({ "filter": {}, "canary": 0 }), "canary"),
        (json!({ "filter": {}, "interval": "2min" }), "a minute at most"),
        (json!({ "resume": true, "dry_run": true }), "dry_run"),
    ] {
        reprocess(wrong).refuses(422, words);
    }
    reprocess(json!({ "filter": { "colour": "red" } })).refuses(400, "unknown field");

    // A slow run goes on without the one who asked; another one has to wait.
    let slow = reprocess(json!({ "ids": [ids[0], ids[1]], "interval": "1min" }));
    let path = slow.header("location");
    let slow = slow.with(202);
    assert_eq!((&slow["state"], &slow["selected"]), (&"running".into(), &2.into()), "{slow}");
    assert_eq!(path, format!("{LETTERS}/runs/{}", slow["id"].as_str().unwrap()));
    reprocess(json!({ "filter": {} })).refuses(409, slow["id"].as_str().unwrap());
    api.stop().await;
    assert_eq!(place.letters("reprocessing"), ids[1..2]);
    let api = Api::start(place).await;
    let resumed = ended_run(&api, &json!({ "resume": true })).await;
    assert_eq!((&resumed["selected"], &resumed["state"]), (&1.into(), &"done".into()), "{resumed}");
    assert_eq!(place.letters("reprocessing"), [""; 0]);
    api.stop().await;
}

async fn a_run_that_somebody_is_at_is_not_resumed(place: &Place) {
    let api = Api::start(place).await;
    let ids = set_aside(place, &api, 3).await;
    let slow = place.command(&["dlq", "reprocess", "--all", "--rate", "0.001/s"]).spawn();
    let slow = Killed(slow.unwrap());
    until("the first letter had its turn", || async { place.letters("reprocessing") == ids[1..] }).await;
    let resumed = ended_run(&api, &json!({ "resume": true })).await;
    assert_eq!((&resumed["selected"], &resumed["state"]), (&0.into(), &"done".into()), "{resumed}");
    let shown = api.get(&format!("{LETTERS}/{}", ids[1])).with(200);
    assert_eq!(resumed["attended"], json!([shown["reprocess_run"]]), "{resumed}");
    assert_eq!(place.letters("reprocessing"), ids[1..]);

    drop(slow);
    let resumed = ended_run(&api, &json!({ "resume": true })).await;
    assert_eq!((&resumed["selected"], &resumed["attended"]), (&2.into(), &json!([])), "{resumed}");
    assert_eq!(place.letters("open"), ids);
    api.stop().await;
}

/// Ends with the test.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

async fn an_extraction_that_never_ends_takes_nothing_but_its_thread(place: &Place) {
    let environment = [
        ("FACTLINE__EXTRACTORS__MISBEHAVE__KIND", "misbehave"),
        ("FACTLINE__GROUPS__FACTS__EXTRACTORS", r#"["patterns", "misbehave"]"#),
        ("FACTLINE__GROUPS__FACTS__EXTRACT_TIMEOUT", "200ms"),
    ];
    let api = Api::start_with(place, &environment).await;
    let stuck = event(1, json!({ "conversation_id": "c", "content": "misbehave: block" }));
    let stuck_as_well = event(4, json!({ "conversation_id": "d", "content": "misbehave: block" }));
    api.send_batch(&[stuck, stuck_as_well, malformed(2)]).with(202);
    until_recorded(place, 3).await;
    let dry = json!({ "filter": { "text": "misbehave" }, "dry_run": true });
    let dry = ended_run(&api, &dry).await;
    assert_eq!(
        (&dry["selected"], &dry["state"], &dry["tally"]["failed"]),
        (&2.into(), &"stopped".into(), &1.into()),
        "{dry}"
    );
    assert!(dry["reason"].as_str().unwrap().contains("did not end in time"), "{dry}");
    let answered = api.post(&format!("{LETTERS}/reprocess"), &json!({ "filter": { "topic": "chat" } }));
    let id = answered.body["id"].as_str().unwrap().to_owned();
    // The one worker is free meanwhile, whatever the extraction does.
    assert_eq!(api.get("/health").status, 200);
    until("the run has ended", || async {
        api.get(&format!("{LETTERS}/runs/{id}")).with(200)["state"] != "running"
    })
    .await;
    let run = api.get(&format!("{LETTERS}/runs/{id}")).with(200);
    assert_eq!(run["state"], "stopped", "{run}");
    let stuck = run["letters"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["detail"].to_string().contains("thread was given up"));
    assert!(stuck.is_some() && run["tally"]["took_effect"] == 0, "{run}");
    api.send_structured(&message(3)).with(202);
    until_recorded(place, 4).await;
    assert_eq!(place.number("SELECT count(*) FROM factline.facts").await, 1);
    api.stop().await;
}
