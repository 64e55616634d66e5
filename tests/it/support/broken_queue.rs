//! A queue whose backend is gone: every call fails, as when Redis cannot be reached.

use std::{sync::Arc, time::Duration};

use agent_runner::{
    job::{Event, Job, JobId, RawJson, Rejected},
    queue::{
        CancelOutcome, DeadLetter, Decision, DecisionOutcome, JobFilter, JobPlace, JobView, Lease, LetterFilter,
        LetterPlace, LetterRetry, Page, Queue, QueueError, QueueStats, RetryOutcome, SharedQueue, StoredEvent,
        Submission,
    },
};

struct BrokenQueue {
    lists_hang: bool,
}

/// A queue that cannot be reached. Its error names an address, which no client may see.
pub fn broken_queue() -> SharedQueue {
    Arc::new(BrokenQueue { lists_hang: false })
}

/// A queue whose lists never come.
pub fn slow_queue() -> SharedQueue {
    Arc::new(BrokenQueue { lists_hang: true })
}

fn gone<T>() -> Result<T, QueueError> {
    Err(QueueError("connection to secret-host:6379 refused".into()))
}

#[async_trait::async_trait]
impl Queue for BrokenQueue {
    fn stop_claiming(&self) {}

    async fn claim(&self, _: usize) -> Result<Vec<Lease>, QueueError> {
        gone()
    }
    async fn submit(&self, _: Submission) -> Result<(), QueueError> {
        gone()
    }
    fn emit(&self, _: &JobId, _: Event) {}
    async fn events(&self, _: &JobId, _: Option<&str>, _: Duration) -> Result<Vec<StoredEvent>, QueueError> {
        gone()
    }
    async fn result(&self, _: &JobId, _: Duration) -> Result<Option<RawJson>, QueueError> {
        gone()
    }
    async fn job(&self, _: &JobId) -> Result<Option<JobView>, QueueError> {
        gone()
    }
    async fn ended_job(&self, _: &JobId) -> Result<Option<Result<Job, Rejected>>, QueueError> {
        gone()
    }
    async fn live_job(&self, _: &JobId) -> Result<Option<Result<Job, Rejected>>, QueueError> {
        gone()
    }
    async fn jobs(&self, _: &JobFilter) -> Result<Page<JobView, JobPlace>, QueueError> {
        if self.lists_hang {
            std::future::pending::<()>().await;
        }
        gone()
    }
    async fn cancel(&self, _: &JobId) -> Result<CancelOutcome, QueueError> {
        gone()
    }
    async fn decide(&self, _: &JobId, _: Decision) -> Result<DecisionOutcome, QueueError> {
        gone()
    }
    async fn retry(&self, _: &JobId) -> Result<RetryOutcome, QueueError> {
        gone()
    }
    async fn letters(&self, _: &LetterFilter) -> Result<Page<DeadLetter, LetterPlace>, QueueError> {
        if self.lists_hang {
            std::future::pending::<()>().await;
        }
        gone()
    }
    async fn retry_dead(&self, _: &str) -> Result<LetterRetry, QueueError> {
        gone()
    }
    async fn discard_dead(&self, _: Option<&[String]>) -> Result<u64, QueueError> {
        gone()
    }
    async fn set_paused(&self, _: bool) -> Result<(), QueueError> {
        gone()
    }
    async fn stats(&self) -> Result<QueueStats, QueueError> {
        gone()
    }
    async fn ping(&self) -> Result<(), QueueError> {
        gone()
    }
    async fn close(&self) {}
}
