//! A worker that is stopped for longer than its lease, and goes on as if nothing had happened.

use std::time::Duration;

use super::{Row, audit, fleet};
use crate::support::redis::Redis;

pub async fn run(stopped: Duration) -> Row {
    let redis = Redis::start();
    let mut connection = redis.connection().await;
    // Stopped for well over the lease plus a sweep.
    let lease = (stopped.as_secs() * 3 / 5).max(2);
    let fleet = fleet::Fleet::start(&redis.url(), 1, lease, Duration::from_millis(800)).await;
    let ids: Vec<String> = (0..8).map(|n| format!("j{n}")).collect();
    fleet::push(&mut connection, &ids).await;
    // Its patches are on their way, and it has no answer yet.
    while fleet.orchestrator.sent("POST").len() < ids.len() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let stopped_worker = &fleet.workers()[0];
    stopped_worker.signal("STOP");
    let _other = fleet.worker();
    tokio::time::sleep(stopped).await;
    stopped_worker.signal("CONT");
    fleet::all_ended(async || redis.try_connection().await.ok(), ids.len()).await;
    // Long enough for the one that woke up to finish whatever it believed to have.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut row = Row { faults: 1, ..Row::default() };
    audit(&mut connection, &ids, &mut row).await;
    fleet.audit(&ids, &mut row);
    row
}
