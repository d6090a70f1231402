//! Clients that a test holds both ends of, on a clock that it moves.

use actix_web::{
    FromRequest, body::to_bytes, dev, error::PayloadError, http::header, test::TestRequest, web::Bytes,
};
use futures_util::{FutureExt, Stream, stream};
use tokio::sync::broadcast;

use super::{hub::Event, *};

type BoxedPayloadStream = std::pin::Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>>;

/// A client that never says a word; what it is told stays in the response until that is read.
fn silent_client() -> (Client, HttpResponse) {
    let request = TestRequest::default()
        .insert_header((header::UPGRADE, "websocket"))
        .insert_header((header::CONNECTION, "upgrade"))
        .insert_header((header::SEC_WEBSOCKET_VERSION, "13"))
        .insert_header((header::SEC_WEBSOCKET_KEY, "x3JJHMbDL1EzLkh9GBhXDw=="))
        .to_http_request();
    let silence: BoxedPayloadStream = Box::pin(stream::pending());
    let mut silence = dev::Payload::Stream { payload: silence };
    let payload = Payload::from_request(&request, &mut silence).now_or_never().unwrap().unwrap();
    let (response, session, messages) = actix_ws::handle(&request, payload).unwrap();
    (Client { name: "kim".into(), session, messages, heard: Instant::now() }, response)
}

fn listener(snapshots: &[&str], events: &broadcast::Sender<Event>) -> Listener {
    let snapshots = snapshots.iter().map(|text| (*text).to_owned()).collect();
    Listener::new(BTreeSet::from([Topic::Tree]), snapshots, events.subscribe()).0
}

fn event(topic: Topic, number: usize) -> Event {
    Event { topic, text: format!("<{number}>").into() }
}

async fn told(response: HttpResponse) -> String {
    let bytes = to_bytes(response.into_body()).await.unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn topics_are_known_or_named() {
    let wanted = |topics: &str| Wanted { topics: topics.into() }.topics();
    assert_eq!(wanted("facts,tree,facts").unwrap(), BTreeSet::from([Topic::Tree, Topic::Facts]));
    for text in ["", "trees", "tree,", "tree, facts", "Tree"] {
        let problem = wanted(text).unwrap_err();
        assert!(problem.status == 400, "{text}");
        assert!(problem.detail.contains("tree,outbox,streams,dead_letters,facts"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_answers_no_ping_is_gone() {
    let (client, response) = silent_client();
    let (events, begun) = (broadcast::Sender::new(1), Instant::now());
    client.serve(listener(&["<snapshot>"], &events)).await;
    assert!(begun.elapsed() > PONG_WITHIN && begun.elapsed() <= PONG_WITHIN + 2 * PING_EVERY);
    let told = told(response).await;
    assert!(told.contains("<snapshot>") && told.contains("no answer to any ping"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_reads_nothing_is_not_waited_for() {
    let (client, response) = silent_client();
    let events = broadcast::Sender::new(1000);
    let listener = listener(&[], &events);
    for number in 0..1000 {
        events.send(event(Topic::Tree, number)).unwrap();
    }
    let begun = Instant::now();
    client.serve(listener).await;
    assert!(begun.elapsed() < 2 * (SEND_WITHIN + CLOSE_WITHIN), "{:?}", begun.elapsed());
    let told = told(response).await;
    assert!(told.contains("<0>") && !told.contains("<100>"), "what waits for it is bounded: {told:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_falls_behind_is_told_so() {
    let (client, response) = silent_client();
    let events = broadcast::Sender::new(4);
    let listener = listener(&[], &events);
    for number in 0..9 {
        events.send(event(Topic::Tree, number)).unwrap();
    }
    client.serve(listener).await;
    assert!(told(response).await.contains("too slow"));
}

#[tokio::test(start_paused = true)]
async fn other_topics_are_not_told_and_an_end_is() {
    let (client, response) = silent_client();
    let events = broadcast::Sender::new(4);
    let listener = listener(&[], &events);
    events.send(event(Topic::Facts, 1)).unwrap();
    events.send(event(Topic::Tree, 2)).unwrap();
    drop(events);
    client.serve(listener).await;
    let told = told(response).await;
    assert!(!told.contains("<1>") && told.contains("<2>") && told.contains("the server stops"), "{told:?}");
}
