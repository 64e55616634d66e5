//! What a job has paid for, changed or been given from outside, written down before the next step.
//!
//! A redelivered job walks the same path again; each step that is on record gives the recorded value instead of
//! being done again. Steps are told apart by name; where a name comes twice, its values are given in order.
//! A job that has ended can be walked through once more from its record alone: that is a replay.

mod lines;

use std::{
    collections::VecDeque,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use self::lines::{Line, Recorded};
use super::{SharedStore, StoreError, outage};
use crate::{
    job::{ErrorCode, JobError, JobId, Meter, RawJson, Spend, ToolCallRecord},
    queue::Claim,
};

/// How soon a store that is away is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// The record of one job. Read from the store on first use: jobs that need no step pay nothing for it.
pub struct Journal {
    store: SharedStore,
    key: String,
    ttl: Duration,
    keep_max: usize,
    /// How long a store that is away is waited for, at most: what was paid for or sent is not given up for that.
    patience: Duration,
    /// The job may have run before.
    again: bool,
    /// What the job's delivery rests on, where there is a queue.
    claim: Option<Claim>,
    replays: bool,
    /// Fired where a replay comes to the end of the record.
    stop: Option<CancellationToken>,
    /// Stands before the name of every step.
    scope: String,
    /// Something is on record, of this delivery or an earlier one.
    used: Arc<AtomicBool>,
    recorded: Arc<Mutex<Option<Recorded>>>,
}

/// A step as it is told afterwards.
pub struct Told {
    /// Its name.
    pub step: String,
    /// What the job had spent when it ended.
    pub spend: Spend,
    /// How long it took, in milliseconds; unknown of what was given from outside.
    pub took_ms: Option<u64>,
    /// Why it failed, where it did.
    pub error: Option<JobError>,
}

/// What is known of a step that was about to happen, from before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Before {
    /// It has not happened.
    #[default]
    Never,
    /// Nothing is on record, and something may be missing there.
    Perhaps,
    /// It was noted, and may have happened.
    Noted,
}

/// A job's time over its earlier deliveries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Elapsed {
    /// All of it: at work, and put back.
    pub used: Duration,
    /// Put back for limits.
    pub waited: Duration,
}

impl Journal {
    /// The journal of `job_id`, kept for `ttl` after its last entry. Inputs up to `keep_max` bytes are kept with it.
    #[must_use]
    pub fn new(store: SharedStore, job_id: &JobId, ttl: Duration, keep_max: usize) -> Self {
        let (key, scope) = (format!("journal:{job_id}"), String::new());
        Self {
            store,
            key,
            ttl,
            keep_max,
            patience: Duration::ZERO,
            again: false,
            claim: None,
            replays: false,
            stop: None,
            scope,
            used: Arc::default(),
            recorded: Arc::default(),
        }
    }

    /// Waits up to `patience` for a store that is away.
    #[must_use]
    pub fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Of a job that was delivered on `claim`; `again` where it may have run before.
    #[must_use]
    pub fn of_delivery(self, claim: Claim, again: bool) -> Self {
        Self { claim: Some(claim), again, ..self }
    }

    /// The same journal for one of several works that go on side by side: the order in which they come to a step
    /// differs from one delivery to the next, so each has its own steps.
    #[must_use]
    pub fn scoped(&self, scope: &str) -> Self {
        Self {
            store: self.store.clone(),
            key: self.key.clone(),
            scope: format!("{}{scope}/", self.scope),
            used: self.used.clone(),
            recorded: self.recorded.clone(),
            claim: self.claim.clone(),
            stop: self.stop.clone(),
            ..*self
        }
    }

    /// The journal of a job that has ended, to be read only: a step that is not on record fails.
    #[must_use]
    pub fn replay(store: SharedStore, job_id: &JobId) -> Self {
        Self { replays: true, ..Self::new(store, job_id, Duration::ZERO, 0) }
    }

    /// The same for a job that was stopped from outside: where its record ends, the replay is stopped by `stop`.
    #[must_use]
    pub fn stopped_by(self, stop: CancellationToken) -> Self {
        Self { stop: Some(stop), ..self }
    }

    /// Whether the job is only walked through once more: nothing may be sent anywhere.
    #[must_use]
    pub fn replays(&self) -> bool {
        self.replays
    }

    /// The value of `step`: the recorded one, or else that of `work`, which is recorded before it is returned.
    /// With the first step of a redelivered job the meter is set to what had been spent before.
    pub async fn step<T, F>(&self, step: &str, meter: &Meter, work: F) -> Result<T, JobError>
    where
        T: Serialize + DeserializeOwned,
        F: Future<Output = Result<T, JobError>>,
    {
        // A step is rare and its work may be large: it is not carried about.
        self.recorded_or(step, meter, false, Box::pin(work)).await
    }

    /// The same where `work` asks a model: that it is about to goes on record first, so that a request is counted
    /// although its worker died over it.
    pub async fn paid<T, F>(&self, step: &str, meter: &Meter, work: F) -> Result<T, JobError>
    where
        T: Serialize + DeserializeOwned,
        F: Future<Output = Result<T, JobError>>,
    {
        self.recorded_or(step, meter, true, Box::pin(work)).await
    }

    async fn recorded_or<T, F>(&self, step: &str, meter: &Meter, asks: bool, work: F) -> Result<T, JobError>
    where
        T: Serialize + DeserializeOwned,
        F: Future<Output = Result<T, JobError>>,
    {
        let step = &format!("{}{step}", self.scope);
        if let Some(value) = self.take(step, meter).await? {
            return value.read().map_err(|e| {
                JobError::new(ErrorCode::Internal, format!("the journal entry {step:?} cannot be read: {e}"))
            });
        }
        if asks {
            self.append(Line::Asked { step: step.to_owned() }).await?;
        }
        let began = Instant::now();
        let worked = work.await;
        let (step, took_ms) = (step.to_owned(), Some(millis(began.elapsed())));
        match worked {
            Ok(value) => {
                let line = Line::Step { step, value: RawJson::of(&value), spend: meter.spend(), took_ms };
                self.append(line).await?;
                Ok(value)
            }
            Err(error) => {
                if !error.deferred {
                    let line = Line::Failed { step, error: error.clone(), spend: meter.spend(), took_ms };
                    self.append(line).await?;
                }
                Err(error)
            }
        }
    }

    /// Notes that `step` is about to happen. True when an earlier delivery had noted it already: it may then
    /// have happened.
    pub async fn mark(&self, step: &str, meter: &Meter) -> Result<bool, JobError> {
        Ok(self.about_to(step, meter).await? == Before::Noted)
    }

    /// The same for a step of which one can find out whether it happened. Where nothing is on record, that alone is no
    /// proof: the job may have run before, or the store may have lost its newest entries.
    pub async fn about_to(&self, step: &str, meter: &Meter) -> Result<Before, JobError> {
        let mut fresh = false;
        self.step(step, meter, async {
            fresh = true;
            Ok(())
        })
        .await?;
        if !fresh {
            return Ok(Before::Noted);
        }
        if self.lasting(|| self.store.may_have_forgotten()).await? {
            self.still_ours().await?;
            return Ok(Before::Perhaps);
        }
        Ok(if self.again { Before::Perhaps } else { Before::Never })
    }

    /// A queue that lost its newest entries may have given the job away while it runs here. Then this one is told to
    /// stop, within a renewal of its lease, and until then goes no further.
    async fn still_ours(&self) -> Result<(), JobError> {
        let Some(claim) = &self.claim else { return Ok(()) };
        let stands = || async { claim.stands().await.map_err(|e| StoreError::away(e.0)) };
        if !self.lasting(stands).await? {
            tokio::time::sleep(self.patience).await;
            return Err(outage(true, "the queue no longer knows that the job runs here"));
        }
        Ok(())
    }

    /// Asks the store, and asks again while it is away: that is no fault of the job's. Whoever runs the job ends it in
    /// its time.
    async fn lasting<T, F>(&self, ask: impl Fn() -> F) -> Result<T, JobError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let (began, mut told) = (Instant::now(), false);
        loop {
            match ask().await {
                Err(error) if error.is_away() && began.elapsed() + ASK_AGAIN < self.patience => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, key = self.key, "a job waits until its journal can be written again");
                    }
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                answer => return answer.map_err(internal),
            }
        }
    }

    /// The steps on record, oldest first: for people who look at a job.
    pub async fn story(&self) -> Result<Vec<Told>, StoreError> {
        let step = |line: Line| match line {
            Line::Step { step, spend, took_ms, .. } => Some(Told { step, spend, took_ms, error: None }),
            Line::Failed { step, spend, took_ms, error } => Some(Told { step, spend, took_ms, error: Some(error) }),
            Line::Asked { .. } | Line::Waited { .. } | Line::End => None,
        };
        Ok(lines::read(&self.store.list(&self.key).await?).into_iter().filter_map(step).collect())
    }

    /// The tool calls of model answer `answer` that could not be read, so that the request was sent again. On record as
    /// the answer itself is, or the job would tell another story when it walks this way once more.
    pub async fn unreadable(&self, answer: &str, meter: &Meter) -> Result<Vec<ToolCallRecord>, JobError> {
        let step = format!("unreadable:{answer}.");
        let fresh = meter.take_unreadable();
        if fresh.is_empty() && !self.has(&[&format!("{}{step}", self.scope)], meter).await? {
            return Ok(fresh);
        }
        self.step(&step, meter, async { Ok(fresh) }).await
    }

    /// What is on record of the job's time, as it was when the job was last put back.
    pub async fn elapsed(&self, meter: &Meter) -> Result<Elapsed, JobError> {
        let mut recorded = self.recorded.lock().await;
        Ok(self.loaded(&mut recorded, meter).await?.elapsed)
    }

    /// Notes that the job is put back, with what it has used of its time and spent until it comes again.
    pub async fn put_back(&self, elapsed: Elapsed, meter: &Meter) -> Result<(), JobError> {
        let (ms, used_ms) = (millis(elapsed.waited), millis(elapsed.used));
        self.append(Line::Waited { ms, used_ms, spend: meter.spend() }).await
    }

    /// Notes that the job's result stands. A job that recorded nothing leaves no trace.
    pub async fn close(&self) {
        if !self.used.load(Ordering::Relaxed) || self.replays {
            return;
        }
        let end = lines::written(Line::End);
        // Nobody waits for this one: without it the journal only ends later.
        if let Err(error) = self.store.append(&self.key, end, self.ttl).await {
            tracing::warn!(%error, key = self.key, "the end of a job could not be noted in its journal");
        }
    }

    /// Keeps an input under the hash of its content. Nothing for one that is too large to keep.
    pub async fn keep(&self, bytes: &Bytes) -> Result<Option<String>, JobError> {
        if bytes.len() > self.keep_max {
            return Ok(None);
        }
        let hash: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let key = format!("inputs:{hash}");
        self.lasting(|| self.store.put(&key, bytes.clone(), self.ttl)).await?;
        Ok(Some(hash))
    }

    /// An input that was kept.
    pub async fn kept(&self, hash: &str) -> Result<Option<Bytes>, JobError> {
        let key = format!("inputs:{hash}");
        self.lasting(|| self.store.get(&key)).await
    }

    /// The value of `step` without using it up, of a replay.
    pub async fn peek(&self, step: &str, meter: &Meter) -> Result<Option<RawJson>, JobError> {
        let mut recorded = self.recorded.lock().await;
        let recorded = self.loaded(&mut recorded, meter).await?;
        Ok(recorded.steps.get(step).and_then(|values| values.front()).cloned())
    }

    /// Whether a step whose name begins with one of `prefixes` was done or tried.
    pub async fn has(&self, prefixes: &[&str], meter: &Meter) -> Result<bool, JobError> {
        let mut recorded = self.recorded.lock().await;
        let recorded = self.loaded(&mut recorded, meter).await?;
        let mut names = recorded.steps.keys().chain(recorded.failures.keys());
        Ok(names.any(|name| prefixes.iter().any(|prefix| name.starts_with(prefix))))
    }

    /// The values of all steps whose names begin with `prefix` that were given from outside.
    pub async fn values<T: DeserializeOwned>(&self, prefix: &str, meter: &Meter) -> Result<Vec<T>, JobError> {
        let mut recorded = self.recorded.lock().await;
        let recorded = self.loaded(&mut recorded, meter).await?;
        let named = recorded.steps.iter().filter(|(name, _)| name.starts_with(prefix));
        Ok(named.flat_map(|(_, values)| values).filter_map(|value| value.read().ok()).collect())
    }

    /// Puts the value of a step on record that is still to come: a decision made outside. One that is there already
    /// stays.
    pub async fn give<T: Serialize>(&self, step: &str, meter: &Meter, value: &T) -> Result<(), JobError> {
        let mut recorded = self.recorded.lock().await;
        let recorded = self.loaded(&mut recorded, meter).await?;
        if recorded.steps.contains_key(step) {
            return Ok(());
        }
        let value = RawJson::of(value);
        let line = Line::Step { step: step.to_owned(), value: value.clone(), spend: meter.spend(), took_ms: None };
        self.append(line).await?;
        recorded.steps.entry(step.to_owned()).or_default().push_back(value);
        Ok(())
    }

    /// What is on record for `step`. In a replay there is always an answer.
    async fn take(&self, step: &str, meter: &Meter) -> Result<Option<RawJson>, JobError> {
        let mut recorded = self.recorded.lock().await;
        let recorded = self.loaded(&mut recorded, meter).await?;
        if let Some(value) = recorded.steps.get_mut(step).and_then(VecDeque::pop_front) {
            return Ok(Some(value));
        }
        if !self.replays {
            return Ok(None);
        }
        let failure = recorded.failures.get(step).cloned();
        // The stop may have been noted as the step's failure, or have come before that.
        let ends = |error: &JobError| matches!(error.code, ErrorCode::Cancelled | ErrorCode::Timeout);
        if let Some(stop) = self.stop.as_ref().filter(|_| failure.as_ref().is_none_or(ends)) {
            stop.cancel();
            return std::future::pending().await;
        }
        Err(failure.unwrap_or_else(|| {
            let message = format!("{step:?} is not on record: it happened after the job's last entry, or never");
            JobError::new(ErrorCode::Internal, message).with_retryable(false)
        }))
    }

    async fn loaded<'a>(&self, slot: &'a mut Option<Recorded>, meter: &Meter) -> Result<&'a mut Recorded, JobError> {
        if slot.is_none() {
            let lines = lines::read(&self.lasting(|| self.store.list(&self.key)).await?);
            let mut parts: Vec<&[Line]> = lines.split(|line| matches!(line, Line::End)).collect();
            let last = parts.pop().unwrap_or_default();
            let mine = if self.replays && last.is_empty() { parts.pop().unwrap_or_default() } else { last };
            if !self.replays && !parts.is_empty() && mine.is_empty() {
                // The job was started afresh: its old record has no more use.
                self.lasting(|| self.store.remove(&self.key)).await?;
            }
            self.used.store(!mine.is_empty(), Ordering::Relaxed);
            *slot = Some(Recorded::read(mine, meter));
        }
        Ok(slot.get_or_insert_default())
    }

    async fn append(&self, line: Line) -> Result<(), JobError> {
        self.used.store(true, Ordering::Relaxed);
        let line = lines::written(line);
        self.lasting(|| self.store.append(&self.key, line.clone(), self.ttl)).await
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What a store that failed means for the job that needed it.
fn internal(error: StoreError) -> JobError {
    error.for_job("the job's journal")
}
