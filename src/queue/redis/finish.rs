//! Ending leases: everything that ends in one tick goes out as one pipeline.
//!
//! A result passes through three stages: publish (the closing record and the result, once whoever tries), announce
//! (the signal and the closing event, once), acknowledge. On one server they are one transaction (`commit`). In a
//! cluster each has a tick of its own, because an error in one must not let the next happen. Every stage may be repeated; so
//! an answer that was lost is asked for again, and a worker that dies in between is completed by the next delivery.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ::redis::{Value, cmd};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::{commit::Look, core::Core, envelope::WAITED, failpoint, held::Held, link::Backoff, stages};
use crate::{
    job::{Event, Job, JobError, JobId},
    queue::{
        DeadLetter, Delivery, End, Finished, LeaseBackend, LeaseEnd, QueueError,
        closing::{Closing, Facts},
        count,
        crash::nobody_to_tell,
        stamp,
    },
};

/// Server errors after which a stage is given up, where waiting cannot help.
pub(super) const MAX_TRIES: u32 = 8;

/// Events that wait for the next tick, at most; beyond, new ones are dropped and counted in the log.
const MAX_EVENTS: usize = 100_000;

/// The stages of an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Ask whether the claim still holds.
    Hold,
    /// Watch the closing record, and ask whether it is there.
    Look,
    /// Write the end in one transaction.
    Commit(Look),
    /// Write the closing record and the result.
    Publish,
    /// Read the record that stands, to complete what its writer began.
    Repair,
    /// Push the signal and the closing event.
    Announce,
    /// Acknowledge.
    Ack,
    /// One script that is fenced by itself.
    Sole,
}

/// What is to be done with a claim.
pub(super) enum Work {
    /// Publish this and acknowledge.
    Close(Box<Closing>),
    /// Only acknowledge.
    Ack,
    Delay {
        due: String,
        attempts: u8,
    },
    HandBack,
    Park {
        pending: Bytes,
    },
    Bury,
}

/// One claim on its way out.
pub(super) struct Item {
    pub(super) held: Arc<Held>,
    pub(super) work: Work,
    pub(super) letter: Option<Bytes>,
    pub(super) stage: Stage,
    /// Its end is written stage by stage, not in one transaction.
    pub(super) staged: bool,
    /// What happened to the job and is written with its end.
    pub(super) events: Vec<Queued>,
    /// What the next tick has to announce.
    pub(super) announce: Option<Announce>,
    reply: Option<oneshot::Sender<Result<Finished, QueueError>>>,
    pub(super) tries: u32,
    pub(super) outcome: Outcome,
}

impl Item {
    /// The job that ends, and how.
    pub(super) fn closing(&self) -> Option<(&JobId, &Closing)> {
        match &self.work {
            Work::Close(closing) => Some((self.held.job_id.as_ref()?, closing)),
            _ => None,
        }
    }

    /// From now on its end is written stage by stage.
    pub(super) fn leave_to_stages(&mut self) {
        self.staged = true;
        self.stage = Stage::Publish;
    }
}

/// What a job's end is told to the world with.
#[derive(Clone)]
pub(super) struct Announce {
    pub(super) job_id: JobId,
    pub(super) signal: Option<Bytes>,
    pub(super) event: (String, Bytes),
}

/// What a tick did to an item.
pub(super) enum Outcome {
    /// Not in this tick.
    Waiting,
    /// On to this stage; what became of the end may be known by now.
    To(Stage, Option<Finished>),
    /// Over; whoever waits is told this, unless they were told before.
    Over(Finished),
    /// A server error; `true` when waiting may help.
    Failed(String, bool),
}

/// An event on its way out.
pub(super) struct Queued {
    pub(super) job_id: JobId,
    pub(super) name: &'static str,
    pub(super) data: Bytes,
}

impl Queued {
    /// Dates an event.
    pub(super) fn new(job_id: &JobId, event: Event) -> Self {
        Self { job_id: job_id.clone(), name: event.event.as_str(), data: stamp::dated(job_id, &event) }
    }
}

/// Collects what the next tick takes.
#[derive(Default)]
pub(super) struct Flusher {
    inbox: Mutex<Inbox>,
    wake: Notify,
    closing: AtomicBool,
}

#[derive(Default)]
struct Inbox {
    /// Nobody takes anything out any more.
    over: bool,
    items: Vec<Item>,
    events: Vec<Queued>,
    dropped: u64,
}

impl Flusher {
    fn push(&self, item: Item) {
        let mut inbox = self.inbox.lock();
        if inbox.over {
            // Dropping the item tells whoever waits for it.
            return;
        }
        inbox.items.push(item);
        drop(inbox);
        self.wake.notify_one();
    }

    /// Records an event for the next tick.
    pub(super) fn emit(&self, event: Queued) {
        let mut inbox = self.inbox.lock();
        if inbox.events.len() >= MAX_EVENTS {
            inbox.dropped += 1;
        } else {
            inbox.events.push(event);
        }
        drop(inbox);
        self.wake.notify_one();
    }

    /// Whether it is closed and empty; from then on nothing is taken in.
    fn is_over(&self) -> bool {
        let mut inbox = self.inbox.lock();
        inbox.over = self.closing.load(Ordering::Acquire) && inbox.items.is_empty() && inbox.events.is_empty();
        inbox.over
    }

    /// Lets the flusher end when everything is written.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

#[async_trait]
impl LeaseBackend for Core {
    async fn finish(&self, claim: &str, delivery: &Delivery, end: End) -> Result<Finished, QueueError> {
        failpoint::reach("ending");
        let Some(held) = self.table.get(claim) else { return Ok(Finished::Lost) };
        if held.ended() == Some(LeaseEnd::Lost) {
            // It may still be ours, if Redis was away: then it goes back. Otherwise this does nothing.
            self.start(held, Work::HandBack, None, None);
            return Ok(Finished::Lost);
        }
        if matches!(end, End::Duplicate) {
            count::duplicate();
        }
        let (reply, told) = oneshot::channel();
        let letter = letter(&end, delivery, held.job_id.as_ref(), &self.names.intakes[held.intake].name);
        let parked = match (&end, &held.job_id) {
            (End::Park { event, .. }, Some(job_id)) => Some(Queued::new(job_id, event.clone())),
            _ => None,
        };
        let work = self.work_for(&held, delivery, end);
        self.start(held, work, letter, Some(reply));
        let finished =
            told.await.unwrap_or_else(|_| Err(QueueError("the queue was closed before the job could be ended".into())));
        // Whoever hears of it may decide at once, so it must be waiting by then.
        if let (Some(event), Ok(Finished::Done)) = (parked, &finished) {
            self.flusher.emit(event);
        }
        finished
    }

    async fn holds(&self, claim: &str) -> Result<bool, QueueError> {
        let Some(held) = self.table.get(claim) else { return Ok(false) };
        let leases = &self.names.intakes[held.intake].leases;
        let score = self.work.one(cmd("ZSCORE").arg(leases).arg(claim).take()).await?;
        Ok(!matches!(score, Value::Nil))
    }
}

/// The dead letter an end asks for.
fn letter(end: &End, delivery: &Delivery, job_id: Option<&JobId>, source: &str) -> Option<Bytes> {
    let nobody;
    let error: &JobError = match end {
        End::Result { dead: Some(error), .. } | End::Dead { error } => error,
        End::Result { .. } if job_id.is_none() => {
            nobody = nobody_to_tell();
            &nobody
        }
        _ => return None,
    };
    Some(DeadLetter::new(delivery, job_id, error, Some(source)).text())
}

impl Core {
    /// Puts a claimed job off that is not due yet.
    pub(super) fn put_off(&self, claim: &str, due: String) {
        if let Some(held) = self.table.get(claim) {
            self.start(held, Work::Delay { due, attempts: 0 }, None, None);
        }
    }

    /// Returns a claim to the head of the queue.
    pub(super) fn give_back(&self, claim: &str) {
        if let Some(held) = self.table.get(claim) {
            self.start(held, Work::HandBack, None, None);
        }
    }

    fn start(
        &self,
        held: Arc<Held>,
        work: Work,
        letter: Option<Bytes>,
        reply: Option<oneshot::Sender<Result<Finished, QueueError>>>,
    ) {
        held.ending.store(true, Ordering::Release);
        let stage = match &work {
            // While nobody else can have the claim there is no need to ask.
            Work::Close(_) if self.table.remaining(&held) > self.config.lease / 5 => Stage::Publish,
            Work::Close(_) => Stage::Hold,
            Work::Ack => Stage::Repair,
            _ => Stage::Sole,
        };
        self.flusher.push(Item {
            held,
            work,
            letter,
            stage,
            staged: false,
            events: Vec::new(),
            announce: None,
            reply,
            tries: 0,
            outcome: Outcome::Waiting,
        });
    }

    fn work_for(&self, held: &Held, delivery: &Delivery, end: End) -> Work {
        match end {
            End::Result { result, status, lane, event, signal, .. } => {
                let Some(job_id) = &held.job_id else { return Work::Bury };
                let facts = Facts {
                    claim: held.claim.clone(),
                    intake: self.names.intakes[held.intake].name.to_string(),
                    created: held.created,
                    started: held.started,
                    completed: held.started + u64::try_from(held.since.elapsed().as_millis()).unwrap_or_default(),
                    attempts: delivery.attempt,
                    status: status.as_str().to_owned(),
                    lane: lane.map(|lane| lane.as_str().to_owned()),
                    owner: delivery.job.as_ref().ok().and_then(Job::owner),
                };
                let keep = delivery.raw.len() <= self.config.keep_job_bytes;
                Work::Close(Box::new(Closing {
                    facts,
                    result,
                    signal: signal.map(|signal| signal.bytes().clone()),
                    event: closing_event(job_id, event),
                    message: keep.then(|| delivery.raw.clone()),
                }))
            }
            End::Retry { after, .. } => Work::Delay { due: after.as_millis().to_string(), attempts: 1 },
            End::Defer { after } => Work::Delay { due: after.as_millis().to_string(), attempts: 0 },
            End::Dead { .. } => Work::Bury,
            End::Duplicate => Work::Ack,
            End::HandBack => Work::HandBack,
            End::Park { pending, .. } => Work::Park { pending: pending.bytes().clone() },
        }
    }
}

fn closing_event(job_id: &JobId, event: Event) -> (String, Bytes) {
    let queued = Queued::new(job_id, event);
    (queued.name.to_owned(), queued.data)
}

/// The flags of an envelope that is put off.
pub(super) const PUT_OFF: u32 = WAITED;

/// Writes until the queue is closed and nothing is left.
pub(super) async fn flush(core: Arc<Core>) {
    let mut items: Vec<Item> = Vec::new();
    let mut events: Vec<Queued> = Vec::new();
    let mut again = false;
    let mut backoff = Backoff::default();
    loop {
        // Armed before looking.
        let woken = core.flusher.wake.notified();
        collect(&core, &mut items, &mut events);
        if items.is_empty() && events.is_empty() {
            if core.flusher.is_over() {
                return;
            }
            woken.await;
            continue;
        }
        match stages::tick(&core, &mut items, &mut events, again).await {
            Ok(()) => {
                again = false;
                events.clear();
                if settle(&core, &mut items) {
                    tokio::time::sleep(backoff.next()).await;
                } else {
                    backoff.reset();
                }
            }
            Err(error) => {
                again = true;
                tracing::warn!(%error, waiting = items.len(), "redis is away: ended jobs are held until it is back");
                tokio::time::sleep(backoff.next()).await;
            }
        }
    }
}

fn collect(core: &Core, items: &mut Vec<Item>, events: &mut Vec<Queued>) {
    let mut inbox = core.flusher.inbox.lock();
    items.append(&mut inbox.items);
    if events.is_empty() {
        // Until a tick has gone through, the same events are tried again and no others.
        std::mem::swap(events, &mut inbox.events);
    }
    if inbox.dropped > 0 {
        tracing::warn!(dropped = inbox.dropped, "redis is away: events were dropped");
        inbox.dropped = 0;
    }
}

/// Moves every item on. True when some stage has to be tried again after a wait.
fn settle(core: &Core, items: &mut Vec<Item>) -> bool {
    let mut wait = false;
    items.retain_mut(|item| match std::mem::replace(&mut item.outcome, Outcome::Waiting) {
        Outcome::Waiting => true,
        Outcome::To(stage, known) => {
            if let Some(finished) = known {
                // The result stands: nobody has to wait for the rest.
                tell(item, Ok(finished));
            }
            item.stage = stage;
            item.tries = 0;
            true
        }
        Outcome::Over(finished) => {
            tell(item, Ok(finished));
            core.table.remove(&item.held.claim);
            false
        }
        Outcome::Failed(error, passing) => {
            wait = true;
            item.tries += 1;
            if passing || item.tries < MAX_TRIES {
                return true;
            }
            tracing::error!(job_id = ?item.held.job_id, %error, "a job could not be ended: its lease runs out");
            tell(item, Err(QueueError(error)));
            core.table.remove(&item.held.claim);
            false
        }
    });
    wait
}

fn tell(item: &mut Item, answer: Result<Finished, QueueError>) {
    if let Some(reply) = item.reply.take() {
        // Whoever ended the job may have stopped listening.
        let _ = reply.send(answer);
    }
}

/// Groups items by intake.
pub(super) fn by_intake(items: &[Item], which: impl Fn(&Item) -> bool) -> HashMap<usize, Vec<usize>> {
    let mut groups: HashMap<usize, Vec<usize>> = HashMap::new();
    for (i, item) in items.iter().enumerate().filter(|(_, item)| which(item)) {
        groups.entry(item.held.intake).or_default().push(i);
    }
    groups
}
