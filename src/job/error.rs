//! Stable error codes and the error that stands in a result.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{JobId, RawJson};

/// Why a job failed, as producers match on it. These names never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the documentation; docs/errors.md explains each")]
pub enum ErrorCode {
    InvalidJob,
    UnsupportedVersion,
    IntentUnclear,
    PlannerCannot,
    LlmAuth,
    LlmRateLimited,
    LlmQuota,
    LlmUnavailable,
    LlmBadOutput,
    LlmTruncated,
    LlmRefused,
    InvalidPipeline,
    PipelineFailed,
    HttpBlocked,
    HttpFailed,
    LimitExceeded,
    InvalidPatch,
    PatchConflict,
    OrchestratorFailed,
    NoAgent,
    HandoffFailed,
    LoopDetected,
    BudgetExceeded,
    Timeout,
    Cancelled,
    Internal,
}

impl ErrorCode {
    /// The code as it stands in a result.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJob => "invalid_job",
            Self::UnsupportedVersion => "unsupported_version",
            Self::IntentUnclear => "intent_unclear",
            Self::PlannerCannot => "planner_cannot",
            Self::LlmAuth => "llm_auth",
            Self::LlmRateLimited => "llm_rate_limited",
            Self::LlmQuota => "llm_quota",
            Self::LlmUnavailable => "llm_unavailable",
            Self::LlmBadOutput => "llm_bad_output",
            Self::LlmTruncated => "llm_truncated",
            Self::LlmRefused => "llm_refused",
            Self::InvalidPipeline => "invalid_pipeline",
            Self::PipelineFailed => "pipeline_failed",
            Self::HttpBlocked => "http_blocked",
            Self::HttpFailed => "http_failed",
            Self::LimitExceeded => "limit_exceeded",
            Self::InvalidPatch => "invalid_patch",
            Self::PatchConflict => "patch_conflict",
            Self::OrchestratorFailed => "orchestrator_failed",
            Self::NoAgent => "no_agent",
            Self::HandoffFailed => "handoff_failed",
            Self::LoopDetected => "loop_detected",
            Self::BudgetExceeded => "budget_exceeded",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }

    /// Whether another attempt may help, where the place of the error does not know better.
    /// `http_failed` and `orchestrator_failed` depend on the status: they are set where it is known.
    #[must_use]
    pub fn retryable(self) -> bool {
        matches!(
            self,
            Self::LlmRateLimited | Self::LlmUnavailable | Self::LlmTruncated | Self::LlmBadOutput | Self::Internal
        )
    }
}

/// The `error` of a failed result: a stable code, and a message that says what was wrong and what to do.
/// Secrets and stack traces never go into one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobError {
    /// Stable code.
    #[serde(rename = "type")]
    pub code: ErrorCode,
    /// What was wrong and what to do, in lower case.
    pub message: String,
    /// Whether the worker may try the job again.
    pub retryable: bool,
    /// The tool that failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tool: Option<String>,
    /// The pipeline step that failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub step: Option<String>,
    /// Facts for programs: `step_number`, `field`, `candidates`, `reasons` ….
    #[serde(skip_serializing_if = "Map::is_empty", default)]
    pub details: Map<String, Value>,
    /// The earliest moment another attempt makes sense, when the other side said so.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
    /// Nothing failed: a limit has no room before `retry_after`. The job is put back until then, and that is no
    /// attempt.
    #[serde(skip)]
    pub deferred: bool,
    /// What someone has to agree to before the job goes on; always deferred.
    #[serde(skip)]
    pub pending: Option<Box<RawJson>>,
}

impl JobError {
    /// An error with the code's own answer to "may another attempt help?".
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retryable: code.retryable(),
            tool: None,
            step: None,
            details: Map::new(),
            retry_after: None,
            deferred: false,
            pending: None,
        }
    }

    /// Nothing failed: the job waits until someone has agreed to `pending`, or refused. It unwinds whatever runs and
    /// goes on no record, so that the job comes by the same place again.
    #[must_use]
    pub fn parked(pending: RawJson) -> Self {
        let message = "a call waits for approval: see pending at GET /v1/jobs/{id}, and approve or reject it";
        let error = Self::new(ErrorCode::HandoffFailed, message).with_retryable(true);
        Self { deferred: true, pending: Some(Box::new(pending)), ..error }
    }

    /// Whether the job's own end came: told to stop, or out of time.
    #[must_use]
    pub fn stops(&self) -> bool {
        matches!(self.code, ErrorCode::Cancelled | ErrorCode::Timeout)
    }

    /// Says whether another attempt may help.
    #[must_use]
    pub fn with_retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
    }

    /// Names the tool.
    #[must_use]
    pub fn with_tool(mut self, tool: impl Into<String>) -> Self {
        self.tool = Some(tool.into());
        self
    }

    /// Names the pipeline step.
    #[must_use]
    pub fn with_step(mut self, step: impl Into<String>) -> Self {
        self.step = Some(step.into());
        self
    }

    /// Adds a fact for programs.
    #[must_use]
    pub fn with_detail(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.to_owned(), value.into());
        self
    }

    /// Says when another attempt makes sense.
    #[must_use]
    pub fn with_retry_after(mut self, after: Option<Duration>) -> Self {
        self.retry_after = after;
        self
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl std::error::Error for JobError {}

/// A message that cannot become a job. With an id there is someone to answer: they get `error` as a
/// failed result. Without one it goes to the dead letters.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejected {
    /// The id, where it could be read.
    pub job_id: Option<JobId>,
    /// The run it belongs to, where it could be read.
    pub run_id: Option<String>,
    /// The node it belongs to, where it could be read.
    pub node_id: Option<String>,
    /// What is wrong.
    pub error: JobError,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_same_name_in_rust_and_on_the_wire() {
        for code in [ErrorCode::InvalidJob, ErrorCode::LlmRateLimited, ErrorCode::Internal] {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }

    #[test]
    fn an_error_shows_only_what_it_has() {
        let error = JobError::new(ErrorCode::HttpFailed, "503 from a.b").with_retryable(true);
        assert_eq!(
            serde_json::to_string(&error).unwrap(),
            r#"{"type":"http_failed","message":"503 from a.b","retryable":true}"#
        );
    }
}
