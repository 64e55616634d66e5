//! Which lane a prompt asks for: measured on a labelled file, decided by the job, the rules or a model.

use std::time::{Duration, Instant};

use agent_runner::{
    intent::{self, Facts, IntentModel},
    job::{Budget, IntentKind, IntentSource, Job, JobLimits, Meter},
    llm::{CallContext, OpenAi},
};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{
    llm::settings,
    model::{ModelServer, Reply},
};

const LABELLED: &str = include_str!("../data/intents.jsonl");

fn job(fields: Value) -> Job {
    let mut message = json!({"job_id": "j"});
    message.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let limits = JobLimits { max_job_bytes: 1 << 20, max_prompt_bytes: 1 << 20 };
    Job::parse(&Bytes::from(message.to_string()), &limits).unwrap()
}

#[test]
fn the_labelled_prompts_are_decided_as_well_as_the_docs_say() {
    let lines = LABELLED.lines().count();
    assert!(lines >= 260, "{lines} prompts");
    for (set, least) in [("dev", 0.98), ("test", 0.90)] {
        let found = intent::evaluate(LABELLED, Some(set)).unwrap();
        let misses: Vec<_> = found.misses.iter().map(|miss| (&miss.prompt, miss.expected, miss.found)).collect();
        assert!(found.accuracy >= least, "{set}: {} {misses:#?}", found.accuracy);
        assert_eq!(found.correct + found.misses.len(), found.total);
    }
}

#[test]
fn a_line_without_a_label_is_named() {
    for (text, number) in [("{\"prompt\":\"x\",\"expected\":\"patch\"}\n\nnot json", 3), ("{\"prompt\":\"x\"}", 1)] {
        let error = intent::evaluate(text, None).unwrap_err();
        assert!(error.number == number && error.to_string().contains("expected"), "{error}");
    }
    assert_eq!(intent::evaluate("", None).unwrap().total, 0);
}

#[test]
fn names_from_the_job_sharpen_the_decision() {
    let columns = ["email".to_owned(), "price".to_owned()];
    let nodes = ["email".to_owned(), "fetch_1".to_owned()];
    let data = Facts { has_data: true, columns: &columns, ..Facts::default() };
    let workflow = Facts { has_workflow: true, nodes: &nodes, ..Facts::default() };
    for (prompt, facts, want) in [
        ("remove email", data, IntentKind::Execute),
        ("remove email", workflow, IntentKind::Patch),
        ("remove fetch_1", workflow, IntentKind::Patch),
        ("drop the price column", data, IntentKind::Execute),
        ("set the timeout of fetch_1 to 30", workflow, IntentKind::Patch),
        ("process the data", data, IntentKind::Unclear),
    ] {
        let found = intent::classify(prompt, &facts);
        assert_eq!(found.intent, want, "{prompt}: {}", found.reasoning);
    }
}

#[test]
fn hostile_and_endless_prompts_are_decided_in_bounded_work() {
    let columns: Vec<String> = (0..5000).map(|n| format!("column_{n}")).collect();
    let facts = Facts { columns: &columns, ..Facts::default() };
    for prompt in [
        String::new(),
        "\0\u{202e}\u{feff}".into(),
        "🦀 ".repeat(100_000),
        "\"".repeat(100_000),
        "a".repeat(1 << 20),
        format!("{} show me the top 3 rows", "1,2,3\n".repeat(200_000)),
        "when if once ".repeat(50_000),
        "http://".into(),
        "$ € # @ _ '".into(),
    ] {
        let found = intent::classify(&prompt, &facts);
        assert!((0.0..=1.0).contains(&found.confidence) && found.reasoning.len() < 1000);
    }
}

#[test]
fn a_job_that_names_its_lane_is_taken_at_its_word() {
    for (fields, want) in [
        (json!({"prompt": "add a node", "lane": "execute"}), IntentKind::Execute),
        (json!({"prompt": "show rows", "lane": "patch"}), IntentKind::Patch),
        (json!({"prompt": "show rows", "lane": "handoff"}), IntentKind::Handoff),
        (json!({"pipeline": []}), IntentKind::Execute),
        (json!({"prompt": "show rows", "patch_spec": {"operations": []}}), IntentKind::Patch),
        (json!({"prompt": "show rows", "handoff": {"mode": "route"}}), IntentKind::Handoff),
    ] {
        let found = intent::explicit(&job(fields.clone())).unwrap();
        assert_eq!((found.intent, found.confidence, found.source), (want, 1.0, IntentSource::Explicit), "{fields}");
    }
    assert_eq!(intent::explicit(&job(json!({"prompt": "show rows"}))), None);
}

/// Decides with a model behind the rules.
async fn decide(server: &ModelServer, prompt: &str) -> agent_runner::job::Intent {
    let client = OpenAi::new(&settings(server)).unwrap();
    let (meter, cancel) = (Meter::new(Budget::default()), CancellationToken::new());
    let deadline = Instant::now() + Duration::from_secs(60);
    let context = CallContext { meter: &meter, deadline, cancel: &cancel, on_text: None };
    let model = IntentModel { chat: &client, model: None, context: &context };
    intent::decide(&job(json!({"prompt": prompt})), &Facts::default(), 0.7, Some(&model)).await
}

#[tokio::test]
async fn a_model_is_asked_only_where_the_rules_are_unsure() {
    let answer = json!({"intent": "patch", "confidence": 0.8, "reasoning": "it changes a step"}).to_string();
    let server = ModelServer::start([Reply::text(&answer)]);
    let sure = decide(&server, "show me the top 10 flights sorted by price").await;
    assert_eq!((sure.intent, sure.source), (IntentKind::Execute, IntentSource::Rules));
    assert!(server.requests().is_empty());

    let unsure = decide(&server, "process the data").await;
    assert_eq!((unsure.intent, unsure.source, unsure.confidence), (IntentKind::Patch, IntentSource::Model, 0.8));
    let asked = server.requests()[0].json();
    assert!(asked["messages"][1]["content"].as_str().unwrap().contains("process the data"));
    assert!(asked.get("response_format").is_some() && asked.get("tools").is_none(), "{asked}");
}

#[tokio::test]
async fn a_model_that_fails_or_talks_leaves_the_job_unclear() {
    for (reply, reason) in [
        (Reply::text("I would add a node for that."), "did not answer with JSON"),
        (Reply::text(r#"{"intent":"delete everything","confidence":1}"#), "unknown intent"),
        (Reply::error(401, "invalid_api_key", "no such key"), "could not be asked"),
    ] {
        let found = decide(&ModelServer::always(reply), "process the data").await;
        assert_eq!((found.intent, found.confidence), (IntentKind::Unclear, 0.0));
        assert!(found.reasoning.contains(reason), "{}", found.reasoning);
    }
}
