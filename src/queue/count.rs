//! What this room counts.

use std::time::Duration;

use metrics::{counter, histogram};

/// A round trip to Redis took so long.
pub(super) fn roundtrip(took: Duration) {
    histogram!("agent_runner_redis_roundtrip_seconds").record(took);
}

/// A job was taken after waiting so long.
pub(super) fn waited(queue_time: Duration) {
    histogram!("agent_runner_queue_wait_seconds").record(queue_time);
}

/// Leases of dead workers were taken back.
pub(super) fn reclaimed(leases: u64) {
    counter!("agent_runner_reclaimed_total").increment(leases);
}

/// A job came again although its result stands or it is under way.
pub(super) fn duplicate() {
    counter!("agent_runner_duplicates_total").increment(1);
}

/// A lease ended under its job; `reason` is one of a few words.
pub(super) fn lost(reason: &'static str) {
    counter!("agent_runner_leases_lost_total", "reason" => reason).increment(1);
}

/// A message was set aside.
pub(super) fn dead_letter() {
    counter!("agent_runner_dead_letters_total").increment(1);
}
