//! Agents with tools through real Redis and the real program: approvals over restarts, guardrails, children.

use std::io::Write;

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::support::{
    mcp::{ScriptedServer, tool},
    model::{ModelServer, Reply},
    service::{PATIENCE, Service},
    stage::Stage,
};

fn file(agents: Value) -> NamedTempFile {
    let mut file = NamedTempFile::with_suffix(".yaml").unwrap();
    file.write_all(agents.to_string().as_bytes()).unwrap();
    file
}

async fn stage(model: &ModelServer, agents: &NamedTempFile) -> Stage {
    Stage::set()
        .await
        .with("AGENT_RUNNER__AGENTS__FILE", agents.path().to_str().unwrap())
        .with("OPENAI_BASE_URL", model.base_url())
        .with("AGENT_RUNNER__EMBEDDINGS__PROVIDER", "lexical")
}

fn job(id: &str) -> Value {
    json!({"job_id": id, "prompt": "mail the report", "handoff": {"mode": "route", "threshold": -1}})
}

fn agent(more: Value) -> Value {
    let mut agent = json!({"id": "mailer", "description": "mails reports", "instructions": "be brief"});
    for (key, value) in more.as_object().unwrap() {
        agent[key] = value.clone();
    }
    agent
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

#[tokio::test]
async fn a_call_waits_over_a_restart_and_is_made_once_or_not_at_all() {
    // (decision, what the model hears, calls that the server heard)
    for (decision, told, calls) in [("approve", "sent to bob", 1), ("reject", "rejected this call", 0)] {
        let sent = json!({"send": {"content": [{"type": "text", "text": "sent to bob"}]}});
        let server = ScriptedServer::new(json!({"tools": [tool("send")], "calls": sent}));
        let agents = file(json!({
            "agents": [agent(json!({"tools": [{"tool": "mcp:mail/send", "approval": "required"}]}))],
            "mcp_servers": {"mail": server.entry(json!({}))},
        }));
        let model = ModelServer::start([Reply::call("mail__send", &json!({"k": "bob"})), Reply::text("Done.")]);
        let stage = stage(&model, &agents).await;
        {
            let service = stage.serve();
            stage.push(&job("w")).await;
            stage.wait_for_event("w", "approval").await;
            let shown = get(&service, "/v1/jobs/w").await;
            assert_eq!(shown["state"], "awaiting_approval", "{shown}");
            let pending = &shown["pending"];
            assert_eq!((&pending["kind"], &pending["tool"]), (&json!("tool_call"), &json!("mail__send")), "{shown}");
            assert_eq!(pending["arguments"], json!({"k": "bob"}));
        }
        let service = stage.serve();
        assert_eq!(post(&service, &format!("/v1/jobs/w/{decision}")).await, 202);
        let result = stage.result("w").await;
        assert_eq!(
            (&result["status"], &result["result"]["answer"]),
            (&json!("completed"), &json!("Done.")),
            "{result}"
        );
        assert_eq!(result["metadata"]["llm_calls"], 2, "no reply is paid for twice: {result}");
        let made = server.heard().iter().filter(|method| method.starts_with("tools/call")).count();
        assert_eq!(made, calls, "{decision}");
        let requests = model.requests();
        let last = requests.last().unwrap().json();
        let heard = last["messages"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(heard["role"], "tool");
        assert!(heard["content"].as_str().unwrap().contains(told), "{heard}");
        assert_eq!(last["tools"][0]["function"]["name"], "mail__send");
        assert_eq!(last["tools"].as_array().unwrap().len(), 1);
    }
}

/// The events of a job about its calls: name, tool, decision or error, in short.
async fn told(stage: &Stage, id: &str) -> Vec<String> {
    let events = stage.events(id).await;
    let about_calls = events.iter().filter(|(_, fields)| fields[1].starts_with("tool_") || fields[1] == "approval");
    about_calls
        .map(|(_, fields)| {
            let data: Value = serde_json::from_str(&fields[3]).unwrap();
            let tool = data["tool"].as_str().or(data["pending"]["tool"].as_str()).unwrap_or("-");
            let word = data["decision"].as_str().or(data["error"].as_str().map(|_| "error")).unwrap_or_default();
            assert_eq!(fields[1] == "tool_finished", data["duration_ms"].is_u64(), "{data}");
            format!("{} {tool} {word}", fields[1]).trim_end().to_owned()
        })
        .collect()
}

/// Agents, the model's replies, decisions, events.
type Waiting = (Value, Vec<Reply>, Vec<&'static str>, Vec<&'static str>);

fn waiting() -> Vec<Waiting> {
    let approval = |tool: &str| json!({"tool": tool, "approval": "required"});
    let lead = json!({"id": "mailer", "description": "mails reports", "tools": [approval("delegate_to_agent")]});
    let other = json!({"id": "other", "tools": [approval("mcp:mail/send")], "description": "zzz"});
    let send = || Reply::call("mail__send", &json!({"k": 1}));
    let delegate = || Reply::call("delegate_to_agent", &json!({"agent": "other", "task": "send it"}));
    let pipeline = json!({"pipeline": [{"step": "literal", "rows": [{"a": 1}]}]});
    let mut rows: Vec<Waiting> = vec![
        (
            json!([agent(json!({"tools": [approval("mcp:mail/send")]}))]),
            vec![send(), Reply::text("Done.")],
            vec!["approve"],
            vec![
                "approval mail__send",
                "approval mail__send approved",
                "tool_started mail__send",
                "tool_finished mail__send",
            ],
        ),
        (
            json!([agent(json!({"tools": [approval("mcp:mail/send")]}))]),
            vec![send(), Reply::text("Not sent.")],
            vec!["reject"],
            vec!["approval mail__send", "approval mail__send rejected"],
        ),
        (
            json!([agent(json!({"tools": [approval("execute_pipeline")]}))]),
            vec![Reply::call("execute_pipeline", &pipeline), Reply::text("Done.")],
            vec!["approve"],
            vec![
                "approval execute_pipeline",
                "approval execute_pipeline approved",
                "tool_started execute_pipeline",
                "tool_finished execute_pipeline",
            ],
        ),
        // The agent that a task goes to waits in the middle of the call that brought it there.
        (
            json!([&lead, other]),
            vec![delegate(), send(), Reply::text("It is sent."), Reply::text("Done.")],
            vec!["approve", "approve"],
            vec![
                "approval delegate_to_agent",
                "approval delegate_to_agent approved",
                "tool_started delegate_to_agent",
                "approval mail__send",
                "approval mail__send approved",
                "tool_started mail__send",
                "tool_finished mail__send",
                "tool_finished delegate_to_agent",
            ],
        ),
    ];
    rows.push(delegated(lead, delegate()));
    rows
}

/// The one that a task goes to delegates in turn: that is asked about as well.
fn delegated(lead: Value, delegate: Reply) -> Waiting {
    let middle = json!({"id": "other", "tools": ["delegate_to_agent"], "description": "zzz"});
    let on = Reply::call("delegate_to_agent", &json!({"agent": "last", "task": "send it"}));
    let end = || Reply::text("Done.");
    (
        json!([lead, middle, {"id": "last", "description": "zzz"}]),
        vec![delegate, on, end(), end(), end()],
        vec!["approve", "approve"],
        vec![
            "approval delegate_to_agent",
            "approval delegate_to_agent approved",
            "tool_started delegate_to_agent",
            "approval delegate_to_agent",
            "approval delegate_to_agent approved",
            "tool_started delegate_to_agent",
            "tool_finished delegate_to_agent",
            "tool_finished delegate_to_agent",
        ],
    )
}

#[tokio::test]
async fn a_call_that_waits_is_told_as_waiting_and_as_made_once_it_is() {
    for (n, (agents, replies, decisions, expected)) in waiting().into_iter().enumerate() {
        let server = ScriptedServer::new(json!({"tools": [tool("send")]}));
        let agents = file(json!({"agents": agents, "mcp_servers": {"mail": server.entry(json!({}))}}));
        let asked = replies.len();
        let model = ModelServer::start(replies);
        let stage = stage(&model, &agents).await;
        let service = stage.serve();
        let id = format!("t{n}");
        stage.push(&job(&id)).await;
        for (i, decision) in decisions.into_iter().enumerate() {
            stage.wait_for_events(&id, "approval", 2 * i + 1).await;
            assert_eq!(post(&service, &format!("/v1/jobs/{id}/{decision}")).await, 202);
        }
        let result = stage.result(&id).await;
        assert_eq!(result["status"], "completed", "{result}");
        assert_eq!(model.requests().len(), asked, "no reply is paid for twice");
        assert_eq!(told(&stage, &id).await, expected, "{n}");
        drop(service);
    }
}

#[tokio::test]
async fn a_call_whose_outcome_nobody_knows_is_told_of_once() {
    let server = ScriptedServer::new(json!({"tools": [tool("send")], "calls": {"send": {"do": "hang"}}}));
    let agents = file(json!({
        "agents": [agent(json!({"tools": ["mcp:mail/send"]}))],
        "mcp_servers": {"mail": server.entry(json!({}))},
    }));
    let model = ModelServer::start([Reply::call("mail__send", &json!({"k": "bob"})), Reply::text("Nobody knows.")]);
    let stage = stage(&model, &agents).await;
    let mut first = stage.serve();
    stage.push(&job("u")).await;
    stage.wait_for_event("u", "tool_started").await;
    while !server.heard().iter().any(|method| method.starts_with("tools/call")) {
        tokio::task::yield_now().await;
    }
    first.signal("KILL");
    first.wait();
    let _second = stage.serve();
    let result = stage.result("u").await;
    assert_eq!(result["result"]["answer"], "Nobody knows.", "{result}");
    assert_eq!(told(&stage, "u").await, ["tool_started mail__send", "tool_finished mail__send error"]);
    let calls = server.heard().iter().filter(|method| method.starts_with("tools/call")).count();
    assert_eq!(calls, 1);
    assert!(result["metadata"]["tool_calls"][0]["error"].as_str().unwrap().contains("not made again"), "{result}");
}

#[tokio::test]
async fn only_the_servers_of_those_who_are_seated_are_asked() {
    let delegate = Reply::call("delegate_to_agent", &json!({"agent": "clerk", "task": "look"}));
    let transfer = Reply::call("transfer_to_clerk", &json!({"reason": "x", "message": "y"}));
    let network = json!({"mode": "network", "agent": "mailer"});
    let route = json!({"mode": "route", "threshold": -1});
    // (handoff, replies, whether the clerk's server was asked)
    let rows = [
        (route.clone(), vec![Reply::text("Done.")], false),
        (network.clone(), vec![Reply::text("Done.")], false),
        (route, vec![delegate, Reply::text("Looked."), Reply::text("Done.")], true),
        (network, vec![transfer, Reply::text("Done.")], true),
    ];
    for (n, (handoff, replies, asked)) in rows.into_iter().enumerate() {
        let (own, clerks) =
            (ScriptedServer::new(json!({"tools": [tool("a")]})), ScriptedServer::new(json!({"tools": []})));
        let agents = file(json!({
            "agents": [
                agent(json!({"tools": ["mcp:own", "delegate_to_agent"], "handoffs": ["clerk"]})),
                {"id": "clerk", "description": "zzz", "tools": ["mcp:clerks/none"]},
                {"id": "idle", "description": "zzz", "tools": ["mcp:broken"]},
            ],
            "mcp_servers": {
                "own": own.entry(json!({})),
                "clerks": clerks.entry(json!({})),
                "broken": {"command": ["/no/such/program"]},
            },
        }));
        let model = ModelServer::start(replies);
        let stage = stage(&model, &agents).await;
        let _service = stage.serve();
        let id = format!("l{n}");
        let result = stage.run(json!({"job_id": id, "prompt": "mail the report", "handoff": handoff})).await;
        assert_eq!(result["result"]["answer"], "Done.", "{result}");
        let lists = |server: &ScriptedServer| server.heard().iter().filter(|method| *method == "tools/list").count();
        assert_eq!((lists(&own), lists(&clerks)), (1, usize::from(asked)), "{n}");
        let warnings = result["metadata"]["warnings"].to_string();
        assert_eq!(warnings.matches("goes without clerks/none").count(), usize::from(asked), "{result}");
        assert!(!warnings.contains("broken"), "{result}");
    }
}

#[tokio::test]
async fn children_end_with_a_service_that_is_killed() {
    for deed in ["child", "stubborn"] {
        let folder = ScriptedServer::new(json!({}));
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let script = json!({"tools": [tool("t")], "calls": {"t": {"do": deed}}, "pipe": pipe});
        let server = ScriptedServer::new(script);
        let agents = file(json!({
            "agents": [agent(json!({"tools": ["mcp:s"]}))],
            "mcp_servers": {"s": server.entry(json!({"idle_secs": 3600, "memory_mb": 65_536}))},
        }));
        let model = ModelServer::start([Reply::call("s__t", &json!({})), Reply::text("Done.")]);
        let stage = stage(&model, &agents).await;
        let mut service = stage.serve();
        let read = tokio::task::spawn_blocking(move || std::fs::read(pipe));
        let result = stage.run(job("k")).await;
        assert_eq!(result["result"]["answer"], "Done.", "{result}");
        assert!(!read.is_finished(), "they live as long as the service does");
        service.signal("KILL");
        service.wait();
        // The pipe has an end: neither the server nor what it started is left to hold it.
        let left = tokio::time::timeout(PATIENCE, read).await.expect("somebody is left behind");
        assert!(left.unwrap().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_guarded_server_has_its_own_environment_and_limits_and_nothing_of_ours() {
    let calls = json!({"env": {"do": "env"}, "limits": {"do": "limits"}});
    let server = ScriptedServer::new(json!({"tools": [tool("env"), tool("limits")], "calls": calls}));
    let mut entry = server.entry(json!({"cwd": server.path(), "memory_mb": 65_536}));
    entry["env"]["GIVEN"] = json!("x");
    let agents = file(json!({
        "agents": [agent(json!({"tools": ["mcp:s", "mcp:none"]}))],
        "mcp_servers": {"s": entry, "none": {"command": ["no-such-program"]}},
    }));
    let calls = [Reply::call("s__env", &json!({})), Reply::call("s__limits", &json!({})), Reply::text("Done.")];
    let model = ModelServer::start(calls);
    // What the first call says is no reason to ask about the second.
    let stage = stage(&model, &agents).await.with("AGENT_RUNNER__SECURITY__TAINTED_EFFECTS", "allow");
    let _service = stage.serve();
    let result = stage.run(job("e")).await;
    assert_eq!(result["result"]["answer"], "Done.", "{result}");
    let warnings = result["metadata"]["warnings"].to_string();
    assert!(warnings.contains("cannot be started: write its whole path"), "{result}");
    let heard =
        |n: usize| model.requests()[n].json()["messages"].as_array().unwrap().last().unwrap()["content"].clone();
    let folder = std::fs::canonicalize(server.path()).unwrap();
    assert_eq!(heard(1), format!("[\"GIVEN\"] in {}", folder.display()));
    let limits = heard(2).as_str().unwrap().to_owned();
    assert!(
        limits.lines().any(|line| line.starts_with("Max address space") && line.contains("68719476736")),
        "{limits}"
    );
}

#[test]
fn a_guard_gives_the_exit_code_of_what_it_guards() {
    let rows: [(&[&str], i32); 4] = [
        (&["/bin/sh", "-c", "read it; echo $it; exit 7"], 7),
        (&["/bin/sh", "-c", "kill -TERM $$"], 143),
        (&["/no/such/program"], 127),
        (&[], 127),
    ];
    for (command, code) in rows {
        let arguments = [&["__mcp-guard", "--"], command].concat();
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_agent-runner"))
            .args(&arguments)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // Its input stays open: what ends with that has nobody to tell.
        let mut input = child.stdin.take().unwrap();
        // Some have ended before.
        let _ = input.write_all(b"heard\n");
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{command:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), if code == 7 { "heard\n" } else { "" });
    }
}

#[tokio::test]
async fn a_guardrail_ends_the_run_with_its_own_reason_and_stands_in_the_trail() {
    let judged =
        |violates: bool| Reply::text(&json!({"violates": violates, "reason": "it promises money"}).to_string());
    let rails = |side: &str, rail: Value| json!({side: [rail]});
    // (guardrails, the model's replies, the answer or the name of the guardrail and its side)
    type Row = (Value, Vec<Reply>, Result<&'static str, (&'static str, &'static str)>);
    let rows: Vec<Row> = vec![
        (rails("input", json!({"pattern": "(?i)password"})), vec![Reply::text("Fine.")], Ok("Fine.")),
        (rails("input", json!({"pattern": "(?i)MAIL", "name": "no-mail"})), vec![], Err(("no-mail", "input"))),
        (
            rails("output", json!({"pattern": "sk-[a-z]+"})),
            vec![Reply::text("It is sk-abc.")],
            Err(("pattern-1", "output")),
        ),
        (
            rails("output", json!({"schema": {"type": "object", "required": ["n"]}})),
            vec![Reply::text("```json\n{\"n\": 1}\n```")],
            Ok("```json\n{\"n\": 1}\n```"),
        ),
        (
            rails("output", json!({"schema": {"type": "object", "required": ["n"]}})),
            vec![Reply::text("{\"m\": 1}")],
            Err(("schema-1", "output")),
        ),
        (
            rails("output", json!({"schema": {"type": "object"}})),
            vec![Reply::text("words")],
            Err(("schema-1", "output")),
        ),
        (rails("output", json!({"check": "promises no money"})), vec![Reply::text("Ok."), judged(false)], Ok("Ok.")),
        (
            rails("output", json!({"check": "promises no money"})),
            vec![Reply::text("100 $!"), judged(true)],
            Err(("check-1", "output")),
        ),
        (
            rails("output", json!({"check": "promises no money"})),
            vec![Reply::text("100 $!"), Reply::text("hm")],
            Err(("check-1", "output")),
        ),
        (rails("input", json!({"check": "is about mail"})), vec![judged(true)], Err(("check-1", "input"))),
    ];
    for (n, (guardrails, replies, expected)) in rows.into_iter().enumerate() {
        let agents = file(json!({"agents": [agent(json!({"guardrails": guardrails}))]}));
        let asked = replies.len();
        let model = ModelServer::start(replies);
        let stage = stage(&model, &agents).await;
        let service = stage.serve();
        let result = stage.run(job(&format!("g{n}"))).await;
        match expected {
            Ok(answer) => assert_eq!(result["result"]["answer"], answer, "{guardrails}: {result}"),
            Err((name, side)) => {
                let error = &result["error"];
                assert_eq!(error["type"], "handoff_failed", "{guardrails}: {result}");
                let details = &error["details"];
                assert_eq!(
                    (&details["reason"], &details["guardrail"]),
                    (&json!("guardrail"), &json!(name)),
                    "{result}"
                );
                assert_eq!((&details["side"], &details["agent_id"]), (&json!(side), &json!("mailer")));
                assert!(!result.to_string().contains("sk-abc"), "what must not get out is out: {result}");
            }
        }
        assert_eq!(model.requests().len(), asked, "{guardrails}");
        drop(service);
    }
}

#[tokio::test]
async fn children_end_with_the_service_and_the_command_line_shows_what_to_pin() {
    let folder = ScriptedServer::new(json!({}));
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let script = json!({"tools": [tool("t")], "calls": {"t": {"do": "child"}}, "pipe": pipe});
    let server = ScriptedServer::new(script);
    let agents = file(json!({
        "agents": [agent(json!({"tools": ["mcp:s", "search_tools"]}))],
        "mcp_servers": {"s": server.entry(json!({"idle_secs": 3600}))},
    }));
    let model = ModelServer::start([Reply::call("s__t", &json!({})), Reply::text("Done.")]);
    let stage = stage(&model, &agents).await;
    let mut service = stage.serve();
    let read = tokio::task::spawn_blocking(move || std::fs::read(pipe));
    let result = stage.run(job("c")).await;
    assert_eq!(result["result"]["answer"], "Done.", "{result}");
    service.signal("TERM");
    assert!(service.wait().success());
    assert!(read.await.unwrap().unwrap().is_empty());

    let shown = stage.command(&["agents", "tools", "mailer", "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!((&shown["tools"][0]["tool"], &shown["tools"][0]["effect"]), (&json!("s__t"), &json!("once")), "{shown}");
    assert!(shown["servers"][0]["hash"].as_str().unwrap().starts_with("sha256:"));
    let table = stage.command(&["agents", "tools"]);
    let hash = shown["servers"][0]["hash"].as_str().unwrap();
    assert!(String::from_utf8_lossy(&table.stdout).contains(&format!("s: 1 tools, pin: \"{hash}\"")), "{table:?}");
    let checked = stage.command(&["agents", "check"]);
    assert!(String::from_utf8_lossy(&checked.stderr).contains("MCP server s: "), "{checked:?}");
}
