//! `kill -9` of Redis under load, with `appendfsync everysec`.

use std::time::{Duration, Instant};

use super::{Row, audit, fleet};
use crate::support::redis::Redis;

/// Jobs pushed between two restarts.
const BATCH: usize = 40;

pub async fn run(restarts: usize) -> Row {
    let mut redis = Redis::with(&["--appendonly", "yes", "--appendfsync", "everysec"]);
    let fleet = fleet::Fleet::start(&redis.url(), 2, 15, Duration::from_millis(40)).await;
    let mut row = Row { faults: restarts, longest_first_claim: Duration::from_secs(2), ..Row::default() };
    let mut ids: Vec<String> = Vec::new();
    for n in 0..restarts {
        let mut connection = redis.connection().await;
        let batch: Vec<String> = (0..BATCH).map(|i| format!("j{n}-{i}")).collect();
        fleet::push(&mut connection, &batch).await;
        ids.extend(batch);
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..300))).await;
        redis.kill();
        redis.start_again();
        let ready = Instant::now();
        let mut connection = redis.connection().await;
        let probe = format!("probe{n}");
        // Ahead of all that waits, so that its start is the first claim.
        let _: i64 =
            redis::cmd("LPUSH").arg("agent:jobs").arg(fleet::job(&probe)).query_async(&mut connection).await.unwrap();
        row.first_claims.push(taken(&mut connection, &probe, ready).await);
        ids.push(probe);
    }
    fleet::all_ended(async || redis.try_connection().await.ok(), ids.len()).await;
    audit(&mut redis.connection().await, &ids, &mut row).await;
    fleet.audit(&ids, &mut row);
    row
}

/// How long after `since` the job is started.
async fn taken(connection: &mut redis::aio::MultiplexedConnection, id: &str, since: Instant) -> Duration {
    while since.elapsed() < Duration::from_secs(60) {
        let started: usize =
            redis::cmd("XLEN").arg(format!("agent:events:{id}")).query_async(connection).await.unwrap();
        if started > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    since.elapsed()
}
