//! Everything the in-process queue knows, behind one lock.

mod lists;

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    job::{Event, EventKind, Job, JobId, JobLimits, Owner, Priority, RawJson, Rejected},
    queue::{
        Approval, DeadLetter, DecisionOutcome, Delivery, JobState, Lease, LeaseBackend, LeaseEnd, QueueError,
        QueueStats, Source, Standing, StoredEvent, closing::Closing, count, stamp,
    },
};

/// Messages that wait, at most; more are refused.
const MAX_WAITING: usize = 100_000;
/// Ended jobs that are remembered with result and events.
const MAX_ENDED: usize = 10_000;

/// A message with what the queue knows of it.
#[derive(Clone)]
pub(super) struct Message {
    pub(super) text: Bytes,
    pub(super) attempts: u32,
    pub(super) crashes: u32,
    /// Its wait has been served.
    pub(super) waited: bool,
    pub(super) approval: Option<Approval>,
    pub(super) ready: Instant,
}

impl Message {
    pub(super) fn fresh(text: Bytes) -> Self {
        Self { text, attempts: 0, crashes: 0, waited: false, approval: None, ready: Instant::now() }
    }
}

/// What is known of a job that lives.
struct Live {
    state: JobState,
    /// When it may be taken, where it is queued for later.
    due: Option<u64>,
    created: u64,
    started: Option<u64>,
    attempts: u32,
    claim: Option<String>,
    owner: Option<Owner>,
}

/// A claimed message.
pub(super) struct Held {
    pub(super) message: Message,
    pub(super) job_id: Option<JobId>,
    pub(super) created: u64,
    pub(super) started: u64,
    stop: CancellationToken,
    why: Weak<OnceLock<LeaseEnd>>,
}

/// A message on its way to a worker.
pub(super) struct Taken {
    claim: String,
    delivery: Delivery,
    stop: CancellationToken,
    why: Arc<OnceLock<LeaseEnd>>,
}

impl Taken {
    pub(super) fn into_lease(self, backend: Arc<dyn LeaseBackend>) -> Lease {
        Lease::new(self.delivery, backend, self.claim, self.stop, self.why)
    }
}

#[derive(Default)]
pub(super) struct State {
    high: VecDeque<Message>,
    ready: VecDeque<Message>,
    normal: VecDeque<Message>,
    low: VecDeque<Message>,
    delayed: BTreeMap<(Instant, u64), (Option<JobId>, Message)>,
    parked: HashMap<JobId, (Message, RawJson)>,
    leases: HashMap<String, Held>,
    live: HashMap<JobId, Live>,
    cancelled: HashSet<JobId>,
    ended: HashMap<JobId, Closing>,
    order: VecDeque<JobId>,
    events: HashMap<JobId, VecDeque<StoredEvent>>,
    /// The latest at the end.
    pub(super) dead: VecDeque<DeadLetter>,
    pub(super) paused: bool,
    count: u64,
}

impl State {
    fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    fn room(&self) -> Result<(), QueueError> {
        let waiting = self.high.len() + self.ready.len() + self.normal.len() + self.low.len() + self.delayed.len();
        if waiting < MAX_WAITING {
            return Ok(());
        }
        Err(QueueError(format!("{MAX_WAITING} jobs wait already: try again later, or use Redis")))
    }

    /// Puts a message at the end of its list.
    pub(super) fn push(&mut self, message: Message, priority: Priority) -> Result<(), QueueError> {
        self.room()?;
        match priority {
            Priority::High => self.high.push_back(message),
            Priority::Normal => self.normal.push_back(message),
            Priority::Low => self.low.push_back(message),
        }
        Ok(())
    }

    /// Puts a message before all that wait.
    pub(super) fn push_front(&mut self, message: Message) {
        self.ready.push_front(message);
    }

    /// Puts a message off.
    pub(super) fn delay(&mut self, job_id: Option<&JobId>, message: Message, wait: Duration) -> Result<(), QueueError> {
        self.room()?;
        let at = (Instant::now() + wait, self.next());
        self.delayed.insert(at, (job_id.cloned(), Message { waited: true, ..message }));
        if let Some(job_id) = job_id {
            self.enlist(job_id, JobState::Queued);
            let due = stamp::now_ms() + u64::try_from(wait.as_millis()).unwrap_or(u64::MAX / 2);
            self.live.entry(job_id.clone()).and_modify(|live| live.due = Some(due));
        }
        Ok(())
    }

    /// When the next delayed message is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.delayed.keys().next().map(|(at, _)| *at)
    }

    /// Notes that a job lives, in `state` and held by nobody. One that has ended does not live again for a message
    /// that will turn out to be its duplicate.
    pub(super) fn enlist(&mut self, job_id: &JobId, state: JobState) {
        if self.ended.contains_key(job_id) {
            return;
        }
        let live = self.live.entry(job_id.clone()).or_insert_with(|| Live::since(stamp::now_ms()));
        (live.state, live.due, live.claim) = (state, None, None);
    }

    /// Notes whose a job is that lives and is not taken yet.
    pub(super) fn own(&mut self, job_id: &JobId, owner: Option<Owner>) {
        if let Some(live) = self.live.get_mut(job_id).filter(|live| live.owner.is_none() && live.claim.is_none()) {
            live.owner = owner;
        }
    }

    /// Takes up to `max` messages that may be taken now.
    pub(super) fn take(&mut self, max: usize, limits: &JobLimits) -> Vec<Taken> {
        let now = Instant::now();
        while self.next_due().is_some_and(|due| due <= now) {
            let Some((_, (job_id, message))) = self.delayed.pop_first() else { break };
            if let Some(job_id) = job_id {
                self.enlist(&job_id, JobState::Queued);
            }
            self.ready.push_back(Message { ready: now, ..message });
        }
        let mut taken = Vec::new();
        while taken.len() < max && !self.paused {
            let lists = [&mut self.high, &mut self.ready, &mut self.normal, &mut self.low];
            let Some(message) = lists.into_iter().find_map(VecDeque::pop_front) else { break };
            let job = Job::parse(&message.text, limits);
            let wait = job.as_ref().ok().filter(|_| !message.waited).and_then(wait_of);
            match (wait, &job) {
                (Some(wait), Ok(job)) if self.delay(Some(&job.job_id), message.clone(), wait).is_ok() => {}
                _ => taken.push(self.hold(message, job)),
            }
        }
        taken.sort_by_key(|one| one.delivery.job.as_ref().map_or(Priority::Normal, |job| job.priority));
        taken
    }

    fn hold(&mut self, message: Message, job: Result<Job, Rejected>) -> Taken {
        let claim = format!("local.{}", self.next());
        let job_id = job.as_ref().map_or_else(|rejected| rejected.job_id.clone(), |job| Some(job.job_id.clone()));
        let (stop, why) = (CancellationToken::new(), Arc::new(OnceLock::new()));
        let started = stamp::now_ms();
        let (standing, created) = match &job_id {
            Some(job_id) => {
                let owner = job.as_ref().ok().and_then(Job::owner);
                self.register(job_id, owner, &claim, message.attempts + 1, started)
            }
            None => (Standing::Runnable, started),
        };
        let queue_time = message.ready.elapsed();
        count::waited(queue_time);
        let delivery = Delivery {
            raw: message.text.clone(),
            job,
            source: Source::Local,
            standing,
            attempt: message.attempts + 1,
            crashes: message.crashes,
            queue_time,
            approval: message.approval.clone(),
        };
        let held = Held { message, job_id, created, started, stop: stop.clone(), why: Arc::downgrade(&why) };
        self.leases.insert(claim.clone(), held);
        Taken { claim, delivery, stop, why }
    }

    /// Notes who runs a job, and says whether it may run.
    fn register(
        &mut self,
        job_id: &JobId,
        owner: Option<Owner>,
        claim: &str,
        attempts: u32,
        now: u64,
    ) -> (Standing, u64) {
        if let Some(closing) = self.ended.get(job_id) {
            return (Standing::Duplicate, closing.facts.created);
        }
        let live = self.live.entry(job_id.clone()).or_insert_with(|| Live::since(now));
        if live.claim.is_some() || live.due.is_some() || live.state == JobState::AwaitingApproval {
            return (Standing::Duplicate, live.created);
        }
        *live = Live {
            state: JobState::Running,
            due: None,
            created: live.created,
            started: Some(now),
            attempts,
            claim: Some(claim.to_owned()),
            owner,
        };
        let standing = if self.cancelled.contains(job_id) { Standing::Cancelled } else { Standing::Runnable };
        (standing, live.created)
    }

    /// Takes back the messages of leases that were dropped; returns those that crashed too often.
    pub(super) fn reclaim(&mut self, max_crashes: u32) -> Vec<Held> {
        let gone: Vec<String> = self
            .leases
            .iter()
            .filter(|(_, held)| held.why.strong_count() == 0)
            .map(|(claim, _)| claim.clone())
            .collect();
        let mut crashed = Vec::new();
        for claim in gone {
            let Some(mut held) = self.release(&claim) else { continue };
            count::reclaimed(1);
            held.message.crashes += 1;
            if held.message.crashes >= max_crashes {
                crashed.push(held);
            } else {
                self.ready.push_front(held.message);
            }
        }
        crashed
    }

    /// Whether a claim holds.
    pub(super) fn holds(&self, claim: &str) -> bool {
        self.leases.contains_key(claim)
    }

    /// Ends a claim; nothing when it does not hold.
    pub(super) fn release(&mut self, claim: &str) -> Option<Held> {
        let held = self.leases.remove(claim)?;
        if let Some(live) = held.job_id.as_ref().and_then(|id| self.live.get_mut(id))
            && live.claim.as_deref() == Some(claim)
        {
            (live.state, live.due, live.claim) = (JobState::Queued, None, None);
        }
        Some(held)
    }

    /// Ends a job for good.
    pub(super) fn end(&mut self, job_id: &JobId, closing: Closing) {
        self.live.remove(job_id);
        self.cancelled.remove(job_id);
        self.ended.insert(job_id.clone(), closing);
        self.order.push_back(job_id.clone());
        while self.order.len() > MAX_ENDED {
            if let Some(oldest) = self.order.pop_front() {
                self.forget(&oldest);
            }
        }
    }

    /// Forgets what a job left behind.
    pub(super) fn forget(&mut self, job_id: &JobId) {
        self.ended.remove(job_id);
        self.events.remove(job_id);
        self.order.retain(|id| id != job_id);
    }

    /// Forgets a job that ended without a result.
    pub(super) fn drop_live(&mut self, job_id: &JobId) {
        self.live.remove(job_id);
        self.cancelled.remove(job_id);
    }

    pub(super) fn closing(&self, job_id: &JobId) -> Option<&Closing> {
        self.ended.get(job_id)
    }

    /// The message of a job that is in somebody's hands, or waits for its time or for a decision.
    pub(super) fn held_message(&self, job_id: &JobId) -> Option<Bytes> {
        let held = self.leases.values().find(|held| held.job_id.as_ref() == Some(job_id)).map(|held| &held.message);
        let delayed = || self.delayed.values().find(|(id, _)| id.as_ref() == Some(job_id)).map(|(_, message)| message);
        let parked = || self.parked.get(job_id).map(|(message, _)| message);
        held.or_else(parked).or_else(delayed).map(|message| message.text.clone())
    }

    pub(super) fn park(&mut self, job_id: JobId, message: Message, pending: RawJson) {
        self.enlist(&job_id, JobState::AwaitingApproval);
        self.parked.insert(job_id, (message, pending));
    }

    pub(super) fn decide(&mut self, job_id: &JobId, approved: bool) -> DecisionOutcome {
        match self.parked.remove(job_id) {
            Some((message, pending)) => {
                self.enlist(job_id, JobState::Queued);
                self.ready.push_front(Message { approval: Some(Approval { approved, pending }), ..message });
                DecisionOutcome::Accepted
            }
            None if self.live.contains_key(job_id) || self.ended.contains_key(job_id) => DecisionOutcome::NotWaiting,
            None => DecisionOutcome::Unknown,
        }
    }

    /// Asks that a job be cancelled; false when it is not known.
    pub(super) fn cancel(&mut self, job_id: &JobId) -> bool {
        if !self.live.contains_key(job_id) {
            return false;
        }
        self.cancelled.insert(job_id.clone());
        let delayed = self.delayed.iter().find(|(_, (id, _))| id.as_ref() == Some(job_id)).map(|(at, _)| *at);
        let waiting = match delayed.and_then(|at| self.delayed.remove(&at)) {
            Some((_, message)) => Some(message),
            None => self.parked.remove(job_id).map(|(message, _)| message),
        };
        if let Some(message) = waiting {
            self.enlist(job_id, JobState::Queued);
            self.ready.push_front(message);
        }
        for held in self.leases.values().filter(|held| held.job_id.as_ref() == Some(job_id)) {
            held.end(LeaseEnd::Cancelled);
        }
        true
    }

    pub(super) fn end_all(&mut self, reason: LeaseEnd) {
        for held in self.leases.values() {
            held.end(reason);
        }
    }

    pub(super) fn record(&mut self, job_id: &JobId, event: Event, max: usize) {
        let id = format!("{}-{}", stamp::now_ms(), self.next());
        let name = event.event.as_str().to_owned();
        let events = self.events.entry(job_id.clone()).or_default();
        // A duplicate is no new beginning.
        if event.event == EventKind::Queued && !events.is_empty() {
            return;
        }
        events.push_back(StoredEvent { id, event: name, data: RawJson::from_trusted(stamp::dated(job_id, &event)) });
        while events.len() > max.max(1) {
            events.pop_front();
        }
    }

    pub(super) fn events_after(&self, job_id: &JobId, after: Option<&str>) -> Vec<StoredEvent> {
        let place = |id: &str| -> u64 { id.split_once('-').and_then(|(_, n)| n.parse().ok()).unwrap_or(0) };
        let after = after.map_or(0, place);
        self.events.get(job_id).into_iter().flatten().filter(|event| place(&event.id) > after).cloned().collect()
    }

    pub(super) fn stats(&self) -> QueueStats {
        let heads = [&self.high, &self.ready, &self.normal, &self.low];
        let oldest = heads.iter().filter_map(|list| list.front()).map(|message| message.ready.elapsed()).max();
        QueueStats {
            pending: self.normal.len() as u64,
            ready: (self.high.len() + self.ready.len() + self.low.len()) as u64,
            scheduled: self.delayed.len() as u64,
            in_flight: self.leases.len() as u64,
            awaiting_approval: self.parked.len() as u64,
            dead: self.dead.len() as u64,
            oldest_age_ms: oldest.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            paused: self.paused,
        }
    }
}

impl Live {
    /// A job that came in at `created`.
    fn since(created: u64) -> Self {
        Self { state: JobState::Queued, due: None, created, started: None, attempts: 0, claim: None, owner: None }
    }
}

impl Held {
    fn end(&self, reason: LeaseEnd) {
        if self.why.upgrade().is_some_and(|why| why.set(reason).is_ok()) {
            count::lost(if reason == LeaseEnd::Cancelled { "cancelled" } else { "closed" });
        }
        self.stop.cancel();
    }
}

/// How long a job asked to wait.
fn wait_of(job: &Job) -> Option<Duration> {
    let wait = match (job.run_at_ms, job.delay_ms) {
        (Some(at), _) => at.saturating_sub(stamp::now_ms()),
        (None, delay) => delay?,
    };
    (wait > 0).then(|| Duration::from_millis(wait))
}
