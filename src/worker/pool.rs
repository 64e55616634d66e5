//! Takes jobs while there is room for them, and ends in order.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Runner, life};
use crate::{
    queue::{Lease, SharedQueue},
    telemetry::names,
};

/// Longest pause between two tries to claim while the queue is out of reach.
const MAX_BACKOFF: Duration = Duration::from_secs(5);

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
    /// Fires when running jobs must go back to the queue.
    hand_back: CancellationToken,
}

impl Pool {
    /// A pool with `worker.concurrency` slots.
    #[must_use]
    pub fn new(runner: Arc<Runner>, queue: SharedQueue) -> Self {
        let slots = Arc::new(Semaphore::new(runner.settings.worker.concurrency));
        Self { runner, queue, slots, jobs: TaskTracker::new(), hand_back: CancellationToken::new() }
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
        finished.await;
        Drained::HandedBack
    }

    /// Claims as many jobs as there are free slots, again and again.
    async fn take(self: Arc<Self>, stop: CancellationToken) {
        let batch = self.runner.settings.queue.claim_batch;
        let mut backoff = Duration::ZERO;
        while !stop.is_cancelled() {
            let Some(free) = self.free_slots(&stop).await else { return };
            match self.queue.claim(free.min(batch)).await {
                Ok(leases) => {
                    backoff = Duration::ZERO;
                    for lease in leases {
                        self.start(lease, &stop).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "no jobs could be claimed; trying again");
                    backoff = (backoff * 2).clamp(Duration::from_millis(50), MAX_BACKOFF);
                    let pause = backoff.mul_f64(0.5 + rand::random::<f64>() / 2.0);
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = stop.cancelled() => {}
                    }
                }
            }
        }
    }

    /// Waits for a free slot and says how many there are; nothing once `stop` has fired.
    async fn free_slots(&self, stop: &CancellationToken) -> Option<usize> {
        tokio::select! {
            biased;
            () = stop.cancelled() => None,
            // Taken only to wait: the slot itself is taken when a job has come.
            permit = self.slots.acquire() => permit.ok().map(drop),
        }?;
        Some(self.slots.available_permits().max(1))
    }

    async fn start(&self, lease: Lease, stop: &CancellationToken) {
        // What was claimed while stopping goes back without being started.
        if stop.is_cancelled() {
            let done = life::live(self.runner.clone(), self.queue.clone(), lease, cancelled());
            self.jobs.spawn(done);
            return;
        }
        let Ok(slot) = self.slots.clone().acquire_owned().await else { return };
        self.show_slots();
        let job = life::live(self.runner.clone(), self.queue.clone(), lease, self.hand_back.clone());
        let slots = self.slots.clone();
        let total = self.runner.settings.worker.concurrency;
        self.jobs.spawn(async move {
            job.await;
            drop(slot);
            show(&slots, total);
        });
    }

    fn show_slots(&self) {
        show(&self.slots, self.runner.settings.worker.concurrency);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge; slots are few")]
fn show(slots: &Semaphore, total: usize) {
    let free = slots.available_permits();
    metrics::gauge!(names::WORKER_SLOTS, "state" => "free").set(free as f64);
    metrics::gauge!(names::WORKER_SLOTS, "state" => "busy").set(total.saturating_sub(free) as f64);
}

fn cancelled() -> CancellationToken {
    let token = CancellationToken::new();
    token.cancel();
    token
}
