//! The examples, as their page tells to run them, and `run --watch`.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::service::command;

fn example(name: &str, agents: &str, more: &[&str]) -> Output {
    let file = |name: &str| format!("examples/handoffs/{name}");
    let (job, agents, replies) =
        (file(&format!("{name}.json")), file(&format!("{agents}.yaml")), file(&format!("{name}.jsonl")));
    let args = [&["run", &job, "--agents", &agents, "--replies", &replies], more].concat();
    command(&args, "", &[])
}

#[track_caller]
fn result(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("were not asked for"), "{said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}"))
}

#[test]
fn networks_pass_control_as_their_replies_say() {
    for (name, agents, calls) in [
        ("triage", vec!["triage", "billing"], 3),
        ("languages", vec!["english", "spanish"], 2),
        ("team", vec!["lead", "backend", "frontend", "reviewer", "lead"], 5),
    ] {
        let result = result(&example(name, name, &["--json"]));
        let network = &result["result"];
        let handoffs = network["handoffs"].as_array().unwrap();
        let first = handoffs.iter().map(|handoff| &handoff["from"]).chain([&network["final_agent"]]);
        assert_eq!(first.collect::<Vec<_>>(), agents, "{name}");
        assert_eq!(network["model_calls"], calls, "{name}");
        assert!(network["answer"].as_str().is_some_and(|answer| !answer.is_empty()));
    }
}

#[test]
fn tickets_are_resolved_at_the_tier_they_need() {
    let want = [(1, 0, json!(0.95)), (2, 1, json!(0.8)), (3, 2, json!(0.4)), (1, 0, Value::Null), (3, 2, json!(0.85))];
    for (n, (tier, escalations, confidence)) in (1..).zip(want) {
        let result = result(&example(&format!("ticket-{n}"), "tickets", &["--json"]));
        let tiers = &result["result"];
        assert_eq!((&tiers["final_tier"], &tiers["escalation_count"]), (&json!(tier), &json!(escalations)), "{n}");
        assert_eq!(tiers["confidence"], confidence, "{n}");
    }
}

#[test]
fn the_tickets_script_takes_a_relative_path_of_the_program() {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_agent-runner"));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/handoffs/tickets.sh");
    let mut run = std::process::Command::new("sh");
    run.arg(script).current_dir(program.parent().unwrap()).env("AGENT_RUNNER", "./agent-runner");
    let output = run.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("ticket 1") && said.contains("ticket 5"), "{said}");
}

#[test]
fn a_pool_falls_back() {
    let result = result(&example("fallback", "fallback", &["--json"]));
    assert_eq!(result["result"]["selected_agent"]["id"], "backup", "{result}");
}

#[test]
fn what_happens_is_shown_while_it_happens() {
    let output = example("triage", "triage", &["--watch", "--table"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<&str> = said.lines().collect();
    for line in [
        "▸ triage",
        "I pass you on to billing.",
        "→ triage to billing: double charge",
        "◂ triage",
        "▸ billing",
        "+ execute_pipeline",
        "◂ billing",
    ] {
        assert!(lines.contains(&line), "{line} is not in\n{said}");
    }
    let words = "Order 1042 was charged twice with 19.90. One of the charges is refunded.";
    assert!(lines.contains(&words), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), words, "a person reads the answer");
    let quiet = example("triage", "triage", &["--json"]);
    assert!(!String::from_utf8_lossy(&quiet.stderr).contains('▸'));
}

#[test]
fn replies_that_are_missing_or_wrong_are_said() {
    let dir = tempfile::tempdir().unwrap();
    let run = |replies: &str| {
        let file = dir.path().join("replies.jsonl");
        std::fs::write(&file, replies).unwrap();
        let args = [
            "run",
            "examples/handoffs/languages.json",
            "--agents",
            "examples/handoffs/languages.yaml",
            "--replies",
            file.to_str().unwrap(),
            "--json",
        ];
        let output = command(&args, "", &[]);
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    for (replies, code, said) in [
        ("", 1, "has no more lines"),
        ("{\"text\": \"hola\"}\n{\"text\": \"x\"}", 0, "1 replies of the file were not asked for"),
        ("{\"words\": \"hola\"}", 2, "replies.jsonl:1: unknown field `words`"),
        ("# nothing\n{\"error\": \"llm_refused\"}", 1, "llm_refused"),
    ] {
        let (found, text) = run(replies);
        assert_eq!(found, Some(code), "{text}");
        assert!(text.contains(said), "{said} is not in {text}");
    }
}

#[test]
fn every_agents_file_is_good() {
    for name in ["triage", "languages", "team", "tickets", "fallback"] {
        let file = format!("examples/handoffs/{name}.yaml");
        let output = command(&["agents", "check", "--agents", &file], "", &[]);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
