//! An extractor with a bench, without an actor: what becomes of events in whatever way they misbehave.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use factline_supervision::{ChildSpec, SupervisorSpec, mailbox};
use tokio::time::Instant;
use uuid::Uuid;

use super::*;
use crate::{
    attempts::{FailedTry, History, Past},
    chat,
    dead_letter::{Cause, DeadLetter, ErrorKind},
    event::Event,
    extraction_thread::StuckThreads,
    extractor::{self, Extractor},
    fact::{Extraction, Title},
    ledger::{Horizons, Outcome, Recorded, Recording},
    outage::{self, Error},
    stream::{Delivered, Position},
};

/// Does what the message says.
#[derive(Default)]
struct Obedient {
    calls: AtomicU32,
}

#[async_trait]
impl Extractor for Obedient {
    fn name(&self) -> &'static str {
        "obedient"
    }

    async fn extract(&self, _: &Event, message: &chat::Message) -> Result<Extraction, extractor::Error> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        match &*message.content {
            "panic" => panic!("as told"),
            "fail" => Err(extractor::Error::Permanent("as told".into())),
            "fail for now" => Err(extractor::Error::Retryable("as told".into())),
            "fail twice" if call <= 2 => Err(extractor::Error::Retryable("as told".into())),
            "wait for ever" => std::future::pending().await,
            "hold the thread" => loop {
                std::thread::park();
            },
            text => {
                let title = Title { text: text.to_owned(), source: "obedient" };
                Ok(Extraction { facts: Vec::new(), title: Some(title) })
            }
        }
    }
}

/// A ledger that only counts.
#[derive(Default)]
struct Counts {
    failures: Mutex<HashMap<Uuid, u32>>,
    suspects: Mutex<Vec<(Uuid, u32)>>,
    absolved: Mutex<Vec<(Uuid, u32)>>,
}

#[async_trait]
impl Ledger for Counts {
    async fn record(&self, _: &str, _: &[Fence], _: &[Recording]) -> Result<Recorded, Error> {
        unreachable!("an extractor records nothing")
    }
    async fn record_unpublishable(&self, _: &[DeadLetter]) -> Result<(), Error> {
        unreachable!("an extractor records nothing")
    }
    async fn history(&self, _: &str, _: &[Uuid]) -> Result<History, Error> {
        unreachable!("an extractor is told")
    }
    async fn count_failure(&self, _: &str, failed: FailedTry<'_>) -> Result<(), Error> {
        let mut failures = self.failures.lock().unwrap();
        let count: &mut u32 = failures.entry(failed.event_id).or_default();
        *count = failed.attempt.max(*count);
        Ok(())
    }
    async fn count_suspects(&self, _: &str, deaths: &[(Uuid, u32)]) -> Result<(), Error> {
        self.suspects.lock().unwrap().extend(deaths);
        Ok(())
    }
    async fn absolve(&self, _: &str, deaths: &[(Uuid, u32)]) -> Result<(), Error> {
        self.absolved.lock().unwrap().extend(deaths);
        Ok(())
    }
    async fn troubled(&self, _: &str, _: usize) -> Result<Vec<Uuid>, Error> {
        unreachable!("an extractor is told")
    }
    async fn forget_settled_attempts(&self) -> Result<u64, Error> {
        unreachable!("an extractor forgets nothing")
    }
    async fn recorded(&self, _: &str, _: &[Uuid]) -> Result<HashSet<Uuid>, Error> {
        unreachable!("an extractor is told")
    }
    async fn begin_group(&self, _: &str, _: Option<DateTime<Utc>>) -> Result<(), Error> {
        unreachable!("an extractor has no horizon")
    }
    async fn horizons(&self) -> Result<Horizons, Error> {
        unreachable!("an extractor has no horizon")
    }
    async fn forget_before(&self, _: DateTime<Utc>, _: usize) -> Result<u64, Error> {
        unreachable!("an extractor forgets nothing")
    }
    async fn forgettable_before(&self, _: DateTime<Utc>) -> Result<u64, Error> {
        unreachable!("an extractor forgets nothing")
    }
}

struct Fixture {
    params: Params,
    bench: Bench,
    extractor: Arc<Obedient>,
    counts: Arc<Counts>,
}

impl Fixture {
    fn new(deadline: Duration) -> Self {
        let (extractor, counts) = (Arc::new(Obedient::default()), Arc::new(Counts::default()));
        let tools = Tools { extractors: vec![extractor.clone()], deadline, stuck: StuckThreads::default() };
        let params = Params {
            group: "facts".into(),
            tools,
            writer: mailbox(1).0,
            lane: 0,
            ledger: counts.clone(),
            max_attempts: 3,
            retry: BackoffPolicy { initial: Duration::ZERO, ..BackoffPolicy::default() },
            outage: outage::default_policy(),
            chain: Chain::of(1),
            turns: Turns::default(),
            watched: Watched::default(),
            metrics: Metrics::default(),
        };
        Self { params, bench: Bench::default(), extractor, counts }
    }

    async fn try_all(&mut self, tasks: Vec<Task>) -> Vec<Recording> {
        let batch = BatchId { epoch: 0, number: 0 };
        let all = tasks.into_iter().map(|task| Waiting { batch, fence: None, task }).collect();
        let life = lifeline().await;
        let recorded = try_all(&self.params, &life, &mut self.bench, all, |_| None).await.unwrap();
        recorded.into_iter().map(|(_, recording)| recording).collect()
    }

    /// Tries these and, as long as anything is parked and due, that.
    async fn settle(&mut self, tasks: Vec<Task>) -> Vec<Recording> {
        let mut recordings = self.try_all(tasks).await;
        while let Some(line) = self.bench.parking.take_due(Instant::now()) {
            recordings.extend(self.try_all(line.into_iter().map(|waiting| waiting.task).collect()).await);
        }
        recordings
    }
}

/// The lifeline of an actor that does nothing.
async fn lifeline() -> Lifeline {
    struct Idle;
    impl Actor for Idle {
        type Context = Context<Self>;
    }
    let (_, idle) = mailbox::<Idle>(1);
    let (told, hears) = std::sync::mpsc::channel();
    let child = ChildSpec::actor("idle", idle, move |life: Lifeline| {
        life.ready();
        told.send(life).ok();
        Idle
    });
    factline_supervision::start(SupervisorSpec::new("root").child(child)).await.unwrap();
    hears.recv().unwrap()
}

fn message(key: &str, content: &str) -> Task {
    let data = serde_json::json!({ "content": content }).to_string();
    of_type(chat::EVENT_TYPE, key, data)
}

fn of_type(event_type: &str, key: &str, data: String) -> Task {
    let event = Event { event_type: event_type.into(), key: key.into(), data, ..Event::sample() };
    Task::fresh(Delivered {
        partition: Partition { topic: "chat".into(), number: 3 },
        position: Position { major: 1, minor: 2 },
        deliveries: 1,
        taken_from: None,
        event: Ok(event),
        trail: crate::trace::Trail::default(),
    })
}

fn suspect(task: Task, suspected: u32) -> Task {
    Task { is_suspect: true, past: Past { suspected, ..Past::default() }, ..task }
}

fn id(task: &Task) -> Uuid {
    task.entry.event.as_ref().unwrap().id
}

/// What was recorded, in order: the titles, or why there is none.
fn outcomes(recordings: &[Recording]) -> Vec<String> {
    let outcome = |recording: &Recording| match &recording.outcome {
        Outcome::Processed(Some(said)) => said.title.as_ref().unwrap().text.clone(),
        Outcome::Processed(None) => "nothing".into(),
        Outcome::DeadLettered(letter) => letter.cause.kind.as_str().into(),
    };
    recordings.iter().map(outcome).collect()
}

async fn outcomes_of(contents: &[&str]) -> (Vec<String>, Fixture) {
    let mut fixture = Fixture::new(Duration::from_millis(50));
    let tasks = contents.iter().enumerate().map(|(key, content)| message(&key.to_string(), content));
    let recordings = fixture.settle(tasks.collect()).await;
    (outcomes(&recordings), fixture)
}

fn cause_of(recordings: &[Recording]) -> &Cause {
    let Outcome::DeadLettered(letter) = &recordings[0].outcome else { panic!("processed") };
    assert_eq!((letter.partition, letter.position.as_deref()), (Some(3), Some("1-2")));
    &letter.cause
}

#[actix::test]
async fn a_panic_costs_only_the_event_that_caused_it() {
    let mut fixture = Fixture::new(Duration::from_secs(9));
    let recordings = fixture.try_all(vec![message("a", "panic"), message("a", "hello")]).await;
    assert_eq!(outcomes(&recordings), ["panic", "hello"]);
    assert_eq!(cause_of(&recordings).error, "obedient panicked: as told");
}

#[actix::test]
async fn a_permanent_error_is_not_tried_again_and_a_retryable_one_is() {
    let (recorded, fixture) = outcomes_of(&["fail"]).await;
    assert_eq!((recorded, fixture.extractor.calls.load(Ordering::SeqCst)), (vec!["permanent".into()], 1));
    let mut fixture = Fixture::new(Duration::from_secs(9));
    let recordings = fixture.settle(vec![message("a", "fail for now")]).await;
    assert_eq!((cause_of(&recordings).kind, cause_of(&recordings).attempts), (ErrorKind::Exhausted, 3));
    assert_eq!(fixture.extractor.calls.load(Ordering::SeqCst), 3);
    assert_eq!(fixture.counts.failures.lock().unwrap().values().sum::<u32>(), 2);
    let (recorded, fixture) = outcomes_of(&["fail twice"]).await;
    assert_eq!((recorded, fixture.extractor.calls.load(Ordering::SeqCst)), (vec!["fail twice".into()], 3));
}

#[actix::test]
async fn what_comes_of_a_key_that_waits_waits_behind_it_and_other_keys_go_on() {
    let mut fixture = Fixture::new(Duration::from_secs(9));
    let tasks = vec![
        message("a", "fail for now"),
        message("b", "b1"),
        message("a", "a2"),
        message("b", "b2"),
        message("a", "a3"),
    ];
    let recordings = fixture.try_all(tasks).await;
    assert_eq!(outcomes(&recordings), ["b1", "b2"]);
    assert!(fixture.bench.parking.next_due().is_some());
    let recordings = fixture.settle(vec![]).await;
    assert_eq!(outcomes(&recordings), ["exhausted", "a2", "a3"]);
    assert!(recordings[0].leaves_traces && !recordings[1].leaves_traces);
}

#[actix::test]
async fn a_try_that_failed_in_another_process_counts() {
    let mut fixture = Fixture::new(Duration::from_secs(9));
    let mut task = message("a", "fail for now");
    task.past.attempts = 2;
    let recordings = fixture.try_all(vec![task]).await;
    assert_eq!((cause_of(&recordings).kind, cause_of(&recordings).attempts), (ErrorKind::Exhausted, 3));
}

#[actix::test]
async fn an_extraction_that_never_ends_is_tried_again_and_given_up() {
    let mut fixture = Fixture::new(Duration::from_millis(20));
    let recordings = fixture.settle(vec![message("a", "wait for ever"), message("b", "hello")]).await;
    assert_eq!(outcomes(&recordings), ["hello", "timed_out"]);
    assert_eq!(fixture.extractor.calls.load(Ordering::SeqCst), 4);
}

#[actix::test]
async fn an_extraction_that_holds_its_thread_loses_the_thread_and_its_neighbours_go_on() {
    let (recorded, fixture) = outcomes_of(&["before", "hold the thread", "after", "hold the thread"]).await;
    assert_eq!(recorded, ["before", "timed_out", "after", "timed_out"]);
    assert_eq!(fixture.extractor.calls.load(Ordering::SeqCst), 4);
}

#[actix::test]
async fn a_thread_that_is_lost_lets_nobody_overtake_the_head_of_its_key() {
    let mut fixture = Fixture::new(Duration::from_millis(50));
    let tasks = vec![
        message("k", "fail for now"),
        message("j", "hold the thread"),
        message("k", "k2"),
        message("j", "j2"),
    ];
    let recordings = fixture.try_all(tasks).await;
    assert_eq!(outcomes(&recordings), ["timed_out", "j2"]);
    assert_eq!(outcomes(&fixture.settle(vec![]).await), ["exhausted", "k2"]);
}

#[actix::test]
async fn an_event_that_is_not_due_yet_keeps_its_place_behind_an_earlier_one_of_its_key() {
    let mut fixture = Fixture::new(Duration::from_secs(9));
    let mut later = message("k", "k2");
    later.past = Past { attempts: 1, suspected: 0, due_in: Duration::from_millis(1) };
    let (batch, fences) = (BatchId { epoch: 0, number: 0 }, Vec::new());
    let (writer, _mailbox) = mailbox(4);
    fixture.params.writer = writer;
    let tasks = vec![message("k", "fail for now"), later, message("k", "k3")];
    let life = lifeline().await;
    let batch = ExtractBatch { batch, fences, tasks, since: Instant::now() };
    extract_batch(&fixture.params, &life, &mut fixture.bench, batch).await.unwrap();
    assert_eq!(outcomes(&fixture.settle(vec![]).await), ["exhausted", "k2", "k3"]);
}

#[actix::test]
async fn a_suspect_is_counted_before_it_is_tried_and_set_aside_at_its_limit() {
    let mut fixture = Fixture::new(Duration::from_secs(9));
    let tasks = vec![suspect(message("a", "a1"), 0), suspect(message("a", "a2"), 2), message("a", "a3")];
    let innocent = id(&tasks[0]);
    let recordings = fixture.try_all(tasks).await;
    assert_eq!(outcomes(&recordings), ["a1", "crashed", "a3"]);
    assert_eq!(*fixture.counts.suspects.lock().unwrap(), [(innocent, 1)]);
    assert!(recordings[0].leaves_traces && recordings[1].leaves_traces);
    assert_eq!(recordings[1].attempts, 3);
}

#[actix::test]
async fn a_suspect_at_its_limit_waits_for_the_head_of_its_key() {
    let mut fixture = Fixture::new(Duration::from_secs(9));
    let tasks = vec![message("a", "fail for now"), suspect(message("a", "a2"), 2)];
    assert!(fixture.try_all(tasks).await.is_empty());
    assert_eq!(outcomes(&fixture.settle(vec![]).await), ["exhausted", "crashed"]);
}

#[actix::test]
async fn a_suspect_that_outlives_its_try_is_a_suspect_no_more_and_one_that_was_not_tried_is_as_it_was() {
    let mut fixture = Fixture::new(Duration::from_secs(9));
    let tasks = vec![suspect(message("a", "fail for now"), 1), suspect(message("a", "a2"), 1)];
    let (tried, behind) = (id(&tasks[0]), id(&tasks[1]));
    assert!(fixture.try_all(tasks).await.is_empty());
    assert_eq!(*fixture.counts.suspects.lock().unwrap(), [(tried, 2), (behind, 2)]);
    assert_eq!(*fixture.counts.absolved.lock().unwrap(), [(tried, 0), (behind, 1)]);
}

#[actix::test]
async fn an_event_that_is_no_chat_message_says_nothing_and_is_recorded() {
    let mut fixture = Fixture::new(Duration::from_secs(9));
    let recordings = fixture.try_all(vec![of_type("mail.sent", "a", "not even JSON".into())]).await;
    assert_eq!(outcomes(&recordings), ["nothing"]);
    assert_eq!(fixture.extractor.calls.load(Ordering::SeqCst), 0);
}
