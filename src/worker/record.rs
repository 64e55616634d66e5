//! A job's note in the outbox of records: it stands before the job can end.

use std::time::Duration;

use super::Runner;
use crate::{
    job::JobId,
    queue::{Delivery, End, Lease, LeaseEnd, Standing},
    store::Noted,
};

/// Between two tries to note a job that is to end.
const AGAIN: Duration = Duration::from_secs(1);

impl Runner {
    /// Notes a job that was taken; nothing where no records are kept, or it could not be noted now.
    pub(super) async fn note(&self, delivery: &Delivery) -> Option<Noted> {
        let (recorder, (job_id, owner)) = (self.recorder.as_ref()?, whose(delivery)?);
        let noted = recorder.note(job_id, owner).await;
        noted.inspect_err(|error| tracing::debug!(%job_id, %error, "the job could not be noted yet")).ok()
    }

    /// Sees to it that a job is noted before its result goes out. While Redis is away no result goes out either.
    pub(super) async fn noted(&self, lease: &Lease, end: &End, first: Option<Noted>) -> Option<Noted> {
        let recorder = self.recorder.as_ref().filter(|_| matches!(end, End::Result { .. }))?;
        let (job_id, owner) = whose(&lease.delivery)?;
        let mut noted = first;
        while noted.is_none() && lease.ended() != Some(LeaseEnd::Lost) {
            match recorder.note(job_id, owner).await {
                Ok(note) => noted = Some(note),
                Err(error) if error.is_away() => tokio::time::sleep(AGAIN).await,
                Err(error) => {
                    tracing::error!(%job_id, %error, "the job ends without a record");
                    return None;
                }
            }
        }
        noted
    }

    /// Has the record of a job written that has ended.
    pub(super) fn record(&self, noted: Noted) {
        if let Some(recorder) = &self.recorder {
            recorder.ended(noted);
        }
    }
}

/// The job and its owner; nothing for what has no record of its own.
fn whose(delivery: &Delivery) -> Option<(&JobId, Option<&str>)> {
    match (&delivery.job, delivery.standing) {
        (_, Standing::Duplicate) => None,
        (Ok(job), _) => Some((&job.job_id, job.workflow_owner.as_deref())),
        (Err(rejected), _) => Some((rejected.job_id.as_ref()?, None)),
    }
}
