//! Ending leases in process.

use async_trait::async_trait;

use super::{
    Shared,
    state::{Held, Message, State},
};
use crate::{
    job::Job,
    queue::{
        DeadLetter, Delivery, End, Finished, LeaseBackend, QueueError, Source, Standing,
        closing::{Closing, Facts},
        count, crash, stamp,
    },
};

#[async_trait]
impl LeaseBackend for Shared {
    async fn finish(&self, claim: &str, delivery: &Delivery, end: End) -> Result<Finished, QueueError> {
        let finished = {
            let mut state = self.state.lock();
            match state.release(claim) {
                Some(held) => self.end(&mut state, claim, held, delivery, end)?,
                None => Finished::Lost,
            }
        };
        self.news.notify_waiters();
        self.jobs.notify_waiters();
        Ok(finished)
    }

    async fn holds(&self, claim: &str) -> Result<bool, QueueError> {
        Ok(self.state.lock().holds(claim))
    }
}

impl Shared {
    fn end(
        &self,
        state: &mut State,
        claim: &str,
        held: Held,
        delivery: &Delivery,
        end: End,
    ) -> Result<Finished, QueueError> {
        let Held { message, job_id, created, started, .. } = held;
        let bury = |state: &mut State, error| {
            count::dead_letter();
            let letter = DeadLetter::new(delivery, job_id.as_ref(), &error, None);
            state.dead.extend(DeadLetter::read(&letter.text()));
            while state.dead.len() > self.max_dead {
                state.dead.pop_front();
            }
        };
        match (end, &job_id) {
            (End::Result { result, status, lane, event, signal, dead }, Some(job_id)) => {
                if state.closing(job_id).is_some() {
                    count::duplicate();
                    return Ok(Finished::Superseded);
                }
                let facts = Facts {
                    claim: claim.to_owned(),
                    intake: "local".into(),
                    created,
                    started,
                    completed: stamp::now_ms(),
                    attempts: delivery.attempt,
                    status: status.as_str().to_owned(),
                    lane: lane.map(|lane| lane.as_str().to_owned()),
                    owner: delivery.job.as_ref().ok().and_then(Job::owner),
                };
                let closing = Closing {
                    facts,
                    result,
                    signal: signal.map(|signal| signal.bytes().clone()),
                    event: (event.event.as_str().to_owned(), stamp::dated(job_id, &event)),
                    message: Some(delivery.raw.clone()),
                };
                state.end(job_id, closing);
                state.record(job_id, event, self.events_max_len);
                if let Some(error) = dead {
                    bury(state, error);
                }
            }
            (End::Result { dead: Some(error), .. } | End::Dead { error }, _) => {
                if let Some(job_id) = &job_id {
                    state.drop_live(job_id);
                }
                bury(state, error);
            }
            (End::Retry { after, .. }, _) => {
                let message = Message { attempts: message.attempts + 1, ..message };
                state.delay(job_id.as_ref(), message, after)?;
            }
            (End::Defer { after }, _) => state.delay(job_id.as_ref(), message, after)?,
            (End::Park { pending, event }, Some(job_id)) => {
                state.record(job_id, event, self.events_max_len);
                state.park(job_id.clone(), message, pending);
            }
            (End::HandBack | End::Park { .. }, _) => state.push_front(message),
            (End::Duplicate, _) => count::duplicate(),
            (End::Result { .. }, None) => bury(state, crash::nobody_to_tell()),
        }
        Ok(Finished::Done)
    }

    /// Ends a message that crashed its workers too often.
    pub(super) fn end_crashed(&self, state: &mut State, held: Held) {
        let delivery = Delivery {
            raw: held.message.text.clone(),
            job: Job::parse(&held.message.text, &self.limits),
            source: Source::Local,
            standing: Standing::Runnable,
            attempt: held.message.attempts + 1,
            crashes: held.message.crashes,
            queue_time: std::time::Duration::ZERO,
            approval: None,
        };
        let end = crash::verdict(&delivery, self.signals);
        // Nothing can be refused here: the verdict neither waits nor retries.
        let _ = self.end(state, "crashed", held, &delivery, end);
        self.news.notify_waiters();
    }
}
