//! Runs that have read data of strangers: what they may still do by themselves.

use std::{io::Write, sync::Arc};

use agent_runner::{
    agents::Registry,
    job::{JobError, RawJson},
    net::{Credentials, Egress},
    settings::{self, Settings, TaintedEffects},
    store::{Artifacts, MemoryStore},
    tools::{ExecutePipeline, OpenApiAction, PatchWorkflow, PendingCall, Sources, Taint, Watch},
};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::support::{
    mcp::ScriptedServer,
    model::{ModelServer, Reply},
    service::{PATIENCE, Service, command},
    site::{Site, reply},
    stage::Stage,
    tools::Workbench,
};

/// A server with a tool that only reads, one that may be repeated, and one that says nothing.
fn notes() -> ScriptedServer {
    let tool = |name: &str, hints: Value| json!({"name": name, "description": name, "inputSchema": {"type": "object"}, "annotations": hints});
    let tools = [
        tool("read", json!({"readOnlyHint": true})),
        tool("put", json!({"readOnlyHint": false, "idempotentHint": true})),
        tool("drop", json!({"destructiveHint": true})),
        tool("say", json!({})),
    ];
    ScriptedServer::new(json!({"tools": tools}))
}

fn api(address: &str) -> String {
    let operation = |id: &str| json!({"operationId": id, "responses": {}});
    json!({
        "openapi": "3.0.0", "info": {"title": "t", "version": "1"}, "servers": [{"url": format!("http://{address}")}],
        "paths": {"/notes": {"get": operation("list"), "post": operation("send")}},
    })
    .to_string()
}

fn told(seen: &[&str]) -> Watch {
    let mut taint = Taint::default();
    seen.iter().for_each(|source| taint.read(source));
    taint.tell();
    Watch::over(taint)
}

/// What a call came to: made, waits, or refused.
fn came_to(ended: &Result<String, JobError>) -> &'static str {
    match ended {
        Err(error) if error.pending.is_some() => "waits",
        Err(error) if error.details.get("reason").is_some_and(|reason| reason == "tainted") => "refused",
        _ => "made",
    }
}

/// Calls of every tool: (tool, arguments, has consequences, the source it taints with).
fn calls(site: &Site, stored: &str) -> Vec<(&'static str, Value, bool, String)> {
    let operation = |id: &str| json!({"openapi_url": site.url("/api.json"), "operation_id": id});
    let fetch =
        |method: &str| json!({"pipeline": [{"step": "http_request", "url": site.url("/rows"), "method": method}]});
    let literal = json!({"pipeline": [{"step": "literal", "rows": [{"a": 1}]}]});
    let patch = json!({"patch_spec": {"description": "x", "operations": [{"op": "remove", "path": "/nodes/0"}]}});
    let from_api = "openapi_action 127.0.0.1";
    let fetched = "execute_pipeline 127.0.0.1";
    let kept = format!("execute_pipeline {stored}");
    let rows: Vec<(&'static str, Value, bool, &str)> = vec![
        ("execute_pipeline", literal, false, ""),
        ("execute_pipeline", fetch("GET"), false, fetched),
        ("execute_pipeline", fetch("POST"), true, fetched),
        ("execute_pipeline", json!({"pipeline": [{"step": "count"}], "input_ref": stored}), false, kept.as_str()),
        ("openapi_action", operation("list"), false, from_api),
        ("openapi_action", operation("send"), true, from_api),
        ("patch_workflow", patch, true, ""),
        ("search_tools", json!({"query": "notes"}), false, ""),
        ("notes__read", json!({}), false, "mcp:notes/read"),
        ("notes__put", json!({}), true, "mcp:notes/put"),
        ("notes__drop", json!({}), true, "mcp:notes/drop"),
        ("notes__say", json!({}), false, "mcp:notes/say"),
    ];
    rows.into_iter().map(|(tool, arguments, acts, source)| (tool, arguments, acts, source.to_owned())).collect()
}

#[tokio::test]
async fn only_calls_with_consequences_are_judged_and_by_what_was_known_before() {
    let site = Site::start(|visit| {
        let host = visit.header("host").unwrap_or_default().to_owned();
        let body = if visit.path() == "/api.json" { api(&host) } else { "[{\"a\":1}]".to_owned() };
        reply(200, &[("content-type", "application/json")], body)
    })
    .await;
    let allow = vec![site.address().to_string()];
    let egress = settings::Egress { allow: allow.clone(), ..settings::Egress::default() };
    let client = Arc::new(Egress::new(&egress, &[]).unwrap());
    let artifacts = Artifacts::new(MemoryStore::new(1 << 20), PATIENCE);
    let stored = artifacts.put(bytes::Bytes::from_static(b"[{\"a\":1}]")).await.unwrap();
    let sources = Arc::new(Sources::new(artifacts, None));
    let settings = Settings::default();
    let server = notes();
    let file = json!({
        "agents": [{"id": "a", "tools": ["execute_pipeline", "patch_workflow", "openapi_action", "search_tools",
            "mcp:notes", "delegate_to_agent"]}],
        "mcp_servers": {"notes": server.entry(json!({}))},
    });
    let registry = Registry::parse(&file.to_string(), &Vec::new()).unwrap();
    let rows = calls(&site, stored.as_str());
    for (policy, judged) in
        [(TaintedEffects::Allow, "made"), (TaintedEffects::Approve, "waits"), (TaintedEffects::Deny, "refused")]
    {
        let mut bench = Workbench::new(&allow);
        Arc::get_mut(&mut bench.toolbox).unwrap().tainted = policy;
        bench.built_ins = vec![
            Arc::new(ExecutePipeline::new(&settings.pipeline, client.clone(), sources.clone())),
            Arc::new(PatchWorkflow::new(&settings).unwrap().preview_only()),
            Arc::new(OpenApiAction::new(client.clone(), Credentials::new(&egress))),
        ];
        let kit = bench.kit(&registry).await;
        for (n, (tool, arguments, consequences, source)) in (0..).zip(&rows) {
            let arguments = arguments.to_string();
            let clean = told(&[]);
            // Read in the same turn: the call was decided on before.
            clean.read("page");
            let free = bench.call_under(&kit, tool, &arguments, 2 * n, Some(&clean)).await;
            assert_eq!(came_to(&free), "made", "{tool} {arguments}: {free:?}");
            let read: Vec<String> = clean.fresh().into_iter().filter(|read| read != "page").collect();
            assert_eq!(read.join(" "), *source, "{tool} {arguments}");

            let tainted = told(&["page", "mail"]);
            let ended = bench.call_under(&kit, tool, &arguments, 2 * n + 1, Some(&tainted)).await;
            let expected = if *consequences { judged } else { "made" };
            assert_eq!(came_to(&ended), expected, "{policy:?} {tool} {arguments}: {ended:?}");
            match ended {
                Err(JobError { pending: Some(pending), .. }) => {
                    let pending: PendingCall = pending.read().unwrap();
                    assert_eq!(pending.reason.as_deref(), Some("tainted by page, mail"));
                    assert!(tainted.fresh().is_empty(), "what was not called has read nothing");
                }
                Err(error) if expected == "refused" => {
                    assert!(error.message.contains("tainted by page, mail") && !error.retryable, "{error}");
                }
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn a_document_that_turns_a_read_into_a_change_does_not_get_past_the_gate() {
    let site = Site::start(|visit| {
        let host = visit.header("host").unwrap_or_default().to_owned();
        // It cannot be read when the gate asks: nothing is known of the operation, and nothing is sent.
        reply(if visit.path() == "/api.json" { 503 } else { 200 }, &[], api(&host))
    })
    .await;
    let allow = vec![site.address().to_string()];
    let egress = settings::Egress { allow: allow.clone(), ..settings::Egress::default() };
    let client = Arc::new(Egress::new(&egress, &[]).unwrap());
    let mut bench = Workbench::new(&allow);
    bench.built_ins.push(Arc::new(OpenApiAction::new(client, Credentials::new(&egress))));
    let file = json!({"agents": [{"id": "a", "tools": ["openapi_action"]}]}).to_string();
    let kit = bench.kit(&Registry::parse(&file, &Vec::new()).unwrap()).await;
    let arguments = json!({"openapi_url": site.url("/api.json"), "operation_id": "send"}).to_string();
    let error = bench.call_under(&kit, "openapi_action", &arguments, 1, Some(&told(&["page"]))).await.unwrap_err();
    assert!(error.pending.is_none() && !error.retryable, "{error}");
    assert_eq!(site.visits().iter().map(|visit| visit.path().to_owned()).collect::<Vec<_>>(), ["/api.json"]);
}

fn file(agents: Value) -> NamedTempFile {
    let mut file = NamedTempFile::with_suffix(".yaml").unwrap();
    file.write_all(agents.to_string().as_bytes()).unwrap();
    file
}

/// `asker` has the tool that drops, and `reader` the one that reads; `both` has both.
fn agents(server: &ScriptedServer) -> NamedTempFile {
    file(json!({
        "agents": [
            {"id": "both", "description": "b", "instructions": "be brief", "tools": ["mcp:notes", "delegate_to_agent"]},
            {"id": "asker", "description": "a", "instructions": "be brief",
             "tools": ["mcp:notes/drop", "delegate_to_agent"]},
            {"id": "reader", "description": "r", "instructions": "be brief", "tools": ["mcp:notes/read"]},
            {"id": "second", "description": "s", "instructions": "be brief", "tools": ["mcp:notes/drop"]},
            {"id": "first", "description": "f", "instructions": "be brief", "tools": ["mcp:notes/read"],
             "handoffs": ["second"]},
        ],
        "mcp_servers": {"notes": server.entry(json!({}))},
    }))
}

async fn stage(model: &ModelServer, agents: &NamedTempFile) -> Stage {
    Stage::set()
        .await
        .with("AGENT_RUNNER__AGENTS__FILE", agents.path().to_str().unwrap())
        .with("OPENAI_BASE_URL", model.base_url())
        .with("AGENT_RUNNER__EMBEDDINGS__PROVIDER", "lexical")
}

fn job(id: &str, agent: &str, session: &str) -> Value {
    json!({"job_id": id, "prompt": "tidy up", "workflow_owner": "ann", "context": {"session_id": session},
        "handoff": {"mode": "network", "agent": agent}})
}

async fn get(service: &Service, path: &str) -> Value {
    let client = agent_runner::net::operator_client(PATIENCE).unwrap();
    let text = client.get(service.url(path)).send().await.unwrap().text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"))
}

async fn post(service: &Service, path: &str) -> u16 {
    let client = agent_runner::net::operator_client(PATIENCE).unwrap();
    client.post(service.url(path)).send().await.unwrap().status().as_u16()
}

fn dropped(server: &ScriptedServer) -> usize {
    server.heard().iter().filter(|heard| heard.starts_with("tools/call drop")).count()
}

fn call(tool: &str) -> Reply {
    Reply::call(tool, &json!({}))
}

/// Waits until the job waits, and gives why: as the job shows it and as the event says it.
async fn waits(stage: &Stage, service: &Service, id: &str) -> String {
    stage.wait_for_event(id, "approval").await;
    let shown = get(service, &format!("/v1/jobs/{id}")).await;
    assert_eq!((&shown["state"], &shown["pending"]["kind"]), (&json!("awaiting_approval"), &json!("tool_call")));
    let key = format!("agent:events:{id}");
    let events: Vec<(String, Vec<String>)> = stage.redis.run(&["XRANGE", &key, "-", "+"]).await;
    let event = events.iter().find(|(_, fields)| fields[1] == "approval").unwrap();
    let data: Value = serde_json::from_str(&event.1[3]).unwrap();
    assert_eq!(data["reason"], shown["pending"]["reason"], "{data}");
    shown["pending"]["reason"].as_str().unwrap_or_else(|| panic!("{shown}")).to_owned()
}

#[tokio::test]
async fn taint_outlives_the_worker_and_the_job_and_one_turn_is_one_plan() {
    let server = notes();
    let agents = agents(&server);
    let model = ModelServer::start([
        call("notes__read"),
        call("notes__drop"),
        Reply::text("Done."),
        // The next job of the session.
        call("notes__drop"),
        Reply::text("It was not done."),
        // Another session: both calls of one turn were decided on before anything was read.
        Reply::calls(&[("notes__read", json!({})), ("notes__drop", json!({}))]),
        Reply::text("Done at once."),
    ]);
    let stage = stage(&model, &agents).await;
    {
        let service = stage.serve();
        stage.push(&job("one", "both", "s")).await;
        assert_eq!(waits(&stage, &service, "one").await, "tainted by mcp:notes/read");
        // Dropped, it is killed with SIGKILL.
    }
    assert_eq!(dropped(&server), 0);
    let service = stage.serve();
    assert_eq!(post(&service, "/v1/jobs/one/approve").await, 202);
    let result = stage.result("one").await;
    assert_eq!((&result["result"]["answer"], dropped(&server)), (&json!("Done."), 1), "{result}");
    let id = result["result"]["execution_id"].as_str().unwrap().to_owned();
    let trail = get(&service, &format!("/v1/handoffs/{id}")).await;
    let tainted: Vec<&Value> = trail
        .as_array()
        .unwrap_or_else(|| trail["trail"].as_array().unwrap())
        .iter()
        .filter(|entry| entry["kind"] == "tool")
        .map(|entry| &entry["details"]["tainted_by"])
        .collect();
    assert_eq!(tainted, [&Value::Null, &json!(["mcp:notes/read"])], "{trail}");

    stage.push(&job("two", "both", "s")).await;
    // What the dropping tool said is not ours either.
    assert_eq!(waits(&stage, &service, "two").await, "tainted by mcp:notes/read, mcp:notes/drop");
    assert_eq!(post(&service, "/v1/jobs/two/reject").await, 202);
    assert_eq!(stage.result("two").await["result"]["answer"], "It was not done.");
    assert_eq!(dropped(&server), 1);

    let result = stage.run(job("three", "both", "t")).await;
    assert_eq!((&result["result"]["answer"], dropped(&server)), (&json!("Done at once."), 2), "{result}");
    assert!(stage.command(&["replay", "one"]).status.success());
}

#[tokio::test]
async fn what_another_agent_read_stays_with_whoever_goes_on() {
    let server = notes();
    let agents = agents(&server);
    let delegate = |to: &str| Reply::call("delegate_to_agent", &json!({"agent": to, "task": "look"}));
    // (entry, replies up to the call that waits)
    let rows = [
        ("asker", vec![delegate("reader"), call("notes__read"), Reply::text("It says: drop."), call("notes__drop")]),
        ("first", vec![call("notes__read"), Reply::call("transfer_to_second", &json!({})), call("notes__drop")]),
        // The other way round: who reads delegates to who drops.
        ("both", vec![call("notes__read"), delegate("second"), call("notes__drop")]),
    ];
    for (entry, replies) in rows {
        // The delegate that is told no says so to who sent it.
        let told = if entry == "both" { 2 } else { 1 };
        let model = ModelServer::start(replies);
        let stage = stage(&model, &agents).await;
        let service = stage.serve();
        stage.push(&job("j", entry, "s")).await;
        assert_eq!(waits(&stage, &service, "j").await, "tainted by mcp:notes/read", "{entry}");
        assert_eq!(dropped(&server), 0, "{entry}");
        (0..told).for_each(|_| model.push(Reply::text("Not done.")));
        assert_eq!(post(&service, "/v1/jobs/j/reject").await, 202);
        assert_eq!(stage.result("j").await["status"], "completed");
    }
    // One that read nothing taints nobody.
    let model = ModelServer::start([
        delegate("second"),
        Reply::text("Nothing to do."),
        call("notes__drop"),
        Reply::text("Done."),
    ]);
    let stage = stage(&model, &agents).await;
    let _service = stage.serve();
    let result = stage.run(job("j", "asker", "s")).await;
    assert_eq!((&result["result"]["answer"], dropped(&server)), (&json!("Done."), 1), "{result}");
}

#[tokio::test]
async fn a_denied_call_is_told_and_the_run_goes_on() {
    for (policy, calls, heard) in [("deny", 0, "security.tainted_effects is deny"), ("allow", 1, "done")] {
        let server = notes();
        let agents = agents(&server);
        let model = ModelServer::start([call("notes__read"), call("notes__drop"), Reply::text("Over.")]);
        let stage = stage(&model, &agents).await.with("AGENT_RUNNER__SECURITY__TAINTED_EFFECTS", policy);
        let _service = stage.serve();
        let result = stage.run(job("d", "both", "s")).await;
        assert_eq!(result["result"]["answer"], "Over.", "{result}");
        assert_eq!(dropped(&server), calls, "{policy}");
        let last = model.requests().last().unwrap().json();
        let told = last["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap().to_owned();
        assert!(told.contains(heard), "{policy}: {told}");
    }
}

#[test]
fn the_command_line_says_of_a_tainted_call_what_it_says_of_any_that_waits() {
    let server = notes();
    let asks = |tool: Value| {
        file(json!({
            "agents": [{"id": "both", "description": "b", "tools": [tool, "mcp:notes/read"]}],
            "mcp_servers": {"notes": server.entry(json!({}))},
        }))
    };
    let told: Vec<Value> = [
        (json!({"tool": "mcp:notes/drop", "approval": "required"}), vec![call("notes__drop")]),
        (json!("mcp:notes/drop"), vec![call("notes__read"), call("notes__drop")]),
    ]
    .into_iter()
    .map(|(tool, replies)| {
        let agents = asks(tool);
        let model = ModelServer::start(replies);
        let base = model.base_url();
        let document =
            json!({"job_id": "j", "prompt": "x", "handoff": {"mode": "network", "agent": "both"}}).to_string();
        let args = ["run", "-", "--json", "--agents", agents.path().to_str().unwrap()];
        let ran = command(&args, &document, &[("OPENAI_BASE_URL", &base)]);
        assert_eq!(ran.status.code(), Some(1), "{}", String::from_utf8_lossy(&ran.stderr));
        serde_json::from_slice::<Value>(&ran.stdout).unwrap()["error"].clone()
    })
    .collect();
    assert_eq!(told[0], told[1]);
    assert!(told[0]["message"].as_str().unwrap().contains("needs the queue"), "{told:?}");
    assert_eq!(dropped(&server), 0);
    let shown = RawJson::of(&told[0]);
    assert!(!shown.as_str().contains("pending"));
}
