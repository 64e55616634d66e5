//! What is written down about an execution on its way, and how it is closed: by its own end, by the end of its job, or
//! because its worker goes.

use std::fmt;

use super::Outcome;
use crate::{
    agents::{Execution, Made, Trail, TrailEntry, TrailStore, stop_reason},
    job::{ErrorCode, JobError},
    lanes::Record,
    telemetry::names,
    tools::ToolContext,
};

/// Before the number of an attempt that failed and may be followed by another: the entry of the trail that it ended with.
const ATTEMPT: &str = "attempt:";

/// What is written down about one execution. It lies in the job's [`Record`] as long as the execution goes on, so that it
/// is there when the job is stopped in the middle.
pub struct Book {
    pub(super) trail: Trail,
    pub(super) made: Made,
    pub(super) execution: Execution,
    /// Where it goes; nothing once it is there, or where it is not to be written.
    pub(super) store: Option<TrailStore>,
}

impl Book {
    /// Notes that the execution was stopped where it stood.
    fn stop_short(&mut self, error: &JobError) {
        self.made.take_in_what_is_left(&mut self.trail);
        self.trail.stop(None, error);
    }

    fn sum_up(&mut self, outcome: &str, agent: Option<String>) {
        self.execution.outcome = outcome.to_owned();
        self.execution.agent_id = agent;
        self.execution.model_calls = self.made.model_calls;
        self.execution.cost_usd = self.made.cost_usd;
    }
}

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Book").field("execution", &self.execution).finish_non_exhaustive()
    }
}

impl Drop for Book {
    /// Nobody closed it: the worker goes, or another one has the job by now. The trail is written all the same; when the
    /// execution goes on elsewhere, that trail takes the place of this one.
    fn drop(&mut self) {
        let (Some(store), Ok(runtime)) = (self.store.take(), tokio::runtime::Handle::try_current()) else { return };
        let error =
            JobError::new(ErrorCode::Cancelled, "the worker stopped or lost the job here: it goes on elsewhere")
                .with_detail("reason", "worker_stopping");
        self.stop_short(&error);
        self.sum_up("stopped", None);
        let (entries, execution) = (self.trail.entries(), self.execution.clone());
        runtime.spawn(async move { keep(&store, &entries, &execution).await });
    }
}

/// A trail that cannot be kept is no reason to fail a job.
async fn keep(store: &TrailStore, entries: &[TrailEntry], execution: &Execution) {
    if let Err(error) = store.keep(entries, execution).await {
        tracing::warn!(job_id = execution.job_id, %error, "the trail of a handoff could not be kept");
    }
}

/// Closes the execution that was under way when its job was ended from outside, if there was one: what it has made so far
/// goes into `record`, and the error tells where its trail stands.
///
/// # Errors
/// The one of `ended`.
pub async fn cut_off<T>(record: &mut Record, ended: Result<T, JobError>) -> Result<T, JobError> {
    let (Some(mut book), Err(error)) = (record.handoff.take(), &ended) else { return ended };
    let error = error.clone();
    let error = traced(error, &book.execution.execution_id);
    book.stop_short(&error);
    record.take_in(&mut book.made);
    book.sum_up(error.code.as_str(), None);
    if let Some(store) = book.store.take() {
        count(&book.execution);
        keep(&store, &book.trail.entries(), &book.execution).await;
    }
    Err(error)
}

/// The error of the execution `id`. The end of the job itself gets its reason too.
pub(super) fn traced(error: JobError, id: &str) -> JobError {
    let reason = error.stops().then(|| stop_reason(&error).to_owned());
    let error = error.with_detail("execution_id", id);
    match reason {
        Some(reason) => error.with_detail("reason", reason),
        None => error,
    }
}

/// How the attempts at this job ended that came before this one.
///
/// # Errors
/// `internal` when the journal cannot be read.
pub(super) async fn attempts(context: &ToolContext<'_>) -> Result<Vec<TrailEntry>, JobError> {
    context.journal.values(ATTEMPT, context.meter).await
}

/// Writes the trail and counts.
pub(super) async fn conclude(book: &mut Book, ended: &Result<Outcome, JobError>, context: &ToolContext<'_>) {
    let error = ended.as_ref().err();
    let agent = ended.as_ref().ok().and_then(|outcome| outcome.agent.clone());
    book.sum_up(error.map_or("ok", |error| error.code.as_str()), agent);
    // A replay writes nothing; a job that goes back to wait has not ended.
    let Some(store) = book.store.clone().filter(|_| !error.is_some_and(|error| error.deferred)) else {
        book.store = None;
        return;
    };
    if let Some(error) = error {
        let end = book.trail.end(error);
        // Whoever tries the job again walks past it.
        let step = format!("{ATTEMPT}{}", book.trail.attempts());
        if error.retryable
            && let Err(error) = context.journal.give(&step, context.meter, &end).await
        {
            tracing::warn!(job_id = book.execution.job_id, %error, "the end of an attempt could not be noted");
        }
    }
    keep(&store, &book.trail.entries(), &book.execution).await;
    count(&book.execution);
    // Only now: until then the job may be stopped.
    book.store = None;
}

fn count(execution: &Execution) {
    let labels = [("mode", execution.mode.clone()), ("outcome", execution.outcome.clone())];
    metrics::counter!(names::HANDOFFS_TOTAL, &labels).increment(1);
    for tier in &execution.tiers {
        let level = tier.tier_level.to_string();
        if tier.escalated {
            metrics::counter!(names::ESCALATIONS_TOTAL, "tier" => level.clone()).increment(1);
        }
        if tier.resolved {
            metrics::counter!(names::TIERS_RESOLVED_TOTAL, "tier" => level.clone()).increment(1);
        }
        if let Some(score) = tier.complexity_score {
            metrics::histogram!(names::TIER_COMPLEXITY, "tier" => level.clone()).record(score);
        }
        metrics::gauge!(names::TIER_COST_USD_TOTAL, "tier" => level).increment(tier.cost_usd);
    }
}
