//! One request and its answer: headers, bounds, waiting where the orchestrator says so.

use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use serde_json::Value;
use url::Url;

use super::{Caller, Orchestrator, failed};
use crate::{
    job::{ErrorCode, JobError},
    net,
};

/// Characters of an error answer that are repeated.
const EXCERPT_CHARS: usize = 300;
/// Longest wait for a 429 within one attempt; beyond it the job waits in the queue instead.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// The wait where a 429 does not say how long.
const DEFAULT_WAIT: Duration = Duration::from_secs(1);

/// How a request failed.
pub(super) enum Failure {
    /// The orchestrator said no, or was never reached.
    Final(JobError),
    /// It may have done it all the same.
    Lost(JobError),
    /// It did not answer in time, and may be at it still.
    Late(JobError),
}

impl Failure {
    pub(super) fn into_error(self) -> JobError {
        match self {
            Self::Final(error) | Self::Lost(error) | Self::Late(error) => error,
        }
    }
}

struct Answer {
    status: u16,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

impl Orchestrator {
    /// Sends, waits out 429s, and reads the answer as JSON (`null` where it is empty).
    pub(super) async fn request(
        &self,
        method: &'static str,
        url: Url,
        body: Option<&Value>,
        caller: &Caller<'_>,
    ) -> Result<Value, Failure> {
        for retries_left in (0..=self.max_retries).rev() {
            let answer = self.bounded(method, &url, body, caller).await?;
            if answer.status != 429 {
                return read(method, &answer);
            }
            let wait = answer.retry_after.unwrap_or(DEFAULT_WAIT);
            let fits = wait <= MAX_WAIT && Instant::now() + wait < caller.deadline;
            if retries_left == 0 || !fits {
                return Err(Failure::Final(refused(method, &answer)));
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = caller.cancel.cancelled() => return Err(Failure::Final(cancelled())),
            }
        }
        Err(Failure::Final(failed("the orchestrator answered 429 without end".into()).with_retryable(true)))
    }

    /// One request within its own timeout and the job's.
    async fn bounded(
        &self,
        method: &'static str,
        url: &Url,
        body: Option<&Value>,
        caller: &Caller<'_>,
    ) -> Result<Answer, Failure> {
        let left = caller.deadline.saturating_duration_since(Instant::now());
        let limit = self.timeout.min(left);
        tokio::select! {
            outcome = tokio::time::timeout(limit, self.once(method, url, body, caller)) => outcome.unwrap_or_else(|_| {
                let message = format!("the orchestrator did not answer {method} within {} ms", limit.as_millis());
                Err(Failure::Late(failed(message).with_retryable(true)))
            }),
            () = caller.cancel.cancelled() => Err(Failure::Final(cancelled())),
        }
    }

    async fn once(
        &self,
        method: &'static str,
        url: &Url,
        body: Option<&Value>,
        caller: &Caller<'_>,
    ) -> Result<Answer, Failure> {
        let verb = reqwest::Method::from_bytes(method.as_bytes()).unwrap_or_default();
        let mut request = self.client.request(verb, url.clone());
        for (name, value) in &self.headers {
            request = request.header(name, value.expose_secret());
        }
        request = request.header("X-User-ID", caller.owner).header("Accept", "application/json");
        if let Some(body) = body {
            request = request
                .header("Content-Type", "application/json")
                .header("Idempotency-Key", caller.job_id)
                .body(body.to_string());
        }
        request = request.headers(net::trace_headers());
        let mut response = request.send().await.map_err(|error| lost(&error))?;
        let retry_after = response.headers().get("retry-after").and_then(|value| wait(value.to_str().ok()?));
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| lost(&error))? {
            if body.len() + chunk.len() > self.max_response_bytes {
                let message = format!(
                    "the orchestrator answered with more than {} bytes (orchestrator.max_response_bytes)",
                    self.max_response_bytes
                );
                return Err(Failure::Lost(failed(message)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, retry_after, body })
    }
}

/// `Retry-After` in seconds; a date is read too.
fn wait(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let until = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp();
    Some(Duration::try_from(until.duration_since(jiff::Timestamp::now())).unwrap_or_default())
}

fn read(method: &str, answer: &Answer) -> Result<Value, Failure> {
    match answer.status {
        200..=299 if answer.body.iter().all(u8::is_ascii_whitespace) => Ok(Value::Null),
        200..=299 => serde_json::from_slice(&answer.body).map_err(|error| {
            Failure::Lost(failed(format!("the orchestrator's answer to {method} is not JSON: {error}")))
        }),
        // A gateway that gave up; who stands behind it may not have.
        504 => Err(Failure::Late(refused(method, answer))),
        500.. => Err(Failure::Lost(refused(method, answer))),
        _ => Err(Failure::Final(refused(method, answer))),
    }
}

fn refused(method: &str, answer: &Answer) -> JobError {
    let end = answer.body.len().min(4 * EXCERPT_CHARS);
    let said: String = String::from_utf8_lossy(&answer.body[..end]).chars().take(EXCERPT_CHARS).collect();
    let said = if said.trim().is_empty() { String::new() } else { format!(": {}", said.trim()) };
    let hint = match answer.status {
        401 | 403 => " (does the job's workflow_owner own this workflow?)",
        404 => " (check workflow_tag, run_id and workflow_owner)",
        409 | 412 => " (it was changed meanwhile: ask again)",
        _ => "",
    };
    let message = format!("the orchestrator answered {method} with {}{hint}{said}", answer.status);
    let code =
        if matches!(answer.status, 409 | 412) { ErrorCode::PatchConflict } else { ErrorCode::OrchestratorFailed };
    JobError::new(code, message)
        .with_retryable(answer.status == 429 || answer.status >= 500)
        .with_detail("status", answer.status)
        .with_retry_after(answer.retry_after)
}

fn lost(error: &reqwest::Error) -> Failure {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if error.is_builder() {
        return Failure::Final(failed(format!("the request to the orchestrator cannot be made: {cause}")));
    }
    if error.is_connect() {
        // Nothing was sent, and the orchestrator may be back soon.
        return Failure::Final(failed(format!("the orchestrator cannot be reached: {cause}")).with_retryable(true));
    }
    Failure::Lost(failed(format!("the orchestrator's answer was lost: {cause}")).with_retryable(true))
}

pub(super) fn cancelled() -> JobError {
    JobError::new(ErrorCode::Cancelled, "the job was cancelled while the orchestrator was asked")
}
