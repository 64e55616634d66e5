//! What is asked and what comes back.

use std::time::Duration;

use bytes::Bytes;
use url::Url;

use crate::job::{ErrorCode, JobError};

/// Characters of a server's answer that are repeated in an error.
const EXCERPT_CHARS: usize = 200;

/// The methods a plan may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the methods of HTTP")]
pub enum Method {
    #[default]
    Get,
    Post,
    Put,
    Patch,
    Delete,
    Head,
}

impl Method {
    /// Reads a method in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        const ALL: [Method; 6] = [Method::Get, Method::Post, Method::Put, Method::Patch, Method::Delete, Method::Head];
        ALL.into_iter().find(|method| method.as_str().eq_ignore_ascii_case(text.trim()))
    }

    /// The method as it is sent.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Head => "HEAD",
        }
    }
}

/// One request that goes out through the policy.
#[derive(Debug, Clone)]
pub struct Request {
    /// How.
    pub method: Method,
    /// Where, as it was given: it is read and checked here.
    pub url: String,
    /// Added to the query of `url`.
    pub params: Vec<(String, String)>,
    /// Headers; those that steer the connection itself (`Host`, `Connection`, …) are refused.
    pub headers: Vec<(String, String)>,
    /// The body as it is sent.
    pub body: Option<Bytes>,
    /// For everything: name, connection, redirects and the whole answer.
    pub timeout: Duration,
    /// Largest answer in bytes, after decompression.
    pub max_bytes: usize,
}

impl Request {
    /// A GET without headers.
    #[must_use]
    pub fn get(url: impl Into<String>, timeout: Duration, max_bytes: usize) -> Self {
        Self {
            method: Method::Get,
            url: url.into(),
            params: Vec::new(),
            headers: Vec::new(),
            body: None,
            timeout,
            max_bytes,
        }
    }
}

/// A whole answer, of any status that is not a redirect.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Headers in the order they came, names in lower case; values that are not text are left out.
    pub headers: Vec<(String, String)>,
    /// The body, decompressed.
    pub body: Bytes,
    /// The `Content-Type` without its parameters, in lower case.
    pub content_type: Option<String>,
    /// Where the answer came from, after redirects.
    pub final_url: Url,
}

impl Response {
    /// The first header of that name (in lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The answer itself when its status is 2xx.
    ///
    /// # Errors
    /// `http_failed` with the status and the beginning of the body; retryable for 429 and 5xx, where a
    /// `Retry-After` in seconds is passed on.
    pub fn success(self) -> Result<Self, JobError> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let host = self.final_url.host_str().unwrap_or_default();
        let text: String = String::from_utf8_lossy(&self.body[..self.body.len().min(4 * EXCERPT_CHARS)])
            .chars()
            .take(EXCERPT_CHARS)
            .collect();
        let said = if text.trim().is_empty() { String::new() } else { format!(": {}", text.trim()) };
        let wait = self.header("retry-after").and_then(|value| value.trim().parse().ok()).map(Duration::from_secs);
        Err(JobError::new(ErrorCode::HttpFailed, format!("{host} answered {}{said}", self.status))
            .with_retryable(self.status == 429 || self.status >= 500)
            .with_detail("status", self.status)
            .with_retry_after(wait))
    }
}
