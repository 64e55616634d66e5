//! When a request is sent again: the one place that decides.

use std::time::Duration;

use super::{fault::Fault, turn::IN_SLOT};

/// Longest wait between two requests that we choose by ourselves.
const MAX_BACKOFF: Duration = Duration::from_secs(20);

/// The policy for one model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    /// Requests sent again, at most.
    pub(super) max_retries: u32,
    /// First wait, before jitter.
    pub(super) base: Duration,
}

/// What surrounds the decision.
#[derive(Debug, Clone, Copy)]
pub(super) struct Situation {
    /// Retries already made.
    pub(super) retries: u32,
    /// Time left for the job.
    pub(super) left: Duration,
    /// A random number from 0 to 1.
    pub(super) random: f64,
}

impl Policy {
    /// How long to wait before the next request, or none to give up.
    pub(super) fn wait(&self, fault: &Fault, now: Situation) -> Option<Duration> {
        if !fault.retries() || now.retries >= self.max_retries {
            return None;
        }
        let wait = match fault.wait {
            // What everyone was told, a little apart.
            Some(told) if told <= IN_SLOT => told + told.mul_f64(0.1 * now.random).min(Duration::from_secs(1)),
            // Not in a worker's slot.
            Some(_) => return None,
            None => {
                let ceiling = self.base.saturating_mul(1 << now.retries.min(16)).min(MAX_BACKOFF);
                ceiling.mul_f64(now.random)
            }
        };
        (wait < now.left).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fault::Kind, *};

    const POLICY: Policy = Policy { max_retries: 3, base: Duration::from_millis(500) };

    fn situation(retries: u32, left_secs: u64) -> Situation {
        Situation { retries, left: Duration::from_secs(left_secs), random: 1.0 }
    }

    fn fault(kind: Kind, wait_secs: Option<u64>, should_retry: Option<bool>) -> Fault {
        Fault { wait: wait_secs.map(Duration::from_secs), should_retry, ..Fault::new(kind, "") }
    }

    #[test]
    fn waits_follow_the_server_and_else_grow() {
        let ms = |fault: &Fault, now| POLICY.wait(fault, now).map(|wait| wait.as_millis());
        let down = fault(Kind::Unavailable, None, None);
        assert_eq!([0, 1, 2, 3].map(|n| ms(&down, situation(n, 100))), [Some(500), Some(1000), Some(2000), None]);
        assert_eq!(ms(&down, Situation { random: 0.0, ..situation(2, 100) }), Some(0));
        assert_eq!(ms(&fault(Kind::RateLimited, Some(2), None), situation(0, 100)), Some(2200));
        assert_eq!(ms(&fault(Kind::RateLimited, Some(2), None), situation(0, 2)), None, "beyond the deadline");
        assert_eq!(ms(&fault(Kind::RateLimited, Some(3), None), situation(0, 900)), None, "not in a slot");
        assert_eq!(ms(&fault(Kind::RateLimited, None, Some(false)), situation(0, 100)), None);
        assert_eq!(ms(&fault(Kind::Refused, None, Some(true)), situation(0, 100)), Some(500));
        assert_eq!(ms(&fault(Kind::Cancelled, None, Some(true)), situation(0, 100)), None);
        assert_eq!(ms(&fault(Kind::Quota, None, None), situation(0, 100)), None);
    }
}
