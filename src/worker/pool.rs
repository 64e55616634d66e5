//! Takes jobs while there is room for them, and ends in order.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use metrics::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Runner, life};
use crate::{
    queue::{Lease, SharedQueue},
    telemetry::names,
};

/// Longest pause between two tries to claim while the queue is out of reach.
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// Longest time for handing jobs back.
const HAND_BACK_PATIENCE: Duration = Duration::from_secs(5);

/// How a pool ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Everything that ran has finished.
    Finished,
    /// Some jobs were handed back to the queue.
    HandedBack,
}

/// A pool of workers on one queue.
pub struct Pool {
    runner: Arc<Runner>,
    queue: SharedQueue,
    slots: Arc<Semaphore>,
    jobs: TaskTracker,
    shown: Shown,
    /// The last pause after a failed claim, in milliseconds.
    backoff: AtomicU64,
    /// Fires when running jobs must go back to the queue.
    hand_back: CancellationToken,
}

impl Pool {
    /// A pool with `worker.concurrency` slots.
    #[must_use]
    pub fn new(runner: Arc<Runner>, queue: SharedQueue) -> Self {
        let slots = Arc::new(Semaphore::new(runner.settings.worker.concurrency));
        let shown = Shown::new(runner.settings.worker.concurrency);
        Self {
            runner,
            queue,
            slots,
            jobs: TaskTracker::new(),
            shown,
            backoff: AtomicU64::new(0),
            hand_back: CancellationToken::new(),
        }
    }

    /// Works until `stop` fires, then lets running jobs finish for `worker.grace_secs`, then hands the rest
    /// back. `at_once` firing ends the wait.
    pub async fn run(self, stop: CancellationToken, at_once: CancellationToken) -> Drained {
        let pool = Arc::new(self);
        // A claim that is under way is never dropped: its jobs would only come back when their lease ends.
        let claims = tokio::spawn(Arc::clone(&pool).take(stop.clone()));
        stop.cancelled().await;
        pool.queue.stop_claiming();
        let grace = Duration::from_secs(pool.runner.settings.worker.grace_secs);
        let finished = async {
            let _ = claims.await;
            pool.jobs.close();
            pool.jobs.wait().await;
        };
        tokio::pin!(finished);
        let in_time = tokio::select! {
            () = &mut finished => true,
            () = at_once.cancelled() => false,
            () = tokio::time::sleep(grace) => false,
        };
        if in_time {
            return Drained::Finished;
        }
        pool.hand_back.cancel();
        // Where Redis takes nothing, leases run out by themselves.
        if tokio::time::timeout(HAND_BACK_PATIENCE, finished).await.is_err() {
            tracing::warn!("some jobs could not be handed back: they are delivered again when their leases end");
        }
        Drained::HandedBack
    }

    /// Claims as many jobs as there are free slots, again and again. While there is more than one claim brings, two
    /// are under way: the next one need not wait for the round trips of the last.
    async fn take(self: Arc<Self>, stop: CancellationToken) {
        let mut more = false;
        while !stop.is_cancelled() {
            more = if more {
                let (first, second) = tokio::join!(self.claim(&stop), self.claim(&stop));
                first && second
            } else {
                self.claim(&stop).await
            };
        }
    }

    /// Claims once and starts what came. True when it was as much as could be taken.
    async fn claim(&self, stop: &CancellationToken) -> bool {
        let Some(mut room) = self.room(stop).await else { return false };
        let wanted = room.num_permits();
        match self.queue.claim(wanted).await {
            Ok(leases) => {
                self.backoff.store(0, Ordering::Relaxed);
                let full = leases.len() == wanted;
                for lease in leases {
                    self.start(lease, room.split(1), stop);
                }
                full
            }
            Err(error) => {
                tracing::warn!(%error, "no jobs could be claimed; trying again");
                self.pause(stop).await;
                false
            }
        }
    }

    /// Waits longer from one failed claim to the next.
    async fn pause(&self, stop: &CancellationToken) {
        let last = Duration::from_millis(self.backoff.load(Ordering::Relaxed));
        let backoff = (last * 2).clamp(Duration::from_millis(50), MAX_BACKOFF);
        self.backoff.store(u64::try_from(backoff.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        tokio::select! {
            () = tokio::time::sleep(backoff.mul_f64(0.5 + rand::random::<f64>() / 2.0)) => {}
            () = stop.cancelled() => {}
        }
    }

    /// Waits for a free slot and takes as many as one claim may bring; nothing once `stop` has fired.
    async fn room(&self, stop: &CancellationToken) -> Option<OwnedSemaphorePermit> {
        let mut room = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            permit = self.slots.clone().acquire_owned() => permit.ok(),
        }?;
        // Who ended in the same batch gives its slot back now: one claim takes them all.
        tokio::task::yield_now().await;
        let more = self.slots.available_permits().min(self.runner.settings.queue.claim_batch.saturating_sub(1));
        if let Some(more) = u32::try_from(more).ok().and_then(|n| self.slots.clone().try_acquire_many_owned(n).ok()) {
            room.merge(more);
        }
        Some(room)
    }

    fn start(&self, lease: Lease, slot: Option<OwnedSemaphorePermit>, stop: &CancellationToken) {
        // What was claimed while stopping goes back without being started.
        if stop.is_cancelled() {
            let done = life::live(self.runner.clone(), self.queue.clone(), lease, cancelled());
            self.jobs.spawn(done);
            return;
        }
        let busy = Busy::enter(&self.shown);
        let (runner, queue, hand_back) = (self.runner.clone(), self.queue.clone(), self.hand_back.clone());
        self.jobs.spawn(async move {
            // Made in here, where it is not moved again.
            life::live(runner, queue, lease, hand_back).await;
            drop((slot, busy));
        });
    }
}

/// What people see of the slots. The handles are looked up once: two jobs in a millisecond would be many lookups.
#[derive(Clone)]
struct Shown {
    total: usize,
    busy: Arc<AtomicUsize>,
    in_flight: Gauge,
    slots_busy: Gauge,
    slots_free: Gauge,
}

impl Shown {
    fn new(total: usize) -> Self {
        let slots = |state: &'static str| metrics::gauge!(names::WORKER_SLOTS, "state" => state);
        let in_flight = metrics::gauge!(names::JOBS_IN_FLIGHT);
        let shown =
            Self { total, busy: Arc::default(), in_flight, slots_busy: slots("busy"), slots_free: slots("free") };
        shown.set(0);
        shown
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge; slots are few")]
    fn set(&self, busy: usize) {
        self.in_flight.set(busy as f64);
        self.slots_busy.set(busy as f64);
        self.slots_free.set(self.total.saturating_sub(busy) as f64);
    }
}

/// Counts a slot as busy, also when its job panics. Not what the semaphore says: a claim that waits holds permits too.
struct Busy(Shown);

impl Busy {
    fn enter(shown: &Shown) -> Self {
        shown.set(shown.busy.fetch_add(1, Ordering::Relaxed) + 1);
        Self(shown.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.set(self.0.busy.fetch_sub(1, Ordering::Relaxed) - 1);
    }
}

fn cancelled() -> CancellationToken {
    let token = CancellationToken::new();
    token.cancel();
    token
}
