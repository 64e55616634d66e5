//! A worker that dies, and one that is asked to go.

use serde_json::json;

use crate::support::{
    model::{Gate, ModelServer, Reply},
    orchestrator::Next,
    stage::{Stage, workflow},
};

#[tokio::test]
async fn a_killed_worker_neither_pays_nor_patches_twice() {
    let spec = json!({"patch_spec": {"description": "mail", "operations": [
        {"op": "add", "path": "/nodes/-", "value": {"id": "mail", "type": "function", "config": {}}},
        {"op": "add", "path": "/edges/-", "value": {"from": "report", "to": "mail"}}
    ]}});
    // One reply only: a second request would fail the test.
    let model = ModelServer::start([Reply::call("patch_workflow", &spec)]);
    let stage = Stage::set().await.with("OPENAI_BASE_URL", model.base_url());
    stage.orchestrator.put_workflow("alice", "main", workflow());
    // The patch takes effect, and its answer never comes: the worker is killed while it waits.
    stage.orchestrator.next("PATCH", Next::Hang);
    let mut first = stage.serve();
    stage
        .push(&json!({"job_id": "k", "workflow_tag": "main", "workflow_owner": "alice", "lane": "patch",
                      "current_workflow": workflow(), "prompt": "add a mail step after report"}))
        .await;
    while stage.orchestrator.sent("PATCH").is_empty() {
        tokio::task::yield_now().await;
    }
    first.signal("KILL");
    first.wait();
    let _second = stage.serve();
    let result = stage.result("k").await;
    assert_eq!(result["status"], "completed", "{result}");
    assert_eq!(result["metadata"]["llm_calls"], 1, "the paid call is on record");
    assert_eq!(result["metadata"]["tokens_used"], 110);
    assert_eq!(stage.orchestrator.applied(), 1);
    assert_eq!(stage.redis.run::<i64>(&["LLEN", "agent:results:k"]).await, 0, "one result, and it was taken");
}

#[tokio::test]
async fn a_request_that_was_cut_off_by_a_kill_is_counted() {
    let gate = Gate::new();
    let reply = || Reply::call("execute_pipeline", &json!({"pipeline": [{"step": "table_sort", "field": "a"}]}));
    let model = ModelServer::start([reply().gate_at(0, &gate), reply()]);
    let stage = Stage::set().await.with("OPENAI_BASE_URL", model.base_url());
    let mut first = stage.serve();
    stage.push(&json!({"job_id": "cut", "prompt": "sort by a", "data": [{"a": 2}, {"a": 1}]})).await;
    gate.reached().await;
    first.signal("KILL");
    first.wait();
    gate.open();
    let _second = stage.serve();
    let result = stage.result("cut").await;
    assert_eq!(result["status"], "completed", "{result}");
    assert_eq!(result["metadata"]["llm_calls"], 2, "one was cut off, one answered");
    assert_eq!(result["metadata"]["tokens_used"], 110, "of the other nobody told what it took");
    let replayed = stage.command(&["replay", "cut"]);
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
}

#[tokio::test]
async fn sigterm_lets_running_jobs_finish() {
    let gate = Gate::new();
    let reply = Reply::call("execute_pipeline", &json!({"pipeline": [{"step": "table_sort", "field": "a"}]}));
    let model = ModelServer::start([reply.gate_at(0, &gate)]);
    let stage = Stage::set().await.with("OPENAI_BASE_URL", model.base_url());
    let mut service = stage.serve();
    stage.push(&json!({"job_id": "slow", "prompt": "sort by a", "data": [{"a": 2}, {"a": 1}]})).await;
    gate.reached().await;
    service.signal("TERM");
    service.wait_for_log("stopping");
    // Nothing new is taken any more.
    stage.push(&json!({"job_id": "late", "prompt": "sort by a", "data": [{"a": 1}]})).await;
    gate.open();
    assert_eq!(stage.result("slow").await["status"], "completed");
    assert_eq!(service.wait().code(), Some(0));
    assert_eq!(stage.redis.run::<i64>(&["EXISTS", "agent:results:late"]).await, 0);
    model.push(Reply::call("execute_pipeline", &json!({"pipeline": [{"step": "table_sort", "field": "a"}]})));
    let _next = stage.serve();
    assert_eq!(stage.result("late").await["status"], "completed");
}

#[tokio::test]
async fn a_second_signal_hands_the_job_back_at_once() {
    let gate = Gate::new();
    let slow = Reply::call("execute_pipeline", &json!({"pipeline": []})).gate_at(0, &gate);
    let good = Reply::call("execute_pipeline", &json!({"pipeline": [{"step": "table_sort", "field": "a"}]}));
    let model = ModelServer::start([slow, good]);
    let stage = Stage::set().await.with("OPENAI_BASE_URL", model.base_url());
    let mut service = stage.serve();
    stage.push(&json!({"job_id": "h", "prompt": "sort by a", "data": [{"a": 2}, {"a": 1}]})).await;
    gate.reached().await;
    service.signal("TERM");
    service.wait_for_log("stopping");
    service.signal("TERM");
    assert_eq!(service.wait().code(), Some(0));
    assert_eq!(stage.redis.run::<i64>(&["EXISTS", "agent:results:h"]).await, 0);
    let _next = stage.serve();
    let result = stage.result("h").await;
    assert_eq!(result["status"], "completed", "{result}");
    assert_eq!(result["metadata"]["attempt"], 1, "a hand-back is no attempt");
}

#[tokio::test]
async fn an_error_that_may_pass_is_tried_again_and_then_kept() {
    let down = || Reply::error(503, "overloaded", "try later");
    let model = ModelServer::start([down(), down(), down()]);
    let stage = Stage::set()
        .await
        .with("OPENAI_BASE_URL", model.base_url())
        .with("AGENT_RUNNER__LLM__MAX_RETRIES", "0")
        .with("AGENT_RUNNER__BREAKER__FAILURES", "100");
    let _service = stage.serve();
    let result = stage.run(json!({"job_id": "r", "prompt": "sort by a", "data": [{"a": 1}]})).await;
    assert_eq!(result["error"]["type"], "llm_unavailable", "{result}");
    assert_eq!(result["error"]["retryable"], true);
    assert_eq!(result["metadata"]["attempt"], 3);
    let letter = &stage.dead(1).await[0];
    assert_eq!((&letter["job_id"], &letter["attempts"]), (&json!("r"), &json!(3)));
}
