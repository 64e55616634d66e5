//! What a job costs in Redis: claimed and ended at full batches, and how soon an idle worker has one.
//!
//! `cargo bench --bench queue [jobs]`. Starts a redis-server of its own. Whole processes, and those of others, are
//! measured by `benches/queue/run.sh`.
#![allow(clippy::unwrap_used, reason = "a benchmark stops at the first surprise")]

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use agent_runner::{
    job::{Event, EventKind, Lane, RawJson, Status},
    queue::{End, Lease, Queue, RedisQueue},
    settings::Settings,
};
use futures::{StreamExt, stream::FuturesUnordered};

const RESULT: &str = r#"{"version":"1.0","job_id":"0","status":"completed","lane":"execute","result":{"status":"success","data":[{"a":1}],"row_count":1,"pipeline_steps":1,"steps":[]},"metadata":{"tool_calls":[],"tokens_used":0,"attempt":1,"queue_time_ms":0,"execution_time_ms":0,"warnings":[]},"completed_at":"2026-01-01T00:00:00.000Z"}"#;

struct Server {
    child: Child,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn server() -> Server {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--save", "", "--appendonly", "no"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().map_while(Result::ok).any(|line| line.contains("Ready to accept connections")));
    std::thread::spawn(move || lines.for_each(drop));
    Server { child, url: format!("redis://127.0.0.1:{port}") }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let jobs: usize = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(100_000);
    for events in [0, 1, 4] {
        one_batch_at_a_time(events).await;
    }
    println!("events  in flight    jobs/s  scripts/job  redis µs/job in scripts  redis µs/job of cpu");
    for (events, in_flight) in [(0, 256), (1, 256), (4, 256), (4, 64)] {
        drain(jobs, events, in_flight).await;
    }
    idle().await;
}

/// What batches of 64 cost in scripts when nothing else goes on: the least and the median, which a busy machine
/// blurs less than a sum.
async fn one_batch_at_a_time(events: usize) {
    const BATCHES: usize = 150;
    let server = server();
    let (queue, mut connection) = filled(&server, 64 * BATCHES).await;
    let mut costs = Vec::new();
    for _ in 0..BATCHES {
        let before = numbers(&mut connection).await;
        let leases = queue.claim(64).await.unwrap();
        futures::future::join_all(leases.into_iter().map(|lease| live(&queue, lease, events))).await;
        while queue.stats().await.unwrap().in_flight > 0 {
            tokio::task::yield_now().await;
        }
        let after = numbers(&mut connection).await;
        costs.push((after["evalsha usec"] - before["evalsha usec"]) / 64.0);
    }
    costs.sort_by(f64::total_cmp);
    println!("{events} events: {:.2} µs/job in scripts at best, {:.2} median", costs[0], costs[costs.len() / 2]);
    queue.close().await;
}

/// A queue with so many jobs waiting, and a connection to look with.
async fn filled(server: &Server, jobs: usize) -> (Arc<RedisQueue>, redis::aio::MultiplexedConnection) {
    let mut connection =
        redis::Client::open(server.url.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap();
    for from in (0..jobs).step_by(1000) {
        let mut push = redis::cmd("RPUSH");
        push.arg("agent:jobs");
        for n in from..(from + 1000).min(jobs) {
            push.arg(format!(
                r#"{{"version":"1.0","job_id":"job-{n}","prompt":"p","pipeline":[{{"step":"literal","rows":[{{"a":1}}]}}]}}"#
            ));
        }
        let _: usize = push.query_async(&mut connection).await.unwrap();
    }
    let mut settings = Settings::default();
    settings.redis.url = server.url.as_str().into();
    (RedisQueue::connect(&settings).await.unwrap(), connection)
}

/// Ends `jobs` jobs that wait, each after emitting so many events.
async fn drain(jobs: usize, events: usize, in_flight: usize) {
    let server = server();
    let (queue, mut connection) = filled(&server, jobs).await;
    let before = numbers(&mut connection).await;
    let began = Instant::now();
    let (mut ended, mut running) = (0, FuturesUnordered::new());
    while ended < jobs {
        while in_flight - running.len() >= 64 && ended + running.len() < jobs {
            for lease in queue.claim(64).await.unwrap() {
                running.push(live(&queue, lease, events));
            }
        }
        if running.next().await.is_some() {
            ended += 1;
        }
    }
    while queue.stats().await.unwrap().in_flight > 0 {
        tokio::task::yield_now().await;
    }
    let took = began.elapsed().as_secs_f64();
    let after = numbers(&mut connection).await;
    let per_job = |key: &str| (after[key] - before[key]) / jobs as f64;
    println!(
        "{events:>6}  {in_flight:>9}  {:>8.0}  {:>11.3}  {:>23.2}  {:>19.2}",
        jobs as f64 / took,
        per_job("evalsha calls"),
        per_job("evalsha usec"),
        per_job("cpu") * 1e6,
    );
    queue.close().await;
}

async fn live(queue: &Arc<RedisQueue>, lease: Lease, events: usize) {
    let id = lease.delivery.job.as_ref().unwrap().job_id.clone();
    for n in 0..events {
        queue.emit(&id, Event::new(EventKind::StepFinished).with("step", n as u64));
    }
    let end = End::Result {
        result: RawJson::from_trusted(RESULT.as_bytes()),
        status: Status::Completed,
        lane: Some(Lane::Execute),
        event: Event::new(EventKind::Completed),
        signal: None,
        dead: None,
    };
    lease.finish(end).await.unwrap();
}

/// Calls and microseconds of all scripts, seconds of processor time.
async fn numbers(connection: &mut redis::aio::MultiplexedConnection) -> HashMap<&'static str, f64> {
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(connection).await.unwrap();
    let cpu: String = redis::cmd("INFO").arg("cpu").query_async(connection).await.unwrap();
    let field = |text: &str, name: &str| -> f64 {
        let rest = text.split(name).nth(1).unwrap_or("0");
        rest.split([',', '\r', '\n']).next().unwrap().parse().unwrap_or(0.0)
    };
    let script = stats.lines().find(|line| line.starts_with("cmdstat_evalsha:")).unwrap_or_default().to_owned();
    HashMap::from([
        ("evalsha calls", field(&script, "calls=")),
        ("evalsha usec", field(&script, "usec=")),
        ("cpu", field(&cpu, "used_cpu_user:") + field(&cpu, "used_cpu_sys:")),
    ])
}

/// From a push until an idle worker has the job.
async fn idle() {
    let server = server();
    let mut connection =
        redis::Client::open(server.url.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let mut settings = Settings::default();
    settings.redis.url = server.url.as_str().into();
    let queue = RedisQueue::connect(&settings).await.unwrap();
    let mut times = Vec::new();
    for n in 0..500 {
        let waiting = queue.clone();
        let claim = tokio::spawn(async move {
            loop {
                if let Some(lease) = waiting.claim(1).await.unwrap().pop() {
                    return (Instant::now(), lease);
                }
            }
        });
        tokio::time::sleep(Duration::from_millis(5)).await;
        let pushed = Instant::now();
        let job = format!(r#"{{"job_id":"idle-{n}","prompt":"p"}}"#);
        let _: usize = redis::cmd("RPUSH").arg("agent:jobs").arg(job).query_async(&mut connection).await.unwrap();
        let (claimed, lease) = claim.await.unwrap();
        times.push(claimed - pushed);
        live(&queue, lease, 0).await;
    }
    times.sort();
    println!("idle push to job: p50 {:?}, p99 {:?}", times[times.len() / 2], times[times.len() * 99 / 100]);
    queue.close().await;
}
