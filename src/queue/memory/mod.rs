//! The queue inside one process: the same protocol without Redis, for trying everything out and for `run`.
//!
//! Everything is bounded and gone with the process.

mod finish;
mod state;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use self::state::{Message, State};
use super::{
    CancelOutcome, DeadLetter, Decision, DecisionOutcome, JobFilter, JobPlace, JobState, JobView, Lease, LeaseBackend,
    LeaseEnd, LetterFilter, LetterPlace, LetterRetry, Page, Queue, QueueError, QueueStats, RetryOutcome, StoredEvent,
    Submission,
    letters::{self, Letters},
};
use crate::{
    job::{Event, EventKind, Job, JobId, JobLimits, Priority, RawJson, Rejected},
    settings::Settings,
};

/// The queue inside one process.
pub struct MemoryQueue {
    shared: Arc<Shared>,
}

struct Shared {
    limits: JobLimits,
    block: Duration,
    max_crashes: u32,
    max_dead: usize,
    events_max_len: usize,
    signals: bool,
    state: Mutex<State>,
    /// There may be something to claim.
    jobs: Notify,
    /// Something was recorded: an event or a result.
    news: Notify,
    /// Nothing more is taken.
    claims_over: CancellationToken,
}

impl MemoryQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(settings: &Settings) -> Arc<Self> {
        let shared = Shared {
            limits: settings.job_limits(),
            block: Duration::from_secs(settings.queue.block_secs),
            max_crashes: settings.queue.max_crashes,
            max_dead: settings.queue.max_dead,
            events_max_len: settings.results.events_max_len,
            signals: settings.queue.signal_completion,
            state: Mutex::default(),
            jobs: Notify::new(),
            news: Notify::new(),
            claims_over: CancellationToken::new(),
        };
        Arc::new(Self { shared: Arc::new(shared) })
    }

    /// Puts a raw message in, as a producer does that pushes to the list: nothing about it is known before it
    /// is taken.
    pub fn push(&self, message: impl Into<Bytes>) -> Result<(), QueueError> {
        self.shared.state.lock().push(Message::fresh(message.into()), Priority::Normal)?;
        self.shared.jobs.notify_waiters();
        Ok(())
    }
}

impl Shared {
    /// Waits for `news` until `look` has an answer or the time is over.
    async fn wait_for<T>(&self, wait: Duration, mut look: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + wait;
        loop {
            // Armed before looking.
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if let Some(found) = look(&mut self.state.lock()) {
                return Some(found);
            }
            if tokio::time::timeout_at(deadline, news).await.is_err() {
                return look(&mut self.state.lock());
            }
        }
    }

    fn record(&self, job_id: &JobId, event: Event) {
        self.state.lock().record(job_id, event, self.events_max_len);
        self.news.notify_waiters();
    }

    fn requeue(&self, job_id: &JobId, message: Bytes) -> Result<(), QueueError> {
        let owner = Job::parse(&message, &self.limits).ok().and_then(|job| job.owner());
        let mut state = self.state.lock();
        state.forget(job_id);
        state.enlist(job_id, JobState::Queued);
        state.own(job_id, owner);
        state.push(Message { waited: true, ..Message::fresh(message) }, Priority::Normal)?;
        state.record(job_id, Event::new(EventKind::Queued), self.events_max_len);
        drop(state);
        self.jobs.notify_waiters();
        Ok(())
    }
}

#[async_trait]
impl Letters for Shared {
    fn lists(&self) -> usize {
        1
    }

    async fn length(&self, _: usize) -> Result<usize, QueueError> {
        Ok(self.state.lock().dead.len())
    }

    async fn slice(&self, _: usize, most: usize, least: usize) -> Result<Vec<(usize, DeadLetter)>, QueueError> {
        Ok(self.state.lock().slice(most, least))
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn claim(&self, max: usize) -> Result<Vec<Lease>, QueueError> {
        let shared = &self.shared;
        let deadline = Instant::now() + shared.block;
        while !shared.claims_over.is_cancelled() {
            let rung = shared.jobs.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            let (taken, due) = {
                let mut state = shared.state.lock();
                let crashed = state.reclaim(shared.max_crashes);
                for message in crashed {
                    shared.end_crashed(&mut state, message);
                }
                (state.take(max, &shared.limits), state.next_due())
            };
            let leases: Vec<Lease> =
                taken.into_iter().map(|taken| taken.into_lease(shared.clone() as Arc<dyn LeaseBackend>)).collect();
            if !leases.is_empty() || Instant::now() >= deadline {
                return Ok(leases);
            }
            let until = due.map_or(deadline, |due| due.min(deadline));
            tokio::select! {
                () = rung => {}
                () = shared.claims_over.cancelled() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
        Ok(Vec::new())
    }

    fn stop_claiming(&self) {
        self.shared.claims_over.cancel();
    }

    async fn submit(&self, job: Submission) -> Result<(), QueueError> {
        let mut state = self.shared.state.lock();
        let message = Message { waited: true, ..Message::fresh(job.raw) };
        let wait = match (job.run_at_ms, job.delay_ms) {
            (Some(at), _) => at.saturating_sub(super::stamp::now_ms()),
            (None, delay) => delay.unwrap_or(0),
        };
        if wait > 0 {
            state.delay(Some(&job.job_id), message, Duration::from_millis(wait))?;
        } else {
            state.push(message, job.priority)?;
            state.enlist(&job.job_id, JobState::Queued);
        }
        state.own(&job.job_id, job.owner);
        state.record(&job.job_id, Event::new(EventKind::Queued), self.shared.events_max_len);
        drop(state);
        self.shared.news.notify_waiters();
        self.shared.jobs.notify_waiters();
        Ok(())
    }

    fn emit(&self, job_id: &JobId, event: Event) {
        self.shared.record(job_id, event);
    }

    async fn events(
        &self,
        job_id: &JobId,
        after: Option<&str>,
        wait: Duration,
    ) -> Result<Vec<StoredEvent>, QueueError> {
        let look = |state: &mut State| Some(state.events_after(job_id, after)).filter(|events| !events.is_empty());
        Ok(self.shared.wait_for(wait, look).await.unwrap_or_default())
    }

    async fn result(&self, job_id: &JobId, wait: Duration) -> Result<Option<RawJson>, QueueError> {
        let look = |state: &mut State| state.closing(job_id).map(|closing| closing.result.clone());
        Ok(self.shared.wait_for(wait, look).await)
    }

    async fn job(&self, job_id: &JobId) -> Result<Option<JobView>, QueueError> {
        Ok(self.shared.state.lock().view(job_id, true))
    }

    async fn ended_job(&self, job_id: &JobId) -> Result<Option<Result<Job, Rejected>>, QueueError> {
        let message = self.shared.state.lock().closing(job_id).and_then(|closing| closing.message.clone());
        Ok(message.map(|message| Job::parse(&message, &self.shared.limits)))
    }

    async fn live_job(&self, job_id: &JobId) -> Result<Option<Result<Job, Rejected>>, QueueError> {
        let message = self.shared.state.lock().held_message(job_id);
        Ok(message.map(|message| Job::parse(&message, &self.shared.limits)))
    }

    async fn jobs(&self, filter: &JobFilter) -> Result<Page<JobView, JobPlace>, QueueError> {
        Ok(self.shared.state.lock().views(filter))
    }

    async fn cancel(&self, job_id: &JobId) -> Result<CancelOutcome, QueueError> {
        let mut state = self.shared.state.lock();
        if state.closing(job_id).is_some() {
            return Ok(CancelOutcome::AlreadyEnded);
        }
        if !state.cancel(job_id) {
            return Ok(CancelOutcome::Unknown);
        }
        drop(state);
        self.shared.jobs.notify_waiters();
        Ok(CancelOutcome::Accepted)
    }

    async fn decide(&self, job_id: &JobId, decision: Decision) -> Result<DecisionOutcome, QueueError> {
        let outcome = self.shared.state.lock().decide(job_id, decision == Decision::Approve);
        self.shared.jobs.notify_waiters();
        Ok(outcome)
    }

    async fn retry(&self, job_id: &JobId) -> Result<RetryOutcome, QueueError> {
        let message = {
            let state = self.shared.state.lock();
            match state.closing(job_id) {
                Some(closing) => closing.message.clone().unwrap_or_default(),
                None if state.view(job_id, false).is_some() => return Ok(RetryOutcome::NotEnded),
                None => return Ok(RetryOutcome::Unknown),
            }
        };
        self.shared.requeue(job_id, message)?;
        Ok(RetryOutcome::Accepted)
    }

    async fn letters(&self, filter: &LetterFilter) -> Result<Page<DeadLetter, LetterPlace>, QueueError> {
        letters::page(&*self.shared, filter).await
    }

    async fn retry_dead(&self, id: &str) -> Result<LetterRetry, QueueError> {
        let Some(letter) = self.shared.state.lock().take_letter(id) else { return Ok(LetterRetry::Unknown) };
        let message = letter.message();
        let job_id = letter.about(&self.shared.limits);
        match &job_id {
            Some(job_id) => self.shared.requeue(job_id, message)?,
            None => self.push(message)?,
        }
        Ok(LetterRetry::Accepted(job_id))
    }

    async fn discard_dead(&self, ids: Option<&[String]>) -> Result<u64, QueueError> {
        let dead = &mut self.shared.state.lock().dead;
        let before = dead.len();
        dead.retain(|letter| ids.is_some_and(|ids| !ids.iter().any(|id| letter.is(id))));
        Ok((before - dead.len()) as u64)
    }

    async fn set_paused(&self, paused: bool) -> Result<(), QueueError> {
        self.shared.state.lock().paused = paused;
        self.shared.jobs.notify_waiters();
        Ok(())
    }

    async fn stats(&self) -> Result<QueueStats, QueueError> {
        Ok(self.shared.state.lock().stats())
    }

    async fn ping(&self) -> Result<(), QueueError> {
        Ok(())
    }

    async fn close(&self) {
        self.shared.claims_over.cancel();
        self.shared.state.lock().end_all(LeaseEnd::Lost);
    }
}
