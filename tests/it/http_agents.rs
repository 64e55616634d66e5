//! The agents over HTTP: who there is, who takes a prompt, and why.

use agent_runner::{http::router, settings::Settings, store::MemoryStore};
use axum::{Router, http::StatusCode};
use serde_json::{Value, json};

use crate::support::{
    api::{Answer, agents, app, call, request, routes, send},
    broken_queue::broken_queue,
    service::{PATIENCE, Service, command},
};

fn example() -> Router {
    let file = std::fs::read_to_string("examples/agents.yaml").unwrap();
    let mut app = app(broken_queue(), Settings::default());
    app.agents = agents(&file, MemoryStore::new(1 << 20));
    router(app)
}

async fn route(router: &Router, body: &str) -> Answer {
    send(router, request("POST", "/v1/agents/route", body.to_owned())).await
}

#[tokio::test]
async fn the_agents_are_shown_without_what_they_are_told() {
    let listing = call(&example(), "GET", "/v1/agents").await;
    assert_eq!(listing.status, StatusCode::OK);
    let listing = listing.json();
    assert_eq!(listing["agents"].as_array().unwrap().len(), 10);
    assert_eq!(listing["agents"][0]["id"], "data-analyst");
    assert_eq!(listing["agents"][0]["tools"], json!(["execute_pipeline"]));
    assert!(listing["agents"][0].get("instructions").is_none(), "{listing}");
    assert_eq!(call(&routes(broken_queue()), "GET", "/v1/agents").await.json()["agents"], json!([]));
}

#[tokio::test]
async fn a_prompt_finds_its_agent_and_leaves_a_trail() {
    let router = example();
    let prompt = r#"{"prompt":"write a SQL query for the average order value","show_top_n":3,"dry_run":true,"x":1}"#;
    let answer = route(&router, prompt).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let result = answer.json();
    assert_eq!((&result["mode"], &result["handoff_successful"]), (&json!("route"), &json!(true)), "{result}");
    assert_eq!(result["selected_agent"], json!({"id": "data-analyst", "name": "Data Analyst"}));
    assert_eq!(result["embedder"], "lexical");
    assert!(result["all_scores"].as_array().unwrap().len() <= 3);
    assert!(result.get("answer").is_none());
    let id = result["execution_id"].as_str().unwrap();
    let trail = call(&router, "GET", &format!("/v1/handoffs/{id}")).await.json();
    assert_eq!(trail["execution_id"], id);
    let kinds: Vec<&Value> = trail["trail"].as_array().unwrap().iter().map(|entry| &entry["kind"]).collect();
    assert_eq!(kinds, ["tag", "score", "select"]);
    assert_eq!(trail["trail"][2]["agent_id"], "data-analyst");
    // The same prompt again is another execution with a trail of its own.
    let again = route(&router, prompt).await.json();
    assert_ne!(again["execution_id"], id);
    let path = format!("/v1/handoffs/{}", again["execution_id"].as_str().unwrap());
    assert_eq!(call(&router, "GET", &path).await.json()["trail"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn nobody_is_an_answer_too() {
    for (router, shown) in [(example(), 2), (routes(broken_queue()), 0)] {
        let answer = route(&router, r#"{"prompt":"zzzz qqqq","threshold":1,"show_top_n":2}"#).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let result = answer.json();
        assert_eq!((&result["handoff_successful"], &result["selected_agent"]), (&json!(false), &Value::Null));
        assert_eq!(result["all_scores"].as_array().unwrap().len(), shown, "{result}");
        let path = format!("/v1/handoffs/{}", result["execution_id"].as_str().unwrap());
        assert_eq!(call(&router, "GET", &path).await.json()["trail"][2]["handoff_decision"], "nobody");
    }
}

#[tokio::test]
async fn a_bad_request_says_what_to_change() {
    let router = example();
    let long = json!({"prompt": "x".repeat(200 << 10)}).to_string();
    for (body, part) in [
        ("", "prompt"),
        ("[]", "prompt"),
        ("{}", "`prompt` is missing"),
        (r#"{"prompt":7}"#, "expected text"),
        (r#"{"prompt":" \n"}"#, "blank"),
        (&long, "worker.max_prompt_bytes"),
        (r#"{"prompt":"x","threshold":1.5}"#, "between -1 and 1"),
        (r#"{"prompt":"x","threshold":-2}"#, "between -1 and 1"),
        (r#"{"prompt":"x","threshold":1e999}"#, "number out of range"),
        (r#"{"prompt":"x","threshold":"high"}"#, "expected a number"),
        (r#"{"prompt":"x","show_top_n":-1}"#, "expected a whole number"),
        (r#"{"prompt":"x","dry_run":false}"#, "send a job with \"handoff\""),
    ] {
        let answer = route(&router, body).await;
        let shown: String = body.chars().take(60).collect();
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::BAD_REQUEST, "bad_request"), "{shown}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(part), "{shown}: {detail}");
    }
}

#[tokio::test]
async fn an_unknown_handoff_is_not_found() {
    for id in ["0198-nothing", "a%20b", "%00", &"a".repeat(500)] {
        let answer = call(&example(), "GET", &format!("/v1/handoffs/{id}")).await;
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::NOT_FOUND, "not_found"), "{id}");
    }
}

#[test]
fn a_bad_agents_file_refuses_the_start_with_every_fault() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agents.yaml");
    std::fs::write(&path, "agents:\n- {id: A B}\n- {id: b, threshold: 7}\n").unwrap();
    let env = [("AGENT_RUNNER__AGENTS__FILE", path.to_str().unwrap()), ("AGENT_RUNNER__HTTP__BIND", "127.0.0.1:0")];
    let output = command(&["serve", "--memory"], "", &env);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("A B") && stderr.contains("threshold"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_agents_file_holds_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agents.yaml");
    std::fs::write(&path, "agents:\n- {id: first}\n").unwrap();
    let mut service = Service::start(&["--memory"], &[("AGENT_RUNNER__AGENTS__FILE", path.to_str().unwrap())]);
    std::fs::write(&path, "agents:\n- {id: first}\n- {id: second}\n").unwrap();
    service.signal("HUP");
    service.wait_for_log("agents reloaded");
    let client = agent_runner::net::operator_client(PATIENCE).unwrap();
    let listing = client.get(service.url("/v1/agents")).send().await.unwrap().text().await.unwrap();
    assert!(listing.contains(r#""id":"second""#), "{listing}");
    service.signal("TERM");
    assert!(service.wait().success());
}

#[test]
fn the_commands_read_the_same_file() {
    let file = ["--agents", "examples/agents.yaml"];
    let with = |args: &[&'static str]| -> Vec<&'static str> { args.iter().copied().chain(file).collect() };
    let rows = [
        (with(&["agents", "list", "--json"]), 0, "data-analyst"),
        (with(&["agents", "check"]), 0, ""),
        (with(&["agents", "route", "write a SQL query for the average order value", "--json"]), 0, "data-analyst"),
        (with(&["agents", "route", "zzzz qqqq", "--threshold", "1", "--json"]), 1, "\"handoff_successful\": false"),
        (with(&["agents", "route", "x", "--threshold", "2"]), 2, ""),
        (with(&["eval", "routing", "tests/data/routing.jsonl", "--json"]), 0, "median_us"),
        (vec!["agents", "list", "--agents", "no-such.yaml"], 2, ""),
    ];
    for (args, code, part) in rows {
        let output = command(&args, "", &[]);
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(stdout.contains(part), "{args:?}: {stdout}");
    }
}
