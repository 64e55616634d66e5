//! A worker that dies at a named point of a job's life. Needs a program built with `--features failpoints`.

use std::time::Duration;

use super::{Row, audit, fleet};
use crate::support::redis::Redis;

/// The points, in the order of a job's life.
pub const POINTS: [&str; 7] =
    ["claimed", "registered", "ending", "publishing", "published", "announced", "acknowledged"];

/// So many deaths at each point.
pub async fn run(deaths: usize) -> Row {
    let redis = Redis::start();
    let mut connection = redis.connection().await;
    let fleet = fleet::Fleet::start(&redis.url(), 1, 2, Duration::from_millis(5)).await;
    let mut row = Row::default();
    let mut ids: Vec<String> = Vec::new();
    for point in POINTS {
        for n in 0..deaths {
            // It dies when it comes to the point for the n-th time, among jobs that others have too.
            let mut mortal = fleet.mortal(point, n % 3 + 1, n % 2 == 0);
            let mut more = 0;
            while mortal.is_running() {
                let batch: Vec<String> = (0..4).map(|i| format!("{point}-{n}-{more}-{i}")).collect();
                fleet::push(&mut connection, &batch).await;
                ids.extend(batch);
                more += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            row.faults += 1;
        }
    }
    fleet::all_ended(async || redis.try_connection().await.ok(), ids.len()).await;
    audit(&mut connection, &ids, &mut row).await;
    fleet.audit(&ids, &mut row);
    row
}
