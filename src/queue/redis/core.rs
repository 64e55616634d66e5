//! What the parts of the driver share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{bell::Bell, connect::Connector, finish::Flusher, held::Table, keys::Names, link::Link, read::Readers};
use crate::{
    job::JobLimits,
    settings::{PopSide, ResultKind, Settings},
};

/// Settings in the units in which they are used.
pub(super) struct Config {
    pub(super) limits: JobLimits,
    pub(super) pop_side: PopSide,
    pub(super) lease: Duration,
    pub(super) renew: Duration,
    pub(super) sweep: Duration,
    pub(super) block: Duration,
    pub(super) claim_batch: usize,
    pub(super) claim_bytes: usize,
    pub(super) max_crashes: u32,
    pub(super) max_dead: usize,
    pub(super) result_ttl: u64,
    pub(super) result_kind: ResultKind,
    pub(super) events_max_len: usize,
    pub(super) publish_pending: bool,
    pub(super) signals: bool,
    pub(super) keep_job_bytes: usize,
    /// Replicas that must confirm a result, and how long they may take.
    pub(super) durable: Option<(usize, u64)>,
}

impl Config {
    pub(super) fn new(settings: &Settings) -> Self {
        let (queue, results) = (&settings.queue, &settings.results);
        Self {
            limits: settings.job_limits(),
            pop_side: queue.pop_side,
            lease: Duration::from_secs(queue.lease_secs),
            renew: Duration::from_secs(queue.renew_secs),
            sweep: Duration::from_secs(queue.sweep_secs),
            block: Duration::from_secs(queue.block_secs),
            claim_batch: queue.claim_batch,
            claim_bytes: queue.claim_max_bytes,
            max_crashes: queue.max_crashes,
            max_dead: queue.max_dead,
            result_ttl: results.ttl_secs,
            result_kind: results.kind,
            events_max_len: results.events_max_len,
            publish_pending: results.publish_pending,
            signals: queue.signal_completion,
            keep_job_bytes: results.keep_job_max_bytes,
            durable: queue.durable.then_some((queue.wait_replicas, queue.wait_timeout_ms)),
        }
    }
}

/// Jobs that are remembered as recent, per intake.
pub(super) const RECENT: usize = 10_000;

/// The state of the driver.
pub(super) struct Core {
    pub(super) config: Config,
    pub(super) names: Names,
    pub(super) connector: Arc<Connector>,
    /// Claims, admin and everything that is answered quickly.
    pub(super) work: Link,
    /// The flusher's own, so that a `WAIT` or a large result never delays a claim.
    pub(super) flush: Link,
    pub(super) table: Table,
    pub(super) flusher: Flusher,
    pub(super) bell: Bell,
    pub(super) readers: Readers,
    /// Wakes the sweeper when something was put off.
    pub(super) sweep_now: Notify,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    /// Nothing more is taken.
    pub(super) claims_over: CancellationToken,
    /// Fired last: what is being ended is renewed to the end.
    pub(super) renewals_over: CancellationToken,
    /// Whether ends may be written in transactions.
    pub(super) transactions: AtomicBool,
    /// Whether the server makes streams of dumps.
    pub(super) dumps: AtomicBool,
    /// Whether the server has, or had, replicas.
    pub(super) replicated: AtomicBool,
    /// Since when the server could not be asked.
    pub(super) away: Mutex<Option<Instant>>,
    boot: String,
    calls: AtomicU64,
}

impl Core {
    pub(super) fn new(settings: &Settings, connector: Connector) -> Self {
        let config = Config::new(settings);
        let connector = Arc::new(connector);
        let link = || Link::new(connector.clone(), connector.response_timeout);
        let stop = CancellationToken::new();
        let names = Names::new(settings, !connector.is_cluster());
        Self {
            bell: Bell::new(names.intakes.len()),
            names,
            readers: Readers::new(connector.clone()),
            work: link(),
            flush: link(),
            connector: connector.clone(),
            table: Table::new(config.lease),
            flusher: Flusher::default(),
            sweep_now: Notify::new(),
            tasks: TaskTracker::new(),
            claims_over: stop.child_token(),
            stop,
            renewals_over: CancellationToken::new(),
            boot: uuid::Uuid::new_v4().simple().to_string()[..12].to_owned(),
            transactions: AtomicBool::new(false),
            dumps: AtomicBool::new(false),
            replicated: AtomicBool::new(false),
            away: Mutex::default(),
            calls: AtomicU64::new(0),
            config,
        }
    }

    /// Notes that the server could not be asked.
    pub(super) fn missed(&self) {
        self.away.lock().get_or_insert_with(Instant::now);
    }

    /// Notes that it answers, and says so once where it did not before.
    pub(super) fn answered(&self) {
        if let Some(since) = self.away.lock().take() {
            tracing::info!("the queue is back after {} s", since.elapsed().as_secs());
        }
    }

    /// A prefix for claims that no process has used or will use: what makes a claim a fencing token even when
    /// a failover loses counters.
    pub(super) fn new_prefix(&self) -> String {
        format!("{}.{}.", self.boot, self.calls.fetch_add(1, Ordering::Relaxed))
    }
}
