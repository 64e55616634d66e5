//! BullMQ's Rust port.

use std::sync::Arc;

use bench_peers::{Ask, ask, connection, effect, finish, ran, url, wait_for_start};
use bullmq::{
    BulkJob, Job, Queue, Worker,
    options::{QueueOptions, RedisConnectionOptions, WorkerOptions},
    worker::{CancellationToken, ProcessorFn},
};

fn to_redis() -> RedisConnectionOptions {
    RedisConnectionOptions::new().url(url())
}

async fn fill(jobs: usize) {
    let queue = Queue::with_options("bench", QueueOptions::new().connection(to_redis())).await.unwrap();
    for from in (0..jobs).step_by(1000) {
        let some = from..(from + 1000).min(jobs);
        let some = some.map(|n| BulkJob::new("job", serde_json::json!({"n": n}))).collect();
        queue.add_bulk(some).await.unwrap();
    }
}

#[tokio::main]
async fn main() {
    match ask() {
        Ask::Fill(jobs) => fill(jobs).await,
        Ask::Drain { jobs, concurrency } => {
            fill(jobs).await;
            let began = wait_for_start();
            let empty: ProcessorFn = Arc::new(|_: Job, _: CancellationToken| {
                Box::pin(async {
                    ran();
                    Ok(serde_json::Value::Null)
                })
            });
            let options = WorkerOptions::new().connection(to_redis()).concurrency(concurrency);
            let _worker = Worker::with_options("bench", empty, options).await.unwrap();
            finish(jobs, began).await;
        }
        Ask::Work => {
            let redis = connection().await;
            let work: ProcessorFn = Arc::new(move |job: Job, _: CancellationToken| {
                let redis = redis.clone();
                Box::pin(async move {
                    effect(redis, job.id().to_string()).await;
                    Ok(serde_json::Value::Null)
                })
            });
            let _worker = Worker::with_options("bench", work, WorkerOptions::new().connection(to_redis())).await.unwrap();
            std::future::pending::<()>().await;
        }
    }
}
