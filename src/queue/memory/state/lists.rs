//! What the in-process queue tells of jobs and dead letters.

use super::State;
use crate::{
    job::JobId,
    queue::{Cursor, DeadLetter, JobFilter, JobPlace, JobView, Page, stamp},
};

impl State {
    pub(in crate::queue::memory) fn view(&self, job_id: &JobId, with_result: bool) -> Option<JobView> {
        if let Some(closing) = self.ended.get(job_id) {
            return Some(closing.view(job_id, with_result));
        }
        let live = self.live.get(job_id)?;
        Some(JobView {
            job_id: job_id.clone(),
            state: live.state,
            lane: None,
            attempts: live.attempts,
            created_at: Some(stamp::of(live.created)),
            due_at: live.due.map(stamp::of),
            started_at: live.started.map(stamp::of),
            completed_at: None,
            result: None,
            error: None,
            pending: self.parked.get(job_id).map(|(_, pending)| pending.clone()),
            owner: live.owner.clone(),
        })
    }

    /// A page of jobs. All are at hand: none is ever looked for in vain.
    pub(in crate::queue::memory) fn views(&self, filter: &JobFilter) -> Page<JobView, JobPlace> {
        let from = filter.from.as_ref();
        let live = self.live.iter().map(|(id, live)| (live.created, id.clone()));
        let ended = self.ended.iter().map(|(id, closing)| (closing.facts.created, id.clone()));
        let mut names: Vec<(u64, JobId)> = live.chain(ended).collect();
        Cursor::arrange(from, &mut names);
        let wanted = |(created, id): (u64, JobId)| {
            let view = self.view(&id, false).filter(|view| filter.takes(view))?;
            Some((JobPlace { created, id: Some(id) }, view))
        };
        let mut found: Vec<_> = names.into_iter().filter_map(wanted).take(filter.limit.saturating_add(1)).collect();
        let more = found.len() > filter.limit;
        found.truncate(filter.limit);
        let rest = found.last().map(|(place, _)| place.clone()).filter(|_| more);
        Page::of(from, found, rest)
    }

    /// The dead letters with `most` down to `least` older ones, latest first.
    pub(in crate::queue::memory) fn slice(&self, most: usize, least: usize) -> Vec<(usize, DeadLetter)> {
        let slice = self.dead.iter().enumerate().skip(least).take(most.saturating_add(1).saturating_sub(least));
        let mut slice: Vec<_> = slice.map(|(older, letter)| (older, letter.clone())).collect();
        slice.reverse();
        slice
    }

    /// Takes the latest dead letter out that `id` names.
    pub(in crate::queue::memory) fn take_letter(&mut self, id: &str) -> Option<DeadLetter> {
        let at = self.dead.iter().rposition(|letter| letter.is(id))?;
        self.dead.remove(at)
    }
}
