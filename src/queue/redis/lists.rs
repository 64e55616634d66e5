//! Lists of jobs, latest first. What a page costs does not grow with the number of jobs that are kept: ids of the latest
//! stand in lists of their own, and only so many are looked at.
//!
//! An entry of such a list is `<created> <job id>`. It speaks of the job for as long as that is the one that came then: a
//! job that was started afresh has a younger entry, a duplicate of one that has ended left an entry that means nothing.

use std::collections::HashMap;

use ::redis::cmd;

use super::{claim::read, core::Core, keys::Intake, records::Record};
use crate::{
    job::JobId,
    queue::{Cursor, JobFilter, JobPlace, JobState, JobView, Page, QueueError, stamp},
};

/// Jobs looked up in one go.
const PAGE: usize = 200;
/// The fewest.
const FEW: usize = 20;
/// Jobs looked at for one page.
const LOOKED: usize = 2_000;
/// Entries read for a page that begins with the latest. Those of a batch are written a moment after they were dated, so
/// beyond the last that is looked at a few are needed to put them in order.
const HEAD: isize = LOOKED as isize + 500;
/// Jobs that failed, and jobs that were cancelled, of which each intake keeps the ids: the longest list there is.
pub(super) const NOTED: usize = 1_000;

/// A job, and when it came.
type Named = (u64, JobId);

impl Core {
    /// A page of jobs, latest first.
    pub(super) async fn views(&self, filter: &JobFilter) -> Result<Page<JobView, JobPlace>, QueueError> {
        let from = filter.from.as_ref();
        let mut names = self.names_for(filter).await?;
        Cursor::arrange(from, &mut names);
        let more = names.len() > LOOKED;
        names.truncate(LOOKED);
        let mut found = self.pick(&names, filter).await?;
        let rest = if found.len() > filter.limit {
            found.truncate(filter.limit);
            found.last().map(|(place, _)| place.clone())
        } else if more {
            end_of(&names, &mut found)
        } else {
            None
        };
        Ok(Page::of(from, found, rest))
    }

    /// Jobs among which those that are wanted are, wherever there is a list that holds few others.
    async fn names_for(&self, filter: &JobFilter) -> Result<Vec<Named>, QueueError> {
        let to = if filter.from.is_none() && filter.text.is_empty() { HEAD - 1 } else { -1 };
        match filter.state {
            Some(JobState::Failed) => return self.noted(|keys| &keys.failed, -1).await,
            Some(JobState::Cancelled) => return self.noted(|keys| &keys.gone, -1).await,
            Some(JobState::Completed) | None => {}
            // Jobs that live may have come long ago, before all that is remembered as recent.
            Some(state) => {
                if let Some(live) = self.all_live(state, filter.scheduled).await? {
                    return Ok(live);
                }
            }
        }
        let mut names = self.noted(|keys| &keys.recent, to).await?;
        // A text is looked for in every id, and in the errors of those that failed.
        names.retain(|(_, id)| id.as_str().contains(&filter.text));
        if !filter.text.is_empty() && filter.state.is_none() {
            names.extend(self.noted(|keys| &keys.failed, -1).await?);
        }
        Ok(names)
    }

    /// The first of these jobs that are wanted: one more than the page takes, where there are so many.
    async fn pick(&self, names: &[Named], filter: &JobFilter) -> Result<Vec<(JobPlace, JobView)>, QueueError> {
        // Where most are wanted, the first look takes no more than it needs.
        let dense = filter.lane.is_none() && filter.text.is_empty() && filter.owner.is_none();
        let wanted = filter.limit.saturating_add(1);
        let mut found = Vec::new();
        let mut size = if dense { wanted.clamp(FEW, PAGE) } else { PAGE };
        let mut at = 0;
        while at < names.len() && found.len() < wanted {
            let chunk = &names[at..names.len().min(at + size)];
            (at, size) = (at + chunk.len(), PAGE);
            let ids: Vec<JobId> = chunk.iter().map(|(_, id)| id.clone()).collect();
            let views = self.page(&ids).await?.into_iter().map(|view| (view.job_id.clone(), view));
            let views: HashMap<JobId, JobView> = views.collect();
            for (created, id) in chunk {
                let is_it = |view: &&JobView| view.created_at.as_deref() == Some(&*stamp::of(*created));
                if let Some(view) = views.get(id).filter(is_it).filter(|view| filter.takes(view)) {
                    found.push((JobPlace { created: *created, id: Some(id.clone()) }, view.clone()));
                }
            }
        }
        found.truncate(wanted);
        Ok(found)
    }

    /// The entries of a list of every intake, from its head to `to`.
    async fn noted(&self, list: impl Fn(&Intake) -> &String, to: isize) -> Result<Vec<Named>, QueueError> {
        let ask = |keys: &Intake| cmd("LRANGE").arg(list(keys)).arg(0).arg(to).take();
        let asks: Vec<_> = self.names.intakes.iter().map(ask).collect();
        let mut names = Vec::new();
        for answer in self.work.run(&asks).await? {
            let entries: Vec<String> = read(Some(answer))?;
            let named = |entry: &String| {
                let (created, id) = entry.split_once(' ')?;
                Some((created.parse().ok()?, JobId::parse(id).ok()?))
            };
            names.extend(entries.iter().filter_map(named));
        }
        Ok(names)
    }

    /// Every job that lives and may be in this state; nothing where there are too many to look at.
    async fn all_live(&self, state: JobState, scheduled: bool) -> Result<Option<Vec<Named>>, QueueError> {
        let each = |word: &str| self.names.intakes.iter().map(|keys| cmd(word).arg(&keys.jobs).take()).collect();
        let counts: Vec<_> = each("HLEN");
        let mut live = 0;
        for answer in self.work.run(&counts).await? {
            live += read::<usize>(Some(answer))?;
        }
        if live > LOOKED {
            return Ok(None);
        }
        let wanted = match state {
            JobState::Running => Some('R'),
            JobState::AwaitingApproval => Some('A'),
            JobState::Queued if scheduled => Some('S'),
            _ => None,
        };
        let records: Vec<_> = each("HGETALL");
        let mut found = Vec::new();
        for answer in self.work.run(&records).await? {
            for (id, text) in read::<Vec<(String, String)>>(Some(answer))? {
                let record =
                    Record::read((Some(text), None)).filter(|record| wanted.is_none_or(|state| state == record.state));
                found.extend(record.and_then(|record| Some((record.created?, JobId::parse(&id).ok()?))));
            }
        }
        Ok(Some(found))
    }
}

/// Where a page goes on that has looked at all of `names` in vain: beyond all jobs of a moment, since a job that was
/// looked at may be none of the business of whoever gets the cursor. What it has found of a later moment is left to the
/// next page.
fn end_of(names: &[Named], found: &mut Vec<(JobPlace, JobView)>) -> Option<JobPlace> {
    let (last, id) = names.last()?;
    let Some((before, _)) = names.iter().rev().find(|(created, _)| created != last) else {
        return Some(JobPlace { created: *last, id: Some(id.clone()) });
    };
    found.retain(|(place, _)| place.created != *last);
    Some(JobPlace { created: *before, id: None })
}
