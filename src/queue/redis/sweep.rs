//! What every process does now and then, without a leader: take back leases that ran out, move what is due,
//! forget what is gone.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ::redis::{RedisError, Value, cmd, from_redis_value};

use super::{
    claim::{Taken, delivery, read, standings},
    core::Core,
    scripts, stream,
};
use crate::queue::{Lease, LeaseBackend, QueueError, Standing, count, crash, stamp};

/// Leases or due jobs in one call.
const CHUNK: usize = 100;

/// Sweeps until the queue closes.
pub(super) async fn sweep(core: Arc<Core>) {
    let mut reap_from = Instant::now() + restart_grace(&core).await;
    let mut generation = core.work.generation();
    let mut cursor = vec![0u64; core.names.intakes.len()];
    let mut due = None;
    let mut next_sweep = Instant::now() + jittered(core.config.sweep);
    loop {
        let until = due.map_or(next_sweep, |due: Instant| due.min(next_sweep));
        tokio::select! {
            () = core.stop.cancelled() => return,
            () = core.sweep_now.notified() => {}
            () = tokio::time::sleep_until(until.into()) => {}
        }
        match promote(&core).await {
            Ok(next) => {
                due = next;
                core.answered();
            }
            Err(error) => {
                tracing::debug!(%error, "the sweeper cannot reach redis");
                core.missed();
                due = None;
                // A fresh start must not take back leases whose holders could not renew them either.
                reap_from = Instant::now() + core.config.lease;
            }
        }
        if Instant::now() < next_sweep {
            continue;
        }
        next_sweep = Instant::now() + jittered(core.config.sweep);
        if core.work.generation() != generation {
            generation = core.work.generation();
            reap_from = reap_from.max(Instant::now() + restart_grace(&core).await);
        }
        if Instant::now() >= reap_from {
            reap_all(&core).await;
            stream::adopt_all(&core).await;
        }
        forget(&core, &mut cursor).await;
    }
}

/// Half to one and a half times the period, so that processes do not sweep together.
fn jittered(period: Duration) -> Duration {
    period.mul_f64(rand::random_range(0.5..1.5))
}

/// How long to leave leases alone after a start of Redis: those from before it could not be renewed meanwhile.
async fn restart_grace(core: &Core) -> Duration {
    if core.connector.is_cluster() {
        return Duration::ZERO;
    }
    let Ok(Value::BulkString(info)) = core.work.one(cmd("INFO").arg("server").take()).await else {
        return core.config.lease;
    };
    let info = String::from_utf8_lossy(&info);
    let uptime = info.lines().find_map(|line| line.strip_prefix("uptime_in_seconds:")?.trim().parse().ok());
    core.config.lease.saturating_sub(Duration::from_secs(uptime.unwrap_or(u64::MAX)))
}

/// Moves what is due; says when the next is.
async fn promote(core: &Core) -> Result<Option<Instant>, QueueError> {
    let mut next: Option<Instant> = None;
    for keys in &core.names.intakes {
        loop {
            let mut call = scripts::PROMOTE.on(&[&keys.delayed, &keys.bodies, &keys.ready]);
            call.arg(CHUNK).arg(&core.names.control);
            let (moved, wait): (usize, i64) = read(Some(core.work.one(call).await))?;
            if let Ok(wait) = u64::try_from(wait) {
                let at = Instant::now() + Duration::from_millis(wait.max(1));
                next = Some(next.map_or(at, |next| next.min(at)));
            }
            if moved < CHUNK {
                break;
            }
        }
    }
    Ok(next)
}

async fn reap_all(core: &Arc<Core>) {
    for intake in 0..core.names.intakes.len() {
        loop {
            match reap(core, intake).await {
                Ok(taken) if taken == CHUNK => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::debug!(%error, "leases could not be taken back");
                    break;
                }
            }
        }
    }
}

/// Takes back leases that ran out and ends the jobs that crashed too often.
async fn reap(core: &Arc<Core>, intake: usize) -> Result<usize, QueueError> {
    let keys = &core.names.intakes[intake];
    let mut call = scripts::REAP.on(&[&keys.leases, &keys.bodies, &keys.ready]);
    call.arg(CHUNK).arg(core.config.max_crashes).arg(core.config.lease.as_millis()).arg(core.new_prefix());
    call.arg(&core.names.control);
    let asked = Instant::now();
    let mut parts: Vec<Value> = read(Some(core.work.one(call).await))?;
    let pairs = parts.split_off(2.min(parts.len()));
    let (taken, now): (usize, u64) = from_redis_value(Value::Array(parts)).map_err(RedisError::from)?;
    if taken > 0 {
        count::reclaimed(taken as u64);
        tracing::warn!(leases = taken, list = %keys.name, "leases ran out and were taken back");
    }
    let pairs: Vec<(String, Vec<u8>)> = from_redis_value(Value::Array(pairs)).map_err(RedisError::from)?;
    if !pairs.is_empty() {
        let crashed = pairs.into_iter().map(|(claim, text)| Taken::open(core, intake, claim, text)).collect();
        end_crashed(core, intake, (now, asked), crashed).await?;
    }
    Ok(taken)
}

async fn end_crashed(
    core: &Arc<Core>,
    intake: usize,
    (now, asked): (u64, Instant),
    crashed: Vec<Taken>,
) -> Result<(), QueueError> {
    let standings = standings(core, intake, now, &crashed).await?;
    for (one, (standing, created)) in crashed.into_iter().zip(standings) {
        let claim = one.claim.clone();
        let (stop, why) = core.table.insert(one.lease(intake, created, now, asked));
        let delivery = delivery(core, intake, now, one, standing);
        let end = match standing {
            Standing::Duplicate => crate::queue::End::Duplicate,
            _ => crash::verdict(&delivery, core.config.signals),
        };
        tracing::error!(job_id = ?delivery.job.as_ref().map(|job| &job.job_id).ok(), crashes = delivery.crashes,
            "a job killed its workers too often and is set aside");
        let lease = Lease::new(delivery, core.clone() as Arc<dyn LeaseBackend>, claim, stop, why);
        core.tasks.spawn(async move {
            let _ = lease.finish(end).await;
        });
    }
    Ok(())
}

/// Forgets, a page at a time, records of jobs that are in no list any more.
async fn forget(core: &Core, cursors: &mut [u64]) {
    let oldest = stamp::now_ms().saturating_sub(core.config.result_ttl.saturating_mul(1000));
    for (keys, cursor) in core.names.intakes.iter().zip(cursors) {
        let mut call = scripts::FORGET.on(&[&keys.jobs, &keys.leases, &keys.bodies]);
        call.arg(*cursor).arg(oldest);
        if let Ok(next) = read(Some(core.work.one(call).await)) {
            *cursor = next;
        }
    }
}
