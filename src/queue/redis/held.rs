//! The leases this process holds.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{job::JobId, queue::LeaseEnd};

/// One lease of ours.
pub(super) struct Held {
    pub(super) claim: String,
    /// Place of its intake in the list of names.
    pub(super) intake: usize,
    pub(super) job_id: Option<JobId>,
    /// The entry of the stream it came in.
    pub(super) entry: Option<String>,
    /// Milliseconds since the epoch, by Redis' clock.
    pub(super) created: u64,
    /// Milliseconds since the epoch, by Redis' clock.
    pub(super) started: u64,
    pub(super) since: Instant,
    /// Until when nobody else can have it, in milliseconds after [`Table::epoch`]. Counted from before the
    /// request was sent, so Redis holds it longer than we believe.
    valid_until: AtomicU64,
    /// It is being ended: renewed until that is done, whether or not its job still lives.
    pub(super) ending: AtomicBool,
    stop: CancellationToken,
    why: Weak<OnceLock<LeaseEnd>>,
}

impl Held {
    /// Tells the job to stop. False when it had been told before, or is gone.
    pub(super) fn end(&self, reason: LeaseEnd) -> bool {
        let told = self.why.upgrade().is_some_and(|why| why.set(reason).is_ok());
        self.stop.cancel();
        told
    }

    /// Why the job had to stop.
    pub(super) fn ended(&self) -> Option<LeaseEnd> {
        self.why.upgrade().and_then(|why| why.get().copied())
    }

    /// Whether anyone still cares.
    fn is_wanted(&self) -> bool {
        self.ending.load(Ordering::Acquire) || self.why.strong_count() > 0
    }
}

/// All leases of this process, by claim.
pub(super) struct Table {
    epoch: Instant,
    lease: Duration,
    held: Mutex<HashMap<String, Arc<Held>>>,
}

/// What a new lease is made of.
pub(super) struct NewLease {
    pub(super) claim: String,
    pub(super) intake: usize,
    pub(super) job_id: Option<JobId>,
    pub(super) entry: Option<String>,
    pub(super) created: u64,
    pub(super) started: u64,
    /// When the request for it was sent.
    pub(super) asked: Instant,
}

impl Table {
    pub(super) fn new(lease: Duration) -> Self {
        Self { epoch: Instant::now(), lease, held: Mutex::default() }
    }

    /// Takes a lease in; gives the two ends through which its job is stopped.
    pub(super) fn insert(&self, new: NewLease) -> (CancellationToken, Arc<OnceLock<LeaseEnd>>) {
        let (stop, why) = (CancellationToken::new(), Arc::new(OnceLock::new()));
        let held = Held {
            claim: new.claim.clone(),
            intake: new.intake,
            job_id: new.job_id,
            entry: new.entry,
            created: new.created,
            started: new.started,
            since: new.asked,
            valid_until: AtomicU64::new(self.until(new.asked)),
            ending: AtomicBool::new(false),
            stop: stop.clone(),
            why: Arc::downgrade(&why),
        };
        self.held.lock().insert(new.claim, Arc::new(held));
        (stop, why)
    }

    /// The lease of `claim`.
    pub(super) fn get(&self, claim: &str) -> Option<Arc<Held>> {
        self.held.lock().get(claim).cloned()
    }

    /// Forgets a lease.
    pub(super) fn remove(&self, claim: &str) {
        self.held.lock().remove(claim);
    }

    /// Every lease that has to be renewed. Those whose job was dropped are let go: they run out.
    pub(super) fn wanted(&self) -> Vec<Arc<Held>> {
        let mut held = self.held.lock();
        held.retain(|_, lease| lease.is_wanted());
        held.values().cloned().collect()
    }

    /// The leases of one job.
    pub(super) fn of_job(&self, job_id: &str) -> Vec<Arc<Held>> {
        let held = self.held.lock();
        held.values().filter(|lease| lease.job_id.as_ref().is_some_and(|id| id.as_str() == job_id)).cloned().collect()
    }

    /// Notes a renewal that was asked for at `asked`.
    pub(super) fn renewed(&self, lease: &Held, asked: Instant) {
        lease.valid_until.fetch_max(self.until(asked), Ordering::AcqRel);
    }

    /// How much longer nobody else can have this lease.
    pub(super) fn remaining(&self, lease: &Held) -> Duration {
        let until = self.epoch + Duration::from_millis(lease.valid_until.load(Ordering::Acquire));
        until.saturating_duration_since(Instant::now())
    }

    fn until(&self, asked: Instant) -> u64 {
        let until = asked.saturating_duration_since(self.epoch) + self.lease;
        u64::try_from(until.as_millis()).unwrap_or(u64::MAX)
    }
}
