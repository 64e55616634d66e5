//! Workers under fire: real processes, jobs that patch a counting orchestrator, and the clock of it all.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::aio::MultiplexedConnection;
use serde_json::json;

use super::Row;
use crate::support::{orchestrator::StubOrchestrator, proxy::Proxy, service::Service};

/// How long jobs may stand still before a row is called off.
const STANDSTILL: Duration = Duration::from_secs(90);

/// Workers and what they work on.
pub struct Fleet {
    env: Vec<(String, String)>,
    workers: Vec<Service>,
    pub orchestrator: StubOrchestrator,
    /// Between workers and orchestrator: its latency is what a job takes.
    _slow: Proxy,
}

impl Fleet {
    /// So many workers on the Redis at `url`. A job takes about twice `takes`.
    pub async fn start(url: &str, workers: usize, lease_secs: u64, takes: Duration) -> Self {
        let orchestrator = StubOrchestrator::start().await;
        let slow = Proxy::to(orchestrator.address()).await;
        slow.set_latency(takes / 2);
        let sweep = (lease_secs / 7).max(1);
        let env = [
            ("REDIS_URL", url.to_owned()),
            ("ORCHESTRATOR_URL", format!("http://127.0.0.1:{}", slow.port)),
            ("AGENT_RUNNER__QUEUE__LEASE_SECS", lease_secs.to_string()),
            ("AGENT_RUNNER__QUEUE__RENEW_SECS", (lease_secs / 3).max(1).to_string()),
            ("AGENT_RUNNER__QUEUE__SWEEP_SECS", sweep.to_string()),
            ("AGENT_RUNNER__QUEUE__SIGNAL_COMPLETION", "true".to_owned()),
            // A row that kills at random must not blame the job.
            ("AGENT_RUNNER__QUEUE__MAX_CRASHES", "1000".to_owned()),
            ("AGENT_RUNNER__WORKER__CONCURRENCY", "8".to_owned()),
            ("RUST_LOG", "info".to_owned()),
        ];
        let env = env.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let mut fleet = Self { env, workers: Vec::new(), orchestrator, _slow: slow };
        for _ in 0..workers {
            let worker = fleet.worker();
            fleet.workers.push(worker);
        }
        fleet
    }

    /// One more process.
    pub fn worker(&self) -> Service {
        let env: Vec<(&str, &str)> = self.env.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        tokio::task::block_in_place(|| Service::start(&[], &env))
    }

    /// A process that dies when it comes to this point of a job's life for the `at`-th time. `staged`: it ends jobs
    /// in several steps, as in a cluster, so that it can die between them.
    pub fn mortal(&self, point: &str, at: usize, staged: bool) -> Service {
        let (at, staged) = (at.to_string(), staged.to_string());
        let own = self.env.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let more = [
            ("AGENT_RUNNER_FAILPOINT", point),
            ("AGENT_RUNNER_FAILPOINT_AT", &at),
            ("AGENT_RUNNER__RESULTS__PUBLISH_PENDING", &staged),
        ];
        Service::spawn(&[], &own.chain(more).collect::<Vec<_>>())
    }

    /// Kills one worker and puts another in its place. Says when it died, by the clock of this machine.
    pub fn replace(&mut self, which: usize) -> Duration {
        let worker = &mut self.workers[which];
        let died = now();
        worker.signal("KILL");
        worker.wait();
        self.workers[which] = self.worker();
        died
    }

    pub fn workers(&self) -> &[Service] {
        &self.workers
    }

    /// Adds what the orchestrator saw.
    pub fn audit(&self, ids: &[String], row: &mut Row) {
        row.second_patches = ids.iter().filter(|id| self.orchestrator.run_patches(id).len() > 1).count();
    }
}

/// Since the epoch.
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// A job that patches a run of its own.
pub fn job(id: &str) -> String {
    json!({"job_id": id, "run_id": id, "node_id": "agent", "workflow_owner": "ann", "workflow_tag": "main",
        "patch_target": "run", "current_workflow": {"nodes": [{"id": "a", "type": "function"}], "edges": []},
        "patch_spec": {"description": "add a step", "operations": [
            {"op": "add", "path": "/nodes/-", "value": {"id": "b", "type": "function", "config": {}}},
            {"op": "add", "path": "/edges/-", "value": {"from": "a", "to": "b"}}]}})
    .to_string()
}

/// Pushes jobs until every one has been taken note of.
pub async fn push(connection: &mut MultiplexedConnection, ids: &[String]) {
    let mut pushes = redis::pipe();
    for id in ids {
        pushes.cmd("RPUSH").arg("agent:jobs").arg(job(id)).ignore();
    }
    let _: () = pushes.query_async(connection).await.unwrap();
}

/// Waits until so many jobs have signalled and nothing is in flight, or nothing moves any more.
pub async fn all_ended(connect: impl AsyncFn() -> Option<MultiplexedConnection>, jobs: usize) {
    let (mut seen, mut since) = ((0, 0), tokio::time::Instant::now());
    while since.elapsed() < STANDSTILL {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let Some(mut connection) = connect().await else { continue };
        let mut asks = redis::pipe();
        asks.cmd("LLEN").arg("completion_signals").cmd("ZCARD").arg("{agent:jobs}:leases");
        let Ok(state) = asks.query_async::<(usize, usize)>(&mut connection).await else { continue };
        if state.0 >= jobs && state.1 == 0 {
            return;
        }
        if state != seen {
            (seen, since) = (state, tokio::time::Instant::now());
        }
    }
}

/// From the death of a worker until a job that ran there ran again, where exactly one death lies between two starts.
pub async fn hand_overs(connection: &mut MultiplexedConnection, ids: &[String], deaths: &[Duration]) -> Vec<Duration> {
    let mut times = Vec::new();
    for id in ids {
        let key = format!("agent:events:{id}");
        let events: Vec<(String, Vec<String>)> =
            redis::cmd("XRANGE").arg(key).arg("-").arg("+").query_async(connection).await.unwrap();
        let starts: Vec<(Duration, u64)> = events
            .iter()
            .filter(|(_, event)| event[1] == "started")
            .map(|(at, event)| {
                let data: serde_json::Value = serde_json::from_str(&event[3]).unwrap();
                (
                    Duration::from_millis(at.split('-').next().unwrap().parse().unwrap()),
                    data["crashes"].as_u64().unwrap(),
                )
            })
            .collect();
        for pair in starts.windows(2).filter(|pair| pair[1].1 == pair[0].1 + 1) {
            // Whose death it was is not known: the first since the start is the longest wait.
            let death = deaths.iter().find(|death| **death >= pair[0].0.saturating_sub(Duration::from_millis(100)));
            times.extend(death.map(|death| pair[1].0.saturating_sub(*death)));
        }
    }
    times
}
