//! `kill -9` of the primary under three Sentinels, with `min-replicas-to-write 1`.

use std::time::Duration;

use secrecy::ExposeSecret;

use super::{Row, audit, fleet};
use crate::support::fleet::Watched;

/// Jobs pushed before each kill.
const BATCH: usize = 40;
/// As the operator's guide says.
const SERVER: [&str; 8] = [
    "--appendonly",
    "yes",
    "--min-replicas-to-write",
    "1",
    "--min-replicas-max-lag",
    "10",
    "--repl-diskless-sync-delay",
    "0",
];

pub async fn run(kills: usize) -> Row {
    let mut watched = Watched::start(&SERVER).await;
    let url = watched.settings().redis.url.expose_secret().to_owned();
    let fleet = fleet::Fleet::start(&url, 2, 15, Duration::from_millis(40)).await;
    let mut ids: Vec<String> = Vec::new();
    for n in 0..kills {
        let batch: Vec<String> = (0..BATCH).map(|i| format!("j{n}-{i}")).collect();
        for id in &batch {
            watched.push(&fleet::job(id)).await;
        }
        // A producer that wants to be sure asks for a replica's word.
        watched.replicated_to(1).await;
        ids.extend(batch);
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..200))).await;
        let primary = watched.primary().await;
        watched.servers[primary].kill();
        while watched.primary().await == primary {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        watched.servers[primary].start_again();
        watched.settled().await;
    }
    let servers = &watched;
    let connect = async || servers.servers[servers.primary().await].try_connection().await.ok();
    fleet::all_ended(connect, ids.len()).await;
    let mut row = Row { faults: kills, ..Row::default() };
    audit(&mut connect().await.unwrap(), &ids, &mut row).await;
    fleet.audit(&ids, &mut row);
    row
}
