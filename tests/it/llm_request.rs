//! What is sent: the shape of a request, and a layout that provider prompt caches can use.

use std::{sync::Arc, time::Duration};

use agent_runner::{
    job::{Budget, Intent, IntentKind, IntentSource, Job, JobLimits, Meter, RawJson},
    llm::{CallContext, ChatRequest, Message, OpenAi, ToolCall, ToolSpec},
    planner::{Brief, Column, Exchange, ModelPlanner, Planner, Reference, ToolReport, Turn},
};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{
    llm::{KEY, call, request, settings},
    model::{ModelServer, Reply},
};

#[tokio::test]
async fn a_request_holds_what_servers_expect_and_nothing_else() {
    let server = ModelServer::start([Reply::text("ok")]);
    let client = OpenAi::new(&settings(&server)).unwrap();
    let call_made = ToolCall { id: "c1".into(), name: "run".into(), arguments: RawJson::from_trusted(r#"{"k":1.10}"#) };
    let request = ChatRequest {
        messages: vec![
            Message::System("s".into()),
            Message::User("u".into()),
            Message::Assistant { text: String::new(), calls: vec![call_made] },
            Message::Tool { call_id: "c1".into(), name: "run".into(), content: "7 rows".into() },
            Message::Assistant { text: "done".into(), calls: vec![] },
        ],
        prompt_cache_key: Some("k".into()),
        ..request()
    };
    call(&client, &request).await.result.unwrap();
    let seen = server.requests().remove(0);
    assert_eq!(seen.path, "/v1/chat/completions");
    assert_eq!(seen.headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(seen.headers["content-type"], "application/json");
    assert!(!String::from_utf8_lossy(&seen.body).contains("canary"));
    let want = json!({
        "model": "gpt-4o-mini",
        "tools": [{"type": "function", "function": {"name": "run", "description": "runs",
            "parameters": {"type": "object", "properties": {"k": {"type": "integer"}}}}}],
        "temperature": 0.0,
        "max_tokens": 4096,
        "stream": true,
        "stream_options": {"include_usage": true},
        "prompt_cache_key": "k",
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "u"},
            {"role": "assistant", "tool_calls": [
                {"type": "function", "id": "c1", "function": {"name": "run", "arguments": "{\"k\":1.10}"}}]},
            {"role": "tool", "content": "7 rows", "tool_call_id": "c1"},
            {"role": "assistant", "content": "done"},
        ],
    });
    assert_eq!(seen.json(), want);
}

#[tokio::test]
async fn a_local_server_needs_no_key() {
    let server = ModelServer::start([Reply::text("ok")]);
    let mut settings = settings(&server);
    settings.llm.api_key = None;
    let client = OpenAi::new(&settings).unwrap();
    call(&client, &ChatRequest { tools: vec![], ..request() }).await.result.unwrap();
    let seen = server.requests().remove(0);
    assert_eq!((seen.headers.get("authorization"), seen.json().get("tools")), (None, None));
}

struct World {
    job: Job,
    intent: Intent,
    tools: Vec<ToolSpec>,
    columns: Vec<Column>,
    workflow: Value,
}

impl World {
    fn new(job_id: &str, prompt: &str) -> Self {
        Self::of("ann", job_id, prompt)
    }

    fn of(owner: &str, job_id: &str, prompt: &str) -> Self {
        let job = json!({
            "job_id": job_id, "run_id": format!("run-of-{job_id}"), "node_id": "agent", "workflow_tag": "main",
            "workflow_owner": owner, "prompt": prompt, "created_at": format!("2026-01-01T00:00:0{}Z", job_id.len() % 10),
        });
        let limits = JobLimits { max_job_bytes: 1 << 20, max_prompt_bytes: 1 << 20 };
        let tool = |name: &str| ToolSpec {
            name: name.into(),
            description: format!("does {name}"),
            parameters: json!({"type": "object", "properties": {"pipeline": {"type": "array"}}}),
            strict: false,
        };
        Self {
            job: Job::parse(&Bytes::from(job.to_string()), &limits).unwrap(),
            intent: Intent {
                intent: IntentKind::Execute,
                confidence: 0.9,
                reasoning: job_id.into(),
                source: IntentSource::Rules,
            },
            tools: vec![tool("execute_pipeline"), tool("patch_workflow")],
            columns: vec![Column {
                name: "price".into(),
                kind: "number".into(),
                examples: vec![RawJson::from_trusted("1.10")],
            }],
            workflow: json!({"nodes": [{"id": "agent", "type": "agent"}, {"id": "mail", "type": "function"}], "edges": []}),
        }
    }

    fn brief(&self) -> Brief<'_> {
        Brief {
            job: &self.job,
            intent: &self.intent,
            tools: &self.tools,
            columns: Some(&self.columns),
            row_count: Some(12),
            workflow: Some(&self.workflow),
            session: None,
        }
    }
}

fn planner(client: OpenAi) -> ModelPlanner {
    let reference = Reference { pipeline_docs: "# Steps\n".repeat(100), workflow_docs: "# Nodes\n".repeat(100) };
    ModelPlanner::new(Arc::new(client), reference)
}

async fn next(planner: &ModelPlanner, world: &World, transcript: &[Exchange]) -> Turn {
    next_within(planner, world, transcript, Budget::default()).await
}

async fn next_within(planner: &ModelPlanner, world: &World, transcript: &[Exchange], budget: Budget) -> Turn {
    let (meter, cancel) = (Meter::new(budget), CancellationToken::new());
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let context = CallContext { meter: &meter, deadline, cancel: &cancel, on_text: None };
    planner.next(&world.brief(), transcript, &context).await.unwrap()
}

#[tokio::test]
async fn two_jobs_on_one_workflow_share_everything_up_to_the_task() {
    let server = ModelServer::always(Reply::text("ok"));
    let planner = planner(OpenAi::new(&settings(&server)).unwrap());
    let (first, second) = ("cheapest three flights", "remove the mail node");
    let budget = |tokens| Budget { max_tokens: Some(tokens), max_cost_usd: None };
    next_within(&planner, &World::new("job-1", first), &[], budget(2000)).await;
    next_within(&planner, &World::of("bob", "another-job", second), &[], budget(3000)).await;
    let bodies: Vec<String> =
        server.requests().iter().map(|seen| String::from_utf8(seen.body.clone()).unwrap()).collect();
    let task = bodies[0].find(first).unwrap();
    assert_eq!(bodies[1].find(second), Some(task));
    assert_eq!(bodies[0][..task], bodies[1][..task]);
    let rest = &bodies[0][task + first.len()..];
    assert!(rest.find('}').is_some_and(|end| end < 10), "the task ends the messages: {rest}");
    for part in ["\"tools\"", "# Steps", "# Nodes", "mail", "price"] {
        assert!(bodies[0][..task].contains(part), "{part} stands before the task");
    }
    for part in ["max_tokens", "prompt_cache_key"] {
        let values = server.requests().iter().map(|seen| seen.json()[part].clone()).collect::<Vec<_>>();
        assert!(
            rest.contains(part) && values[0] != values[1],
            "{part} differs, and stands behind the task: {values:?}"
        );
    }
}

#[tokio::test]
async fn a_plan_goes_on_after_a_tool_error() {
    let bad = json!({"pipeline": [{"step": "top_kk"}]});
    let good = json!({"pipeline": [{"step": "top_k", "k": 3}]});
    let server = ModelServer::start([
        Reply::calls(&[("execute_pipeline", bad.clone()), ("execute_pipeline", bad.clone())]),
        Reply::call("execute_pipeline", &good).on("top_kk"),
        Reply::text("three flights").on("3 rows"),
    ]);
    let planner = planner(OpenAi::new(&settings(&server)).unwrap());
    let world = World::new("j", "cheapest three flights");
    let mut transcript: Vec<Exchange> = Vec::new();
    for (calls, ok, content) in [(2, false, "unknown step top_kk"), (1, true, "3 rows")] {
        let Turn::Calls { calls: made, text } = next(&planner, &world, &transcript).await else {
            panic!("the model made calls")
        };
        assert_eq!(made.len(), calls);
        let report = ToolReport { ok, concludes: ok, content: content.into() };
        transcript.push(Exchange { text, calls: made.into_iter().map(|call| (call, report.clone())).collect() });
    }
    assert_eq!(next(&planner, &world, &transcript).await, Turn::Answer("three flights".into()));

    let last = server.requests()[2].json();
    let roles: Vec<&str> = last["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool", "tool", "assistant", "tool"]);
    assert_eq!(last["messages"][3]["content"], "error: unknown step top_kk");
    let bodies: Vec<Vec<u8>> = server.requests().into_iter().map(|seen| seen.body).collect();
    let text = String::from_utf8_lossy(&bodies[0]).into_owned();
    let shared = text.rfind("],\"temperature\"").unwrap();
    assert_eq!(bodies[0][..shared], bodies[1][..shared], "a later turn begins with the earlier one");
}
