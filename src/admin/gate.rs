//! What every request passes on its way in, and every response on its way out.
//!
//! In: an id, the client's rate, host and origin, the size of the body. Out: problems of one form whoever has found
//! them, headers that keep browsers from doing harm, a line in the log. A handler that panics is a problem like others.

use std::{
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use actix_web::{
    Error, HttpMessage, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method, StatusCode,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
    middleware::Next,
    web::Data,
};
use futures_util::FutureExt;
use tracing::Instrument;
use uuid::Uuid;

use super::{State, access::Caller, methods::Methods, origin, problem, problem::Problem, rate::Rates};

/// The header that has a request's id, both ways.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A client's own id is taken up to this length.
const LONGEST_ID: usize = 128;

/// What is asked often, costs nothing, and must be answered however much else is asked.
const NEVER_LIMITED: [&str; 2] = ["/health", "/health/ready"];

/// What every response says to browsers, unless its handler knows better.
const SECURITY: [(HeaderName, HeaderValue); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// What a request is called in logs, in the operator log and in problems.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) String);

impl RequestId {
    /// The client's own, if it may stand in a log; a new one otherwise.
    fn of(request: &ServiceRequest) -> Self {
        let given = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
        let sane = |id: &&str| {
            let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/+=".contains(&byte);
            (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(safe)
        };
        Self(given.filter(sane).map_or_else(|| Uuid::now_v7().to_string(), str::to_owned))
    }
}

/// What of a request is told when it is over.
struct Asked {
    id: RequestId,
    method: Method,
    path: String,
    at: Instant,
}

impl Asked {
    /// A change is told always; a question, and who was refused, only to those who want to know.
    fn log(&self, status: StatusCode, caller: Option<&Caller>) {
        let Self { id: RequestId(request_id), method, path, .. } = self;
        let who = caller.map_or("nobody", |caller| &caller.name);
        let from = caller.map_or("", |caller| &caller.address);
        let (status, took) = (status.as_u16(), millis(self.at.elapsed()));
        // Whoever may not change anything is not to fill the log either.
        let refused = [401, 403, 429].contains(&status);
        if matches!(*method, Method::POST | Method::PUT | Method::PATCH | Method::DELETE) && !refused {
            tracing::info!(request_id, %method, path, status, who, from, took, "HTTP request");
        } else {
            tracing::debug!(request_id, %method, path, status, who, from, took, "HTTP request");
        }
    }
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// The gate itself.
pub(super) async fn pass<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let asked = Asked {
        id: RequestId::of(&request),
        method: request.method().clone(),
        path: request.path().to_owned(),
        at: Instant::now(),
    };
    request.extensions_mut().insert(asked.id.clone());
    let span = tracing::info_span!("http", request_id = asked.id.0);
    async {
        let (response, problem) = match check(&request) {
            Ok(()) => answer(request, next).await?,
            Err(problem) => (request.into_response(HttpResponse::NoContent()), Some(problem)),
        };
        let mut response = match problem {
            Some(problem) => response.into_response(problem.of_request(&asked.id.0).response()),
            None => response,
        };
        harden(response.headers_mut(), &asked.id);
        asked.log(response.status(), response.request().extensions().get());
        Ok(response)
    }
    .instrument(span)
    .await
    .map_err(|problem: Problem| {
        asked.log(problem.status(), None);
        let mut error = Error::from(problem.of_request(&asked.id.0));
        let id = asked.id.clone();
        error.add_response_mapper(move |mut response| {
            harden(response.headers_mut(), &id);
            response
        });
        error
    })
}

fn check(request: &ServiceRequest) -> Result<(), Problem> {
    let starting = || Problem::unavailable("the server is starting; try again");
    let state = request.app_data::<Data<State>>().ok_or_else(starting)?;
    let rates = request.app_data::<Data<Rates>>().ok_or_else(starting)?;
    if let Some(client) = request.peer_addr().filter(|_| !NEVER_LIMITED.contains(&request.path())) {
        let caller = state.access.identify(request.request()).ok().filter(|_| state.access.asks());
        rates.check(client.ip(), caller.as_ref().map(|caller| caller.name.as_str()))?;
    }
    origin::check(request, &state.config.admin.hosts)?;
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let length = length.and_then(|length| length.parse::<u64>().ok()).unwrap_or(0);
    let limit = state.config.admin.max_body;
    if length > u64::try_from(limit).unwrap_or(u64::MAX) { Err(problem::too_large(limit)) } else { Ok(()) }
}

/// The handler's response, with what is wrong if it is not one that the handler has made itself.
///
/// After a panic the request is gone, so there is no response either.
async fn answer<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<(ServiceResponse<BoxBody>, Option<Problem>), Problem> {
    let answered = AssertUnwindSafe(next.call(request)).catch_unwind().await;
    match answered {
        Ok(Ok(response)) => {
            let response = response.map_into_boxed_body();
            let problem = problem_of(&response);
            Ok((response, problem))
        }
        Ok(Err(error)) => Err(Problem::of_error(&error)),
        // The panic hook has told where.
        Err(_) => Err(Problem::internal()),
    }
}

fn problem_of(response: &ServiceResponse<BoxBody>) -> Option<Problem> {
    let status = response.status();
    if let Some(error) = response.response().error() {
        return Some(Problem::of_error(error));
    }
    let own = response.headers().contains_key(header::CONTENT_TYPE);
    if own || !(status.is_client_error() || status.is_server_error()) {
        return None;
    }
    let methods = response.request().app_data::<Data<Methods>>();
    let allowed = methods.map(|methods| methods.of(response.request().path())).unwrap_or_default();
    Some(match status {
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED if !allowed.is_empty() => {
            problem::not_allowed(&allowed)
        }
        StatusCode::NOT_FOUND => {
            Problem::not_found("there is nothing here; /api/v1/openapi.json has what there is")
        }
        status => Problem::new(status, "the request was not carried out"),
    })
}

fn harden(headers: &mut HeaderMap, id: &RequestId) {
    for (name, value) in SECURITY {
        if !headers.contains_key(&name) {
            headers.insert(name, value);
        }
    }
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        headers.insert(REQUEST_ID, value);
    }
}

#[cfg(test)]
mod tests;
