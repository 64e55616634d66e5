//! The handoff lane through real Redis: routing, the answer, the trail.

use serde_json::json;

use crate::support::{
    model::{ModelServer, Reply},
    stage::Stage,
};

const AGENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/agents.yaml");
const PROMPT: &str = "please review my pull request for bugs";

#[tokio::test]
async fn without_a_model_the_agent_is_chosen_and_nobody_pretends_to_answer() {
    let stage = Stage::set().await.with("AGENT_RUNNER__AGENTS__FILE", AGENTS);
    let _service = stage.serve();
    let result =
        stage.run(json!({"job_id": "h1", "prompt": PROMPT, "handoff": {"mode": "route", "dry_run": true}})).await;
    assert_eq!((&result["status"], &result["lane"]), (&json!("completed"), &json!("handoff")), "{result}");
    assert_eq!(result["result"]["selected_agent"]["id"], "code-reviewer", "{result}");
    assert_eq!(result["result"]["handoff_successful"], true);
    assert_eq!(result["result_preview"]["type"], "handoff");
    assert!(result["result"].get("answer").is_none() || result["result"]["answer"].is_null());

    let result = stage.run(json!({"job_id": "h2", "prompt": PROMPT, "handoff": {}})).await;
    assert_eq!(result["error"]["type"], "handoff_failed", "{result}");
    assert_eq!(result["error"]["details"]["agent_id"], "code-reviewer");

    let result = stage.run(json!({"job_id": "h3", "prompt": "zxqv wvut", "handoff": {"threshold": 0.99}})).await;
    assert_eq!(result["error"]["type"], "no_agent", "{result}");
    assert!(result["error"]["details"]["candidates"].is_array());

    let result = stage.run(json!({"job_id": "h4", "prompt": PROMPT, "handoff": {"mode": "orbit"}})).await;
    assert_eq!(result["error"]["type"], "invalid_job", "{result}");
}

#[tokio::test]
async fn the_chosen_agent_answers_and_the_trail_is_kept() {
    let model = ModelServer::start([Reply::text(r#"{"tags": ["code-review"]}"#), Reply::text("Looks good to me.")]);
    let stage = Stage::set()
        .await
        .with("AGENT_RUNNER__AGENTS__FILE", AGENTS)
        .with("OPENAI_BASE_URL", model.base_url())
        .with("AGENT_RUNNER__EMBEDDINGS__PROVIDER", "lexical");
    let service = stage.serve();
    let result = stage.run(json!({"job_id": "h5", "prompt": PROMPT, "lane": "handoff"})).await;
    assert_eq!(result["status"], "completed", "{result}");
    assert_eq!(result["result"]["answer"], "Looks good to me.");
    assert_eq!(result["metadata"]["llm_calls"], 2);
    let id = result["result"]["execution_id"].as_str().unwrap();
    let client = agent_runner::net::operator_client(crate::support::service::PATIENCE).unwrap();
    let trail = client.get(service.url(&format!("/v1/handoffs/{id}"))).send().await.unwrap().text().await.unwrap();
    assert!(trail.contains("\"select\"") && trail.contains(id), "{trail}");
    let unknown = client.get(service.url("/v1/handoffs/nobody")).send().await.unwrap();
    assert_eq!(unknown.status(), 404);
}

#[tokio::test]
async fn a_model_server_without_embeddings_routes_by_words_and_says_so() {
    let model = ModelServer::start([
        Reply::text(r#"{"tags": ["code-review"]}"#).on("\"messages\""),
        Reply::error(404, "not_found", "no such path").on("\"input\""),
        Reply::text("Looks good to me.").on("\"messages\""),
        Reply::text(r#"{"tags": ["code-review"]}"#).on("\"messages\""),
        Reply::text("So does this.").on("\"messages\""),
    ]);
    let stage = Stage::set().await.with("AGENT_RUNNER__AGENTS__FILE", AGENTS).with("OPENAI_BASE_URL", model.base_url());
    let service = stage.serve();
    for (id, prompt) in [("h6", PROMPT), ("h7", "review my pull request, again for bugs")] {
        let result = stage.run(json!({"job_id": id, "prompt": prompt, "lane": "handoff"})).await;
        assert_eq!(result["result"]["selected_agent"]["id"], "code-reviewer", "{result}");
        let warning = result["metadata"]["warnings"][0].as_str().unwrap();
        assert!(warning.contains("the model server has no embeddings"), "{warning}");
    }
    drop((service, model));
    assert!(stage.command(&["replay", "h7"]).status.success());
}
