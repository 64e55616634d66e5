//! What crosses the border of this room.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Cursor, JobPlace, LetterPlace};
use crate::job::{Event, Job, JobError, JobId, Owner, Priority, RawJson, Rejected};

/// The backend could not be reached, or refused.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct QueueError(pub String);

/// Where a job came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A Redis list, by name.
    List(Arc<str>),
    /// The Redis stream of an orchestrator.
    Stream,
    /// This process.
    Local,
}

/// Whether a claimed job may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Runnable,
    /// Its result stands already, or another delivery of the same id is running: end with [`End::Duplicate`].
    Duplicate,
    /// Someone cancelled it before it was taken.
    Cancelled,
}

/// An answer to a job that waited for approval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    /// Approved or rejected.
    pub approved: bool,
    /// What the job had left when it was parked.
    pub pending: RawJson,
}

/// A job as it was taken from the queue.
#[derive(Debug)]
pub struct Delivery {
    /// The message as received.
    pub raw: Bytes,
    /// The job in it.
    pub job: Result<Job, Rejected>,
    /// Where it came from.
    pub source: Source,
    /// Whether it may run.
    pub standing: Standing,
    /// This delivery's number, from 1; deliveries that ended in a crash or a hand-back are not counted.
    pub attempt: u32,
    /// How many workers died over it.
    pub crashes: u32,
    /// From when it could be taken until it was.
    pub queue_time: Duration,
    /// Set when it waited for approval and was decided.
    pub approval: Option<Approval>,
}

/// Why a lease ended under a running job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseEnd {
    /// It ran out or another worker has it: nothing may be published.
    Lost,
    /// Someone cancelled the job: end it with a `cancelled` result.
    Cancelled,
}

/// A claimed job. Ended by [`Lease::finish`], once; a lease that is dropped runs out and is delivered again.
pub struct Lease {
    /// What was taken.
    pub delivery: Delivery,
    backend: Arc<dyn LeaseBackend>,
    claim: String,
    stop: CancellationToken,
    why: Arc<OnceLock<LeaseEnd>>,
}

/// How a driver ends leases.
#[async_trait]
pub trait LeaseBackend: Send + Sync + 'static {
    /// Ends the claim `claim` of `delivery`.
    async fn finish(&self, claim: &str, delivery: &Delivery, end: End) -> Result<Finished, QueueError>;

    /// Whether the backend itself knows of `claim` now.
    async fn holds(&self, claim: &str) -> Result<bool, QueueError>;
}

/// What a lease rests on, for asking whether it still stands.
#[derive(Clone)]
pub struct Claim {
    backend: Arc<dyn LeaseBackend>,
    name: String,
}

impl Claim {
    /// Whether it stands now, by the backend's own word: one that lost its last writes may have given the job to
    /// somebody else long before the lease is over.
    pub async fn stands(&self) -> Result<bool, QueueError> {
        self.backend.holds(&self.name).await
    }
}

impl Lease {
    /// For drivers: a lease on `delivery`. Setting `why` and then firing `stop` tells the job to stop.
    #[must_use]
    pub fn new(
        delivery: Delivery,
        backend: Arc<dyn LeaseBackend>,
        claim: String,
        stop: CancellationToken,
        why: Arc<OnceLock<LeaseEnd>>,
    ) -> Self {
        Self { delivery, backend, claim, stop, why }
    }

    /// Fires when the job must stop; [`Lease::ended`] then says why.
    #[must_use]
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Why the job must stop, if it must.
    #[must_use]
    pub fn ended(&self) -> Option<LeaseEnd> {
        self.why.get().copied()
    }

    /// What it rests on.
    #[must_use]
    pub fn claim(&self) -> Claim {
        Claim { backend: self.backend.clone(), name: self.claim.clone() }
    }

    /// Ends the lease. The queue checks that the claim still holds, writes what `end` asks for so that it
    /// happens once whoever tries, and acknowledges. While the backend is away the call waits.
    pub async fn finish(self, end: End) -> Result<Finished, QueueError> {
        self.backend.finish(&self.claim, &self.delivery, end).await
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("claim", &self.claim).finish_non_exhaustive()
    }
}

/// How a delivery ends.
#[derive(Debug, Clone)]
pub enum End {
    /// With the one result.
    Result {
        /// The result document.
        result: RawJson,
        /// `completed`, `failed` or `cancelled`.
        status: crate::job::Status,
        /// The lane that ran, for the job list.
        lane: Option<crate::job::Lane>,
        /// The closing event.
        event: Event,
        /// The completion signal, where one is wanted.
        signal: Option<RawJson>,
        /// Set when the job has also to be kept as a dead letter.
        dead: Option<JobError>,
    },
    /// With another attempt after a wait.
    Retry {
        /// How long to wait.
        after: Duration,
        /// Why this attempt failed.
        error: JobError,
    },
    /// Put off, as if it had not been taken until then: a limit has no room for it. No attempt is counted.
    Defer {
        /// How long.
        after: Duration,
    },
    /// As a dead letter without a result: nobody could be told.
    Dead {
        /// Why.
        error: JobError,
    },
    /// Nothing: its result stands already.
    Duplicate,
    /// Back to the head of the queue, as if it had not been taken.
    HandBack,
    /// Aside, holding no worker, until someone decides.
    Park {
        /// Shown to whoever decides and given back with the decision.
        pending: RawJson,
        /// The event that says so.
        event: Event,
    },
}

/// What became of a finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// Done as asked.
    Done,
    /// A result stood already; ours was dropped and the job acknowledged.
    Superseded,
    /// The claim no longer held: nothing was written.
    Lost,
}

/// A job to put in.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "plain words")]
pub struct Submission {
    pub job_id: JobId,
    pub raw: Bytes,
    pub priority: Priority,
    pub run_at_ms: Option<u64>,
    pub delay_ms: Option<u64>,
    pub owner: Option<Owner>,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "plain words")]
pub enum JobState {
    /// Not in anybody's hands: in line, or put off until [`JobView::due_at`].
    Queued,
    Running,
    AwaitingApproval,
    Completed,
    Failed,
    Cancelled,
}

impl JobState {
    /// All, in the order of a job's life.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Running, Self::AwaitingApproval, Self::Completed, Self::Failed, Self::Cancelled];

    /// Whether the job has its result.
    #[must_use]
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What is known of a job. Times are RFC 3339, UTC.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names are the contract's; docs/protocol.md explains each")]
pub struct JobView {
    pub job_id: JobId,
    pub state: JobState,
    pub lane: Option<String>,
    pub attempts: u32,
    pub created_at: Option<String>,
    /// Set while it is queued for later: asked for by its producer, or put off for another attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<String>,
    /// The whole result document of a job that ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<RawJson>,
    /// Whose it is, for deciding who may see it.
    #[serde(skip)]
    pub owner: Option<Owner>,
}

/// Which jobs are wanted.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Only those in this state.
    pub state: Option<JobState>,
    /// Only those that are queued for later.
    pub scheduled: bool,
    /// Only those that went this way.
    pub lane: Option<String>,
    /// Only those with this text in their id or in the message of their error; empty: all.
    pub text: String,
    /// At most so many.
    pub limit: usize,
    /// Only those of this owner.
    pub owner: Option<Owner>,
    /// From here on; nothing: from the latest on.
    pub from: Option<Cursor<JobPlace>>,
}

impl JobFilter {
    /// What a list can be narrowed to: the states of a job, and `scheduled`, those that are queued for later.
    pub const STATUSES: [&str; 7] =
        ["queued", "scheduled", "running", "awaiting_approval", "completed", "failed", "cancelled"];

    /// The same for one of [`Self::STATUSES`] only; nothing where `word` is none.
    #[must_use]
    pub fn of_status(self, word: &str) -> Option<Self> {
        if word == "scheduled" {
            return Some(Self { state: Some(JobState::Queued), scheduled: true, ..self });
        }
        let state = JobState::ALL.into_iter().find(|state| state.as_str() == word)?;
        Some(Self { state: Some(state), scheduled: false, ..self })
    }

    /// Whether a job is wanted.
    #[must_use]
    pub fn takes(&self, job: &JobView) -> bool {
        let said = || job.error.as_ref().and_then(|error| error.get("message")?.as_str()).unwrap_or_default();
        self.state.is_none_or(|state| state == job.state)
            && (!self.scheduled || job.due_at.is_some())
            && self.lane.as_ref().is_none_or(|lane| job.lane.as_ref() == Some(lane))
            && self.owner.as_ref().is_none_or(|owner| job.owner.as_ref() == Some(owner))
            && (self.text.is_empty() || job.job_id.as_str().contains(&self.text) || said().contains(&self.text))
    }
}

/// How a request to cancel went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "plain words")]
pub enum CancelOutcome {
    Accepted,
    AlreadyEnded,
    Unknown,
}

/// What someone decided about a parked job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "plain words")]
pub enum Decision {
    Approve,
    Reject,
}

/// How a decision went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "plain words")]
pub enum DecisionOutcome {
    Accepted,
    NotWaiting,
    Unknown,
}

/// How a request to start a job afresh went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "plain words")]
pub enum RetryOutcome {
    Accepted,
    /// It has not ended yet.
    NotEnded,
    Unknown,
}

/// Which dead letters are wanted.
#[derive(Debug, Clone, Default)]
pub struct LetterFilter {
    /// Only those of this owner.
    pub owner: Option<Owner>,
    /// From here on; nothing: from the latest on.
    pub from: Option<Cursor<LetterPlace>>,
    /// So many of the latest that are wanted are left out, where there is no place to begin at.
    pub skip: usize,
    /// At most so many.
    pub limit: usize,
}

/// How a request to put a dead letter back went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LetterRetry {
    /// It is in the queue again, as the message of this job where that much can be read.
    Accepted(Option<JobId>),
    /// There is none.
    Unknown,
}

/// A dead letter as it stands in Redis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the contract's; docs/protocol.md explains each")]
pub struct DeadLetter {
    /// Made of the letter's text, and no part of it.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub letter_id: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub raw: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub raw_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub workflow_owner: Option<String>,
    /// The list or stream it came from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<String>,
    pub error: JobError,
    pub attempts: u32,
    pub crashes: u32,
    pub failed_at: String,
}

/// Numbers of the whole queue. Times in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "plain words")]
pub struct QueueStats {
    pub pending: u64,
    pub ready: u64,
    pub scheduled: u64,
    pub in_flight: u64,
    pub awaiting_approval: u64,
    pub dead: u64,
    pub oldest_age_ms: u64,
    pub paused: bool,
}

/// An event as it was recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    /// Its place in the job's stream; later events have greater ids.
    pub id: String,
    /// What happened.
    pub event: String,
    /// A JSON object with `job_id`, `at` and what fits.
    pub data: RawJson,
}
