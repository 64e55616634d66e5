//! When a failed attempt is tried again. The job's retry has one owner, and this is it.

use std::time::Duration;

use crate::{job::JobError, settings::Retry};

/// How long to wait before the next attempt, or nothing when the job has failed for good.
///
/// `made` counts the attempts already made, here and elsewhere. The wait is exponential with full jitter
/// (Brooker, "Exponential Backoff And Jitter"): `dice`, from 0 to 1, picks a point below the ceiling. A wait that the other side asked
/// for is a floor, however long: whether the job's time reaches to it is not decided here.
#[must_use]
pub fn next_attempt(error: &JobError, made: u32, policy: &Retry, dice: f64) -> Option<Duration> {
    if !error.retryable || made >= policy.max_attempts {
        return None;
    }
    let doublings = made.saturating_sub(1).min(32);
    let ceiling = policy.base_ms.saturating_mul(1 << doublings).min(policy.max_ms);
    let wait = Duration::from_millis(ceiling).mul_f64(dice.clamp(0.0, 1.0));
    Some(wait.max(error.retry_after.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::ErrorCode;

    #[test]
    fn waits_double_up_to_the_ceiling_and_end_with_the_attempts() {
        let policy = Retry { max_attempts: 5, base_ms: 1000, max_ms: 3000 };
        let passing = JobError::new(ErrorCode::LlmUnavailable, "x");
        let wait = |made, dice| next_attempt(&passing, made, &policy, dice).map(|d| d.as_millis());
        assert_eq!(wait(1, 1.0), Some(1000));
        assert_eq!(wait(2, 0.5), Some(1000));
        assert_eq!(wait(3, 1.0), Some(3000));
        assert_eq!(wait(4, 0.0), Some(0));
        assert_eq!(wait(5, 1.0), None);
        assert_eq!(wait(u32::MAX, 1.0), None);
    }

    #[test]
    fn a_permanent_error_is_not_tried_again_and_a_stated_wait_is_kept() {
        let policy = Retry { max_attempts: 3, base_ms: 10, max_ms: 5000 };
        assert_eq!(next_attempt(&JobError::new(ErrorCode::InvalidPatch, "x"), 1, &policy, 1.0), None);
        let limited = JobError::new(ErrorCode::HttpFailed, "x").with_retryable(true);
        for secs in [2, 300] {
            let stated = Some(Duration::from_secs(secs));
            assert_eq!(next_attempt(&limited.clone().with_retry_after(stated), 1, &policy, 1.0), stated);
        }
    }
}
