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

fn table_job(id: &str) -> Value {
    json!({"job_id": id, "prompt": "p", "pipeline": [{"step": "literal", "rows": [{"a": 1}]}]})
}

/// A dead letter as it stands in Redis.
async fn bury(stage: &Stage, id: &str, error: &str, failed_at: &str) {
    let letter = json!({"raw": table_job(id).to_string(), "job_id": id, "attempts": 3, "crashes": 0, "failed_at": failed_at,
        "error": {"type": error, "message": "no", "retryable": true}});
    stage.redis.run::<i64>(&["LPUSH", "{agent:jobs}:dead", &letter.to_string()]).await;
}

#[tokio::test]
async fn dead_letters_of_one_cause_go_back_together_and_no_job_runs_for_nothing() {
    let stage = Stage::set().await;
    let service = stage.serve();
    assert_eq!(stage.run(table_job("done")).await["status"], "completed");
    let now = jiff::Timestamp::now().to_string();
    bury(&stage, "old", "llm_unavailable", "2020-01-01T00:00:00.000Z").await;
    bury(&stage, "done", "llm_unavailable", &now).await;
    bury(&stage, "other", "http_failed", &now).await;
    bury(&stage, "wanted", "llm_unavailable", &now).await;
    // Again, and later than the last.
    bury(&stage, "wanted", "llm_unavailable", &jiff::Timestamp::now().to_string()).await;

    let output = stage.command(&["dead", "retry", "--all", "--error", "llm_unavailable", "--since", "12h"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("1 dead letters are back"), "{said}");
    assert!(said.contains("2 were left"), "{said}");
    assert_eq!(stage.result("wanted").await["status"], "completed");
    assert_eq!(stage.dead(4).await.len(), 4);

    let client = operator_client(PATIENCE).unwrap();
    let (mut retried, mut batches, mut cursor) = (0, 0, String::new());
    loop {
        let url = service.url(&format!("/v1/dead/retry?limit=1{cursor}"));
        let done: Value = serde_json::from_str(&client.post(url).send().await.unwrap().text().await.unwrap()).unwrap();
        (retried, batches) = (retried + done["retried"].as_u64().unwrap(), batches + 1);
        match done["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!((retried, batches), (2, 4));
    for id in ["old", "other"] {
        assert_eq!(stage.result(id).await["status"], "completed", "{id}");
    }
    let left = stage.dead(2).await;
    assert!(left.iter().all(|letter| letter["job_id"] == "done" || letter["job_id"] == "wanted"), "{left:?}");
    let bad = client.post(service.url("/v1/dead/retry?since=yesterday")).send().await.unwrap();
    assert_eq!(bad.status().as_u16(), 400);
}

#[tokio::test]
async fn the_document_of_a_job_is_shown_without_its_credentials() {
    let stage = Stage::set().await;
    let service = stage.serve();
    let mut job = table_job("a");
    job["context"] = json!({"workflow_state": {"api_key": "canary-key", "kept": "visible"}});
    stage.run(job).await;
    let printed = stage.command(&["jobs", "show", "--document", "a"]);
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let shown: Value = serde_json::from_slice(&printed.stdout).unwrap();
    let answered: Value = serde_json::from_str(&get(&service, "/v1/jobs/a/document").await).unwrap();
    assert_eq!(shown, answered);
    assert_eq!(shown["pipeline"][0]["rows"], json!([{"a": 1}]));
    assert_eq!(shown["context"]["workflow_state"], json!({"api_key": "***", "kept": "visible"}));
    assert!(get(&service, "/v1/jobs/nobody/document").await.contains("not_found"));
}

#[tokio::test]
async fn the_list_of_jobs_says_why_they_failed_and_can_be_narrowed() {
    let stage = Stage::set().await;
    let _service = stage.serve();
    stage.run(json!({"job_id": "bad", "prompt": "p", "pipeline": [{"step": "nowhere"}]})).await;
    stage.run(table_job("good")).await;
    let list = |args: &[&str]| {
        let output = stage.command(&[&["jobs", "list"], args].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let all = list(&[]);
    assert!(all.contains("invalid_pipeline: ") && all.contains("good"), "{all}");
    for (args, good, bad) in [
        (&["--lane", "execute", "--status", "completed"][..], true, false),
        (&["-q", "nowhere"], false, true),
        (&["--query", "goo"], true, false),
        (&["--lane", "patch"], false, false),
    ] {
        let found = list(args);
        assert_eq!((found.contains("good"), found.contains("invalid_pipeline")), (good, bad), "{args:?}: {found}");
    }
}
