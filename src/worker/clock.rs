//! A job's time. It runs from the job's first start: at work, while the job is put back, and while it is in line for a
//! worker after that. It does not run while a person decides, and a worker that dies notes nothing of it.

use std::time::{Duration, Instant};

use super::{Runner, attempt::asks_model};
use crate::{
    job::{Job, JobError, Meter},
    store::{Elapsed, Journal},
};

/// What is left of a job's time, over all its deliveries. A job that is put back takes it along as a length, since
/// clocks differ.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    /// `timeout_sec`, or the default.
    limit: Duration,
    before: Elapsed,
    began: Instant,
}

impl Clock {
    /// The clock of a job that has just been taken, for the `attempt`-th time, after `in_line` in the queue.
    pub(super) async fn of(
        runner: &Runner,
        job: &Job,
        (attempt, in_line): (u32, Duration),
        journal: &Journal,
        meter: &Meter,
    ) -> Result<Self, JobError> {
        let fresh = Self::fresh(runner, job);
        // A job that was never put back has nothing on record, and most jobs ask nobody who might put them back.
        if journal.replays() || (attempt == 1 && !asks_model(runner, job)) {
            return Ok(fresh);
        }
        let mut before = journal.elapsed(meter).await?;
        if !before.used.is_zero() {
            before.used += in_line;
        }
        Ok(Self { before, ..fresh })
    }

    /// The clock of a job that starts now.
    pub(super) fn fresh(runner: &Runner, job: &Job) -> Self {
        let limit = job.timeout.unwrap_or(Duration::from_secs(runner.settings.worker.default_timeout_secs));
        Self { limit, before: Elapsed::default(), began: Instant::now() }
    }

    /// When the job's time is over.
    pub(super) fn deadline(&self) -> Instant {
        self.began + self.limit.saturating_sub(self.before.used)
    }

    /// What is left of it.
    pub(super) fn left(&self) -> Duration {
        self.deadline().saturating_duration_since(Instant::now())
    }

    /// How long the job was put back for limits so far.
    pub(super) fn waited(&self) -> Duration {
        self.before.waited
    }

    /// The job is put back for `after`: for a limit, or else for another attempt. What it takes along.
    pub(super) fn put_back(&self, after: Duration, for_limit: bool) -> Elapsed {
        Elapsed {
            used: self.before.used + self.began.elapsed() + after,
            waited: self.before.waited + if for_limit { after } else { Duration::ZERO },
        }
    }

    /// The clock after that wait, where the job did not leave the process.
    pub(super) fn resumed(&self, before: Elapsed) -> Self {
        Self { before, began: Instant::now(), ..*self }
    }

    /// The limit in words, for the job that came to it.
    pub(super) fn told(&self) -> String {
        let waited = self.before.waited;
        let rest = if waited.is_zero() {
            String::new()
        } else {
            format!(", {:.0} s of it put back for a limit of the model", waited.as_secs_f64())
        };
        format!("{} s{rest}", self.limit.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_taken_along_from_one_delivery_to_the_next() {
        let secs = Duration::from_secs;
        let first = Clock { limit: secs(300), before: Elapsed::default(), began: Instant::now() - secs(100) };
        assert!(first.left() <= secs(200) && first.left() > secs(190));
        let second = first.resumed(first.put_back(secs(60), true));
        assert!(second.left() <= secs(140) && second.left() > secs(130), "{:?}", second.left());
        let third = second.resumed(second.put_back(secs(30), false));
        assert!(third.left() <= secs(110) && third.left() > secs(100), "{:?}", third.left());
        assert_eq!(third.waited(), secs(60));
        assert_eq!(third.told(), "300 s, 60 s of it put back for a limit of the model");
        let over = third.resumed(third.put_back(secs(400), true));
        assert_eq!(over.left(), Duration::ZERO);
    }
}
