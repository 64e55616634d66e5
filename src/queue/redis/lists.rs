//! Lists of jobs, latest first. What one costs does not grow with the number of jobs that are kept: ids of the latest
//! stand in lists of their own, and only so many are looked at.

use std::collections::HashSet;

use ::redis::cmd;

use super::{claim::read, core::Core, keys::Intake, records::Record};
use crate::{
    job::JobId,
    queue::{JobFilter, JobState, JobView, QueueError},
};

/// Jobs looked up in one go.
const PAGE: usize = 200;
/// The fewest.
const FEW: usize = 20;
/// Jobs looked at for one list.
const LOOKED: usize = 2_000;
/// Jobs that failed, and jobs that were cancelled, of which each intake keeps the ids: the longest list there is.
pub(super) const NOTED: usize = 1_000;

impl Core {
    /// Jobs, latest first.
    pub(super) async fn views(&self, filter: &JobFilter) -> Result<Vec<JobView>, QueueError> {
        let mut found = match filter.state {
            Some(JobState::Failed) => self.latest(|keys| &keys.failed, filter).await?,
            Some(JobState::Cancelled) => self.latest(|keys| &keys.gone, filter).await?,
            Some(JobState::Completed) | None => self.recent(filter).await?,
            // Jobs that live may have come long ago, before all that is remembered as recent.
            Some(state) => match self.all_live(state).await? {
                Some(ids) => self.pick(&ids, filter).await?,
                None => self.recent(filter).await?,
            },
        };
        found.sort_by(|a, b| b.created_at.cmp(&a.created_at));
        found.truncate(filter.limit);
        Ok(found)
    }

    /// Of the jobs that came lately; a text is looked for in every id, and in the errors of those that failed.
    async fn recent(&self, filter: &JobFilter) -> Result<Vec<JobView>, QueueError> {
        if filter.text.is_empty() {
            return self.latest(|keys| &keys.recent, filter).await;
        }
        let ids = self.ids(|keys| &keys.recent, (0, -1), &filter.text).await?;
        let mut found = self.pick(&ids, filter).await?;
        if found.len() < filter.limit && filter.state.is_none() {
            let named: HashSet<JobId> = found.iter().map(|view| view.job_id.clone()).collect();
            let failed = self.latest(|keys| &keys.failed, filter).await?;
            found.extend(failed.into_iter().filter(|view| !named.contains(&view.job_id)));
        }
        Ok(found)
    }

    /// Those that are wanted among the ids at the head of a list.
    async fn latest(
        &self,
        list: impl Fn(&Intake) -> &String + Copy,
        filter: &JobFilter,
    ) -> Result<Vec<JobView>, QueueError> {
        let (mut seen, mut found) = (HashSet::new(), Vec::new());
        // Where most are wanted, the first look takes no more than it needs.
        let dense = filter.lane.is_none() && filter.text.is_empty() && filter.owner.is_none();
        let (mut from, mut page) = (0, if dense { filter.limit.clamp(FEW, PAGE) } else { PAGE });
        while from < LOOKED {
            let mut ids = self.ids(list, (from as isize, (from + page) as isize - 1), "").await?;
            if ids.is_empty() {
                break;
            }
            (from, page) = (from + page, PAGE);
            ids.retain(|id| seen.insert(id.clone()));
            found.extend(self.pick(&ids, filter).await?);
            if found.len() >= filter.limit {
                break;
            }
        }
        Ok(found)
    }

    /// What is known of these jobs, as far as it is wanted.
    async fn pick(&self, ids: &[JobId], filter: &JobFilter) -> Result<Vec<JobView>, QueueError> {
        let mut found = Vec::new();
        for ids in ids[..ids.len().min(LOOKED)].chunks(PAGE) {
            found.extend(self.page(ids).await?.into_iter().filter(|view| filter.takes(view)));
            if found.len() >= filter.limit {
                break;
            }
        }
        Ok(found)
    }

    /// Ids that hold a text, from a list of every intake in turn, each once, so that each is as recent as its place.
    async fn ids(
        &self,
        list: impl Fn(&Intake) -> &String,
        (from, to): (isize, isize),
        text: &str,
    ) -> Result<Vec<JobId>, QueueError> {
        let ask = |keys: &Intake| cmd("LRANGE").arg(list(keys)).arg(from).arg(to).take();
        let asks: Vec<_> = self.names.intakes.iter().map(ask).collect();
        let mut lists = Vec::new();
        for answer in self.work.run(asks).await? {
            let mut ids: Vec<String> = read(Some(answer))?;
            ids.retain(|id| id.contains(text));
            lists.push(ids.into_iter());
        }
        let mut seen = HashSet::new();
        let mut ids = Vec::new();
        while lists.iter().any(|list| list.len() > 0) {
            for id in lists.iter_mut().filter_map(Iterator::next) {
                if seen.insert(id.clone()) {
                    ids.extend(JobId::parse(&id).ok());
                }
            }
        }
        Ok(ids)
    }

    /// Every job that lives and may be in this state, latest first; nothing where there are too many to look at.
    async fn all_live(&self, state: JobState) -> Result<Option<Vec<JobId>>, QueueError> {
        let each = |word: &str| self.names.intakes.iter().map(|keys| cmd(word).arg(&keys.jobs).take()).collect();
        let counts: Vec<_> = each("HLEN");
        let mut live = 0;
        for answer in self.work.run(counts).await? {
            live += read::<usize>(Some(answer))?;
        }
        if live > LOOKED {
            return Ok(None);
        }
        let wanted = match state {
            JobState::Running => Some('R'),
            JobState::AwaitingApproval => Some('A'),
            JobState::Scheduled => Some('S'),
            _ => None,
        };
        let records: Vec<_> = each("HGETALL");
        let mut found = Vec::new();
        for answer in self.work.run(records).await? {
            for (id, text) in read::<Vec<(String, String)>>(Some(answer))? {
                let record =
                    Record::read((Some(text), None)).filter(|record| wanted.is_none_or(|state| state == record.state));
                found.extend(record.and_then(|record| Some((record.created, JobId::parse(&id).ok()?))));
            }
        }
        found.sort_by(|(a, _), (b, _)| b.cmp(a));
        Ok(Some(found.into_iter().map(|(_, id)| id).collect()))
    }
}
