//! Every way to say no: `application/problem+json`, as RFC 9457 has it.

use std::fmt;

use actix_web::{
    Error, HttpResponse, ResponseError,
    error::{JsonPayloadError, PathError, QueryPayloadError},
    http::{
        StatusCode,
        header::{ALLOW, HeaderName, HeaderValue},
    },
};
use factline_pipeline::outage;
use serde::Serialize;
use utoipa::ToSchema;

/// What a problem is sent as.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// Why a request was not carried out.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// The kind of problem, which is its title in words joined by hyphens.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem, the same every time.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong this time, and what to do.
    pub detail: String,
    /// The request's id, which the daemon's log has as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What the status calls for beside the body.
    #[serde(skip)]
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

impl Problem {
    /// With the status' own title.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("error").to_lowercase();
        Self {
            kind: title.replace(' ', "-"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            request_id: None,
            header: None,
        }
    }

    /// The same with a header in the response.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some(Box::new((name, value)));
        self
    }

    /// 500: nobody's business but the log's.
    pub(super) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "something is wrong with the server; its log says what, under this request_id",
        )
    }

    /// What is wrong, whoever has found it: what actix says of a request that it can't make sense of is for the client,
    /// what it says of itself is not.
    pub(super) fn of_error(error: &Error) -> Self {
        if let Some(problem) = error.as_error::<Self>() {
            return problem.clone();
        }
        // Some say their status only in their response.
        let status = error.error_response().status();
        if status.is_client_error() {
            return Self::new(status, error.to_string());
        }
        tracing::error!(%error, "a request failed");
        Self::internal()
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status_code()
    }

    pub(super) fn response(&self) -> HttpResponse {
        self.error_response()
    }

    /// The same for the request with this id.
    #[must_use]
    pub(super) fn of_request(mut self, id: &str) -> Self {
        self.request_id = Some(id.to_owned());
        self
    }

    /// 400: the request cannot be understood.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404: there is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 409: its state does not allow it.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// 422: it was understood, and cannot be right.
    pub fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// 503: not now.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        if let Some(header) = &self.header {
            response.insert_header((**header).clone());
        }
        response.content_type(MEDIA_TYPE).json(self)
    }
}

impl From<outage::Error> for Problem {
    /// A server that is away, or data that it refuses.
    fn from(error: outage::Error) -> Self {
        let status = match error {
            outage::Error::Data { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, outage::chain(&error))
    }
}

/// 413: a body of more bytes than these.
pub(super) fn too_large(limit: usize) -> Problem {
    let detail = format!("the body has more than {limit} bytes: send less at once, or raise admin.max_body");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}

/// 405: only these are.
pub(super) fn not_allowed(methods: &[&str]) -> Problem {
    let allowed = methods.join(", ");
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("use {allowed} here"));
    match HeaderValue::from_str(&allowed) {
        Ok(allowed) => problem.with_header(ALLOW, allowed),
        Err(_) => problem,
    }
}

/// A body that is not the JSON that was expected.
pub(super) fn of_json(error: &JsonPayloadError, limit: usize) -> Problem {
    match error {
        JsonPayloadError::ContentType => Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send JSON, with `Content-Type: application/json`",
        ),
        JsonPayloadError::Overflow { .. } | JsonPayloadError::OverflowKnownLength { .. } => too_large(limit),
        JsonPayloadError::Deserialize(error) => {
            Problem::bad_request(format!("the body is not as it should be: {error}"))
        }
        error => Problem::new(error.status_code(), "the body could not be read"),
    }
}

/// A query that is not the one that was expected.
pub(super) fn of_query(error: &QueryPayloadError) -> Problem {
    match error {
        QueryPayloadError::Deserialize(error) => {
            Problem::bad_request(format!("the query is not as it should be: {error}"))
        }
        _ => Problem::bad_request("the query could not be read"),
    }
}

/// A path that is not the one that was expected.
pub(super) fn of_path(error: &PathError) -> Problem {
    match error {
        PathError::Deserialize(error) => {
            Problem::bad_request(format!("the path is not as it should be: {error}"))
        }
        _ => Problem::bad_request("the path could not be read"),
    }
}
