//! Jobs that a rate limit has no room for yet: they wait in the queue, not in a worker's slot.

use std::time::Duration;

use crate::job::JobError;

/// Longest a job is put back at once: what the limit was when it asked may be over much sooner.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// How long a job that ended so is to be put back, if it is: nothing failed, and no attempt is counted.
pub(super) fn wait<T>(end: &Result<T, JobError>) -> Option<Duration> {
    let error = end.as_ref().err().filter(|error| error.deferred)?;
    let stated = error.retry_after.unwrap_or_default().min(MAX_WAIT);
    Some(spread(stated, rand::random()))
}

/// Jobs that were told the same come back a little apart: up to half the wait again, at least a tenth of a second.
fn spread(stated: Duration, dice: f64) -> Duration {
    stated + (stated / 2).max(Duration::from_millis(100)).mul_f64(dice.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::ErrorCode;

    #[test]
    fn only_a_limit_puts_a_job_back_and_never_for_long() {
        let limited = |secs| {
            let error = JobError::new(ErrorCode::LlmRateLimited, "x").with_retry_after(Some(Duration::from_secs(secs)));
            Err::<(), _>(JobError { deferred: true, ..error })
        };
        let secs = |end: &Result<(), JobError>| wait(end).map(|wait| wait.as_secs_f64());
        assert!((10.0..=15.0).contains(&secs(&limited(10)).unwrap()));
        assert!((60.0..=90.0).contains(&secs(&limited(86_400)).unwrap()));
        assert_eq!(secs(&Err(JobError::new(ErrorCode::LlmRateLimited, "x"))), None);
        assert_eq!(secs(&Ok(())), None);
        assert_eq!(spread(Duration::ZERO, 1.0), Duration::from_millis(100));
    }
}
