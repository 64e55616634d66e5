//! Redis goes away under running jobs, or comes back without its last second.

use serde_json::{Value, json};

use crate::support::{
    model::{Gate, ModelServer, Reply},
    orchestrator::Next,
    redis::Redis,
    stage::{Stage, workflow},
};

fn patch(id: &str) -> Value {
    json!({"job_id": id, "run_id": id, "node_id": "agent", "workflow_owner": "ann", "workflow_tag": "main",
        "patch_target": "run", "current_workflow": workflow(),
        "patch_spec": {"description": "mail", "operations": [
            {"op": "add", "path": "/nodes/-", "value": {"id": "mail", "type": "function", "config": {}}},
            {"op": "add", "path": "/edges/-", "value": {"from": "report", "to": "mail"}}]}})
}

/// Redis acknowledges before its disk has the write: after a `kill -9` it knows neither who took the job nor what the
/// job had put on record, and delivers it as if for the first time.
#[tokio::test]
async fn a_job_whose_record_was_lost_with_redis_looks_before_it_patches() {
    let mut stage = Stage::durable().await;
    let mut first = stage.serve();
    assert_eq!(stage.run(patch("before")).await["status"], "completed");
    stage.orchestrator.next("POST", Next::Hang);
    stage.push(&patch("lost")).await;
    while stage.orchestrator.sent("POST").len() < 2 {
        tokio::task::yield_now().await;
    }
    // It arrived, and whoever sent it never heard of it.
    let mut posted = stage.orchestrator.sent("POST")[1].body.clone();
    (posted["cas_id"], posted["seq"]) = (json!("sha256:lost"), json!(1));
    stage.orchestrator.put_run_patch("lost", posted);
    first.signal("KILL");
    first.wait();
    assert_eq!(stage.orchestrator.sent("GET").len(), 2, "each lists its run once; nobody looks while nothing is lost");

    // As it is after a restart that lost the last second.
    for key in ["agent:journal:lost", "{agent:jobs}:leases", "{agent:jobs}:bodies", "{agent:jobs}:jobs"] {
        stage.redis.run::<i64>(&["DEL", key]).await;
    }
    stage.push(&patch("lost")).await;
    stage.redis.kill();
    stage.redis.start_again();
    let _second = stage.serve();
    let result = stage.result("lost").await;
    assert_eq!(result["metadata"]["attempt"], 1, "{result}");
    assert_eq!(result["result"]["artifact_id"], "sha256:lost", "{result}");
    assert_eq!(stage.orchestrator.run_patches("lost").len(), 1);
    assert_eq!(stage.orchestrator.sent("POST").len(), 2);
    // Who is only suspected and cannot be cleared is not stopped: it may well be the first time.
    stage.orchestrator.next("GET", Next::status(404));
    assert_eq!(stage.run(patch("after")).await["status"], "completed");
    assert_eq!(stage.orchestrator.run_patches("after").len(), 1);
}

/// Two may then run the same job: the one that Redis no longer knows of must not change anything.
#[tokio::test]
async fn who_lost_a_claim_with_redis_sends_nothing() {
    let gate = Gate::new();
    let mut job = patch("two");
    let spec = json!({"patch_spec": job["patch_spec"].take()});
    job.as_object_mut().unwrap().shift_remove("patch_spec");
    (job["lane"], job["prompt"]) = (json!("patch"), json!("add a mail step after report"));
    // One reply: what the first was told is on record for the second.
    let model = ModelServer::start([Reply::call("patch_workflow", &spec).gate_at(0, &gate)]);
    let mut stage = Stage::durable()
        .await
        .with("OPENAI_BASE_URL", model.base_url())
        .with("AGENT_RUNNER__QUEUE__LEASE_SECS", "120")
        .with("AGENT_RUNNER__QUEUE__RENEW_SECS", "40");
    let _service = stage.serve();
    // So that a server is known whose place another takes.
    assert_eq!(stage.run(patch("before")).await["status"], "completed");
    stage.push(&job).await;
    gate.reached().await;
    for key in ["{agent:jobs}:leases", "{agent:jobs}:bodies", "{agent:jobs}:jobs"] {
        stage.redis.run::<i64>(&["DEL", key]).await;
    }
    stage.redis.kill();
    stage.redis.start_again();
    gate.open();
    let about_to_send = async || {
        let lines: Vec<String> = stage.redis.run(&["LRANGE", "agent:journal:two", "0", "-1"]).await;
        lines.iter().any(|line| line.contains(":send\""))
    };
    while !about_to_send().await {
        tokio::task::yield_now().await;
    }
    stage.push(&job).await;
    let result = stage.result("two").await;
    assert_eq!(result["status"], "completed", "{result}");
    let requests = stage.orchestrator.requests();
    let sent: Vec<&str> =
        requests.iter().filter(|one| one.path.contains("/two/")).map(|one| one.method.as_str()).collect();
    assert_eq!(sent, ["GET", "GET", "POST"], "the first had listed the run; only the second looked and sent");
}

#[tokio::test]
async fn an_answer_that_comes_while_redis_is_away_is_kept_and_costs_no_attempt() {
    let gate = Gate::new();
    let plan = json!({"pipeline": [{"step": "table_sort", "field": "a"}]});
    let model = ModelServer::start([Reply::call("execute_pipeline", &plan).gate_at(0, &gate)]);
    let mut stage = Stage::durable()
        .await
        .with("OPENAI_BASE_URL", model.base_url())
        .with("AGENT_RUNNER__QUEUE__LEASE_SECS", "60")
        .with("AGENT_RUNNER__RETRY__MAX_ATTEMPTS", "1");
    let mut service = stage.serve();
    stage.push(&json!({"job_id": "p", "prompt": "sort by a", "data": [{"a": 2}, {"a": 1}]})).await;
    gate.reached().await;
    stage.redis.kill();
    gate.open();
    service.wait_for_log("a job waits until its journal can be written again");
    stage.redis.start_again();
    let result = stage.result("p").await;
    assert_eq!(result["status"], "completed", "{result}");
    assert_eq!((&result["metadata"]["attempt"], &result["metadata"]["llm_calls"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn a_job_waits_in_the_queue_for_a_store_that_is_away_as_long_as_it_has_time() {
    let mut store = Redis::start();
    let stage =
        Stage::set().await.with("AGENT_RUNNER__STORE__URL", store.url()).with("AGENT_RUNNER__RETRY__MAX_ATTEMPTS", "1");
    let mut service = stage.serve();
    store.kill();
    let asks = |id: &str, secs: u64| {
        json!({"job_id": id, "input_ref": "artifact://rows", "timeout_sec": secs,
        "pipeline": [{"step": "count"}]})
    };
    // There is no end to this outage within its time.
    let result = stage.run(asks("short", 1)).await;
    assert_eq!(result["error"]["type"], "internal", "{result}");
    stage.push(&asks("long", 120)).await;
    service.wait_for_log("a job waits until its journal can be written again");
    store.start_again();
    store.run::<()>(&["SET", "agent:artifacts:rows", "[{\"a\":1}]"]).await;
    let result = stage.result("long").await;
    assert_eq!((&result["status"], &result["metadata"]["attempt"]), (&json!("completed"), &json!(1)), "{result}");
}
