//! Everything that is not taking and ending jobs.

use ::redis::{Cmd, cmd};
use async_trait::async_trait;
use bytes::Bytes;

use super::{
    claim::read,
    core::{Core, RECENT},
    envelope::{Envelope, WAITED},
    finish::Queued,
    keys::Intake,
    scripts,
};
use crate::{
    job::{Event, EventKind, JobId, Owner, Priority},
    queue::{
        CancelOutcome, DeadLetter, Decision, DecisionOutcome, LetterRetry, QueueError, RetryOutcome, Submission,
        letters::Letters, stamp,
    },
    settings::PopSide,
};

/// Dead letters read at a time while one is looked for.
const PAGE: isize = 200;

/// An owner as the scripts take it: nobody is an empty text.
pub(super) fn mark(owner: Option<&Owner>) -> &str {
    owner.map_or("", Owner::as_str)
}

impl Core {
    fn first_intake(&self) -> Result<&Intake, QueueError> {
        let list = self.names.intakes.iter().find(|keys| keys.stream.is_none());
        list.ok_or_else(|| QueueError("no list is configured: set queue.intake to [list]".into()))
    }

    /// Puts a job in.
    pub(super) async fn submit(&self, job: Submission) -> Result<(), QueueError> {
        let keys = self.first_intake()?;
        let sealed = || Envelope::fresh(&job.raw, WAITED);
        let due = match (job.run_at_ms, job.delay_ms) {
            (Some(at), _) => Some(format!("@{at}")),
            (None, Some(delay)) if delay > 0 => Some(delay.to_string()),
            _ => None,
        };
        let push = match self.config.pop_side {
            PopSide::Left => "RPUSH",
            PopSide::Right => "LPUSH",
        };
        let (target, text, how) = match (&due, job.priority) {
            (Some(_), _) => (&keys.ready[..], sealed(), "DELAY"),
            (None, Priority::High) => (&keys.high[..], sealed(), "RPUSH"),
            (None, Priority::Low) => (&keys.low[..], sealed(), "RPUSH"),
            (None, Priority::Normal) => (&*keys.name, job.raw.to_vec(), push),
        };
        let mut call = scripts::SUBMIT.on(&[&keys.jobs, &keys.recent, target, &keys.delayed, &keys.bodies]);
        call.arg(job.job_id.as_str()).arg(text).arg(how).arg(due.as_deref().unwrap_or("0"));
        call.arg(self.new_prefix()).arg(RECENT).arg(&self.names.control).arg("").arg(mark(job.owner.as_ref()));
        let mut answers = self.work.run(&[self.queued_event(&job.job_id), call]).await?;
        let _: u8 = read(answers.pop())?;
        if due.is_some() {
            self.sweep_now.notify_one();
        }
        Ok(())
    }

    fn queued_event(&self, job_id: &JobId) -> Cmd {
        let event = Queued::new(job_id, Event::new(EventKind::Queued));
        let mut call = scripts::EVENTS.on(&[self.names.events(job_id)]);
        call.arg(self.config.result_ttl).arg(self.config.events_max_len).arg(0);
        call.arg(1).arg(event.name).arg(&event.data[..]).arg(0);
        call
    }

    /// Asks that a job be cancelled.
    pub(super) async fn cancel(&self, job_id: &JobId) -> Result<CancelOutcome, QueueError> {
        if self.has_ended(job_id).await? {
            return Ok(CancelOutcome::AlreadyEnded);
        }
        let call = |keys: &Intake| {
            let mut call = scripts::CANCEL.on(&[
                &keys.jobs,
                &keys.cancelled,
                &keys.delayed,
                &keys.bodies,
                &keys.parked,
                &keys.ready,
            ]);
            call.arg(job_id.as_str()).arg(&self.names.control);
            call
        };
        if self.first_that_did(call).await? > 0 {
            return Ok(CancelOutcome::Accepted);
        }
        // It may have ended between the two looks.
        Ok(if self.has_ended(job_id).await? { CancelOutcome::AlreadyEnded } else { CancelOutcome::Unknown })
    }

    async fn has_ended(&self, job_id: &JobId) -> Result<bool, QueueError> {
        read(Some(self.work.one(cmd("EXISTS").arg(self.names.closing(job_id)).take()).await))
    }

    /// The greatest answer of any intake.
    async fn first_that_did(&self, call: impl Fn(&Intake) -> Cmd) -> Result<i64, QueueError> {
        let calls: Vec<Cmd> = self.names.intakes.iter().map(call).collect();
        let answers: Result<Vec<i64>, _> =
            self.work.run(&calls).await?.into_iter().map(|answer| read(Some(answer))).collect();
        Ok(answers?.into_iter().max().unwrap_or(-1))
    }

    /// Approves or rejects a parked job.
    pub(super) async fn decide(&self, job_id: &JobId, decision: Decision) -> Result<DecisionOutcome, QueueError> {
        let approved = if decision == Decision::Approve { "true" } else { "false" };
        let call = |keys: &Intake| {
            let mut call = scripts::DECIDE.on(&[&keys.jobs, &keys.bodies, &keys.parked, &keys.ready]);
            call.arg(job_id.as_str()).arg(approved).arg(&self.names.control);
            call
        };
        Ok(match self.first_that_did(call).await? {
            1 => DecisionOutcome::Accepted,
            0 => DecisionOutcome::NotWaiting,
            _ if self.has_ended(job_id).await? => DecisionOutcome::NotWaiting,
            _ => DecisionOutcome::Unknown,
        })
    }

    /// Starts an ended job afresh.
    pub(super) async fn retry(&self, job_id: &JobId) -> Result<RetryOutcome, QueueError> {
        let mut closing = self.closing(self.names.closing(job_id)).await?;
        if closing.is_none() {
            if self.record(job_id).await?.is_some() {
                return Ok(RetryOutcome::NotEnded);
            }
            // A retry that was cut off after it made room.
            closing = self.closing(self.names.former(job_id)).await?;
        }
        let Some(closing) = closing else { return Ok(RetryOutcome::Unknown) };
        let Some(message) = closing.message else {
            return Err(QueueError(
                "the job was larger than results.keep_job_max_bytes and is not kept: submit it again".into(),
            ));
        };
        let keys = self.names.intakes.iter().find(|keys| *keys.name == *closing.facts.intake);
        let keys = keys.map_or_else(|| self.first_intake(), Ok)?;
        self.reopen(job_id).await?;
        let mut call = scripts::SUBMIT.on(&[&keys.jobs, &keys.recent, &keys.ready, &keys.delayed, &keys.bodies]);
        call.arg(job_id.as_str()).arg(Envelope::fresh(&message, WAITED)).arg("RPUSH").arg(0);
        call.arg(self.new_prefix()).arg(RECENT).arg(&self.names.control).arg("afresh");
        call.arg(mark(closing.facts.owner.as_ref()));
        let mut answers = self.work.run(&[self.queued_event(job_id), call]).await?;
        let _: u8 = read(answers.pop())?;
        Ok(RetryOutcome::Accepted)
    }

    /// Makes room for a new result, signal and story of a job.
    async fn reopen(&self, job_id: &JobId) -> Result<(), QueueError> {
        let call =
            scripts::REOPEN.on(&[self.names.closing(job_id), self.names.former(job_id), self.names.result(job_id)]);
        let answers = self
            .work
            .run(&[
                call,
                cmd("DEL").arg(self.names.events(job_id)).take(),
                cmd("DEL").arg(self.names.signalled(job_id)).take(),
            ])
            .await?;
        for answer in answers {
            let _: i64 = read(Some(answer))?;
        }
        Ok(())
    }

    /// The letters that one of `ids` names, with their text as it stands, latest first; no more than `most`.
    async fn named_letters(
        &self,
        dead: &str,
        ids: &[String],
        most: usize,
    ) -> Result<Vec<(Bytes, DeadLetter)>, QueueError> {
        let mut found = Vec::new();
        let mut from = 0;
        loop {
            let page: Vec<Vec<u8>> =
                read(Some(self.work.one(cmd("LRANGE").arg(dead).arg(from).arg(from + PAGE - 1).take()).await))?;
            let whole = page.len() as isize == PAGE;
            for text in page {
                let letter = DeadLetter::read(&text).filter(|letter| ids.iter().any(|id| letter.is(id)));
                found.extend(letter.map(|letter| (Bytes::from(text), letter)));
            }
            if !whole || found.len() >= most {
                found.truncate(most);
                return Ok(found);
            }
            from += PAGE;
        }
    }

    /// Puts the latest dead letter back that `id` names. One that asks for no job that could be told has no record and
    /// no events.
    pub(super) async fn retry_dead(&self, id: &str) -> Result<LetterRetry, QueueError> {
        for dead in self.names.dead_lists() {
            let Some((text, letter)) = self.named_letters(dead, &[id.to_owned()], 1).await?.pop() else { continue };
            let message = letter.message();
            let home = |keys: &&Intake| letter.source.as_deref().map_or(keys.dead == dead, |name| *keys.name == *name);
            let keys = self.names.intakes.iter().find(home).map_or_else(|| self.first_intake(), Ok)?;
            let job_id = letter.about(&self.config.limits);
            let mut calls = Vec::new();
            if let Some(job_id) = &job_id {
                // The result of the failed run makes room, so that the new one is not taken for a duplicate.
                self.reopen(job_id).await?;
                calls.push(self.queued_event(job_id));
            }
            let mut call = scripts::REVIVE.on(&[dead, &keys.ready, &keys.jobs, &keys.recent]);
            call.arg(&text[..]).arg([format!(":{WAITED}::0:").as_bytes(), &message[..]].concat());
            call.arg(job_id.as_ref().map_or("", JobId::as_str)).arg(RECENT).arg(&self.names.control);
            call.arg(mark(letter.owner().as_ref()));
            calls.push(call);
            if read(self.work.run(&calls).await?.pop())? {
                return Ok(LetterRetry::Accepted(job_id));
            }
        }
        Ok(LetterRetry::Unknown)
    }

    /// Throws dead letters away.
    pub(super) async fn discard_dead(&self, ids: Option<&[String]>) -> Result<u64, QueueError> {
        let mut gone = 0;
        for dead in self.names.dead_lists() {
            match ids {
                None => {
                    let answers = self.work.run(&[cmd("LLEN").arg(dead).take(), cmd("DEL").arg(dead).take()]).await?;
                    gone += read::<u64>(answers.into_iter().next())?;
                }
                Some(ids) => {
                    for (text, _) in self.named_letters(dead, ids, usize::MAX).await? {
                        let remove = cmd("LREM").arg(dead).arg(1).arg(&text[..]).take();
                        gone += read::<u64>(Some(self.work.one(remove).await))?;
                    }
                }
            }
        }
        Ok(gone)
    }

    /// Stops or starts the taking of jobs everywhere.
    pub(super) async fn set_paused(&self, paused: bool) -> Result<(), QueueError> {
        let mut calls: Vec<Cmd> = self
            .names
            .intakes
            .iter()
            .map(|keys| match paused {
                true => cmd("SET").arg(&keys.paused).arg(stamp::now()).take(),
                false => cmd("DEL").arg(&keys.paused).take(),
            })
            .collect();
        calls.push(cmd("PUBLISH").arg(&self.names.control).arg("wake").take());
        self.work.run(&calls).await?.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(())
    }
}

/// Lists of dead letters: that of the first intake, then of the next.
#[async_trait]
impl Letters for Core {
    fn lists(&self) -> usize {
        self.names.dead_lists().len()
    }

    async fn length(&self, list: usize) -> Result<usize, QueueError> {
        let dead = self.names.dead_lists()[list];
        read(Some(self.work.one(cmd("LLEN").arg(dead).take()).await))
    }

    async fn slice(&self, list: usize, most: usize, least: usize) -> Result<Vec<(usize, DeadLetter)>, QueueError> {
        let dead = self.names.dead_lists()[list];
        // From the old end, which is the last: -1 has none older.
        let place = |older: usize| -1 - isize::try_from(older).unwrap_or(isize::MAX - 1);
        let range = cmd("LRANGE").arg(dead).arg(place(most)).arg(place(least)).take();
        let texts: Vec<Vec<u8>> = read(Some(self.work.one(range).await))?;
        let numbered =
            (least..).zip(texts.iter().rev()).filter_map(|(older, text)| Some((older, DeadLetter::read(text)?)));
        let mut letters: Vec<_> = numbered.collect();
        letters.reverse();
        Ok(letters)
    }
}
