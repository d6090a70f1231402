//! Working dead letters from the command line, with the real binary on both kinds of store.

use std::process::Stdio;

use serde_json::Value;
use sqlx::{SqlitePool, sqlite::SqliteConnectOptions};

use super::{
    place::{Place, on_both},
    stage::{Daemon, text, until},
};

on_both! {
    the_idempotency_drill,
    letters_are_listed_grouped_shown_and_ended,
    a_run_stops_after_a_canary_or_too_many_failures,
    a_killed_run_is_resumed,
}

const NO_CONTENT: &str = r#"{"conversation_id": "c", "speaker": "Ada", "text": "I live in Turin."}"#;
const MENDED: &str = r#"{"conversation_id": "c", "speaker": "Ada", "content": "I live in Turin."}"#;

/// Edit, reprocess twice, and by two commands at once: the ledger has it once, with its facts.
async fn the_idempotency_drill(place: &Place) {
    let event = place.emit(NO_CONTENT);
    place.process_until_open(1).await;
    let again = place.refused(&["dlq", "reprocess", &event]);
    assert!(again.contains("failed again (malformed): payload has no content"), "{again}");

    let refused = place.with_input(&["dlq", "edit", &event, "--file", "-"], "{}");
    assert!(text(&refused.stderr).contains("payload has no content"), "{refused:?}");
    let edited = place.with_input(&["dlq", "edit", &event, "--file", "-"], MENDED);
    assert!(text(&edited.stdout).contains("-  \"text\": \"I live in Turin.\""), "{edited:?}");
    let rehearsed = place.said(&["dlq", "reprocess", &event, "--dry-run"]);
    assert!(
        rehearsed.contains("took effect: 1 fact") && rehearsed.contains("nothing was changed"),
        "{rehearsed}"
    );

    let both = [0, 1].map(|_| {
        let mut command = place.command(&["dlq", "reprocess", &event]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    let told = both.map(|child| {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        text(&output.stdout)
    });
    assert_eq!(told.iter().filter(|told| told.contains("took effect: 1 fact")).count(), 1, "{told:?}");
    let twice = place.said(&["dlq", "reprocess", &event]);
    assert!(twice.contains("is resolved already: nothing takes effect twice"), "{twice}");

    let ledger = place.json(&["ledger", "show", &event]);
    assert_eq!(ledger.as_array().unwrap().len(), 1, "{ledger}");
    assert_eq!((&ledger[0]["outcome"], &ledger[0]["facts"]), (&"processed".into(), &1.into()), "{ledger}");
    assert!(place.said(&["ledger", "show", &event]).contains("processed"));
    assert_eq!(place.number("SELECT message_count FROM factline.conversations").await, 1);
    assert_eq!(place.number("SELECT count(*) FROM factline.facts").await, 1);
    let reprocessed =
        "SELECT count(*) FROM factline.operator_log WHERE action = 'reprocessed' AND who LIKE 'ada@%'";
    assert_eq!(place.number(reprocessed).await, 1);
    assert_eq!(place.number("SELECT count(*) FROM factline.operator_log WHERE action = 'edit'").await, 1);
    let shown = place.json(&["dlq", "show", &event]);
    // A second command may have had a try of its own before it found that it was late.
    assert!(shown["status"] == "resolved" && shown["attempts"].as_i64().unwrap() >= 3, "{shown}");
    assert_eq!(
        serde_json::from_str::<Value>(shown["original_payload"].as_str().unwrap()).unwrap(),
        serde_json::from_str::<Value>(NO_CONTENT).unwrap()
    );
    // The daemon has nothing to add.
    let other = place.emit(NO_CONTENT);
    place.process_until_open(1).await;
    assert_eq!(place.number("SELECT message_count FROM factline.conversations").await, 1);
    assert_eq!(place.json(&["ledger", "show", &other])[0]["outcome"], "dead_lettered");
}

async fn letters_are_listed_grouped_shown_and_ended(place: &Place) {
    assert_eq!(place.said(&["dlq", "list"]), "no dead letters\n");
    let ids = place.set_aside(&[NO_CONTENT, NO_CONTENT, r#"{"content": 7}"#]).await;
    let causes = place.json(&["dlq", "list", "--group"]);
    assert_eq!((&causes[0]["letters"], &causes[1]["letters"]), (&2.into(), &1.into()), "{causes}");
    let fingerprint = causes[0]["fingerprint"].as_str().unwrap();
    let of_cause = place.json(&["dlq", "list", "--fingerprint", fingerprint, "--since", "1h"]);
    assert_eq!(of_cause.as_array().unwrap().len(), 2);
    let found = place.said(&["dlq", "list", "--text", "payload is not a chat", "--topic", "chat"]);
    assert!(found.contains(&ids[2][..13]) && found.lines().count() == 2, "{found}");
    what_is_listed_can_be_pasted_back(place, &ids);
    assert_eq!(place.said(&["dlq", "list", "--topic", "mail"]), "no dead letters\n");
    assert!(place.said(&["dlq", "list", "--group"]).contains(fingerprint));
    let first = place.said(&["dlq", "list", "--limit", "1"]);
    assert!(first.contains(&format!("go on with --before {}", ids[2])), "{first}");

    let shown = place.said(&["dlq", "show", &ids[0]]);
    for part in
        ["payload has no content", "came from    chat:", "\"text\": \"I live in Turin.\"", fingerprint]
    {
        assert!(shown.contains(part), "{part:?} is not in:\n{shown}");
    }
    assert!(place.refused(&["dlq", "show", "0"]).contains("\"0\" may be any of 3 letters"));
    assert!(place.refused(&["dlq", "show", "nobody"]).contains("no dead letter \"nobody\""));

    let dry = place.said(&["dlq", "resolve", &ids[0], "--note", "by hand", "--dry-run"]);
    assert!(dry.contains("nothing was changed"), "{dry}");
    let by = ["--by", "bob"];
    let resolved = place.said(&[&["dlq", "resolve", &ids[0], "--note", "by hand"], &by[..]].concat());
    assert!(resolved.contains("1 letter resolved"), "{resolved}");
    let discard = ["dlq", "discard", &ids[1], "--note", "spam"];
    assert!(place.refused(&discard).contains("nobody is there to ask"));
    place.said(&[&discard[..], &["--yes"]].concat());
    let event = place.json(&["dlq", "show", &ids[1]])["event_id"].as_str().unwrap().to_owned();
    assert_eq!(place.json(&["ledger", "show", &event])[0]["outcome"], "discarded");
    let report = place.json(&["dlq", "report", "--hours", "1"]);
    for (field, expected) in [("arrived", 3), ("resolved", 1), ("discarded", 1), ("open", 1)] {
        assert_eq!(report[field], expected, "{field} of {report}");
    }
    let told = place.said(&["dlq", "report"]);
    assert!(told.contains("3 letters set aside, 1 resolved, 1 discarded") && told.contains("bob"), "{told}");

    let purge = ["dlq", "purge", "--older-than"];
    assert!(place.said(&[&purge[..], &["30d"]].concat()).contains("0 letters ended"));
    assert!(place.said(&[&purge[..], &["0s", "--dry-run"]].concat()).contains("2 letters ended"));
    let dry = place.json(&[&purge[..], &["0s", "--dry-run"]].concat());
    assert_eq!((&dry["ended"], &dry["deleted"]), (&2.into(), &0.into()), "{dry}");
    assert!(place.said(&[&purge[..], &["0s", "--yes"]].concat()).contains("2 letters deleted"));
    assert_eq!(place.letters("all"), ids[2..]);
}

/// Ids and fingerprints are short in a table; what is shown is enough to name the letter, its event and its cause by.
fn what_is_listed_can_be_pasted_back(place: &Place, ids: &[String]) {
    let listed = place.said(&["dlq", "list"]);
    for (line, id) in listed.lines().skip(1).zip(ids.iter().rev()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (letter, event, cause) = (words[0], words[1], words[2]);
        assert!(letter.len() < 36 && event.len() < 36 && cause.len() < 16, "{listed}");
        let shown = place.json(&["dlq", "show", letter]);
        assert_eq!(shown["id"], id.as_str(), "{listed}");
        let event_id = shown["event_id"].as_str().unwrap();
        assert!(event_id.starts_with(event), "{listed}");
        assert_eq!(place.json(&["dlq", "show", event])["id"], id.as_str());
        for name in [letter, event, id.as_str(), event_id] {
            assert_eq!(place.json(&["explain", name])["event_id"], event_id, "{name}");
            assert_eq!(place.json(&["ledger", "show", name])[0]["event_id"], event_id, "{name}");
        }
        let of_cause = place.json(&["dlq", "list", "--fingerprint", cause]);
        let mut of_cause = of_cause.as_array().unwrap().iter();
        assert!(of_cause.any(|one| one["id"] == id.as_str()), "{listed}");
    }
    let several = place.refused(&["explain", &ids[0][..2]]);
    assert!(several.contains("may be any of 3 events"), "{several}");
    let nothing = place.refused(&["ledger", "show", "ffff"]);
    assert!(nothing.contains("write the whole id"), "{nothing}");
}

async fn a_run_stops_after_a_canary_or_too_many_failures(place: &Place) {
    let ids = place.set_aside(&[NO_CONTENT, NO_CONTENT, NO_CONTENT, NO_CONTENT]).await;
    let canary = place.refused(&["dlq", "reprocess", "--all", "--canary", "2"]);
    assert!(canary.contains("2 of the first 2 failed; 2 letters untried and open again"), "{canary}");
    let stopped = place.refused(&["dlq", "reprocess", "--topic", "chat", "--max-failures", "2"]);
    assert!(stopped.contains("more than 2 failed; 1 letter untried and open again"), "{stopped}");
    let tries: Vec<_> = ids.iter().map(|id| place.json(&["dlq", "show", id])["attempts"].clone()).collect();
    assert_eq!(tries, [3, 3, 2, 1]);
    for id in &ids {
        assert!(place.with_input(&["dlq", "edit", id, "--file", "-"], MENDED).status.success());
    }
    let all = place.said(&["dlq", "reprocess", "--all", "--canary", "1", "--rate", "1000/s"]);
    assert!(all.contains("4 took effect (4 facts)"), "{all}");
    assert_eq!(place.number("SELECT message_count FROM factline.conversations").await, 4);
    assert_eq!(place.said(&["dlq", "reprocess", "--all"]), "nothing to reprocess\n");
    assert_eq!(place.json(&["dlq", "reprocess", "--all"])["selected"], 0);
    assert_eq!(place.json(&["dlq", "reprocess", "--resume"])["selected"], 0);
    let unsaid = place.output(&["dlq", "reprocess"]);
    assert_eq!(unsaid.status.code(), Some(2));
    for way in ["ID", "--all", "--resume", "--topic", "--fingerprint", "--since"] {
        assert!(text(&unsaid.stderr).contains(way), "{way} is not in:\n{}", text(&unsaid.stderr));
    }
}

/// The run is slow enough to be killed between two letters; what it had not come to waits for `--resume`, which leaves
/// it alone for as long as somebody is at it.
async fn a_killed_run_is_resumed(place: &Place) {
    let ids = place.set_aside(&[NO_CONTENT, NO_CONTENT, NO_CONTENT]).await;
    for id in &ids {
        assert!(place.with_input(&["dlq", "edit", id, "--file", "-"], MENDED).status.success());
    }
    let mut run = place.command(&["dlq", "reprocess", "--all", "--rate", "0.001/s"]);
    let mut run = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the first letter is resolved", || async { place.letters("resolved").len() == 1 }).await;
    let live = place.output(&["dlq", "reprocess", "--resume"]);
    assert!(text(&live.stderr).contains("is left alone: somebody is at it"), "{live:?}");
    assert_eq!(text(&live.stdout), "nothing to reprocess\n");
    run.kill().unwrap();
    run.wait().unwrap();
    assert_eq!(place.letters("reprocessing"), ids[1..]);
    let listed = place.said(&["dlq", "list"]);
    assert!(listed.contains("2 letters in run") && listed.contains("dlq reprocess --resume"), "{listed}");
    let other = MENDED.replace("Turin", "Genoa");
    let edited = place.with_input(&["dlq", "edit", &ids[2], "--file", "-"], &other);
    assert!(text(&edited.stdout).contains("go on with `factline dlq reprocess --resume`"), "{edited:?}");
    let named = place.said(&["dlq", "reprocess", &ids[1]]);
    assert!(named.contains("go on with `factline dlq reprocess --resume`"), "{named}");
    let resumed = place.said(&["dlq", "reprocess", "--resume"]);
    assert!(resumed.contains("2 took effect (2 facts)"), "{resumed}");
    assert_eq!(place.letters("resolved"), ids);
    assert_eq!(place.number("SELECT message_count FROM factline.conversations").await, 3);
}

/// Of an outbox whose ids may be anything, a row was never published; its letter goes through the outbox again.
#[tokio::test]
async fn a_row_that_was_never_published_goes_through_the_outbox_again() {
    let place = Place::embedded();
    place.said(&["migrate", "up"]);
    let Place::Embedded(folder) = &place else { unreachable!("it is embedded") };
    let file = folder.path().join("factline-data/factline.db");
    let pool = SqlitePool::connect_with(SqliteConnectOptions::new().filename(file)).await.unwrap();
    let insert = "INSERT INTO outbox_events (event_id, topic, key, event_type, payload) \
                  VALUES ('chat-1769035355992', 'chat', 'c', 'chat.message', ?1)";
    sqlx::query(insert).bind(MENDED).execute(&pool).await.unwrap();
    place.process_until_open(1).await;
    let letter = place.json(&["dlq", "show", "chat-1769035355992"]);
    assert_eq!((&letter["stage"], &letter["consumer_group"]), (&"relay".into(), &"relay".into()), "{letter}");
    let rehearsed = place.said(&["dlq", "reprocess", "chat-1769035355992", "--dry-run"]);
    assert!(rehearsed.contains("waits in the outbox as event"), "{rehearsed}");
    let done = place.said(&["dlq", "reprocess", "--consumer-group", "relay"]);
    assert!(done.contains("1 published again"), "{done}");
    assert_eq!(place.letters("resolved").len(), 1);
    let ledger = place.json(&["ledger", "show", "chat-1769035355992"]);
    let id = ledger[0]["event_id"].as_str().unwrap().to_owned();
    assert_eq!(place.number("SELECT count(*) FROM outbox_events").await, 2);
    let daemon = Daemon::start(place.command(&["run"]), folder.path().join("again.log"));
    until("the facts group has it", || async {
        let rows = place.json(&["ledger", "show", &id]);
        rows.as_array().unwrap().iter().any(|row| row["consumer_group"] == "facts")
    })
    .await;
    assert!(daemon.stop().await.success());
    assert_eq!(place.number("SELECT count(*) FROM facts").await, 1);
}
