//! Jobs for which it is too early: they wait in the queue, not in a worker's slot, and within their time.

use std::time::Duration;

use crate::job::JobError;

/// Shortest wait in the queue: no job goes round in circles.
const LEAST: Duration = Duration::from_millis(100);

/// How long a job that ended so is to be put back, if it is: nothing failed, and no attempt is counted. A wait that takes
/// all that is left of the job's time is none.
pub(super) fn wait<T>(end: &Result<T, JobError>, left: Duration) -> Option<Duration> {
    let error = end.as_ref().err().filter(|error| error.deferred)?;
    let stated = error.retry_after.unwrap_or_default().max(LEAST);
    (stated < left).then_some(stated)
}

/// An error that would have passed with time, told to a job that has not got it.
pub(super) fn too_late(error: JobError, left: Duration) -> JobError {
    let Some(stated) = error.retry_after.filter(|stated| *stated >= left) else { return error };
    let (stated, left) = (stated.as_secs_f64().ceil(), left.as_secs_f64().floor());
    let message = format!(
        "{}; the job could go on in {stated} s, but has only {left} s left: raise timeout_sec or submit it again then",
        error.message
    );
    JobError { message, ..error }.with_detail("retry_after_secs", stated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::ErrorCode;

    const MINUTE: Duration = Duration::from_secs(60);

    fn limited(secs: u64) -> JobError {
        let error = JobError::new(ErrorCode::LlmRateLimited, "x").with_retry_after(Some(Duration::from_secs(secs)));
        JobError { deferred: true, ..error }
    }

    #[test]
    fn only_a_limit_puts_a_job_back_and_only_within_its_time() {
        let secs = |error: JobError| wait(&Err::<(), _>(error), MINUTE).map(|wait| wait.as_secs_f64());
        assert_eq!(secs(limited(59)), Some(59.0));
        assert_eq!(secs(limited(60)), None);
        assert_eq!(secs(limited(0)), Some(0.1));
        assert_eq!(secs(JobError { deferred: false, ..limited(5) }), None);
        assert_eq!(wait(&Ok(()), MINUTE), None);
    }

    #[test]
    fn a_job_without_the_time_is_told_when_it_could_have_gone_on() {
        let error = too_late(limited(300), MINUTE);
        assert!(error.message.contains("in 300 s, but has only 60 s left"), "{error}");
        assert_eq!(error.details["retry_after_secs"], 300.0);
        assert_eq!(too_late(limited(59), MINUTE), limited(59));
    }
}
