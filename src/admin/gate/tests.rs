//! What no handler of the daemon does on purpose: panic, fail, read a body to its end.

use actix_web::{
    App,
    body::to_bytes,
    dev::Service,
    middleware::from_fn,
    test::{TestRequest, init_service},
    web::{self, Json},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use utoipa::openapi::OpenApi;
use utoipa_actix_web::AppExt;

use super::*;
use crate::{
    admin::server::extractors,
    app::Opener,
    config::{self, Config},
    telemetry::Exposition,
};

const LIMIT: usize = 100;

/// The state of a daemon on an embedded database in this folder.
async fn state(folder: &TempDir) -> State {
    let table: toml::Table = config::DEFAULTS.parse().unwrap();
    let mut config: Config = table.try_into().unwrap();
    config.admin.max_body = LIMIT;
    let url = format!("sqlite:{}", folder.path().join("factline.db").display());
    (config.source.url, config.store.url, config.stream.url) = (url.clone(), url.clone(), url);
    let adapters = Opener::new(&config).adapters().await.unwrap();
    State::new(&config, adapters, Exposition::default(), &crate::app::Process::new(""))
}

/// What comes of a request: its status, headers and body.
async fn answer(request: TestRequest) -> (StatusCode, HeaderMap, Value) {
    let folder = tempfile::tempdir().unwrap();
    let (app, _) =
        App::new().into_utoipa_app().configure(|routes| extractors(routes, LIMIT)).split_for_parts();
    let app = app
        .app_data(Data::new(state(&folder).await))
        .app_data(Data::new(Rates::new(100)))
        .app_data(Data::new(Methods::new(&OpenApi::default())))
        .route("/panic", web::get().to(|| async { panic_with("s3cret") }))
        .route("/fail", web::get().to(|| async { Err::<HttpResponse, _>(std::io::Error::other("s3cret")) }))
        .route(
            "/numbers",
            web::post().to(|numbers: Json<Vec<u8>>| async { HttpResponse::Ok().json(numbers.0) }),
        )
        .route(
            "/bytes",
            web::post().to(|bytes: web::Bytes| async move { HttpResponse::Ok().json(bytes.len()) }),
        )
        .route("/id/{id}", web::get().to(|id: web::Path<Uuid>| async move { id.to_string() }))
        .wrap(from_fn(pass));
    let app = init_service(app).await;
    let request = request.insert_header((header::HOST, "localhost")).to_request();
    let response = match app.call(request).await {
        Ok(response) => response.into_parts().1,
        Err(error) => error.error_response(),
    };
    let (status, headers) = (response.status(), response.headers().clone());
    let body = to_bytes(response.into_body()).await.unwrap_or_default();
    (status, headers, serde_json::from_slice(&body).unwrap_or_default())
}

fn panic_with(text: &str) -> HttpResponse {
    panic!("{text}")
}

#[actix_web::test]
async fn a_handler_that_panics_or_fails_is_a_problem_that_tells_nothing() {
    for path in ["/panic", "/fail"] {
        let (status, headers, body) = answer(TestRequest::get().uri(path)).await;
        assert_eq!(status, 500, "{path}");
        assert_eq!(headers.get("content-type").unwrap(), "application/problem+json");
        assert_eq!(headers.get("x-content-type-options").unwrap(), "nosniff");
        assert_eq!(headers.get("x-request-id").unwrap(), body["request_id"].as_str().unwrap());
        assert!(!body.to_string().contains("s3cret"), "{body}");
    }
}

#[actix_web::test]
async fn what_cannot_be_taken_apart_says_why() {
    let post = |path: &str| TestRequest::post().uri(path);
    let typed = |text: &'static str| {
        post("/numbers").insert_header(("content-type", "application/json")).set_payload(text)
    };
    let cases = [
        (typed("[1,"), 400, "the body is not as it should be"),
        (typed("[300]"), 400, "expected u8"),
        (post("/numbers").set_payload("[1]"), 415, "Content-Type: application/json"),
        (TestRequest::get().uri("/id/7"), 400, "the path is not as it should be"),
        (TestRequest::get().uri("/nowhere"), 404, "/api/v1/openapi.json"),
    ];
    for (request, status, words) in cases {
        let (found, headers, body) = answer(request).await;
        assert_eq!(found, status, "{body}");
        assert_eq!(headers.get("content-type").unwrap(), "application/problem+json");
        assert!(body["detail"].as_str().unwrap().contains(words), "{body}");
        assert_eq!((body["status"] == status, body["request_id"].is_string()), (true, true), "{body}");
    }
    assert_eq!(answer(typed("[1]")).await.2, json!([1]));
}

#[actix_web::test]
async fn a_body_is_limited_whether_or_not_it_says_how_long_it_is() {
    for path in ["/bytes", "/numbers"] {
        let body = format!("[{}1]", "1,".repeat(LIMIT));
        let post = TestRequest::post().uri(path).insert_header(("content-type", "application/json"));
        let (status, _, told) = answer(post.set_payload(body.clone())).await;
        assert_eq!(status, 413, "{path}: {told}");
        let post = TestRequest::post().uri(path).insert_header(("content-type", "application/json"));
        let (status, _, told) =
            answer(post.insert_header((header::CONTENT_LENGTH, body.len())).set_payload(body)).await;
        assert_eq!(status, 413, "{path}: {told}");
        assert!(told["detail"].as_str().unwrap().contains("admin.max_body"), "{told}");
    }
    let (status, _, length) = answer(TestRequest::post().uri("/bytes").set_payload("x".repeat(LIMIT))).await;
    assert_eq!((status.as_u16(), length), (200, json!(LIMIT)));
}

#[actix_web::test]
async fn an_id_is_taken_from_the_client_only_if_it_may_stand_in_a_log() {
    for (given, taken) in [
        ("order-7/retry:1", true),
        ("a".repeat(LONGEST_ID).as_str(), true),
        ("a".repeat(LONGEST_ID + 1).as_str(), false),
        ("", false),
        ("a b", false),
        ("\"}{", false),
    ] {
        let request = TestRequest::get().uri("/nowhere").insert_header((REQUEST_ID, given));
        let (_, headers, _) = answer(request).await;
        assert_eq!(headers.get(REQUEST_ID).unwrap() == given, taken, "{given:?}");
    }
}
