//! `kill -9` of workers at random moments.

use std::time::Duration;

use super::{Row, audit, fleet};
use crate::support::redis::Redis;

/// How much of it.
pub struct Size {
    pub kills: usize,
    pub jobs: usize,
    pub workers: usize,
    pub lease_secs: u64,
    /// Between two kills.
    pub every: Duration,
    /// How long a job takes.
    pub takes: Duration,
    pub hand_over: Duration,
}

/// As promised: with the leases of the shipped configuration.
pub const FULL: Size = Size {
    kills: 500,
    jobs: 20_000,
    workers: 4,
    lease_secs: 15,
    every: Duration::from_millis(250),
    takes: Duration::from_millis(80),
    hand_over: Duration::from_secs(20),
};

pub async fn run(size: &Size) -> Row {
    let redis = Redis::start();
    let mut connection = redis.connection().await;
    let mut fleet = fleet::Fleet::start(&redis.url(), size.workers, size.lease_secs, size.takes).await;
    let ids: Vec<String> = (0..size.jobs).map(|n| format!("j{n}")).collect();
    let mut deaths = Vec::new();
    // Jobs come as long as there are kills, so that every kill finds some.
    for batch in ids.chunks(size.jobs.div_ceil(size.kills)) {
        fleet::push(&mut connection, batch).await;
        tokio::time::sleep(size.every).await;
        if deaths.len() < size.kills {
            deaths.push(fleet.replace(rand::random_range(0..size.workers)));
        }
    }
    fleet::all_ended(async || redis.try_connection().await.ok(), ids.len()).await;
    let mut row = Row { faults: deaths.len(), longest_hand_over: size.hand_over, ..Row::default() };
    row.hand_overs = fleet::hand_overs(&mut connection, &ids, &deaths).await;
    audit(&mut connection, &ids, &mut row).await;
    fleet.audit(&ids, &mut row);
    row
}
