//! The pool of workers, and one job's life.

mod approval;
mod attempt;
mod clock;
mod conclude;
mod deferral;
mod life;
mod pool;
mod promote;
mod record;
mod retry;
mod session;
mod tally;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use attempt::{Notes, Surroundings, attempt};
use clock::Clock;
pub use pool::{Drained, Pool};
pub use retry::next_attempt;
pub use tally::{DURATION_BUCKETS, Tally, record};

use crate::{
    job::{ErrorCode, Event, Job, JobError, JobResult, Meter},
    lanes::{Handoffs, LaneEnd, handoff},
    llm::ChatModel,
    planner::Planner,
    settings::Settings,
    store::{Artifacts, Journal, Recorder, SharedStore},
    tools::{ExecutePipeline, PatchWorkflow, Sources},
};

/// Everything a job needs to run, shared by all workers of the process.
pub struct Runner {
    /// The configuration.
    pub settings: Arc<Settings>,
    /// Turns words into tool calls.
    pub planner: Arc<dyn Planner>,
    /// The model, where one is configured.
    pub model: Option<Arc<dyn ChatModel>>,
    /// The execute lane's tool.
    pub pipeline_tool: Arc<ExecutePipeline>,
    /// The patch lane's tool.
    pub patch_tool: Arc<PatchWorkflow>,
    /// Where a job's first data comes from.
    pub sources: Arc<Sources>,
    /// The agents.
    pub handoffs: Arc<Handoffs>,
    /// What outlives a job.
    pub store: SharedStore,
    /// Results behind references.
    pub artifacts: Artifacts,
    /// Notes jobs that are to have a record in another database, where there is one.
    pub recorder: Option<Recorder>,
    /// Counts what ended, for the charts.
    pub tally: Tally,
}

impl Runner {
    /// The journal of a job, kept as long as its result. While its store is away the job waits, as long as it has.
    #[must_use]
    pub fn journal(&self, job: &Job) -> Journal {
        let results = &self.settings.results;
        let ttl = Duration::from_secs(results.ttl_secs);
        Journal::new(self.store.clone(), &job.job_id, ttl, results.keep_job_max_bytes).patient(self.limit(job))
    }

    /// How long a job may take.
    fn limit(&self, job: &Job) -> Duration {
        job.timeout.unwrap_or(Duration::from_secs(self.settings.worker.default_timeout_secs))
    }

    /// Runs one job in this process, without a queue: one attempt, and its result whole.
    pub async fn run_alone(
        &self,
        job: &Job,
        stop: CancellationToken,
        emit: &(dyn Fn(Event) + Send + Sync),
    ) -> JobResult {
        self.run_with(job, &self.journal(job), stop, emit).await
    }

    /// The same on a journal of the caller's: with that of a job that has ended, a replay of it.
    pub async fn run_with(
        &self,
        job: &Job,
        journal: &Journal,
        stop: CancellationToken,
        emit: &(dyn Fn(Event) + Send + Sync),
    ) -> JobResult {
        let started = std::time::Instant::now();
        let (meter, mut notes) = (Meter::of(job), Notes::default());
        let mut around =
            Surroundings { stop: stop.clone(), emit, approval: None, journal, clock: Clock::fresh(self, job) };
        let end = loop {
            let end = attempt(self, job, &meter, &around, &mut notes).await;
            let left = around.clock.left();
            let Some(wait) = deferral::wait(&end, left) else {
                break end.map_err(|error| deferral::too_late(error, left));
            };
            // There is no queue to wait in.
            notes = Notes::default();
            let elapsed = around.clock.put_back(wait, true);
            if let Err(error) = journal.put_back(elapsed, &meter).await {
                break Err(error);
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => {}
            }
            around.clock = around.clock.resumed(elapsed);
        };
        let columns = notes.columns.take();
        let end = match handoff::cut_off(&mut notes.record, end).await {
            Ok(LaneEnd::Parked(_)) => Err(JobError::new(
                ErrorCode::InvalidJob,
                "what requires approval needs the queue, where it can wait: submit the job, or ask for a dry_run of a change",
            )),
            end => end,
        };
        let waited = around.clock.waited();
        let execution = started.elapsed().saturating_sub(waited);
        let times = conclude::Times { attempt: 1, waited, execution, ..conclude::Times::default() };
        let mut document = conclude::result(job, end, notes, meter.spend(), times);
        if !journal.replays() {
            self.remember(job, &document).await;
            self.learn(job, &document, columns).await;
        }
        conclude::hide_secrets(&mut document);
        emit(conclude::closing_event(&document));
        document
    }

    /// Gives a result its reference; one too large for the result document is kept as an artifact.
    async fn keep_large(&self, job: &Job, mut document: JobResult) -> Result<JobResult, JobError> {
        let Some(result) = &document.result else { return Ok(document) };
        if result.len() > self.artifacts.max_bytes() {
            let (size, most) = (result.len(), self.artifacts.max_bytes());
            return Ok(conclude::too_large(document, size, most));
        }
        document.result_ref = Some(if result.len() > self.settings.results.inline_max_bytes {
            let bytes: Bytes = result.bytes().clone();
            let kept = self.artifacts.put_for(job.owner().as_ref(), bytes).await;
            kept.map_err(|e| e.for_job("the result could not be kept"))?
        } else {
            // The result document itself is the artifact: the queue keeps it beside the result key.
            format!("artifact://{}", document.job_id)
        });
        Ok(document)
    }
}
