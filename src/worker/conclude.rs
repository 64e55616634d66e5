//! From the end of an attempt to the one result document.

use std::time::Duration;

use super::attempt::Notes;
use crate::{
    job::{ErrorCode, Event, EventKind, Job, JobError, JobId, JobResult, Lane, Metadata, Rejected, Spend, Status},
    lanes::LaneEnd,
    settings::limits,
};

/// What is known of the job besides its end.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    /// This attempt's number, from 1.
    pub attempt: u32,
    /// From when it could be taken until it was, this time.
    pub queue: Duration,
    /// Put back for limits, before.
    pub waited: Duration,
    /// This attempt's own time.
    pub execution: Duration,
}

/// The result of a job that ended with `end`, whole.
#[must_use]
pub(super) fn result(job: &Job, end: Result<LaneEnd, JobError>, notes: Notes, spend: Spend, times: Times) -> JobResult {
    let Notes { intent, record, .. } = notes;
    let asked = intent.as_ref().and_then(|intent| lane_of(intent.intent));
    // First: it must not be the one that is left out.
    let warnings = spend.caveat().into_iter().chain(record.warnings).collect();
    let metadata = Metadata {
        intent,
        plan: record.plan,
        tool_calls: record.tool_calls,
        warnings: bounded(warnings),
        ..metadata(spend, times)
    };
    let mut document = blank(job.job_id.clone(), metadata);
    document.run_id.clone_from(&job.run_id);
    document.node_id.clone_from(&job.node_id);
    match end {
        Ok(LaneEnd::Done { lane, result, preview }) => {
            document.lane = Some(lane);
            document.result = Some(result);
            document.result_preview = Some(preview);
        }
        // A parked job has not ended, and nobody calls with one: what waits would be its result.
        Ok(LaneEnd::Parked(pending)) => document.result = Some(pending),
        Err(error) => {
            document.lane = asked;
            document.status = status_of(&error);
            document.error = Some(error);
        }
    }
    document
}

/// The result of a message that could not become a job but has someone to answer.
#[must_use]
pub(super) fn rejection(job_id: JobId, rejected: &Rejected, times: Times) -> JobResult {
    let mut document = blank(job_id, metadata(Spend::default(), times));
    document.run_id.clone_from(&rejected.run_id);
    document.node_id.clone_from(&rejected.node_id);
    document.status = Status::Failed;
    document.error = Some(rejected.error.clone());
    document
}

/// The end of a job whose result is too large to be kept anywhere.
#[must_use]
pub(super) fn too_large(document: JobResult, size: usize, most: usize) -> JobResult {
    let error = JobError::new(
        ErrorCode::LimitExceeded,
        format!(
            "the result has {size} bytes, store.artifact_max_bytes allows {most}: let the plan select fewer rows or columns"
        ),
    );
    JobResult { status: Status::Failed, error: Some(error), result: None, result_preview: None, ..document }
}

/// The event that closes a job's stream.
#[must_use]
pub(super) fn closing_event(result: &JobResult) -> Event {
    let kind = match result.status {
        Status::Completed => EventKind::Completed,
        Status::Failed => EventKind::Failed,
        Status::Cancelled => EventKind::Cancelled,
    };
    let event = match result.lane {
        Some(lane) => Event::new(kind).with("lane", lane.as_str()),
        None => Event::new(kind),
    };
    match &result.error {
        Some(error) => event.with("error", error),
        None => event,
    }
}

fn blank(job_id: JobId, metadata: Metadata) -> JobResult {
    JobResult {
        version: JobResult::VERSION,
        job_id,
        run_id: None,
        node_id: None,
        status: Status::Completed,
        lane: None,
        result_ref: None,
        result: None,
        result_preview: None,
        error: None,
        metadata,
        completed_at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
    }
}

fn metadata(spend: Spend, times: Times) -> Metadata {
    Metadata {
        tokens_used: spend.tokens.total(),
        cache_hit: spend.tokens.cached > 0 || spend.response_cache_hit,
        tokens: spend.tokens,
        cost_usd: spend.cost_usd,
        llm_calls: spend.llm_calls,
        llm_model: spend.model,
        attempt: times.attempt,
        queue_time_ms: millis(times.queue),
        waited_ms: millis(times.waited),
        execution_time_ms: millis(times.execution),
        ..Metadata::default()
    }
}

fn status_of(error: &JobError) -> Status {
    if error.code == ErrorCode::Cancelled { Status::Cancelled } else { Status::Failed }
}

fn lane_of(intent: crate::job::IntentKind) -> Option<Lane> {
    match intent {
        crate::job::IntentKind::Execute => Some(Lane::Execute),
        crate::job::IntentKind::Patch => Some(Lane::Patch),
        crate::job::IntentKind::Handoff => Some(Lane::Handoff),
        crate::job::IntentKind::Unclear => None,
    }
}

fn bounded(mut warnings: Vec<String>) -> Vec<String> {
    if warnings.len() > limits::MAX_WARNINGS {
        let more = warnings.len() - limits::MAX_WARNINGS;
        warnings.truncate(limits::MAX_WARNINGS);
        warnings.push(format!("{more} more warnings"));
    }
    warnings
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The document as it is published: a result above `inline_max` bytes stays behind its reference.
#[must_use]
pub(super) fn published(mut document: JobResult, inline_max: usize) -> JobResult {
    if document.result.as_ref().is_some_and(|result| result.len() > inline_max) {
        document.result = None;
    }
    hide_secrets(&mut document);
    document
}

/// Credentials in the arguments of tool calls are nobody's who reads a result.
pub(super) fn hide_secrets(document: &mut JobResult) {
    for call in &mut document.metadata.tool_calls {
        call.args = call.args.without_secrets();
    }
}
