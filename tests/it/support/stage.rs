//! Redis, an orchestrator and the service together, as in production.

use std::process::Output;

use serde_json::{Value, json};

use super::{
    orchestrator::StubOrchestrator,
    redis::Redis,
    service::{Service, command},
};

/// A private Redis, a stub orchestrator, and everything a service needs to know of them.
pub(crate) struct Stage {
    pub(crate) redis: Redis,
    pub(crate) orchestrator: StubOrchestrator,
    env: Vec<(String, String)>,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        Self::on(Redis::start()).await
    }

    /// The same on a server with a disk, which can be killed and started again.
    pub(crate) async fn durable() -> Self {
        Self::on(Redis::with(&["--appendonly", "yes", "--appendfsync", "always"])).await
    }

    async fn on(redis: Redis) -> Self {
        let orchestrator = StubOrchestrator::start().await;
        let pairs = [
            ("REDIS_URL", redis.url()),
            ("ORCHESTRATOR_URL", orchestrator.url()),
            ("AGENT_RUNNER__QUEUE__LEASE_SECS", "4".into()),
            ("AGENT_RUNNER__QUEUE__RENEW_SECS", "1".into()),
            ("AGENT_RUNNER__QUEUE__SWEEP_SECS", "1".into()),
            ("AGENT_RUNNER__QUEUE__BLOCK_SECS", "1".into()),
            ("AGENT_RUNNER__RETRY__BASE_MS", "1".into()),
        ];
        let env = pairs.map(|(key, value)| (key.to_owned(), value)).to_vec();
        Self { redis, orchestrator, env }
    }

    /// Sets a variable for the services started after this.
    pub(crate) fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.env.push((key.to_owned(), value.into()));
        self
    }

    /// Starts a service on this stage.
    pub(crate) fn serve(&self) -> Service {
        let env: Vec<(&str, &str)> = self.env.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        Service::start(&[], &env)
    }

    /// Starts a service with more variables, and waits for nothing: it may die before it is ready.
    pub(crate) fn spawn_with(&self, more: &[(&str, &str)]) -> Service {
        let own = self.env.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        Service::spawn(&[], &own.chain(more.iter().copied()).collect::<Vec<_>>())
    }

    /// Runs a command of the program with the configuration of this stage.
    pub(crate) fn command(&self, args: &[&str]) -> Output {
        let env: Vec<(&str, &str)> = self.env.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        command(args, "", &env)
    }

    /// Pushes a job as a producer does.
    pub(crate) async fn push(&self, job: &Value) {
        self.redis.push(job.to_string().as_bytes()).await;
    }

    /// Waits for the result of a job and takes it, as a producer does.
    pub(crate) async fn result(&self, job_id: &str) -> Value {
        serde_json::from_str(&self.result_text(job_id).await).unwrap()
    }

    /// The same as the text that was published.
    pub(crate) async fn result_text(&self, job_id: &str) -> String {
        let key = format!("agent:results:{job_id}");
        let taken: Option<(String, String)> = self.redis.try_run(&["BLPOP", &key, "60"]).await.unwrap();
        taken.unwrap_or_else(|| panic!("no result of {job_id} within 60 s")).1
    }

    /// The events of a job as ids and fields, once the closing one is there: it follows the result.
    pub(crate) async fn events(&self, job_id: &str) -> Vec<(String, Vec<String>)> {
        self.events_with(job_id, &["completed", "failed", "cancelled"]).await
    }

    /// Waits for an event of a job.
    pub(crate) async fn wait_for_event(&self, job_id: &str, name: &str) {
        self.events_with(job_id, &[name]).await;
    }

    /// Waits for the `n`th event of that name of a job.
    pub(crate) async fn wait_for_events(&self, job_id: &str, name: &str, n: usize) {
        self.events_until(job_id, |names| names.iter().filter(|event| **event == name).count() >= n).await;
    }

    /// The events of a job as ids and fields, once one of `names` is among them.
    async fn events_with(&self, job_id: &str, names: &[&str]) -> Vec<(String, Vec<String>)> {
        self.events_until(job_id, |found| found.iter().any(|event| names.contains(event))).await
    }

    async fn events_until(&self, job_id: &str, enough: impl Fn(&[&str]) -> bool) -> Vec<(String, Vec<String>)> {
        let key = format!("agent:events:{job_id}");
        loop {
            let entries: Vec<(String, Vec<String>)> = self.redis.run(&["XRANGE", &key, "-", "+"]).await;
            if enough(&entries.iter().map(|(_, fields)| fields[1].as_str()).collect::<Vec<_>>()) {
                return entries;
            }
            let after = entries.last().map_or("0", |(id, _)| id.as_str());
            let _: redis::Value = self.redis.run(&["XREAD", "BLOCK", "1000", "STREAMS", &key, after]).await;
        }
    }

    /// Pushes a job and waits for its result.
    pub(crate) async fn run(&self, job: Value) -> Value {
        self.push(&job).await;
        self.result(job["job_id"].as_str().unwrap()).await
    }

    /// Waits until there are `n` dead letters and gives them, latest first.
    pub(crate) async fn dead(&self, n: usize) -> Vec<Value> {
        loop {
            let letters: Vec<String> = self.redis.run(&["LRANGE", "{agent:jobs}:dead", "0", "-1"]).await;
            assert!(letters.len() <= n, "{letters:?}");
            if letters.len() == n {
                return letters.iter().map(|letter| serde_json::from_str(letter).unwrap()).collect();
            }
        }
    }
}

/// A workflow of two nodes.
pub(crate) fn workflow() -> Value {
    json!({
        "nodes": [
            {"id": "fetch", "type": "http", "config": {"url": "https://example.com", "method": "GET"}},
            {"id": "report", "type": "function", "config": {}}
        ],
        "edges": [{"from": "fetch", "to": "report"}]
    })
}
