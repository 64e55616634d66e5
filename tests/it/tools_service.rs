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
