//! What a job has paid for, changed or been given from outside, written down before the next step.
//!
//! A redelivered job walks the same path again; each step that is on record gives the recorded value instead of
//! being done again. Steps are told apart by name; where a name comes twice, its values are given in order.
//! A job that has ended can be walked through once more from its record alone: that is a replay.

use std::{
    collections::VecDeque,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::{SharedStore, StoreError};
use crate::job::{ErrorCode, JobError, JobId, Meter, RawJson, Spend, ToolCallRecord};

/// The record of one job. Read from the store on first use: jobs that need no step pay nothing for it.
pub struct Journal {
    store: SharedStore,
    key: String,
    ttl: Duration,
    keep_max: usize,
    replays: bool,
    /// Stands before the name of every step.
    scope: String,
    /// Something is on record, of this delivery or an earlier one.
    used: Arc<AtomicBool>,
    recorded: Arc<Mutex<Option<Recorded>>>,
}

/// One entry as it lies in the store.
#[derive(Serialize, Deserialize)]
enum Line {
    /// A step that was done.
    Step { step: String, value: RawJson, spend: Spend },
    /// A step that failed: it is done again, but a replay fails with it.
    Failed { step: String, error: JobError, spend: Spend },
    /// The job was put back: all its waits for limits together, and all of its time that is used, in milliseconds.
    Waited {
        ms: u64,
        #[serde(default)]
        used_ms: u64,
        spend: Spend,
    },
    /// The result stands: what comes after this belongs to a job that was started afresh.
    End,
}

#[derive(Default)]
struct Recorded {
    steps: FxHashMap<String, VecDeque<RawJson>>,
    failures: FxHashMap<String, JobError>,
    elapsed: Elapsed,
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
        Self { store, key, ttl, keep_max, replays: false, scope, used: Arc::default(), recorded: Arc::default() }
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
            ..*self
        }
    }

    /// The journal of a job that has ended, to be read only: a step that is not on record fails.
    #[must_use]
    pub fn replay(store: SharedStore, job_id: &JobId) -> Self {
        Self { replays: true, ..Self::new(store, job_id, Duration::ZERO, 0) }
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
        let step = &format!("{}{step}", self.scope);
        if let Some(value) = self.take(step, meter).await? {
            return value.read().map_err(|e| {
                JobError::new(ErrorCode::Internal, format!("the journal entry {step:?} cannot be read: {e}"))
            });
        }
        match work.await {
            Ok(value) => {
                let line = Line::Step { step: step.to_owned(), value: RawJson::of(&value), spend: meter.spend() };
                self.append(&line).await?;
                Ok(value)
            }
            Err(error) => {
                if !error.deferred {
                    let line = Line::Failed { step: step.to_owned(), error: error.clone(), spend: meter.spend() };
                    self.append(&line).await?;
                }
                Err(error)
            }
        }
    }

    /// Notes that `step` is about to happen. True when an earlier delivery had noted it already: it may then
    /// have happened.
    pub async fn mark(&self, step: &str, meter: &Meter) -> Result<bool, JobError> {
        let mut fresh = false;
        self.step(step, meter, async {
            fresh = true;
            Ok(())
        })
        .await?;
        Ok(!fresh)
    }

    /// The steps on record, oldest first, each with what had been spent when it ended: for people who look at a job.
    pub async fn story(&self) -> Result<Vec<(String, Spend)>, StoreError> {
        let lines = self.store.list(&self.key).await?;
        let step = |line: &Bytes| match serde_json::from_slice(line).ok()? {
            Line::Step { step, spend, .. } | Line::Failed { step, spend, .. } => Some((step, spend)),
            Line::Waited { .. } | Line::End => None,
        };
        Ok(lines.iter().filter_map(step).collect())
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
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (ms, used_ms) = (millis(elapsed.waited), millis(elapsed.used));
        self.append(&Line::Waited { ms, used_ms, spend: meter.spend() }).await
    }

    /// Notes that the job's result stands. A job that recorded nothing leaves no trace.
    pub async fn close(&self) {
        if !self.used.load(Ordering::Relaxed) || self.replays {
            return;
        }
        if let Err(error) = self.append(&Line::End).await {
            tracing::warn!(%error, key = self.key, "the end of a job could not be noted in its journal");
        }
    }

    /// Keeps an input under the hash of its content. Nothing for one that is too large to keep.
    pub async fn keep(&self, bytes: &Bytes) -> Result<Option<String>, JobError> {
        if bytes.len() > self.keep_max {
            return Ok(None);
        }
        let hash: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        self.store.put(&format!("inputs:{hash}"), bytes.clone(), self.ttl).await.map_err(internal)?;
        Ok(Some(hash))
    }

    /// An input that was kept.
    pub async fn kept(&self, hash: &str) -> Result<Option<Bytes>, JobError> {
        self.store.get(&format!("inputs:{hash}")).await.map_err(internal)
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

    /// Puts the value of a step on record that is still to come: a decision made outside. One that is there already
    /// stays.
    pub async fn give<T: Serialize>(&self, step: &str, meter: &Meter, value: &T) -> Result<(), JobError> {
        let mut recorded = self.recorded.lock().await;
        let recorded = self.loaded(&mut recorded, meter).await?;
        if recorded.steps.contains_key(step) {
            return Ok(());
        }
        let value = RawJson::of(value);
        self.append(&Line::Step { step: step.to_owned(), value: value.clone(), spend: meter.spend() }).await?;
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
        Err(recorded.failures.get(step).cloned().unwrap_or_else(|| {
            let message = format!("{step:?} is not on record: it happened after the job's last entry, or never");
            JobError::new(ErrorCode::Internal, message).with_retryable(false)
        }))
    }

    async fn loaded<'a>(&self, slot: &'a mut Option<Recorded>, meter: &Meter) -> Result<&'a mut Recorded, JobError> {
        if slot.is_none() {
            let lines = self.store.list(&self.key).await.map_err(internal)?;
            let lines: Vec<Line> = lines.iter().filter_map(|line| serde_json::from_slice(line).ok()).collect();
            let mut parts: Vec<&[Line]> = lines.split(|line| matches!(line, Line::End)).collect();
            let last = parts.pop().unwrap_or_default();
            let mine = if self.replays && last.is_empty() { parts.pop().unwrap_or_default() } else { last };
            if !self.replays && !parts.is_empty() && mine.is_empty() {
                // The job was started afresh: its old record has no more use.
                self.store.remove(&self.key).await.map_err(internal)?;
            }
            self.used.store(!mine.is_empty(), Ordering::Relaxed);
            *slot = Some(Recorded::read(mine, meter));
        }
        Ok(slot.get_or_insert_default())
    }

    async fn append(&self, line: &Line) -> Result<(), JobError> {
        self.used.store(true, Ordering::Relaxed);
        self.store.append(&self.key, RawJson::of(line).bytes().clone(), self.ttl).await.map_err(internal)
    }
}

impl Recorded {
    fn read(lines: &[Line], meter: &Meter) -> Self {
        let mut recorded = Self::default();
        let mut spent: Option<&Spend> = None;
        for line in lines {
            let spend = match line {
                Line::Step { step, value, spend } => {
                    recorded.steps.entry(step.clone()).or_default().push_back(value.clone());
                    spend
                }
                Line::Failed { step, error, spend } => {
                    recorded.failures.insert(step.clone(), error.clone());
                    spend
                }
                Line::Waited { ms, used_ms, spend } => {
                    let [waited, used] = [*ms, (*used_ms).max(*ms)].map(Duration::from_millis);
                    recorded.elapsed = Elapsed { used, waited };
                    spend
                }
                Line::End => continue,
            };
            // Works side by side may have been written down in another order than they spent.
            let more =
                |known: &&Spend| (spend.llm_calls, spend.tokens.total()) >= (known.llm_calls, known.tokens.total());
            if spent.as_ref().is_none_or(more) {
                spent = Some(spend);
            }
        }
        if let Some(spend) = spent {
            meter.restore(spend.clone());
        }
        recorded
    }
}

fn internal(error: StoreError) -> JobError {
    JobError::new(ErrorCode::Internal, error.to_string())
}
