//! Who sees to it that every ended job gets its record, whoever dies and whatever is away.
//!
//! A worker notes a job in the outbox before it can end ([`Recorder::note`]) and says when it has ([`Recorder::ended`]).
//! The [`Scribe`] of each process reads what the queue tells of ended jobs, which is what stands beside their results,
//! and writes it down; then the note goes. What a dead process owed is found in the outbox by the others. A job never
//! waits for the other database.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Noted, Outbox, Record, Records, StoreError};
use crate::{
    job::JobId,
    queue::{JobState, QueueError, SharedQueue},
    telemetry::names,
};

/// How long after it was noted somebody looks whether a job has ended, if nobody said so.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How often the outbox is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Records of one statement: each may have a result of `results.inline_max_bytes`.
const BATCH: usize = 64;
/// Jobs asked for at the same time.
const SIDE_BY_SIDE: usize = 16;
/// Ended jobs that wait for the scribe of this process; beyond, the outbox alone knows.
const WAITING: usize = 1024;
/// The wait after a failure doubles up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often old records are looked for, and how many are deleted at once and in one round.
const PRUNE_EVERY: Duration = Duration::from_secs(600);
const PRUNE_BATCH: u32 = 1000;
const PRUNE_ROUNDS: u32 = 50;

/// What is kept, and how long.
#[derive(Debug, Clone, Copy)]
pub struct Keeping {
    /// Days after the end of a job; 0: for good.
    pub days: u32,
    /// Whether prompts are.
    pub prompts: bool,
}

/// The workers' side.
#[derive(Clone)]
pub struct Recorder {
    outbox: Outbox,
    ended: mpsc::Sender<Noted>,
}

/// The side that writes.
pub struct Scribe {
    outbox: Outbox,
    records: Arc<dyn Records>,
    queue: SharedQueue,
    keeping: Keeping,
    ended: mpsc::Receiver<Noted>,
    failed: bool,
}

/// Why a round could not be finished: it is tried again.
#[derive(Debug, thiserror::Error)]
enum Stuck {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Recorder {
    /// A recorder over notes in the Redis of the queue, and the scribe that has to run beside it.
    #[must_use]
    pub fn new(
        store: Arc<super::RedisStore>,
        records: Arc<dyn Records>,
        queue: SharedQueue,
        keeping: Keeping,
    ) -> (Self, Scribe) {
        let outbox = Outbox::new(store, LOOK_AGAIN);
        let (send, ended) = mpsc::channel(WAITING);
        let scribe = Scribe { outbox: outbox.clone(), records, queue, keeping, ended, failed: false };
        (Self { outbox, ended: send }, scribe)
    }

    /// Notes a job that may end from now on.
    ///
    /// # Errors
    /// Redis failed: the job's end would leave no record.
    pub async fn note(&self, job_id: &JobId, owner: Option<&str>) -> Result<Noted, StoreError> {
        self.outbox.note(job_id, owner).await
    }

    /// Says that a noted job has ended. Never waits.
    pub fn ended(&self, noted: Noted) {
        // A full channel costs nothing but time: the note is looked at when it is due.
        let _ = self.ended.try_send(noted);
    }
}

impl Scribe {
    /// The database that it writes into.
    #[must_use]
    pub fn records(&self) -> Arc<dyn Records> {
        self.records.clone()
    }

    /// Writes records until `closing` fires, and then those of the jobs that have ended in this process.
    pub async fn run(mut self, closing: CancellationToken) {
        let (mut pause, mut prune) = (Duration::ZERO, tokio::time::interval(PRUNE_EVERY));
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let mut batch = Vec::new();
            let round = tokio::select! {
                biased;
                () = closing.cancelled() => break,
                _ = prune.tick() => self.prune().await,
                _ = look.tick() => self.overdue().await,
                _ = self.ended.recv_many(&mut batch, BATCH), if !self.ended.is_closed() => self.settle(batch).await,
            };
            pause = match self.tell(round) {
                true => Duration::ZERO,
                false => (pause * 2).clamp(Duration::from_secs(1), LONGEST_PAUSE),
            };
            tokio::select! {
                () = closing.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        let mut last = Vec::new();
        while let Ok(noted) = self.ended.try_recv() {
            last.push(noted);
        }
        while !last.is_empty() {
            let rest = last.split_off(last.len().min(BATCH));
            let round = self.settle(last).await;
            if !self.tell(round) {
                return;
            }
            last = rest;
        }
    }

    /// Whether the round went well. An outage is logged once, and its end.
    fn tell(&mut self, round: Result<(), Stuck>) -> bool {
        match (round, self.failed) {
            (Ok(()), true) => {
                tracing::info!("records of ended jobs are written again");
                self.failed = false;
                true
            }
            (Ok(()), false) => true,
            (Err(error), true) => {
                tracing::debug!(%error, "records of ended jobs still wait");
                false
            }
            (Err(error), false) => {
                tracing::warn!(%error, "records of ended jobs cannot be written now; they wait in Redis, and jobs go on");
                metrics::counter!(names::RECORDS_TOTAL, "outcome" => "delayed").increment(1);
                self.failed = true;
                false
            }
        }
    }

    /// What others have left behind, or what has taken long.
    async fn overdue(&self) -> Result<(), Stuck> {
        // Before the database is asked: while it is away, somebody has to see how much waits.
        self.show_owed().await?;
        loop {
            let due = self.outbox.due(BATCH).await?;
            let more = due.len() == BATCH;
            self.settle(due).await?;
            if !more {
                return self.show_owed().await;
            }
        }
    }

    async fn show_owed(&self) -> Result<(), Stuck> {
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        metrics::gauge!(names::RECORDS_OWED).set(self.outbox.owed().await? as f64);
        Ok(())
    }

    /// Writes down those of `batch` that have ended, and removes their notes.
    async fn settle(&self, batch: Vec<Noted>) -> Result<(), Stuck> {
        let looked = stream::iter(batch).map(|noted| self.look(noted)).buffered(SIDE_BY_SIDE);
        let looked: Vec<Look> = looked.try_collect().await?;
        let (mut records, mut settled) = (Vec::new(), Vec::new());
        for look in looked {
            match look {
                Look::Running => {}
                Look::Gone(noted) => settled.push(noted),
                Look::Ended(noted, record) => {
                    settled.push(noted);
                    records.push(*record);
                }
            }
        }
        if !records.is_empty() {
            let refused = self.records.write(&records).await?;
            for (job_id, reason) in &refused {
                tracing::error!(%job_id, %reason, "the record of a job was refused for good and is left out");
            }
            let count =
                |outcome, n: usize| metrics::counter!(names::RECORDS_TOTAL, "outcome" => outcome).increment(n as u64);
            count("refused", refused.len());
            count("written", records.len() - refused.len());
        }
        Ok(self.outbox.settled(&settled).await?)
    }

    async fn look(&self, noted: Noted) -> Result<Look, Stuck> {
        let Some(view) = self.queue.job(&noted.job_id).await? else {
            // Its time was over before a record could be made, or its message was taken out of the queue.
            tracing::warn!(job_id = %noted.job_id, "nothing is known any more of a job whose record was owed");
            metrics::counter!(names::RECORDS_TOTAL, "outcome" => "expired").increment(1);
            return Ok(Look::Gone(noted));
        };
        if !matches!(view.state, JobState::Completed | JobState::Failed | JobState::Cancelled) {
            return Ok(Look::Running);
        }
        let prompt = if self.keeping.prompts { self.prompt(&noted.job_id).await? } else { None };
        match Record::of(view, &noted, prompt) {
            Some(record) => Ok(Look::Ended(noted, Box::new(record))),
            None => {
                tracing::error!(job_id = %noted.job_id, "the result of a job cannot be read, and no record is made of it");
                metrics::counter!(names::RECORDS_TOTAL, "outcome" => "refused").increment(1);
                Ok(Look::Gone(noted))
            }
        }
    }

    async fn prompt(&self, job_id: &JobId) -> Result<Option<String>, Stuck> {
        let job = self.queue.ended_job(job_id).await?.and_then(Result::ok);
        Ok(job.map(|job| job.prompt_text().to_owned()).filter(|prompt| !prompt.is_empty()))
    }

    async fn prune(&self) -> Result<(), Stuck> {
        for _ in 0..PRUNE_ROUNDS {
            if self.keeping.days == 0 || self.records.prune(self.keeping.days, PRUNE_BATCH).await? < PRUNE_BATCH.into()
            {
                break;
            }
        }
        Ok(())
    }
}

/// What came of a look at a job.
enum Look {
    Running,
    Gone(Noted),
    Ended(Noted, Box<Record>),
}
