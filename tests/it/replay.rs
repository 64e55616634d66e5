//! Jobs that have ended, run once more from their journal while everything outside is gone.

use serde_json::{Value, json};

use crate::support::{
    model::{Gate, ModelServer, Reply},
    orchestrator::Next,
    site::{Site, reply},
    stage::{Stage, workflow},
};

/// Replays and gives exit code, result and what was said beside it.
fn replay(stage: &Stage, job_id: &str) -> (Option<i32>, Value, String) {
    let output = stage.command(&["replay", job_id]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default(), said)
}

#[track_caller]
fn same(stage: &Stage, job_id: &str, original: &Value) {
    let (code, again, said) = replay(stage, job_id);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the same as the recorded result"), "{said}");
    for member in ["status", "lane", "error"] {
        assert_eq!(again[member], original[member], "{again}");
    }
    assert_eq!(again["result"]["data"], original["result"]["data"]);
    assert_eq!(again["metadata"]["tokens_used"], original["metadata"]["tokens_used"]);
}

#[tokio::test]
async fn a_planned_job_with_fetched_data_is_replayed_without_network() {
    let site =
        Site::start(|_| reply(200, &[("content-type", "application/json")], r#"[{"a":2},{"a":1.10},{"a":3}]"#)).await;
    let fetch = json!({"step": "http_request", "url": site.url("/rows")});
    let model = ModelServer::start([
        // The rules are not sure: the model decides, then plans, mends and is done.
        Reply::text(r#"{"intent":"execute","confidence":0.9,"reasoning":"data"}"#),
        Reply::call("execute_pipeline", &json!({"pipeline": [fetch, {"step": "top_kk"}]})),
        Reply::call("execute_pipeline", &json!({"pipeline": [fetch, {"step": "top_k", "k": 2, "by": "a"}]})),
    ]);
    let stage = Stage::set()
        .await
        .with("OPENAI_BASE_URL", model.base_url())
        .with("AGENT_RUNNER__EGRESS__ALLOW", site.address().to_string())
        .with("AGENT_RUNNER__INTENT__RULES_THRESHOLD", "1");
    let service = stage.serve();
    let original = stage.run(json!({"job_id": "m", "prompt": "the two largest", "workflow_owner": "ann"})).await;
    assert_eq!(original["status"], "completed", "{original}");
    assert_eq!(original["result"]["data"], json!([{"a": 3}, {"a": 2}]));
    assert_eq!((&original["metadata"]["llm_calls"], site.visits().len()), (&json!(3), 1));
    drop((site, model, service));
    same(&stage, "m", &original);
    same(&stage, "m", &original);

    // Another input gives another result, and the place is named.
    let keys: Vec<String> = stage.redis.run(&["KEYS", "agent:inputs:*"]).await;
    assert_eq!(keys.len(), 1);
    let _: () = stage.redis.run(&["SET", &keys[0], r#"[{"a":2},{"a":4}]"#]).await;
    let (code, again, said) = replay(&stage, "m");
    assert_eq!((code, &again["result"]["data"]), (Some(1), &json!([{"a": 4}, {"a": 2}])));
    assert!(said.contains("/result/data/0/a: was 3, is 4"), "{said}");
    let _: () = stage.redis.run(&["DEL", &keys[0]]).await;
    let (code, _, said) = replay(&stage, "m");
    assert_eq!(code, Some(1));
    assert!(said.contains("is not kept any more"), "{said}");
}

#[tokio::test]
async fn patches_are_replayed_without_being_sent_again() {
    let stage = Stage::set().await;
    stage.orchestrator.put_workflow("alice", "main", workflow());
    let service = stage.serve();
    let job = |id: &str, prompt: &str| json!({"job_id": id, "workflow_tag": "main", "workflow_owner": "alice", "prompt": prompt});
    let applied = stage.run(job("p", "remove the report step")).await;
    assert_eq!(applied["status"], "completed", "{applied}");
    stage.orchestrator.next("PATCH", Next::status(400));
    let refused = stage.run(job("f", "rename the fetch step to load")).await;
    assert_eq!(refused["status"], "failed", "{refused}");
    let mut asks = job("a", "rename the fetch step to load");
    asks["require_approval"] = true.into();
    stage.push(&asks).await;
    stage.wait_for_event("a", "approval").await;
    assert!(stage.command(&["jobs", "approve", "a"]).status.success());
    let approved = stage.result("a").await;
    assert_eq!(approved["status"], "completed", "{approved}");
    drop(service);
    // What it would meet now is another workflow, and every request would count.
    stage.orchestrator.put_workflow("alice", "main", json!({"nodes": [], "edges": []}));
    let seen = stage.orchestrator.requests().len();
    same(&stage, "p", &applied);
    same(&stage, "f", &refused);
    same(&stage, "a", &approved);
    assert_eq!(stage.orchestrator.requests().len(), seen, "a replay asks nobody");
}

#[tokio::test]
async fn a_job_that_was_stopped_during_a_model_call_is_the_same_up_to_there() {
    let (gate, later) = (Gate::new(), Gate::new());
    let bad = json!({"pipeline": [{"step": "top_kk"}]});
    let model = ModelServer::start([
        Reply::text("late").hang_at(0),
        Reply::text("late").gate_at(0, &gate),
        Reply::call("execute_pipeline", &bad),
        Reply::text("late").gate_at(0, &later),
    ]);
    let stage = Stage::set().await.with("OPENAI_BASE_URL", model.base_url()).with("OPENAI_MODEL", "gpt-4o-mini");
    let service = stage.serve();
    let job = |id: &str| json!({"job_id": id, "prompt": "top 1 by a", "lane": "execute", "data": [{"a": 1}, {"a": 2}]});
    let mut timed = job("slow");
    timed["timeout_sec"] = json!(1);
    let mut ended = vec![("slow", stage.run(timed).await)];
    for (id, gate) in [("first", &gate), ("second", &later)] {
        stage.push(&job(id)).await;
        gate.reached().await;
        assert!(stage.command(&["jobs", "cancel", id]).status.success());
        ended.push((id, stage.result(id).await));
    }
    drop((service, model));
    let told = |result: &Value| (result["status"].clone(), result["error"]["type"].clone());
    assert_eq!(told(&ended[0].1), (json!("failed"), json!("timeout")), "{}", ended[0].1);
    for (id, original) in &ended {
        let metadata = &original["metadata"];
        assert!(
            metadata["tokens"]["prompt"].as_u64() > Some(100),
            "{id}: a call that was cut short counts: {original}"
        );
        assert!(metadata["warnings"][0].as_str().is_some_and(|said| said.contains("estimate")), "{id}: {original}");
        let (code, again, said) = replay(&stage, id);
        assert_eq!(code, Some(0), "{id}: {said}");
        assert!(said.contains("compared up to there"), "{id}: {said}");
        assert_eq!(told(&again), told(original), "{id}");
        assert_eq!(again["metadata"]["tool_calls"].as_array().unwrap().len(), usize::from(*id == "second"));
    }
    let prompts = [0, 1].map(|i: usize| ended[i].1["metadata"]["tokens"]["prompt"].clone());
    assert_eq!(prompts[0], prompts[1], "a timeout counts what a cancelled call does");
}

#[tokio::test]
async fn jobs_without_a_journal_and_failed_ones_are_replayed_too() {
    let model = ModelServer::start((0..3).map(|_| Reply::error(503, "overloaded", "try later")));
    let stage = Stage::set().await;
    let service = stage.serve();
    let rows = json!([{"a": 1}, {"a": 2}]);
    let plain = stage.run(json!({"job_id": "plain", "prompt": "top 1 by a", "data": rows})).await;
    let large: Vec<Value> = (0..2000).map(|i| json!({"i": i, "text": "x".repeat(200)})).collect();
    let big = stage.run(json!({"job_id": "big", "pipeline": [{"step": "table_sort", "field": "i", "order": "desc"}], "data": large})).await;
    assert_eq!((&big["status"], big.get("result")), (&json!("completed"), None), "kept apart for its size");
    drop(service);
    same(&stage, "plain", &plain);
    let (code, again, said) = replay(&stage, "big");
    assert_eq!((code, &again["result"]["row_count"]), (Some(0), &json!(2000)), "{said}");

    let with_model = stage.with("OPENAI_BASE_URL", model.base_url()).with("AGENT_RUNNER__LLM__MAX_RETRIES", "0");
    let service = with_model.serve();
    let failed = with_model.run(json!({"job_id": "down", "prompt": "top 1 by a", "data": rows})).await;
    assert_eq!(
        (&failed["error"]["type"], &failed["metadata"]["llm_calls"]),
        (&json!("llm_unavailable"), &json!(3)),
        "{failed}"
    );
    drop((service, model));
    same(&with_model, "down", &failed);
    let (code, _, said) = replay(&with_model, "nobody");
    assert_eq!(code, Some(1));
    assert!(said.contains("nobody has no result"), "{said}");
}

#[tokio::test]
async fn a_job_that_is_started_afresh_asks_again() {
    let plan = |k: u8| Reply::call("execute_pipeline", &json!({"pipeline": [{"step": "top_k", "k": k}]}));
    let model = ModelServer::start([plan(1), plan(2)]);
    let stage = Stage::set().await.with("OPENAI_BASE_URL", model.base_url());
    let _service = stage.serve();
    let job = json!({"job_id": "again", "prompt": "first rows", "lane": "execute", "data": [{"a": 1}, {"a": 2}]});
    assert_eq!(stage.run(job).await["result"]["row_count"], 1);
    let output = stage.command(&["jobs", "retry", "again"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let second = stage.result("again").await;
    assert_eq!((&second["result"]["row_count"], &second["metadata"]["llm_calls"]), (&json!(2), &json!(1)));
    same(&stage, "again", &second);
}

#[tokio::test]
async fn a_job_of_agents_that_are_not_given_says_what_is_missing() {
    let agents = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/agents.yaml");
    let model = ModelServer::start([
        Reply::text(r#"{"tags": ["code-review"]}"#),
        Reply::text("Looks good to me."),
        Reply::text("So does this."),
    ]);
    let stage = Stage::set()
        .await
        .with("AGENT_RUNNER__AGENTS__FILE", agents)
        .with("OPENAI_BASE_URL", model.base_url())
        .with("AGENT_RUNNER__EMBEDDINGS__PROVIDER", "lexical");
    let service = stage.serve();
    let prompt = "please review my pull request for bugs";
    let routed = stage.run(json!({"job_id": "r", "prompt": prompt, "handoff": {}})).await;
    let handed = json!({"job_id": "n", "prompt": prompt, "handoff": {"mode": "network", "agent": "code-reviewer"}});
    let handed = stage.run(handed).await;
    drop((service, model));
    for (id, original) in [("r", &routed), ("n", &handed)] {
        assert_eq!(original["status"], "completed", "{original}");
        assert_eq!(replay(&stage, id).0, Some(0));
    }
    let other = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    std::fs::write(other.path(), "agents: [{id: ann}]").unwrap();
    let other = other.path().to_str().unwrap();
    let stage = stage.with("AGENT_RUNNER__AGENTS__FILE", "no-such-agents.yaml");
    for id in ["r", "n"] {
        let (code, again, said) = replay(&stage, id);
        assert_eq!((code, &again), (Some(1), &Value::Null), "{said}");
        assert!(said.contains("no-such-agents.yaml") && said.contains("agents.file"), "{said}");
    }
    let stage = stage.with("AGENT_RUNNER__AGENTS__FILE", other);
    for id in ["r", "n"] {
        let (code, _, said) = replay(&stage, id);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("there is no agent \\\"code-reviewer\\\": there are ann"), "{said}");
    }
}
