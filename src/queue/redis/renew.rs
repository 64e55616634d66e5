//! Keeping leases alive, from a thread of its own: no busy worker can starve it.

use std::{
    collections::HashMap,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use ::redis::{Cmd, RedisError, RedisResult, cmd, from_redis_value};

use super::{
    core::Core,
    held::Held,
    keys::Stream,
    link::{Backoff, Link},
    scripts,
};
use crate::{
    job::JobId,
    queue::{LeaseEnd, QueueError, count},
};

/// Leases in one call.
const CHUNK: usize = 256;

/// Starts the thread. It ends when the queue is closed.
pub(super) fn start(core: Arc<Core>) -> Result<JoinHandle<()>, QueueError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| QueueError(format!("the renewal thread could not be made: {e}")))?;
    std::thread::Builder::new()
        .name("lease-renewal".into())
        .spawn(move || runtime.block_on(keep(core)))
        .map_err(|e| QueueError(format!("the renewal thread could not be started: {e}")))
}

async fn keep(core: Arc<Core>) {
    let patience = core.connector.response_timeout.min(core.config.lease / 3);
    let link = Link::new(core.connector.clone(), patience);
    let mut backoff = Backoff::default();
    let mut wait = core.config.renew;
    loop {
        tokio::select! {
            () = core.renewals_over.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        let wanted = core.table.wanted();
        wait = match renew(&core, &link, &wanted).await {
            Ok(()) => {
                backoff.reset();
                core.config.renew
            }
            Err(error) => {
                tracing::warn!(%error, leases = wanted.len(), "leases could not be renewed");
                backoff.next().min(core.config.renew)
            }
        };
        fence(&core, &wanted);
    }
}

/// Renews all of `wanted` and tells jobs what became of theirs.
async fn renew(core: &Core, link: &Link, wanted: &[Arc<Held>]) -> RedisResult<()> {
    let mut groups: HashMap<usize, Vec<&Arc<Held>>> = HashMap::new();
    for held in wanted {
        groups.entry(held.intake).or_default().push(held);
    }
    for (intake, group) in groups {
        let keys = &core.names.intakes[intake];
        for chunk in group.chunks(CHUNK) {
            let mut call = scripts::RENEW.on(&[&keys.leases, &keys.cancelled]);
            call.arg(core.config.lease.as_millis());
            for held in chunk {
                call.arg(&held.claim).arg(held.job_id.as_ref().map_or("", JobId::as_str));
            }
            let mut calls = vec![call];
            calls.extend(keys.stream.as_ref().and_then(|stream| keep_pending(&keys.name, stream, chunk)));
            let asked = Instant::now();
            let states = link.run(calls).await?.swap_remove(0)?;
            let states: Vec<u8> = from_redis_value(states).map_err(RedisError::from)?;
            for (held, state) in chunk.iter().zip(states) {
                match state {
                    0 => end(held, LeaseEnd::Lost, "expired"),
                    2 => {
                        core.table.renewed(held, asked);
                        end(held, LeaseEnd::Cancelled, "cancelled");
                    }
                    _ => core.table.renewed(held, asked),
                }
            }
        }
    }
    Ok(())
}

/// Keeps the entries of these leases young in the group's pending list, so that no other consumer takes them
/// for abandoned.
fn keep_pending(name: &str, stream: &Stream, leases: &[&Arc<Held>]) -> Option<Cmd> {
    let mut claim = cmd("XCLAIM");
    claim.arg(name).arg(&stream.group).arg(&stream.consumer).arg(0);
    let entries: Vec<&String> = leases.iter().filter_map(|held| held.entry.as_ref()).collect();
    claim.arg(&entries).arg("JUSTID");
    (!entries.is_empty()).then_some(claim)
}

/// Stops jobs whose lease is about to run out unrenewed: after that another worker may have them.
fn fence(core: &Core, wanted: &[Arc<Held>]) {
    let margin: Duration = core.config.lease / 5;
    for held in wanted.iter().filter(|held| core.table.remaining(held) < margin) {
        end(held, LeaseEnd::Lost, "unrenewed");
    }
}

fn end(held: &Held, reason: LeaseEnd, word: &'static str) {
    // A claim that is being ended is gone because that went through.
    if !held.ending.load(std::sync::atomic::Ordering::Acquire) && held.end(reason) {
        count::lost(word);
    }
}
