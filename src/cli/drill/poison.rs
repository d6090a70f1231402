//! `factline drill poison`: what has brought other pipelines down, among good events. It must be set aside with its
//! reason, and its neighbours must not notice.

use chrono::Utc;
use factline_pipeline::{outage, outbox::NewEvent};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    CLOCKS_APART, End,
    events::Events,
    journal::Journal,
    scene::{LOOK_EVERY, Scene},
};

/// Bytes of the payload that is too long for many.
const HUGE: usize = 1 << 20;

/// Deeper than any parser of ours goes.
const DEEP: usize = 1_000;

/// Keys that poison and good events share.
const KEYS: u32 = 3;

/// An event that is poison to somebody.
struct Poison {
    what: &'static str,
    event: NewEvent,
    /// Whether it must become a dead letter; otherwise it may as well be recorded.
    must_be_set_aside: bool,
    /// The outbox has it.
    written: bool,
}

pub(super) async fn run(scene: &mut Scene<'_>, journal: &mut Journal, end: &mut End) -> anyhow::Result<()> {
    let began = Utc::now() - CLOCKS_APART;
    let mut poison = poison(&mut scene.events);
    let played = end.or(play(scene, journal, &mut poison)).await;
    scene.discard_own_letters(journal, began).await?;
    if played.is_err() {
        journal.remains(format!(
            "letters that come only now: `factline dlq list --text {}` shows them",
            scene.events.run()
        ));
    }
    played
}

fn poison(events: &mut Events) -> Vec<Poison> {
    let run = events.run();
    let fatal = [
        ("a message without content", json!({ "drill": run, "role": "user" }).to_string()),
        ("a message whose content is a number", json!({ "drill": run, "content": 17 }).to_string()),
        ("a list instead of a message", json!(["not", "a", "message"]).to_string()),
        ("JSON a thousand levels deep", format!("{}1{}", "[".repeat(DEEP), "]".repeat(DEEP))),
    ];
    let unusual = [
        ("a NUL character", json!({ "drill": run, "text": "a NUL: \0" }).to_string()),
        ("a payload of one MiB", json!({ "drill": run, "text": "x".repeat(HUGE) }).to_string()),
    ];
    let fatal = fatal.into_iter().zip(0..).map(|((what, payload), number)| Poison {
        what,
        event: events.message(number % KEYS, payload),
        must_be_set_aside: true,
        written: false,
    });
    let mut poison: Vec<Poison> = fatal.collect();
    poison.extend(unusual.into_iter().zip(0..).map(|((what, payload), number)| Poison {
        what,
        event: events.with_payload(number % KEYS, payload),
        must_be_set_aside: false,
        written: false,
    }));
    poison
}

async fn play(scene: &mut Scene<'_>, journal: &mut Journal, poison: &mut [Poison]) -> anyhow::Result<()> {
    let mut good = scene.probe(journal).await?;
    let before = scene.look().await?;
    let began = Instant::now();
    journal.step(format!("writing {} poisonous events, each between good ones of its key", poison.len()));
    for (number, one) in (0..).zip(poison.iter_mut()) {
        good.push(scene.write_plain(number % KEYS).await?);
        match scene.adapters.databases.outbox.insert(std::slice::from_ref(&one.event)).await {
            Ok(_) => one.written = true,
            Err(error) if error.is_outage() => return Err(error.into()),
            Err(error) => {
                journal.step(format!("{}: refused by the outbox: {}", one.what, outage::chain(&error)));
            }
        }
        good.push(scene.write_plain(number % KEYS).await?);
    }
    journal.step("waiting until everything is recorded or set aside");
    let recorded = scene.recorded(&good).await?;
    journal.check("the good events came through", recorded, format!("{} of them", good.len()));
    let deadline = Instant::now() + scene.within;
    let (written, refused): (Vec<&Poison>, Vec<&Poison>) = poison.iter().partition(|one| one.written);
    for one in &written {
        check_one(scene, journal, one, deadline).await?;
    }
    journal.seconds("seconds", began.elapsed().as_secs_f64());
    scene.check_effects(journal, &good).await?;
    scene.check_restarts(journal, &before).await?;
    journal.figure("poison", written.len());
    journal.figure("refused_by_outbox", refused.len());
    scene.tell_remains(journal, good.len() + written.len());
    Ok(())
}

/// Waits until one of them is settled in every group, and tells how.
async fn check_one(
    scene: &Scene<'_>,
    journal: &mut Journal,
    poison: &Poison,
    deadline: Instant,
) -> anyhow::Result<()> {
    let outcome = loop {
        let letters = scene.letters_of(&poison.event).await?;
        let effects = scene.effects(std::slice::from_ref(&poison.event)).await?;
        let by_relay = letters.iter().any(|letter| letter.consumer_group == "relay");
        if by_relay || effects.values().all(|effects| !effects.is_empty()) {
            break letters;
        }
        if Instant::now() >= deadline {
            journal.check(poison.what, false, "neither recorded nor set aside in time");
            return Ok(());
        }
        sleep(LOOK_EVERY).await;
    };
    match outcome.first() {
        Some(letter) => {
            let told = !letter.error.is_empty()
                && letter.payload.as_deref().is_some_and(|payload| !payload.is_empty());
            let found = format!("set aside by {}, {}: {}", letter.stage, letter.error_kind, letter.error);
            journal.check(poison.what, told || !poison.must_be_set_aside, found);
        }
        None => journal.check(poison.what, !poison.must_be_set_aside, "recorded"),
    }
    Ok(())
}
