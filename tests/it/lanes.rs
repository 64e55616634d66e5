//! Every lane through real Redis and the real program.

use serde_json::{Value, json};

use crate::support::{
    model::{ModelServer, Reply},
    service::{PATIENCE, Service},
    stage::{Stage, workflow},
};

fn rows() -> Value {
    json!([{"id": 1, "price": 5}, {"id": 2, "price": 1}, {"id": 3, "price": 3}])
}

#[tokio::test]
async fn a_prompt_is_planned_offline_and_answered_once() {
    let stage = Stage::set().await;
    let _service = stage.serve();
    let job = json!({"version": "1.0", "job_id": "e1", "run_id": "r", "node_id": "n", "prompt": "top 2 by price", "data": rows()});
    let result = stage.run(job.clone()).await;
    assert_eq!(result["status"], "completed", "{result}");
    assert_eq!(result["lane"], "execute");
    assert_eq!((&result["run_id"], &result["node_id"]), (&json!("r"), &json!("n")));
    assert_eq!(result["result"]["data"], json!([{"id": 1, "price": 5}, {"id": 3, "price": 3}]));
    assert_eq!(result["result_preview"]["row_count"], 2);
    assert_eq!(result["metadata"]["intent"]["source"], "rules");
    assert_eq!(result["metadata"]["tool_calls"][0]["tool"], "execute_pipeline");
    assert_eq!((&result["metadata"]["llm_calls"], &result["metadata"]["attempt"]), (&json!(0), &json!(1)));

    // The same id again, while its result is kept, is not run again: a later job is the barrier.
    stage.push(&job).await;
    stage.run(json!({"job_id": "e2", "prompt": "count rows", "data": rows()})).await;
    assert_eq!(stage.redis.run::<i64>(&["LLEN", "agent:results:e1"]).await, 0);
}

#[tokio::test]
async fn digits_pass_through_untouched() {
    let stage = Stage::set().await;
    let _service = stage.serve();
    let data = r#"[{"id":9007199254740993,"price":1.10},{"id":2,"price":1e400},{"id":3,"price":-0.0}]"#;
    let message = format!(
        r#"{{"job_id":"digits","data":{data},"pipeline":[{{"step":"table_sort","field":"price","order":"desc"}}]}}"#
    );
    stage.redis.push(message.as_bytes()).await;
    let text = stage.result_text("digits").await;
    let expected = r#""data":[{"id":2,"price":1e400},{"id":9007199254740993,"price":1.10},{"id":3,"price":-0.0}]"#;
    assert!(text.contains(expected), "{text}");
}

#[tokio::test]
async fn a_ready_patch_is_checked_and_sent_in_the_owners_name() {
    let stage = Stage::set().await;
    let _service = stage.serve();
    stage.orchestrator.put_workflow("alice", "main", workflow());
    let spec = json!({"description": "mail", "operations": [
        {"op": "add", "path": "/nodes/-", "value": {"id": "mail", "type": "function", "config": {}}},
        {"op": "add", "path": "/edges/-", "value": {"from": "report", "to": "mail"}},
        {"op": "replace", "path": "/nodes/id:fetch/config/method", "value": "POST"}
    ]});
    let result = stage
        .run(json!({"job_id": "p1", "workflow_tag": "main", "workflow_owner": "alice", "current_workflow": workflow(), "patch_spec": spec}))
        .await;
    assert_eq!(result["status"], "completed", "{result}");
    assert_eq!(result["lane"], "patch");
    assert_eq!(result["result"]["diff"]["nodes_added"], json!(["mail"]));
    assert_eq!(result["result"]["operations"][2]["path"], "/nodes/0/config/method");
    let sent = stage.orchestrator.sent("PATCH");
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].path, "/api/v1/workflows/main/patch");
    assert_eq!(sent[0].header("x-user-id"), Some("alice"));
    assert_eq!(sent[0].header("idempotency-key"), Some("p1"));
    assert_eq!(stage.orchestrator.workflow("alice", "main")["nodes"][2]["id"], "mail");
}

#[tokio::test]
async fn a_workflow_sentence_becomes_a_patch_without_a_model() {
    let stage = Stage::set().await;
    let _service = stage.serve();
    stage.orchestrator.put_workflow("alice", "main", workflow());
    // The job carries no workflow: it is fetched.
    let result = stage
        .run(json!({"job_id": "p2", "workflow_tag": "main", "workflow_owner": "alice", "prompt": "remove the report step"}))
        .await;
    assert_eq!(result["status"], "completed", "{result}");
    assert_eq!(result["result"]["diff"]["nodes_removed"], json!(["report"]));
    assert_eq!(stage.orchestrator.workflow("alice", "main")["nodes"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_patch_that_needs_approval_waits_and_goes_on() {
    let stage = Stage::set().await;
    let service = stage.serve();
    stage.orchestrator.put_workflow("alice", "main", workflow());
    let job = |id: &str| {
        json!({"job_id": id, "workflow_tag": "main", "workflow_owner": "alice", "require_approval": true,
               "prompt": "remove the report step"})
    };
    let http = Http::of(&service);
    for (id, decision, status, applied) in [("no", "reject", "cancelled", 0), ("yes", "approve", "completed", 1)] {
        stage.push(&job(id)).await;
        http.wait_for_event(id, "approval").await;
        assert_eq!(http.get(&format!("/v1/jobs/{id}")).await["state"], "awaiting_approval");
        assert_eq!(http.post(&format!("/v1/jobs/{id}/{decision}")).await, 202);
        assert_eq!(stage.result(id).await["status"], status);
        assert_eq!(stage.orchestrator.applied(), applied);
        let events = stage.events(id).await;
        let names: Vec<&str> = events.iter().map(|(_, fields)| fields[1].as_str()).collect();
        let about: Vec<&str> =
            names.into_iter().filter(|name| name.starts_with("tool_") || *name == "approval").collect();
        let made = if applied == 1 { &["tool_started", "tool_finished"][..] } else { &[] };
        assert_eq!(about, [&["approval", "approval"], made].concat(), "{id}: it is told when it is made");
        let decided: Vec<Value> = events.iter().map(|(_, fields)| serde_json::from_str(&fields[3]).unwrap()).collect();
        let word = if applied == 1 { "approved" } else { "rejected" };
        assert!(decided.iter().any(|data| data["decision"] == word && data["tool"] == "patch_workflow"), "{decided:?}");
    }
}

#[tokio::test]
async fn a_model_plans_where_one_is_configured_with_one_call() {
    let model = ModelServer::start([
        Reply::call(
            "execute_pipeline",
            &json!({"pipeline": [{"step": "table_sort", "field": "price"}, {"step": "top_k", "k": 1}]}),
        ),
        Reply::text("I can only help with tables and workflows."),
    ]);
    let stage = Stage::set().await.with("OPENAI_BASE_URL", model.base_url()).with("OPENAI_API_KEY", "sk-canary");
    let _service = stage.serve();
    let result = stage.run(json!({"job_id": "m1", "prompt": "show the cheapest row by price", "data": rows()})).await;
    assert_eq!(result["status"], "completed", "{result}");
    assert_eq!(result["result"]["data"], json!([{"id": 2, "price": 1}]));
    assert_eq!(result["metadata"]["llm_calls"], 1);
    assert_eq!(result["metadata"]["tokens"], json!({"prompt": 100, "completion": 10, "cached": 0}));

    let result = stage.run(json!({"job_id": "m2", "prompt": "sort by price please", "data": rows()})).await;
    assert_eq!((&result["status"], &result["lane"]), (&json!("completed"), &json!("answer")), "{result}");
    assert_eq!(result["result"]["type"], "text_response");
    let request = model.requests()[0].json();
    assert_eq!(request["tools"].as_array().unwrap().len(), 1, "only the lane's tool is offered");
}

#[tokio::test]
async fn a_tool_error_goes_back_to_the_model() {
    let bad = json!({"pipeline": [{"step": "table_sort", "field": "prise"}]});
    let good = json!({"pipeline": [{"step": "table_sort", "field": "price"}]});
    let model = ModelServer::start([Reply::call("execute_pipeline", &bad), Reply::call("execute_pipeline", &good)]);
    let stage = Stage::set().await.with("OPENAI_BASE_URL", model.base_url());
    let _service = stage.serve();
    let result = stage.run(json!({"job_id": "m3", "prompt": "sort by price", "data": rows()})).await;
    assert_eq!(result["status"], "completed", "{result}");
    let calls = result["metadata"]["tool_calls"].as_array().unwrap();
    assert_eq!((&calls[0]["status"], &calls[1]["status"]), (&json!("error"), &json!("ok")));
    assert_eq!(result["metadata"]["llm_calls"], 2);
    let told = model.requests()[1].json()["messages"].to_string();
    assert!(told.contains("prise") && told.contains("price"), "{told}");
}

#[tokio::test]
async fn events_tell_the_life_of_a_job_in_order() {
    let stage = Stage::set().await;
    let _service = stage.serve();
    stage.run(json!({"job_id": "ev", "prompt": "top 2 by price", "data": rows()})).await;
    let entries = stage.events("ev").await;
    let names: Vec<&str> = entries.iter().map(|(_, fields)| fields[1].as_str()).collect();
    assert_eq!(names.first(), Some(&"started"), "{names:?}");
    assert_eq!(names.last(), Some(&"completed"), "{names:?}");
    for name in ["intent", "plan", "tool_started", "step_finished", "tool_finished"] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    for (_, fields) in &entries {
        let data: Value = serde_json::from_str(&fields[3]).unwrap();
        assert_eq!(data["job_id"], "ev");
        assert!(data["at"].is_string());
    }
}

/// A client of the service's HTTP side.
struct Http {
    client: reqwest::Client,
    base: String,
}

impl Http {
    fn of(service: &Service) -> Self {
        let client = agent_runner::net::operator_client(PATIENCE).unwrap();
        Self { client, base: service.url("") }
    }

    async fn get(&self, path: &str) -> Value {
        let text = self.client.get(format!("{}{path}", self.base)).send().await.unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}: {text}"))
    }

    async fn post(&self, path: &str) -> u16 {
        self.client.post(format!("{}{path}", self.base)).send().await.unwrap().status().as_u16()
    }

    /// Reads the job's event stream until `name` comes.
    async fn wait_for_event(&self, job_id: &str, name: &str) {
        let url = format!("{}/v1/jobs/{job_id}/events", self.base);
        loop {
            let mut response = self.client.get(&url).send().await.unwrap();
            // A job that has only been pushed is not known yet.
            if response.status() == 404 {
                tokio::task::yield_now().await;
                continue;
            }
            let mut seen = String::new();
            while let Some(chunk) = response.chunk().await.unwrap() {
                seen.push_str(&String::from_utf8_lossy(&chunk));
                if seen.contains(&format!("event: {name}\n")) || seen.contains(&format!("event:{name}\n")) {
                    return;
                }
            }
            panic!("the stream of {job_id} ended without {name}: {seen}");
        }
    }
}
