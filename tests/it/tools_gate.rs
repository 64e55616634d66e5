//! What stands before every tool: approvals, calls made once, and the search for tools.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use agent_runner::{
    agents::Registry,
    job::{Job, JobError, Lane, Preview, RawJson},
    llm::ToolSpec,
    store::{MemoryStore, Run, Runs},
    tools::{Effect, PendingCall, SavedPipelines, SearchSource, Tool, ToolContext, ToolEnd, ToolHit, ToolOutput},
};
use async_trait::async_trait;
use serde_json::json;

use crate::support::{
    mcp::{ScriptedServer, tool},
    tools::{Workbench, registry},
};

/// A tool that counts, under the name of a built-in one.
struct Counting {
    spec: ToolSpec,
    effect: Effect,
    made: Arc<AtomicU32>,
}

impl Counting {
    fn tool(name: &str, effect: Effect) -> (Arc<dyn Tool>, Arc<AtomicU32>) {
        let spec = ToolSpec { name: name.into(), description: "counts".into(), parameters: json!({}), strict: false };
        let made = Arc::new(AtomicU32::new(0));
        (Arc::new(Self { spec, effect, made: made.clone() }), made)
    }
}

#[async_trait]
impl Tool for Counting {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effect(&self, _: &RawJson) -> Effect {
        self.effect
    }

    async fn call(&self, arguments: &RawJson, _: &ToolContext<'_>) -> Result<ToolEnd, JobError> {
        let made = self.made.fetch_add(1, Ordering::SeqCst) + 1;
        let summary = format!("call {made}");
        let preview = Preview::text(&summary);
        let result = arguments.clone();
        Ok(ToolEnd::Done(ToolOutput { result, lane: Lane::Handoff, preview, summary, warnings: Vec::new() }))
    }
}

/// A tool that prepares something, and waits itself.
struct Preparing(ToolSpec);

#[async_trait]
impl Tool for Preparing {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn effect(&self, _: &RawJson) -> Effect {
        Effect::Repeatable
    }

    async fn call(&self, _: &RawJson, _: &ToolContext<'_>) -> Result<ToolEnd, JobError> {
        Ok(ToolEnd::Park(RawJson::from_trusted(r#"{"op_count":2}"#)))
    }

    async fn resume(&self, pending: &RawJson, _: &ToolContext<'_>) -> Result<ToolOutput, JobError> {
        let summary = format!("sent {}", pending.as_str());
        let preview = Preview::text(&summary);
        Ok(ToolOutput { result: pending.clone(), lane: Lane::Handoff, preview, summary, warnings: Vec::new() })
    }
}

#[tokio::test]
async fn what_a_tool_prepared_is_shown_and_goes_on_when_it_is_approved() {
    let name = "patch_workflow".to_owned();
    let spec = ToolSpec { name, description: "x".into(), parameters: json!({}), strict: false };
    let mut bench = Workbench::new(&[]);
    bench.built_ins.push(Arc::new(Preparing(spec)));
    let free = registry(json!(["patch_workflow"]), json!({}));
    for (n, approved, told) in [(1, true, r#"sent {"op_count":2}"#), (2, false, "rejected this call")] {
        let kit = bench.kit(&free).await;
        let waits = pending(bench.call(&kit, "patch_workflow", "{}", n).await.unwrap_err());
        let shown: PendingCall = waits.read().unwrap();
        assert_eq!(shown.prepared.unwrap().as_str(), r#"{"op_count":2}"#);
        bench = bench.redelivered();
        bench.decide(&waits, approved).await;
        let kit = bench.kit(&free).await;
        let text = bench.call(&kit, "patch_workflow", "{}", n).await.unwrap_or_else(|error| error.message);
        assert!(text.contains(told), "{text}");
    }
}

fn asking() -> Registry {
    registry(json!([{"tool": "openapi_action", "approval": "required"}]), json!({}))
}

fn bench(effect: Effect) -> (Workbench, Arc<AtomicU32>) {
    let (tool, made) = Counting::tool("openapi_action", effect);
    let mut bench = Workbench::new(&[]);
    bench.built_ins.push(tool);
    (bench, made)
}

fn pending(error: JobError) -> RawJson {
    assert!(error.deferred, "{error}");
    *error.pending.expect("a call waits")
}

#[tokio::test]
async fn a_call_waits_for_a_decision_and_each_decision_is_for_one_call() {
    for (approved, told, calls) in [(true, "call 1", 1), (false, "rejected this call", 0)] {
        let (bench, made) = bench(Effect::Once);
        let kit = bench.kit(&asking()).await;
        let waits = pending(bench.call(&kit, "openapi_action", r#"{"n":1.10}"#, 1).await.unwrap_err());
        let shown: PendingCall = waits.read().unwrap();
        assert_eq!((shown.tool.as_str(), shown.arguments.as_str()), ("openapi_action", r#"{"n":1.10}"#));
        // Asked again before anybody decided, it still waits.
        let bench = bench.redelivered();
        let again: PendingCall =
            pending(bench.call(&kit, "openapi_action", r#"{"n":1.10}"#, 1).await.unwrap_err()).read().unwrap();
        assert_eq!(PendingCall { asked_ms: shown.asked_ms, ..again }, shown);
        let bench = bench.redelivered();
        bench.decide(&waits, approved).await;
        bench.decide(&waits, approved).await;
        let answer = bench.call(&kit, "openapi_action", r#"{"n":1.10}"#, 1).await;
        let text = answer.unwrap_or_else(|error| {
            assert!(!error.retryable && !error.deferred);
            error.message
        });
        assert!(text.contains(told), "{text}");
        // The same arguments at another place are another call.
        let other = pending(bench.call(&kit, "openapi_action", r#"{"n":1.10}"#, 2).await.unwrap_err());
        assert_ne!(other, waits);
        assert_eq!(made.load(Ordering::SeqCst), calls);
    }
}

#[tokio::test]
async fn a_call_with_lasting_effect_is_made_once_whatever_becomes_of_the_worker() {
    for (effect, again) in [(Effect::Once, 1), (Effect::Repeatable, 2), (Effect::Reads, 2)] {
        let (bench, made) = bench(effect);
        let free = registry(json!(["openapi_action"]), json!({}));
        let kit = bench.kit(&free).await;
        bench.call(&kit, "openapi_action", "{}", 1).await.unwrap();
        // The worker dies here, before anything of the answer is on record.
        let bench = bench.redelivered();
        let second = bench.call(&kit, "openapi_action", "{}", 1).await;
        assert_eq!(made.load(Ordering::SeqCst), again, "{effect:?}");
        if let Err(error) = second {
            assert_eq!(error.details["reason"], "outcome_unknown");
            assert!(error.message.contains("not made again") && !error.retryable);
        }
        bench.call(&kit, "openapi_action", "{}", 2).await.unwrap();
    }
}

#[tokio::test]
async fn whoever_asks_for_approval_asks_for_all() {
    let server = ScriptedServer::new(json!({"tools": [tool("read"), tool("drop")]}));
    let entry = |more| server.entry(more);
    // (the agent's tools, the server's entry, which of the two waits)
    let rows = [
        (json!(["mcp:s"]), json!({}), (false, false)),
        (json!(["mcp:s"]), json!({"approval": ["drop"]}), (false, true)),
        (json!([{"tool": "mcp:s", "approval": "required"}]), json!({}), (true, true)),
        (json!([{"tool": "mcp:s/drop", "approval": "required"}, "mcp:s/read"]), json!({}), (false, true)),
        (json!([{"tool": "mcp:s/drop"}, {"tool": "mcp:s/read", "approval": "none"}]), json!({}), (false, false)),
    ];
    for (n, (tools, more, (read, dropped))) in rows.into_iter().enumerate() {
        let registry = registry(tools.clone(), json!({"s": entry(more)}));
        let bench = Workbench::new(&[]);
        let kit = bench.kit(&registry).await;
        let n = u32::try_from(n).unwrap() * 2;
        for (name, waits, n) in [("s__read", read, n), ("s__drop", dropped, n + 1)] {
            let answer = bench.call(&kit, name, "{}", n).await;
            assert_eq!(answer.is_err_and(|error| error.pending.is_some()), waits, "{tools} {name}");
        }
    }
    // Another agent of the file says so: what a call does is the same whoever makes it.
    let file = json!({
        "agents": [{"id": "a", "tools": ["mcp:s"]}, {"id": "b", "tools": [{"tool": "mcp:s/drop", "approval": "required"}]}],
        "mcp_servers": {"s": entry(json!({}))},
    });
    let registry = Registry::parse(&file.to_string(), &Vec::new()).unwrap();
    let bench = Workbench::new(&[]);
    let kit = bench.kit(&registry).await;
    assert!(bench.call(&kit, "s__drop", "{}", 1).await.unwrap_err().pending.is_some());
}

/// Pipelines that somebody saved.
struct Saved;

#[async_trait]
impl SearchSource for Saved {
    async fn tools(&self, _: &Job) -> Result<Vec<ToolHit>, String> {
        let hit = ToolHit {
            name: "cheapest_flights".into(),
            description: "The cheapest flights between two cities".into(),
            kind: "pipeline".into(),
            call: json!({"tool": "cheapest_flights"}),
        };
        Ok(vec![hit])
    }
}

#[tokio::test]
async fn a_search_finds_what_the_run_may_use_and_nothing_else() {
    let mail = json!({"name": "send_message", "description": "Sends an e-mail to somebody", "inputSchema": {}});
    let rows_tool =
        json!({"name": "query", "description": "Reads rows of the sales database with SQL", "inputSchema": {}});
    let server = ScriptedServer::new(json!({"tools": [mail, rows_tool]}));
    let servers = json!({"s": server.entry(json!({})), "hidden": {"command": ["/no/such"]}});
    let registry = registry(json!(["search_tools", "openapi_action", "mcp:s"]), servers);
    let (mut bench, _) = bench(Effect::Reads);
    bench.source(Saved);
    let kit = bench.kit(&registry).await;
    let first = async |query: &str, n: u32| {
        let arguments = json!({"query": query, "limit": 1}).to_string();
        let told = bench.call(&kit, "search_tools", &arguments, n).await.unwrap();
        let told: serde_json::Value = serde_json::from_str(&told).unwrap_or_else(|_| json!({"tools": []}));
        told["tools"].as_array().unwrap().first().map(|hit| hit["name"].as_str().unwrap().to_owned())
    };
    let rows = [
        ("send an email", Some("s__send_message")),
        ("sales rows from the database", Some("s__query")),
        ("cheap flights", Some("cheapest_flights")),
        ("counts", Some("openapi_action")),
        ("qqqq zzzz", None),
    ];
    for (n, (query, expected)) in rows.into_iter().enumerate() {
        assert_eq!(first(query, u32::try_from(n).unwrap()).await.as_deref(), expected, "{query}");
    }
    for (n, arguments) in [r#"{"query":" "}"#, "{}", "[]", r#"{"query":"x","limit":"many"}"#].into_iter().enumerate() {
        let error = bench.call(&kit, "search_tools", arguments, 100 + u32::try_from(n).unwrap()).await.unwrap_err();
        assert!(!error.retryable, "{arguments}: {error}");
    }
}

#[tokio::test]
async fn a_search_finds_the_saved_pipelines_of_the_jobs_owner_and_of_nobody_else() {
    let store = MemoryStore::new(1 << 20);
    let runs = Runs::new(store, Duration::from_secs(60));
    for (owner, column) in [("ann", "price"), ("bob", "salary"), ("", "height")] {
        for (n, limit) in [(1, 5), (2, 7)] {
            let steps = json!([{"step": "top_k", "by": column, "k": limit, "order": "desc"}]);
            let steps = RawJson::of(&steps);
            let prompt = format!("best {limit} by {column}");
            let run = Run { job_id: format!("{owner}{n}"), prompt, steps, columns: format!("{column}:number\n") };
            runs.add(owner, &run).await.unwrap();
        }
    }
    let (mut bench, _) = bench(Effect::Reads);
    let (pipeline, _) = Counting::tool("execute_pipeline", Effect::Reads);
    bench.built_ins.push(pipeline);
    bench.source(SavedPipelines::new(runs.clone()));
    let searching = registry(json!(["search_tools", "execute_pipeline"]), json!({}));
    let found = async |registry: &Registry, owner: Option<&str>| {
        let bench = bench.job_of(owner);
        let kit = bench.kit(registry).await;
        let told = bench.call(&kit, "search_tools", r#"{"query":"top_k best by","limit":25}"#, 1).await.unwrap();
        let told: serde_json::Value = serde_json::from_str(&told).unwrap_or_else(|_| json!({"tools": []}));
        let hits = told["tools"].as_array().unwrap().clone();
        hits.into_iter().filter(|hit| hit["kind"] == "pipeline").collect::<Vec<_>>()
    };
    for (owner, column) in [(Some("ann"), "price"), (Some("bob"), "salary"), (None, "height"), (Some(""), "height")] {
        let hits = found(&searching, owner).await;
        assert_eq!(hits.len(), 1, "{owner:?}: {hits:?}");
        let call = &hits[0]["call"];
        assert_eq!(call["tool"], "execute_pipeline");
        assert_eq!(call["arguments"]["pipeline"][0]["by"], column, "{owner:?}: {call}");
        assert_eq!(call["replace"][0]["value"], 7, "{call}");
    }
    assert!(found(&searching, Some("eve")).await.is_empty());
    // Who has nothing to run one with is not told of any.
    let other = registry(json!(["search_tools", "openapi_action"]), json!({}));
    assert!(found(&other, Some("ann")).await.is_empty());
    // One that was switched off is not found.
    let off = found(&searching, Some("ann")).await[0]["name"].as_str().unwrap().to_owned();
    runs.switch("ann", &off, true).await.unwrap();
    assert!(found(&searching, Some("ann")).await.is_empty());
}
