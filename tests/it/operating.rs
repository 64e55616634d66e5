//! What whoever operates a fleet looks at.

use agent_runner::net::operator_client;
use serde_json::{Value, json};

use crate::support::{
    service::{PATIENCE, Service},
    stage::Stage,
};

async fn get(service: &Service, path: &str) -> String {
    let client = operator_client(PATIENCE).unwrap();
    client.get(service.url(path)).send().await.unwrap().text().await.unwrap()
}

/// The value of one series.
fn value(metrics: &str, series: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is missing in\n{metrics}")).parse().unwrap()
}

/// How often Redis has ended a command of this name.
async fn calls(stage: &Stage, name: &str) -> u64 {
    let stats: String = stage.redis.run(&["INFO", "commandstats"]).await;
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

/// `AgentRunnerRedisSlow` looked at the waits of workers that have nothing to do, and fired on every quiet fleet.
#[tokio::test]
async fn waiting_for_jobs_is_no_slow_answer_of_redis() {
    let stage = Stage::set()
        .await
        .with("AGENT_RUNNER__QUEUE__BLOCK_SECS", "2")
        .with("AGENT_RUNNER__QUEUE__INTAKE", "list,stream");
    let service = stage.serve();
    while calls(&stage, "blmove").await < 2 || calls(&stage, "xread").await < 2 {
        tokio::task::yield_now().await;
    }
    let metrics = get(&service, "/metrics").await;
    let bucket =
        |bound: &str| value(&metrics, &format!("agent_runner_redis_roundtrip_seconds_bucket{{le=\"{bound}\"}}"));
    assert!(bucket("+Inf") > 0.0);
    assert_eq!(bucket("0.5"), bucket("+Inf"), "{metrics}");
}

#[tokio::test]
async fn a_paused_queue_is_no_fault_and_everybody_sees_it() {
    let stage = Stage::set().await;
    let service = stage.serve();
    let health = async || serde_json::from_str::<Value>(&get(&service, "/health").await).unwrap();
    let paused = async || value(&get(&service, "/metrics").await, "agent_runner_queue_paused");
    assert_eq!((health().await.get("note"), paused().await), (None, 0.0));
    assert!(stage.command(&["queue", "pause"]).status.success());
    let said = health().await;
    assert_eq!(said["status"], "ok", "{said}");
    assert!(said["note"].as_str().unwrap().starts_with("the queue is paused"), "{said}");
    assert_eq!(paused().await, 1.0);
    assert!(stage.command(&["queue", "resume"]).status.success());
    assert_eq!((health().await.get("note"), paused().await), (None, 0.0));
}

#[tokio::test]
async fn the_log_says_when_the_queue_is_back() {
    let mut stage = Stage::durable().await;
    let mut service = stage.serve();
    stage.redis.kill();
    service.wait_for_log("no jobs can be taken");
    stage.redis.start_again();
    let line = service.wait_for_log("the queue is back after ");
    assert_eq!(line["level"], json!("INFO"));
}
