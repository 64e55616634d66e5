//! Errors as RFC 9457 problem documents.

use std::time::Duration;

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use crate::{
    job::{JobError, Rejected},
    queue::QueueError,
};

/// An answer that says what was wrong and what to do: `application/problem+json`.
///
/// Beside the members of RFC 9457 it has `code`, a stable word that programs match on, and `details`.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    details: Option<Box<Map<String, Value>>>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem with a stable `code` and a `detail` in lower case.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), details: None, header: None }
    }

    /// 400 with the code `bad_request`.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    /// 404 with the code `not_found`.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// 409 with the code `conflict`.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", detail)
    }

    /// 503: the store failed. What it said may hold addresses: it goes to the log, not to the client.
    pub fn store_unavailable(error: &str) -> Self {
        tracing::warn!(error, "the store could not answer a request");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "store_unavailable",
            "the store cannot be reached right now: try again shortly",
        )
        .with_header(header::RETRY_AFTER, "2")
    }

    /// The status it is sent with.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What was wrong and what to do.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Adds the one header that the status asks for: a challenge, or when to try again.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.header = Some((name, HeaderValue::from_static(value)));
        self
    }

    /// Says after what time to try again, in whole seconds.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        let secs = wait.as_millis().div_ceil(1000).max(1);
        self.header = HeaderValue::from_str(&secs.to_string()).ok().map(|value| (header::RETRY_AFTER, value));
        self
    }

    /// The job's own error, as 400.
    pub fn of_job(error: JobError) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: error.code.as_str(),
            detail: error.message,
            details: (!error.details.is_empty()).then(|| Box::new(error.details)),
            header: None,
        }
    }
}

impl From<Rejected> for Problem {
    fn from(rejected: Rejected) -> Self {
        Self::of_job(rejected.error)
    }
}

impl From<QueueError> for Problem {
    fn from(error: QueueError) -> Self {
        // What the backend said may hold addresses: it goes to the log, not to the client.
        tracing::warn!(%error, "the queue could not answer a request");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "queue_unavailable",
            "the queue cannot be reached right now: try again shortly",
        )
        .with_header(header::RETRY_AFTER, "2")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": format!("urn:agent-runner:problem:{}", self.code),
            "title": self.status.canonical_reason().unwrap_or("error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
        });
        if let Some(details) = self.details {
            body["details"] = Value::Object(*details);
        }
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some((name, value)) = self.header {
            headers.insert(name, value);
        }
        response
    }
}
