//! A job that waited for approval goes on: with a patch that was prepared, or before a call of an agent.

use crate::{
    job::{Event, JobError, Meter, RawJson},
    lanes::LaneEnd,
    queue::Approval,
    store::Journal,
    tools,
};

/// The journal's name for an approved patch.
const APPROVED: &str = "approved";
/// The tool whose patch waited.
const PATCH: &str = "patch_workflow";

/// What was approved of a job that waited for it, where that is a patch. A decision about a call goes on record, for the
/// run to find. All of it is on record for a replay.
pub(super) async fn decided(
    approval: Option<&Approval>,
    journal: &Journal,
    meter: &Meter,
    emit: &(dyn Fn(Event) + Send + Sync),
) -> Result<Option<RawJson>, JobError> {
    match approval {
        Some(approval) if tools::is_call(&approval.pending) => {
            if let Some(event) = tools::decide(&approval.pending, approval.approved, journal, meter).await? {
                emit(event);
            }
            Ok(None)
        }
        Some(approval) => {
            let pending = async {
                emit(tools::decision(PATCH, true));
                Ok(approval.pending.clone())
            };
            journal.step(APPROVED, meter, pending).await.map(Some)
        }
        None if journal.replays() => journal.peek(APPROVED, meter).await,
        None => Ok(None),
    }
}

/// What is told of a patch that was rejected.
pub(super) fn rejection() -> Event {
    tools::decision(PATCH, false)
}

/// Whether a rejection ends the job: the agent whose call was rejected is told, and goes on without it.
pub(super) fn ends_the_job(approval: &Approval) -> bool {
    !approval.approved && !tools::is_call(&approval.pending)
}

/// A run that unwound because a call of it waits has not failed: the job is parked.
pub(super) fn parked(ended: Result<LaneEnd, JobError>) -> Result<LaneEnd, JobError> {
    match ended {
        Err(JobError { pending: Some(pending), .. }) => Ok(LaneEnd::Parked(*pending)),
        ended => ended,
    }
}
