//! The end of a job that keeps killing its workers.

use super::{Delivery, End, Source, stamp};
use crate::job::{
    ErrorCode, Event, EventKind, JobError, JobResult, Metadata, RawJson, Rejected, Status, completion_signal,
};

/// Ends `delivery` for good: a failed result and a dead letter, or only the letter when nobody can be told.
/// `signals` says whether a completion signal is wanted for list jobs too.
pub(super) fn verdict(delivery: &Delivery, signals: bool) -> End {
    let error = JobError::new(
        ErrorCode::Internal,
        format!(
            "the job killed its worker {} times and was set aside: look at the worker's log and memory, then retry it from the dead letters",
            delivery.crashes
        ),
    )
    .with_retryable(false)
    .with_detail("crashes", delivery.crashes);
    let (job_id, run_id, node_id) = match &delivery.job {
        Ok(job) => (job.job_id.clone(), job.run_id.clone(), job.node_id.clone()),
        Err(Rejected { job_id: Some(id), run_id, node_id, .. }) => (id.clone(), run_id.clone(), node_id.clone()),
        Err(Rejected { job_id: None, .. }) => return End::Dead { error },
    };
    let result = JobResult {
        version: JobResult::VERSION,
        job_id,
        run_id,
        node_id,
        status: Status::Failed,
        lane: None,
        result_ref: None,
        result: None,
        result_preview: None,
        error: Some(error.clone()),
        metadata: Metadata { attempt: delivery.attempt, ..Metadata::default() },
        completed_at: stamp::now(),
    };
    let event = Event::new(EventKind::Failed).with("error", &error);
    End::Result {
        result: RawJson::of(&result),
        status: Status::Failed,
        lane: None,
        event,
        signal: (signals || delivery.source == Source::Stream).then(|| RawJson::of(&completion_signal(&result))),
        dead: Some(error),
    }
}

/// Why a result without a job id becomes a dead letter.
pub(super) fn nobody_to_tell() -> JobError {
    JobError::new(ErrorCode::InvalidJob, "the message has no usable job_id: its result has no reader")
}
