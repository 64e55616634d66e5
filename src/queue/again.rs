//! Putting many dead letters back, a page at a time.

use std::collections::HashSet;

use super::{Cursor, DeadLetter, JobState, LetterFilter, LetterPlace, Queue, QueueError, stamp};
use crate::job::JobId;

/// Which dead letters are to go back.
#[derive(Debug, Clone, Default)]
pub struct Again {
    /// Only those of this error type.
    pub error: Option<String>,
    /// Only those written at or after this time, in milliseconds since the epoch.
    pub since_ms: Option<u64>,
}

/// What became of a page of dead letters.
#[derive(Debug, Clone, PartialEq)]
pub struct Returned {
    /// Letters that were looked at.
    pub looked_at: u64,
    /// Those that are back in the queue.
    pub retried: u64,
    /// Those that were wanted, and whose job is under way again or has completed since.
    pub passed_over: u64,
    /// Where the older ones begin; nothing at the end.
    pub older: Option<Cursor<LetterPlace>>,
}

impl Again {
    /// Whether a letter is wanted.
    #[must_use]
    pub fn takes(&self, letter: &DeadLetter) -> bool {
        self.error.as_deref().is_none_or(|error| letter.error.code.as_str() == error)
            && self.since_ms.is_none_or(|since| stamp::parse(&letter.failed_at).is_some_and(|at| at >= since))
    }

    /// Puts back what is wanted of one page. What fails again meanwhile comes in before the page and is not met a
    /// second time on the way to the older ones.
    pub async fn page(
        &self,
        queue: &dyn Queue,
        from: Option<Cursor<LetterPlace>>,
        limit: usize,
    ) -> Result<Returned, QueueError> {
        let page = queue.letters(&LetterFilter { from, limit, ..LetterFilter::default() }).await?;
        let (mut ids, mut jobs, mut passed_over) = (Vec::new(), HashSet::new(), 0);
        for letter in page.items.iter().filter(|letter| self.takes(letter)) {
            let job_id = letter.job_id.as_deref().and_then(|id| JobId::parse(id).ok());
            let busy = match job_id {
                // Of several letters of one job the latest goes back.
                Some(job_id) => is_busy(queue, &job_id).await? || !jobs.insert(job_id),
                None => false,
            };
            if busy {
                passed_over += 1;
            } else {
                ids.push(letter.letter_id.clone());
            }
        }
        let retried = if ids.is_empty() { 0 } else { queue.retry_letters(&ids).await? };
        Ok(Returned { looked_at: page.items.len() as u64, retried, passed_over, older: page.older })
    }
}

/// Whether a job is under way, or has what its letter says it has not.
async fn is_busy(queue: &dyn Queue, job_id: &JobId) -> Result<bool, QueueError> {
    let state = queue.job(job_id).await?.map(|job| job.state);
    Ok(!matches!(state, None | Some(JobState::Failed | JobState::Cancelled)))
}
