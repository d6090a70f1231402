//! What is told over the WebSocket.

use std::{
    fmt::Debug,
    io::{Read, Write},
    net::TcpStream,
};

use awc::{
    error::WsClientError,
    http::header::HeaderMap,
    ws::{CloseCode, Frame, WebsocketsRequest},
};
use futures_util::{Stream, StreamExt};
use serde_json::Value;
use tokio::time::timeout;

use super::{Site, reply, token};
use crate::daemon::stage::{PATIENCE, text, until};

fn open(site: &Site, topics: &str) -> WebsocketsRequest {
    site.client().ws(site.url(&format!("/ws?topics={topics}")))
}

async fn refused(request: WebsocketsRequest) -> u16 {
    match request.connect().await {
        Err(WsClientError::InvalidResponseStatus(status)) => status.as_u16(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was let in"),
    }
}

async fn frame<E: Debug>(socket: &mut (impl Stream<Item = Result<Frame, E>> + Unpin)) -> Frame {
    loop {
        match timeout(PATIENCE, socket.next()).await.expect("something is told in time") {
            Some(Ok(Frame::Ping(_))) => {}
            Some(frame) => return frame.unwrap(),
            None => panic!("it was closed without a word"),
        }
    }
}

/// The next event of this type.
async fn event<E: Debug>(socket: &mut (impl Stream<Item = Result<Frame, E>> + Unpin), kind: &str) -> Value {
    loop {
        let frame = frame(socket).await;
        let Frame::Text(told) = frame else { panic!("{frame:?}") };
        let mut told: Value = serde_json::from_slice(&told).unwrap();
        assert!(told["at"].is_string() && told["data"].is_object(), "{told}");
        if told["type"] == kind {
            return told["data"].take();
        }
    }
}

#[actix_web::test]
async fn what_changes_is_told_after_how_it_stands() {
    let site = Site::embedded(Vec::new()).await;
    let (_, mut socket) = open(&site, "tree,outbox,streams,dead_letters,facts").connect().await.unwrap();
    let tree = event(&mut socket, "tree.snapshot").await;
    assert_eq!(tree["root/relay/outbox_poller"]["state"], "running", "{tree}");
    assert_eq!(event(&mut socket, "outbox.snapshot").await["backlog"]["pending"], 0);
    event(&mut socket, "streams.snapshot").await;
    assert_eq!(event(&mut socket, "dead_letters.snapshot").await["open"], 0);
    assert_eq!(event(&mut socket, "facts.snapshot").await, Value::Object(serde_json::Map::new()));

    let lines = "{\"key\": \"c\", \"payload\": {\"conversation_id\": \"c\", \"message_id\": \"1\", \"role\": \"user\", \
                 \"content\": \"I live in Oslo.\", \"sent_at\": \"2026-01-01T00:00:00Z\"}}\n\
                 {\"key\": \"c\", \"payload\": {\"conversation_id\": \"c\"}}\n";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), lines).unwrap();
    let emitted = site.command(&["emit", "--file", file.path().to_str().unwrap()]).output().unwrap();
    assert!(emitted.status.success(), "{}", text(&emitted.stderr));
    let mut told = (false, false, false);
    while told != (true, true, true) {
        let frame = frame(&mut socket).await;
        let Frame::Text(bytes) = frame else { panic!("{frame:?}, and told were {told:?}") };
        let event: Value = serde_json::from_slice(&bytes).unwrap();
        let data = event["data"].as_object().unwrap();
        match event["type"].as_str().unwrap() {
            "facts.change" => told.0 |= data.values().any(|fact| fact["object"] == "Oslo"),
            "dead_letters.change" => told.1 |= data.get("open").is_some_and(|open| *open == 1),
            "streams.change" => told.2 |= data.keys().all(|key| key.starts_with("facts/chat:")),
            _ => {}
        }
    }

    let (_, mut second) = open(&site, "tree").connect().await.unwrap();
    event(&mut second, "tree.snapshot").await;
    assert_eq!(reply(site.post("/api/v1/tree/root/janitor/pause")).await.status, 202);
    for socket in [&mut socket, &mut second] {
        until_paused(socket).await;
    }
}

async fn until_paused<E: Debug>(socket: &mut (impl Stream<Item = Result<Frame, E>> + Unpin)) {
    while event(socket, "tree.change").await["root/janitor"]["state"] != "paused" {}
}

#[actix_web::test]
async fn only_known_topics_can_be_listened_to() {
    let site = Site::embedded(Vec::new()).await;
    for topics in ["", "trees", "tree,,facts"] {
        assert_eq!(refused(open(&site, topics)).await, 400, "{topics}");
        let told = reply(site.get(&format!("/ws?topics={topics}"))).await;
        told.assert_problem(400);
        assert!(told.detail().contains("tree,outbox,streams,dead_letters,facts"), "{told:?}");
    }
    reply(site.get("/ws?topics=tree")).await.assert_problem(400);
    assert_eq!(refused(open(&site, "tree").origin("http://evil.example")).await, 403);
}

#[actix_web::test]
async fn a_listener_shows_its_token_in_the_header_or_as_a_subprotocol() {
    let (viewer, environment) = token("grafana", "viewer");
    let site = Site::embedded(environment).await;
    assert_eq!(refused(open(&site, "tree")).await, 401);
    assert_eq!(refused(open(&site, &format!("tree&token={viewer}"))).await, 401);
    assert_eq!(refused(open(&site, "tree").protocols(["factline", "factline.bearer.nobody"])).await, 401);
    let protocol = |headers: &HeaderMap| headers.get("sec-websocket-protocol").cloned();

    let (response, mut socket) = open(&site, "tree").bearer_auth(&viewer).connect().await.unwrap();
    assert_eq!(protocol(response.headers()), None);
    event(&mut socket, "tree.snapshot").await;

    let offered = ["factline".to_owned(), format!("factline.bearer.{viewer}")];
    let (response, mut socket) = open(&site, "tree").protocols(offered).connect().await.unwrap();
    assert_eq!(protocol(response.headers()).unwrap(), "factline", "the token is not repeated");
    event(&mut socket, "tree.snapshot").await;
    assert!(!site.daemon.log().contains(&viewer));
}

#[actix_web::test]
async fn there_is_room_for_so_many_listeners() {
    let site = Site::embedded(Vec::new()).await;
    let mut listeners = Vec::new();
    for _ in 0..64 {
        listeners.push(open(&site, "tree").connect().await.unwrap());
    }
    assert_eq!(refused(open(&site, "tree")).await, 503);
    listeners.pop();
    until("there is room again", || async { open(&site, "tree").connect().await.is_ok() }).await;
    assert_eq!(site.read("/health").await["status"], "alive");
}

#[actix_web::test]
async fn listeners_are_told_that_the_server_stops() {
    let site = Site::embedded(Vec::new()).await;
    let (_, mut socket) = open(&site, "tree").connect().await.unwrap();
    event(&mut socket, "tree.snapshot").await;
    assert_eq!(reply(site.post("/api/v1/tree/root/admin/restart")).await.status, 202);
    loop {
        match frame(&mut socket).await {
            Frame::Close(reason) => break assert_eq!(reason.unwrap().code, CloseCode::Restart),
            Frame::Text(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[actix_web::test]
async fn what_is_no_websocket_ends_the_connection() {
    let site = Site::embedded(Vec::new()).await;
    let mut socket = TcpStream::connect(&site.address).unwrap();
    let handshake = "GET /ws?topics=tree HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n\r\n";
    socket.write_all(handshake.as_bytes()).unwrap();
    socket.write_all(&[0xff; 64]).unwrap();
    let ended = tokio::task::spawn_blocking(move || {
        let mut told = Vec::new();
        // Ended or cut off: it does not stay open.
        socket.read_to_end(&mut told).map(|_| told)
    });
    let told = ended.await.unwrap().map(|told| text(&told)).unwrap_or_default();
    assert!(told.is_empty() || told.starts_with("HTTP/1.1 101"), "{told}");
    assert_eq!(site.read("/api/v1/tree/root/admin").await["restarts"], 0);
}
