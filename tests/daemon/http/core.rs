//! What every request passes: who asks, for whom, how often, how much.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use awc::http::Method;

use super::{Site, reply, token, variables};
use crate::daemon::stage::{bare_command, text, until};

/// What needs no token, what a viewer may ask, and what only an operator may.
const OPEN: [&str; 2] = ["/health", "/health/ready"];
const VIEWED: [&str; 5] =
    ["/health/detailed", "/api/v1/tree", "/api/v1/tree/root/relay", "/api/v1/config", "/ws?topics=tree"];
const OPERATED: [&str; 4] = ["restart", "pause", "resume", "stop"];

#[actix_web::test]
async fn without_tokens_everybody_here_may_do_everything() {
    let site = Site::embedded(Vec::new()).await;
    for path in OPEN.iter().chain(&VIEWED[..4]) {
        until(path, || async { reply(site.get(path)).await.status == 200 }).await;
    }
    assert_eq!(reply(site.post("/api/v1/tree/root/janitor/restart")).await.status, 202);
    site.daemon.until_logged("anonymous").await;
}

#[actix_web::test]
async fn with_tokens_each_may_do_what_it_is_for() {
    let ((viewer, mut environment), (operator, more)) =
        (token("grafana", "viewer"), token("kim", "operator"));
    environment.extend(more);
    let site = Site::embedded(environment).await;
    let operated = OPERATED.map(|action| format!("/api/v1/tree/root/nobody/{action}"));
    for path in OPEN {
        assert_ne!(reply(site.get(path)).await.status, 401, "{path}");
    }
    let strangers =
        ["", "Bearer", "Bearer nobody", "Basic a2ltOg==", &format!("Bearer {viewer}x"), &viewer[..]];
    for stranger in strangers {
        let who = |request: awc::ClientRequest| request.insert_header(("authorization", stranger));
        let asked =
            VIEWED.iter().map(|path| site.get(path)).chain(operated.iter().map(|path| site.post(path)));
        for request in asked {
            let refused = reply(who(request)).await;
            refused.assert_problem(401);
            assert_eq!(refused.header("www-authenticate"), "Bearer");
        }
    }
    for path in &VIEWED[..4] {
        // The servers may not have been looked at yet.
        until(path, || async { reply(site.get(path).bearer_auth(&viewer)).await.status == 200 }).await;
        assert_eq!(reply(site.get(path).bearer_auth(&operator)).await.status, 200, "{path}");
    }
    for path in &operated {
        let refused = reply(site.post(path).bearer_auth(&viewer)).await;
        refused.assert_problem(403);
        assert!(refused.detail().contains("grafana may read"), "{refused:?}");
        reply(site.post(path).bearer_auth(&operator)).await.assert_problem(404);
    }
    let in_query = reply(site.get(&format!("/api/v1/tree?token={operator}&access_token={operator}"))).await;
    in_query.assert_problem(401);
    let log = site.daemon.log();
    assert!(!log.contains(&viewer) && !log.contains(&operator), "a token is in the log");
}

#[actix_web::test]
async fn a_producer_sends_events_and_does_nothing_else() {
    let ((producer, mut environment), (viewer, more)) =
        (token("chat", "producer"), token("grafana", "viewer"));
    environment.extend(more);
    let site = Site::embedded(environment).await;
    let event = r#"{"specversion": "1.0", "id": "0198c0de-0000-7000-8000-000000000001", "source": "/chat",
        "type": "chat.message", "subject": "c", "data": {"conversation_id": "c", "content": "Hi."}}"#;
    let send = |token: &str| {
        let request = site.post("/api/v1/events").bearer_auth(token);
        reply_to(request.content_type("application/cloudevents+json"), event.to_owned())
    };
    assert_eq!(send(&producer).await.status, 202);
    let refused = send(&viewer).await;
    refused.assert_problem(403);
    assert!(refused.detail().contains("grafana may read, but not send events"), "{refused:?}");
    for path in VIEWED.into_iter().chain(["/api/v1/events/0198c0de-0000-7000-8000-000000000001", "/metrics"])
    {
        reply(site.get(path).bearer_auth(&producer)).await.assert_problem(403);
    }
    for action in OPERATED {
        let path = format!("/api/v1/tree/root/janitor/{action}");
        reply(site.post(&path).bearer_auth(&producer)).await.assert_problem(403);
    }
    for path in OPEN {
        assert_ne!(reply(site.get(path).bearer_auth(&producer)).await.status, 403, "{path}");
    }
    let log = reply(site.get("/api/v1/operator-log").bearer_auth(&viewer)).await;
    let entries = log.body["items"].as_array().unwrap();
    assert_eq!(entries.len(), 1, "{log:?}");
    assert_eq!((&entries[0]["who"], &entries[0]["action"]), (&"chat".into(), &"publish".into()), "{log:?}");
}

#[actix_web::test]
async fn every_response_is_hardened_and_has_an_id_that_the_log_has_too() {
    let site = Site::embedded(Vec::new()).await;
    let requests = [site.get("/health"), site.get("/nowhere"), site.post("/api/v1/tree/root/nobody/stop")];
    for request in requests {
        let reply = reply(request.insert_header(("x-request-id", "drill-7"))).await;
        assert_eq!(reply.header("x-request-id"), "drill-7");
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        assert_eq!(reply.header("referrer-policy"), "no-referrer");
        assert_eq!(reply.header("cache-control"), "no-store");
        assert!(reply.header("content-security-policy").contains("frame-ancestors 'none'"));
        assert!(reply.headers.keys().all(|name| !name.as_str().starts_with("access-control")), "no CORS");
    }
    let line = |log: String| log.lines().find(|line| line.contains("HTTP request")).map(str::to_owned);
    until("the change is in the log", || async { line(site.daemon.log()).is_some() }).await;
    let line = line(site.daemon.log()).unwrap();
    for part in ["drill-7", "POST", "/api/v1/tree/root/nobody/stop", "404", "anonymous", "127.0.0.1"] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    assert!(!site.daemon.log().contains("/nowhere"), "questions are not logged");
    let unsafe_id = reply(site.get("/nowhere").insert_header(("x-request-id", "a\"b"))).await;
    unsafe_id.assert_problem(404);
    assert_ne!(unsafe_id.header("x-request-id"), "a\"b");
}

#[actix_web::test]
async fn it_answers_only_to_its_names_and_to_its_own_pages() {
    let site = Site::embedded(variables(&[("FACTLINE__ADMIN__HOSTS", r#"["factline.internal"]"#)])).await;
    let port = site.address.rsplit(':').next().unwrap();
    for host in
        [&format!("localhost:{port}"), "127.0.0.1", "[::1]:80", "factline.internal", "FACTLINE.internal:8443"]
    {
        assert_eq!(reply(site.get("/health").insert_header(("host", host))).await.status, 200, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "10.1.2.3", "factline"] {
        let refused = reply(site.get("/health").insert_header(("host", host))).await;
        refused.assert_problem(421);
        assert!(refused.detail().contains("admin.hosts"), "{refused:?}");
    }
    let own = format!("http://{}", site.address);
    assert_eq!(reply(site.get("/health").insert_header(("origin", own))).await.status, 200);
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost"] {
        let refused =
            reply(site.post("/api/v1/tree/root/janitor/restart").insert_header(("origin", origin))).await;
        refused.assert_problem(403);
    }
    let log = site.read("/api/v1/operator-log").await;
    assert_eq!(log["items"], serde_json::json!([]), "nothing was carried out");
}

#[actix_web::test]
async fn unknown_paths_and_methods_say_so() {
    let site = Site::embedded(Vec::new()).await;
    for path in
        ["/", "/api/v1", "/api/v1/nothing", "/health/", "/api/v1/tree/root/nobody", "/%00", "/../etc/passwd"]
    {
        reply(site.get(path)).await.assert_problem(404);
    }
    for (method, path, allowed) in [
        (Method::POST, "/health", "GET, HEAD"),
        (Method::DELETE, "/api/v1/tree", "GET"),
        (Method::PUT, "/api/v1/tree/root/relay/restart", "GET, POST"),
        (Method::POST, "/ws", "GET"),
    ] {
        let refused = reply(site.client().request(method.clone(), site.url(path))).await;
        refused.assert_problem(405);
        assert_eq!(refused.header("allow"), allowed, "{method} {path}");
    }
    let unknown = reply(site.post("/api/v1/tree/root/relay/explode")).await;
    unknown.assert_problem(400);
    assert!(unknown.detail().contains("restart"), "{unknown:?}");
}

#[actix_web::test]
async fn a_client_may_not_ask_too_much_nor_too_often() {
    let limits = [("FACTLINE__ADMIN__RATE", "1"), ("FACTLINE__ADMIN__MAX_BODY", "1000")];
    let site = Site::embedded(variables(&limits)).await;
    let large = reply_to(site.post("/api/v1/tree/root/nobody/stop"), "x".repeat(1001)).await;
    large.assert_problem(413);
    assert!(large.detail().contains("admin.max_body"), "{large:?}");
    let mut limited = None;
    for _ in 0..100 {
        let reply = reply(site.get("/api/v1/config")).await;
        if reply.status == 429 {
            limited = Some(reply);
            break;
        }
    }
    let limited = limited.expect("a hundred requests take no hundred seconds");
    limited.assert_problem(429);
    assert!(limited.header("retry-after").parse::<u64>().unwrap() >= 1, "{limited:?}");
    for _ in 0..10 {
        site.read("/health").await;
    }
    until("it may ask again", || async { reply(site.get("/api/v1/config")).await.status == 200 }).await;
}

async fn reply_to(request: awc::ClientRequest, body: String) -> super::Reply {
    let mut response = request.send_body(body).await.unwrap();
    let body = response.body().await.unwrap();
    super::Reply {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: serde_json::from_slice(&body).unwrap(),
    }
}

#[actix_web::test]
async fn what_is_not_http_at_all_harms_nobody() {
    let site = Site::embedded(Vec::new()).await;
    let attempts: [&[u8]; 6] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"POST /api/v1/tree/root/relay/stop HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        &[0; 4096],
    ];
    for attempt in attempts {
        let mut socket = TcpStream::connect(&site.address).unwrap();
        socket.write_all(attempt).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // It may be cut off, which is an answer too.
        let read = tokio::task::spawn_blocking(move || socket.read_to_end(&mut answer).map(|_| answer))
            .await
            .unwrap();
        let answer = read.map(|answer| text(&answer)).unwrap_or_default();
        assert!(!answer.starts_with("HTTP/1.1 5"), "{attempt:?}: {answer}");
    }
    assert_eq!(site.read("/api/v1/tree").await["state"], "running");
    assert_eq!(site.read("/api/v1/tree/root/admin").await["restarts"], 0);
}

#[actix_web::test]
async fn the_configuration_is_shown_without_secrets() {
    let (operator, mut environment) = token("kim", "operator");
    let hash = environment.iter().find(|(name, _)| name.ends_with("SHA256")).unwrap().1.clone();
    environment.extend(variables(&[("FACTLINE__RELAY__BATCH_SIZE", "77")]));
    let site = Site::embedded(environment).await;
    let shown = reply(site.get("/api/v1/config").bearer_auth(&operator)).await;
    assert_eq!(shown.body["relay"]["batch_size"], 77, "{shown:?}");
    assert_eq!(shown.body["admin"]["tokens"]["kim"]["role"], "operator");
    let told = shown.body.to_string() + &text(&site.command(&["config", "show"]).output().unwrap().stdout);
    assert!(!told.contains(&hash) && !told.contains(&operator), "{told}");
}

#[test]
fn listening_to_the_outside_needs_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |bind: &str| {
        let mut run = bare_command(&["run"]);
        let output = run.current_dir(folder.path()).env("FACTLINE__ADMIN__BIND", bind).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        text(&output.stderr)
    };
    for bind in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8080"] {
        let told = refused(bind);
        assert!(told.contains("factline token NAME --role operator"), "{told}");
    }
    let mut url = bare_command(&["config", "check"]);
    let url = url
        .current_dir(folder.path())
        .env("FACTLINE__ADMIN__HOSTS", r#"["http://factline"]"#)
        .output()
        .unwrap();
    assert!(text(&url.stderr).contains("admin.hosts"), "{url:?}");
}
