//! What is known of jobs: the records of those that live, the closing records of those that ended.

use ::redis::{Cmd, cmd};
use bytes::Bytes;

use super::{
    claim::{Taken, read},
    core::Core,
    keys::Intake,
    stream,
};
use crate::{
    job::{Job, JobId, Owner, RawJson, Rejected},
    queue::{
        JobState, JobView, QueueError,
        closing::{Closing, Facts},
        stamp,
    },
};

/// Bytes of a closing record read for a list of jobs: enough for all of a failed one.
const GLANCE: usize = 16 << 10;

/// `state:created:started:attempts:claim`, as the scripts write it; the field `<job id> owner` beside it says
/// whose the job is, where it is anybody's. The claim is also the name of the body of
/// a job that waits (`S`, `A`).
pub(super) struct Record {
    pub(super) state: char,
    pub(super) created: Option<u64>,
    started: Option<u64>,
    attempts: u32,
    claim: String,
    owner: Option<Owner>,
}

impl Record {
    /// Reads a record and, from the field beside it, whose job it is.
    pub(super) fn read((text, owner): (Option<String>, Option<String>)) -> Option<Self> {
        let text = text?;
        let mut parts = text.splitn(5, ':');
        let state = parts.next()?.chars().next()?;
        let mut number = || parts.next().map(|part| part.parse::<u64>().ok());
        let (created, started, attempts) = (number()?, number()?, number()?);
        let claim = parts.next()?.to_owned();
        let attempts = attempts.and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        Some(Self { state, created, started, attempts, claim, owner: owner.as_deref().and_then(Owner::stored) })
    }

    fn view(&self, job_id: &JobId, state: JobState) -> JobView {
        JobView {
            job_id: job_id.clone(),
            state,
            lane: None,
            attempts: self.attempts,
            created_at: self.created.map(stamp::of),
            due_at: None,
            started_at: self.started.map(stamp::of),
            completed_at: None,
            result: None,
            error: None,
            pending: None,
            owner: self.owner.clone(),
        }
    }
}

impl Core {
    /// The closing record of a job.
    pub(super) async fn closing(&self, key: String) -> Result<Option<Closing>, QueueError> {
        let text: Option<Vec<u8>> = read(Some(self.work.one(cmd("GET").arg(key).take()).await))?;
        Ok(text.and_then(|text| Closing::read(&text.into())))
    }

    /// The job of a message that has ended, with what its orchestrator keeps where it came as a token.
    pub(super) async fn ended_job(&self, job_id: &JobId) -> Result<Option<Result<Job, Rejected>>, QueueError> {
        let Some(closing) = self.closing(self.names.closing(job_id)).await? else { return Ok(None) };
        let Some(message) = closing.message else { return Ok(None) };
        let intake = self.names.intakes.iter().position(|intake| *intake.name == *closing.facts.intake).unwrap_or(0);
        let mut taken = [Taken::open(self, intake, String::new(), message.to_vec())];
        stream::complete(self, &mut taken).await?;
        let [taken] = taken;
        Ok(Some(taken.job))
    }

    /// The job of a message that is in somebody's hands, or waits for its time or for a decision.
    pub(super) async fn live_job(&self, job_id: &JobId) -> Result<Option<Result<Job, Rejected>>, QueueError> {
        let Some((intake, record)) = self.record(job_id).await? else { return Ok(None) };
        let ask = cmd("HGET").arg(&self.names.intakes[intake].bodies).arg(&record.claim).take();
        let body: Option<Vec<u8>> = read(Some(self.work.one(ask).await))?;
        let Some(body) = body else { return Ok(None) };
        let mut taken = [Taken::open(self, intake, record.claim, body)];
        stream::complete(self, &mut taken).await?;
        let [taken] = taken;
        Ok(Some(taken.job))
    }

    /// The record of a job that lives, and where.
    pub(super) async fn record(&self, job_id: &JobId) -> Result<Option<(usize, Record)>, QueueError> {
        let asks: Vec<_> = self.names.intakes.iter().map(|keys| ask(keys, job_id)).collect();
        for (intake, answer) in self.work.run(&asks).await?.into_iter().enumerate() {
            if let Some(record) = Record::read(read(Some(answer))?) {
                return Ok(Some((intake, record)));
            }
        }
        Ok(None)
    }

    /// What is known of a job, with its result.
    pub(super) async fn view(&self, job_id: &JobId) -> Result<Option<JobView>, QueueError> {
        if let Some(closing) = self.closing(self.names.closing(job_id)).await? {
            return Ok(Some(closing.view(job_id, true)));
        }
        let Some((intake, record)) = self.record(job_id).await? else { return Ok(None) };
        Ok(self.live_views(vec![(job_id.clone(), intake, record)]).await?.pop())
    }

    /// What is known of these jobs, in two round trips.
    pub(super) async fn page(&self, ids: &[JobId]) -> Result<Vec<JobView>, QueueError> {
        let mut calls: Vec<Cmd> = Vec::new();
        for id in ids {
            calls.push(cmd("GETRANGE").arg(self.names.closing(id)).arg(0).arg(GLANCE - 1).take());
            calls.extend(self.names.intakes.iter().map(|keys| ask(keys, id)));
        }
        let mut answers = self.work.run(&calls).await?.into_iter();
        let (mut views, mut live) = (Vec::new(), Vec::new());
        for id in ids {
            let text: Vec<u8> = read(answers.next())?;
            let mut record = None;
            for (intake, answer) in answers.by_ref().take(self.names.intakes.len()).enumerate() {
                let found = Record::read(read(Some(answer))?);
                record = record.or(found.map(|found| (id.clone(), intake, found)));
            }
            match glance(id, text.into()) {
                Some(view) => views.push(view),
                None => live.extend(record),
            }
        }
        views.extend(self.live_views(live).await?);
        Ok(views)
    }

    /// Jobs that have not ended, from their records and what is left of them elsewhere. A record that says that its job
    /// waits is behind once that has left the place where it did.
    async fn live_views(&self, live: Vec<(JobId, usize, Record)>) -> Result<Vec<JobView>, QueueError> {
        let ask = |(_, intake, record): &(JobId, usize, Record)| {
            let keys = &self.names.intakes[*intake];
            match record.state {
                'A' => Some(cmd("HGET").arg(&keys.parked).arg(&record.claim).take()),
                'S' => Some(cmd("ZSCORE").arg(&keys.delayed).arg(&record.claim).take()),
                _ => None,
            }
        };
        let calls: Vec<Cmd> = live.iter().filter_map(ask).collect();
        let mut answers = if calls.is_empty() { Vec::new() } else { self.work.run(&calls).await? }.into_iter();
        let mut views = Vec::with_capacity(live.len());
        for (id, _, record) in live {
            let view = record.view(&id, JobState::Queued);
            views.push(match record.state {
                'R' => JobView { state: JobState::Running, ..view },
                'A' => match read::<Option<Vec<u8>>>(answers.next())? {
                    Some(pending) => {
                        let pending = Some(RawJson::from_trusted(pending));
                        JobView { state: JobState::AwaitingApproval, pending, ..view }
                    }
                    None => view,
                },
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole milliseconds")]
                'S' => {
                    let due = read::<Option<f64>>(answers.next())?.map(|due| stamp::of(due as u64));
                    JobView { due_at: due, ..view }
                }
                _ => view,
            });
        }
        Ok(views)
    }
}

/// Asks for the record of a job, and whose it is.
fn ask(keys: &Intake, job_id: &JobId) -> Cmd {
    cmd("HMGET").arg(&keys.jobs).arg(job_id.as_str()).arg(format!("{job_id} owner")).take()
}

/// An ended job from the beginning of its closing record: whole where that is short, else without its error.
fn glance(job_id: &JobId, text: Bytes) -> Option<JobView> {
    if let Some(closing) = Closing::read(&text) {
        return Some(closing.view(job_id, false));
    }
    let line = text.split(|byte| *byte == b'\n').next()?;
    Some(Facts::read(std::str::from_utf8(line).ok()?)?.view(job_id))
}
