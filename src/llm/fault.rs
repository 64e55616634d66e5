//! What can go wrong with one request, and what follows from each kind: one table.

use std::time::Duration;

use super::quirks::Field;
use crate::job::{ErrorCode, JobError, ToolCallRecord};

/// The kinds of failure. What is done about one is decided by its row in [`Kind::row`], nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The key is missing, wrong or not allowed to.
    Auth,
    /// Too many requests or tokens just now.
    RateLimited,
    /// The account is out of money or allowance.
    Quota,
    /// The conversation does not fit the model.
    ContextTooLong,
    /// Not reachable, overloaded, or silent for too long.
    Unavailable,
    /// Reachable, but not a model server at that address, or without that model.
    Misconfigured,
    /// The server or the model will not do this.
    Refused,
    /// The server does not know one field of the request.
    FieldRefused(Field),
    /// An answer that cannot be read, or holds nothing.
    BadOutput,
    /// An answer beyond our bounds.
    TooLarge,
    /// The connection ended before the answer did.
    Cut,
    /// The model ran into its token limit.
    OutOfTokens,
    /// The job's time is over.
    Timeout,
    /// The job was cancelled.
    Cancelled,
    /// The job's budget is used up.
    OverBudget,
    /// Dollars are bounded, and nobody knows what the model costs.
    Unpriced,
}

/// What follows from a kind.
struct Row {
    code: ErrorCode,
    /// The same request may be sent again by this client.
    retry: bool,
    /// Another model may do better.
    fallback: bool,
    /// It speaks against the endpoint, for the circuit breaker.
    trips: bool,
}

impl Kind {
    #[rustfmt::skip]
    fn row(self) -> Row {
        use ErrorCode as E;
        let (code, retry, fallback, trips) = match self {
            Self::Auth            => (E::LlmAuth,        false, true,  false),
            Self::RateLimited     => (E::LlmRateLimited, true,  true,  false),
            Self::Quota           => (E::LlmQuota,       false, true,  false),
            Self::ContextTooLong  => (E::LimitExceeded,  false, true,  false),
            Self::Unavailable     => (E::LlmUnavailable, true,  true,  true),
            Self::Misconfigured   => (E::LlmUnavailable, false, true,  false),
            Self::Refused         => (E::LlmRefused,     false, false, false),
            Self::FieldRefused(_) => (E::LlmRefused,     false, false, false),
            Self::BadOutput       => (E::LlmBadOutput,   true,  true,  false),
            Self::TooLarge        => (E::LlmBadOutput,   false, false, false),
            Self::Cut             => (E::LlmTruncated,   true,  true,  true),
            Self::OutOfTokens     => (E::LlmTruncated,   false, false, false),
            Self::Timeout         => (E::Timeout,        false, false, false),
            Self::Cancelled       => (E::Cancelled,      false, false, false),
            Self::OverBudget      => (E::BudgetExceeded, false, false, false),
            Self::Unpriced        => (E::BudgetExceeded, false, true,  false),
        };
        Row { code, retry, fallback, trips }
    }
}

/// One failure.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    /// What was wrong and what to do. Holds no key and no address beyond the host.
    pub(super) message: String,
    /// The wait that was asked for, by the server or by ourselves.
    pub(super) wait: Option<Duration>,
    /// `x-should-retry`, which wins over the kind.
    pub(super) should_retry: Option<bool>,
    /// Nothing failed: it is only too early, and too long to wait for here.
    pub(super) defers: bool,
    /// The tool call that could not be read.
    pub(super) unreadable: Option<Box<ToolCallRecord>>,
}

impl Fault {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), wait: None, should_retry: None, defers: false, unreadable: None }
    }

    pub(super) fn code(&self) -> ErrorCode {
        self.kind.row().code
    }

    /// Whether this client may send the request again.
    pub(super) fn retries(&self) -> bool {
        let final_for_the_job =
            matches!(self.kind, Kind::Timeout | Kind::Cancelled | Kind::OverBudget | Kind::Unpriced);
        if final_for_the_job { false } else { self.should_retry.unwrap_or(self.kind.row().retry) }
    }

    /// The same, where nothing but time is missing: the job is put back for the stated wait, if it has so much left.
    pub(super) fn put_off(self, left: Duration) -> Self {
        let defers = self.wait.is_some_and(|wait| wait < left) && self.retries();
        Self { defers, ..self }
    }

    /// Whether another model may be asked.
    pub(super) fn falls_back(&self) -> bool {
        self.kind.row().fallback
    }

    /// Whether it counts against the endpoint.
    pub(super) fn trips_breaker(&self) -> bool {
        self.kind.row().trips
    }

    /// As a job fails with it.
    pub(super) fn into_job_error(self) -> JobError {
        let code = self.code();
        // Where the code is retryable in general but this kind can never pass, the job is not tried again.
        let in_vain = matches!(self.kind, Kind::Misconfigured | Kind::TooLarge);
        let retryable = code.retryable() && !in_vain;
        let error = JobError::new(code, self.message).with_retryable(retryable).with_retry_after(self.wait);
        JobError { deferred: self.defers, ..error }
    }
}

impl From<JobError> for Fault {
    /// A refusal of the job's meter, or of its owner's allowance.
    fn from(error: JobError) -> Self {
        Self { wait: error.retry_after, defers: error.deferred, ..Self::new(Kind::OverBudget, error.message) }
    }
}
