//! Delivery: jobs are claimed into leases, renewed while they run, and ended exactly once.
//!
//! One trait, drivers for Redis and for a single process, one conformance suite that both pass.
//! This room knows no lane: a job is bytes with an id, and a result is bytes.

mod closing;
mod count;
mod crash;
mod letter;
mod letters;
mod memory;
mod page;
mod redis;
mod stamp;
mod types;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

pub use memory::MemoryQueue;
pub use page::{Cursor, JobPlace, LetterPlace, NoCursor, Page};
pub use redis::RedisQueue;
pub(crate) use redis::{Link, failpoint, is_away};
pub use types::{
    Approval, CancelOutcome, Claim, DeadLetter, Decision, DecisionOutcome, Delivery, End, Finished, JobFilter,
    JobState, JobView, Lease, LeaseBackend, LeaseEnd, LetterFilter, LetterRetry, QueueError, QueueStats, RetryOutcome,
    Source, Standing, StoredEvent, Submission,
};

use crate::job::{Event, Job, JobId, Owner, RawJson, Rejected};

/// Dead letters looked at in one go when those of one job are looked for.
const LETTERS: usize = 100;

/// A queue as the program holds it.
pub type SharedQueue = Arc<dyn Queue>;

/// The queue protocol.
///
/// Every method is safe to call from many tasks. An error means that the backend could not be reached or
/// refused; nothing is then half done.
#[async_trait]
pub trait Queue: Send + Sync + 'static {
    /// Takes up to `max` jobs, waiting up to the configured block time for the first one. An empty answer means
    /// that none came in that time, that the backend is away (it is asked again and again meanwhile), or that the
    /// queue was told to stop. Dropping the future loses nothing: what was claimed goes back.
    async fn claim(&self, max: usize) -> Result<Vec<Lease>, QueueError>;

    /// Ends the taking of jobs by this process, for good: a waiting [`Queue::claim`] returns at once, and so does
    /// every later one, with nothing. Jobs that were claimed before can still be ended.
    fn stop_claiming(&self);

    /// Puts a job in, at once or for later.
    async fn submit(&self, job: Submission) -> Result<(), QueueError>;

    /// Records an event of a running job. Never waits: events are buffered and written in order, before
    /// anything that ends the job.
    fn emit(&self, job_id: &JobId, event: Event);

    /// The events of a job after `after` (an event's id), waiting up to `wait` for the first.
    async fn events(&self, job_id: &JobId, after: Option<&str>, wait: Duration)
    -> Result<Vec<StoredEvent>, QueueError>;

    /// The result of a job, without consuming it, waiting up to `wait`.
    async fn result(&self, job_id: &JobId, wait: Duration) -> Result<Option<RawJson>, QueueError>;

    /// What is known of a job.
    async fn job(&self, job_id: &JobId) -> Result<Option<JobView>, QueueError>;

    /// The job of a message that has ended, read once more as it was delivered; nothing where the message was too
    /// large to keep, or its time is over.
    async fn ended_job(&self, job_id: &JobId) -> Result<Option<Result<Job, Rejected>>, QueueError>;

    /// The job of a message that has not ended, while a worker has it or it waits for its time or for a decision;
    /// nothing while it is still in line.
    async fn live_job(&self, job_id: &JobId) -> Result<Option<Result<Job, Rejected>>, QueueError>;

    /// A page of jobs, latest first: by when they came. For one page only so many are looked at, so that it costs the
    /// same however many are kept; where too few of them are wanted it is short, and goes on behind them.
    async fn jobs(&self, filter: &JobFilter) -> Result<Page<JobView, JobPlace>, QueueError>;

    /// Asks that a job be cancelled, wherever it is.
    async fn cancel(&self, job_id: &JobId) -> Result<CancelOutcome, QueueError>;

    /// Approves or rejects a job that waits for it.
    async fn decide(&self, job_id: &JobId, decision: Decision) -> Result<DecisionOutcome, QueueError>;

    /// Starts an ended job afresh; its new result takes the old one's place.
    async fn retry(&self, job_id: &JobId) -> Result<RetryOutcome, QueueError>;

    /// A page of dead letters, latest first. Those of one owner are looked for among so many for one page.
    async fn letters(&self, filter: &LetterFilter) -> Result<Page<DeadLetter, LetterPlace>, QueueError>;

    /// The latest dead letters but `skip`.
    async fn dead(&self, skip: usize, limit: usize) -> Result<Vec<DeadLetter>, QueueError> {
        Ok(self.letters(&LetterFilter { skip, limit, ..LetterFilter::default() }).await?.items)
    }

    /// Whose the dead letters are that `id` names, latest first.
    async fn dead_owners(&self, id: &str) -> Result<Vec<Option<Owner>>, QueueError> {
        let mut found = Vec::new();
        let mut filter = LetterFilter { limit: LETTERS, ..LetterFilter::default() };
        loop {
            let page = self.letters(&filter).await?;
            found.extend(page.items.iter().filter(|letter| letter.is(id)).map(DeadLetter::owner));
            match page.older {
                Some(from) => filter.from = Some(from),
                None => return Ok(found),
            }
        }
    }

    /// Puts the latest dead letter back that `id` names: the id of its job, or its own.
    async fn retry_dead(&self, id: &str) -> Result<LetterRetry, QueueError>;

    /// Throws dead letters away: those that the ids name, of jobs or of letters, or all. Returns how many.
    async fn discard_dead(&self, ids: Option<&[String]>) -> Result<u64, QueueError>;

    /// Stops or starts the taking of jobs, for the whole fleet.
    async fn set_paused(&self, paused: bool) -> Result<(), QueueError>;

    /// Numbers for people and metrics.
    async fn stats(&self) -> Result<QueueStats, QueueError>;

    /// Whether the backend answers.
    async fn ping(&self) -> Result<(), QueueError>;

    /// Stops background work after everything buffered has been written.
    async fn close(&self);
}

/// Wraps a raw message as a submission for now.
#[must_use]
pub fn immediate(job_id: JobId, raw: Bytes) -> Submission {
    Submission { job_id, raw, priority: crate::job::Priority::Normal, run_at_ms: None, delay_ms: None, owner: None }
}
