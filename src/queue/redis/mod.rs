//! The queue in Redis: a leased consumer for lists that others push raw JSON into.
//!
//! `docs/queue.md` describes the protocol and its keys.

mod address;
mod admin;
mod at_once;
mod bell;
mod checks;
mod claim;
mod connect;
mod core;
mod dump;
mod envelope;
pub(crate) mod failpoint;
mod finish;
mod held;
mod keys;
mod link;
mod lists;
mod read;
mod records;
mod renew;
mod scripts;
mod stages;
mod stats;
mod stream;
mod sweep;

use std::{sync::Arc, time::Duration};

use ::redis::cmd;
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

pub(crate) use self::link::{Link, is_away};
use self::{connect::Connector, core::Core, finish::Queued};
use super::{
    CancelOutcome, DeadLetter, Decision, DecisionOutcome, JobFilter, JobPlace, JobView, Lease, LetterFilter,
    LetterPlace, LetterRetry, Page, Queue, QueueError, QueueStats, RetryOutcome, StoredEvent, Submission, letters,
};
use crate::{
    job::{Event, Job, JobId, RawJson, Rejected},
    settings::Settings,
};

/// How long [`Queue::close`] waits for Redis to take what is left.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// The queue in Redis.
pub struct RedisQueue {
    core: Arc<Core>,
    flusher: Mutex<Option<JoinHandle<()>>>,
}

impl RedisQueue {
    /// Connects to `redis.url`, checks the server and starts the background work: flusher, renewal thread,
    /// sweeper, listener and one doorbell per list. Fails when Redis cannot be reached or must not be used.
    pub async fn connect(settings: &Settings) -> Result<Arc<Self>, QueueError> {
        let core = Arc::new(Core::new(settings, Connector::new(&settings.redis)?));
        checks::run(&core).await?;
        for keys in &core.names.intakes {
            match &keys.stream {
                Some(stream) => tracing::info!(stream = %keys.name, group = stream.group, "tokens are read"),
                None => {
                    tracing::info!(list = %keys.name, pop_side = ?core.config.pop_side, "jobs are taken from this end");
                }
            }
        }
        renew::start(core.clone())?;
        let flusher = tokio::spawn(finish::flush(core.clone()));
        core.tasks.spawn(sweep::sweep(core.clone()));
        core.tasks.spawn(bell::listen(core.clone()));
        for intake in 0..core.names.intakes.len() {
            core.tasks.spawn(bell::doorbell(core.clone(), intake));
        }
        Ok(Arc::new(Self { core, flusher: Mutex::new(Some(flusher)) }))
    }
}

impl Drop for RedisQueue {
    fn drop(&mut self) {
        self.core.stop.cancel();
        self.core.renewals_over.cancel();
        self.core.flusher.close();
    }
}

#[async_trait]
impl Queue for RedisQueue {
    async fn claim(&self, max: usize) -> Result<Vec<Lease>, QueueError> {
        claim::claim(&self.core, max).await
    }

    fn stop_claiming(&self) {
        self.core.claims_over.cancel();
    }

    async fn submit(&self, job: Submission) -> Result<(), QueueError> {
        self.core.submit(job).await
    }

    fn emit(&self, job_id: &JobId, event: Event) {
        self.core.flusher.emit(Queued::new(job_id, event));
    }

    async fn events(
        &self,
        job_id: &JobId,
        after: Option<&str>,
        wait: Duration,
    ) -> Result<Vec<StoredEvent>, QueueError> {
        self.core.events(job_id, after, wait).await
    }

    async fn result(&self, job_id: &JobId, wait: Duration) -> Result<Option<RawJson>, QueueError> {
        self.core.result(job_id, wait).await
    }

    async fn job(&self, job_id: &JobId) -> Result<Option<JobView>, QueueError> {
        self.core.view(job_id).await
    }

    async fn ended_job(&self, job_id: &JobId) -> Result<Option<Result<Job, Rejected>>, QueueError> {
        self.core.ended_job(job_id).await
    }

    async fn live_job(&self, job_id: &JobId) -> Result<Option<Result<Job, Rejected>>, QueueError> {
        self.core.live_job(job_id).await
    }

    async fn jobs(&self, filter: &JobFilter) -> Result<Page<JobView, JobPlace>, QueueError> {
        self.core.views(filter).await
    }

    async fn cancel(&self, job_id: &JobId) -> Result<CancelOutcome, QueueError> {
        self.core.cancel(job_id).await
    }

    async fn decide(&self, job_id: &JobId, decision: Decision) -> Result<DecisionOutcome, QueueError> {
        self.core.decide(job_id, decision).await
    }

    async fn retry(&self, job_id: &JobId) -> Result<RetryOutcome, QueueError> {
        self.core.retry(job_id).await
    }

    async fn letters(&self, filter: &LetterFilter) -> Result<Page<DeadLetter, LetterPlace>, QueueError> {
        letters::page(&*self.core, filter).await
    }

    async fn retry_dead(&self, id: &str) -> Result<LetterRetry, QueueError> {
        self.core.retry_dead(id).await
    }

    async fn discard_dead(&self, ids: Option<&[String]>) -> Result<u64, QueueError> {
        self.core.discard_dead(ids).await
    }

    async fn set_paused(&self, paused: bool) -> Result<(), QueueError> {
        self.core.set_paused(paused).await
    }

    async fn stats(&self) -> Result<QueueStats, QueueError> {
        self.core.stats().await
    }

    async fn ping(&self) -> Result<(), QueueError> {
        self.core.work.one(cmd("PING")).await?;
        Ok(())
    }

    async fn close(&self) {
        self.core.stop.cancel();
        self.core.tasks.close();
        let core = &self.core;
        let flusher = self.flusher.lock().take();
        let written = async {
            core.tasks.wait().await;
            core.flusher.close();
            if let Some(flusher) = flusher {
                // An error here is a panic of the flusher, which has been reported already.
                let _ = flusher.await;
            }
        };
        if tokio::time::timeout(CLOSE_PATIENCE, written).await.is_err() {
            tracing::warn!("redis is away: what was not written yet is delivered again by other workers");
        }
        self.core.renewals_over.cancel();
    }
}
