//! apalis on Redis.

use apalis::prelude::*;
use apalis_redis::RedisStorage;
use bench_peers::{Ask, ask, connection, effect, finish, ran, url, wait_for_start};
use redis::aio::ConnectionManager;

async fn storage() -> RedisStorage<usize> {
    RedisStorage::new(apalis_redis::connect(url()).await.unwrap())
}

async fn fill(jobs: usize) {
    let mut storage = storage().await;
    for from in (0..jobs).step_by(1000) {
        storage.push_bulk((from..(from + 1000).min(jobs)).collect()).await.unwrap();
    }
}

async fn empty(_: usize) {
    ran();
}

async fn work(job: usize, redis: Data<ConnectionManager>) {
    effect((*redis).clone(), job.to_string()).await;
}

/// No two processes may use one name.
fn name() -> String {
    format!("bench-{}", std::process::id())
}

#[tokio::main]
async fn main() {
    match ask() {
        Ask::Fill(jobs) => fill(jobs).await,
        Ask::Drain { jobs, concurrency } => {
            fill(jobs).await;
            let began = wait_for_start();
            let worker = WorkerBuilder::new(name()).backend(storage().await).concurrency(concurrency).build(empty);
            tokio::spawn(async move { worker.run().await });
            finish(jobs, began).await;
        }
        Ask::Work => {
            let redis = connection().await;
            let worker = WorkerBuilder::new(name()).backend(storage().await).data(redis).build(work);
            worker.run().await.unwrap();
        }
    }
}
