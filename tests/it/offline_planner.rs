//! The offline planner: requests and the one plan each gives, or the refusal.

use std::time::{Duration, Instant};

use agent_runner::{
    job::{Budget, ErrorCode, Intent, IntentKind, IntentSource, Job, JobError, JobLimits, Meter, RawJson},
    llm::{CallContext, ToolCall, ToolSpec},
    planner::{Brief, Column, Exchange, Planner, RulesPlanner, ToolReport, Turn},
    settings::Settings,
    table,
    workflow::{self, Mode, PatchSpec, Rules, Workflow},
};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

const PLANS: &str = include_str!("../data/plans.jsonl");
const CHANGES: &str = include_str!("../data/changes.jsonl");
const COLUMNS: &str = include_str!("../data/columns.json");
const WORKFLOWS: &str = include_str!("../data/workflows.json");

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn columns(set: &str) -> Vec<Column> {
    let all: Map<String, Value> = serde_json::from_str(COLUMNS).unwrap();
    all[set]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| Column {
            name: column["name"].as_str().unwrap().into(),
            kind: column["kind"].as_str().unwrap().into(),
            examples: column["examples"].as_array().unwrap().iter().map(RawJson::from).collect(),
        })
        .collect()
}

fn workflow(set: &str) -> Value {
    serde_json::from_str::<Value>(WORKFLOWS).unwrap()[set].clone()
}

/// What surrounds a request.
#[derive(Default)]
struct Given {
    columns: Option<Vec<Column>>,
    workflow: Option<Value>,
    transcript: Vec<Exchange>,
}

/// Plans `request` for the lane `kind`, with both tools on offer.
async fn plan(request: &str, kind: IntentKind, given: &Given) -> Result<ToolCall, JobError> {
    let limits = JobLimits { max_job_bytes: 1 << 20, max_prompt_bytes: 1 << 20 };
    let message = json!({"job_id": "j", "prompt": request}).to_string();
    let job = Job::parse(&Bytes::from(message), &limits).unwrap();
    let intent = Intent { intent: kind, confidence: 1.0, reasoning: String::new(), source: IntentSource::Rules };
    let tool =
        |name: &str| ToolSpec { name: name.into(), description: String::new(), parameters: json!({}), strict: false };
    let tools = [tool("execute_pipeline"), tool("patch_workflow")];
    let brief = Brief {
        job: &job,
        intent: &intent,
        tools: &tools,
        columns: given.columns.as_deref(),
        row_count: None,
        workflow: given.workflow.as_ref(),
        session: None,
    };
    let (meter, cancel) = (Meter::new(Budget::default()), CancellationToken::new());
    let deadline = Instant::now() + Duration::from_secs(60);
    let context = CallContext { meter: &meter, deadline, cancel: &cancel, on_text: None };
    match RulesPlanner.next(&brief, &given.transcript, &context).await? {
        Turn::Calls { mut calls, text } => {
            assert!(calls.len() == 1 && text.is_empty());
            Ok(calls.remove(0))
        }
        Turn::Answer(text) => panic!("answered {text}"),
    }
}

/// One row with the first example of each column.
fn sample(columns: &[Column]) -> RawJson {
    let row: Map<String, Value> = columns.iter().map(|c| (c.name.clone(), c.examples[0].to_value().unwrap())).collect();
    RawJson::of(&[row])
}

#[tokio::test]
async fn requests_about_data_become_these_pipelines() {
    let rows = rows(PLANS);
    assert!(rows.len() >= 250);
    let mut wrong = Vec::new();
    for row in rows {
        let set = row["columns"].as_str().unwrap();
        let given = Given { columns: Some(columns(set)), ..Given::default() };
        let request = row["request"].as_str().unwrap();
        let found = match plan(request, IntentKind::Execute, &given).await {
            Ok(call) => {
                assert_eq!(call.name, "execute_pipeline");
                let pipeline = call.arguments.to_value().unwrap()["pipeline"].clone();
                match table::Plan::parse(&RawJson::from(&pipeline), &table::Limits::default()) {
                    Err(error) if error.to_string().contains("unknown step") => {}
                    parsed => {
                        let input = (set != "none").then(|| sample(given.columns.as_deref().unwrap()));
                        parsed.unwrap().check(input.as_ref()).unwrap_or_else(|error| panic!("{request}: {error}"));
                    }
                }
                json!({"pipeline": pipeline})
            }
            Err(error) => {
                assert_eq!(error.code, ErrorCode::PlannerCannot, "{request}");
                json!({"refused": error.details["not_understood"]})
            }
        };
        let key = if row.get("pipeline").is_some() { "pipeline" } else { "refused" };
        if found.get(key) != row.get(key) {
            wrong.push(format!("{set}: {request}\n  want {}\n  found {found}", row[key]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn requests_for_changes_become_these_patches_and_every_patch_holds() {
    let rules = Rules::new(&Settings::default().patch).unwrap();
    let mut wrong = Vec::new();
    for row in rows(CHANGES) {
        let set = row["workflow"].as_str().unwrap();
        let given = Given { workflow: Some(workflow(set)), ..Given::default() };
        let request = row["request"].as_str().unwrap();
        let found = match plan(request, IntentKind::Patch, &given).await {
            Ok(call) => {
                assert_eq!(call.name, "patch_workflow");
                let spec = call.arguments.to_value().unwrap()["patch_spec"].clone();
                let read = PatchSpec::read(&RawJson::from(&spec), 100).unwrap();
                let before = Workflow::parse(&RawJson::from(&workflow(set))).unwrap();
                if let Err(refusal) = workflow::prepare(&before, &read, &rules, Mode::Full) {
                    panic!("{request}: {refusal:?}");
                }
                json!({"operations": spec["operations"]})
            }
            Err(error) => {
                assert_eq!(error.code, ErrorCode::PlannerCannot, "{request}");
                json!({"refused": error.details["not_understood"][0]})
            }
        };
        let key = if row.get("operations").is_some() { "operations" } else { "refused" };
        if found.get(key) != row.get(key) {
            wrong.push(format!("{set}: {request}\n  want {}\n  found {found}", row[key]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn what_a_change_takes_for_granted_is_told() {
    let notes = async |request: &str, set: &str| {
        let given = Given { workflow: Some(workflow(set)), ..Given::default() };
        let spec = plan(request, IntentKind::Patch, &given).await.unwrap().arguments.to_value().unwrap();
        let spec = RawJson::from(&spec["patch_spec"]);
        let rules = Rules::new(&Settings::default().patch).unwrap();
        let before = Workflow::parse(&RawJson::from(&workflow(set))).unwrap();
        let read = PatchSpec::read(&spec, 100).unwrap();
        workflow::prepare(&before, &read, &rules, Mode::Full).unwrap().warnings.join("; ")
    };
    let told = notes("whenever the price drops below 500, email ops", "line").await;
    assert!(told.contains("no node is named like `price`") && told.contains("email_ops"), "{told}");
    let told = notes("whenever the price drops below 500 EUR, email ops", "prices").await;
    assert!(told.contains("currency") && !told.contains("no node"), "{told}");
    let told = notes("whenever the price drops below 500, email ops", "prices").await;
    assert!(!told.contains("currency") && !told.contains("no node"), "{told}");
}

/// Every other request with `word` put at each of its places, and the plan that came of it.
async fn with_word(word: &str, rows: &str, kind: IntentKind) -> Vec<(String, Value, String)> {
    let mut planned = Vec::new();
    for row in self::rows(rows).into_iter().filter(|row| row.get("refused").is_none()).step_by(2) {
        let given = match row.get("columns") {
            Some(set) => Given { columns: Some(columns(set.as_str().unwrap())), ..Given::default() },
            None => Given { workflow: Some(workflow(row["workflow"].as_str().unwrap())), ..Given::default() },
        };
        let words: Vec<&str> = row["request"].as_str().unwrap().split(' ').collect();
        for at in 0..=words.len() {
            let request = [&words[..at], &[word], &words[at..]].concat().join(" ");
            if let Ok(call) = plan(&request, kind, &given).await {
                let arguments = call.arguments.to_value().unwrap();
                let steps = arguments.get("pipeline").unwrap_or(&arguments["patch_spec"]["operations"]).to_string();
                planned.push((request, row.clone(), steps));
            }
        }
    }
    planned
}

/// A word that nobody knows is refused, or it stands in the plan as a value or a name. It never disappears.
#[tokio::test]
async fn no_word_is_ever_ignored() {
    for (rows, kind) in [(PLANS, IntentKind::Execute), (CHANGES, IntentKind::Patch)] {
        let planned = with_word("zorb_ly", rows, kind).await;
        let ignored: Vec<_> = planned.iter().filter(|(_, _, plan)| !plan.contains("zorb_ly")).collect();
        assert!(ignored.is_empty(), "{ignored:#?}");
    }
}

/// A negation is refused, or it changes the plan.
#[tokio::test]
async fn no_negation_is_ever_ignored() {
    for word in ["not", "never"] {
        for (rows, kind) in [(PLANS, IntentKind::Execute), (CHANGES, IntentKind::Patch)] {
            let before = |row: &Value| row.get("pipeline").or(row.get("operations")).unwrap().to_string();
            let same = |(_, row, plan): &(String, Value, String)| *plan == before(row);
            let ignored: Vec<_> = with_word(word, rows, kind).await.into_iter().filter(same).collect();
            assert!(ignored.is_empty(), "{ignored:#?}");
        }
    }
}

/// Words of both grammars, signs and letters of other scripts.
fn any_request() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        proptest::sample::select(vec![
            "top",
            "5",
            "cheapest",
            "flights",
            "under",
            "$500",
            "sorted",
            "by",
            "price",
            "then",
            "and",
            "or",
            "not",
            "where",
            "between",
            "airline",
            "is",
            "Lufthansa",
            "only",
            "without",
            "remove",
            "node",
            "fetch",
            "add",
            "a",
            "filter",
            "after",
            "whenever",
            "drops",
            "below",
            "email",
            "ops",
            "set",
            "timeout",
            "of",
            "to",
            "30",
            "seconds",
            "the",
            ",",
            "(",
            ")",
            "\"",
            "'",
            "https://a.b",
            "2026-01-01",
            "10%",
            "per",
            "each",
            "count",
            "average",
            "first",
            "rename",
            "as",
            "=",
            "+",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,6}",
    ];
    proptest::collection::vec(word, 0..14).prop_map(|words| words.join(" "))
}

proptest! {
    /// Whatever is asked, there is a plan that reads, or a refusal.
    #[test]
    fn any_text_is_planned_or_refused(request in any_request()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let given = Given { columns: Some(columns("flights")), workflow: Some(workflow("line")), ..Given::default() };
        for kind in [IntentKind::Execute, IntentKind::Patch, IntentKind::Unclear] {
            match runtime.block_on(plan(&format!("x {request}"), kind, &given)) {
                Ok(call) => prop_assert!(call.arguments.to_value().unwrap().is_object()),
                Err(error) => prop_assert_eq!(error.code, ErrorCode::PlannerCannot),
            }
            let _ = runtime.block_on(plan(&format!("{request} ."), kind, &given));
        }
    }
}

#[tokio::test]
async fn a_refusal_says_what_would_work_and_names_what_is_there() {
    let given = Given { columns: Some(columns("flights")), ..Given::default() };
    let error = plan("average delay per airline", IntentKind::Execute, &given).await.unwrap_err();
    assert!(!error.retryable && error.message.contains("\"delay\"") && error.message.contains("`price`"), "{error}");
    assert_eq!(error.details["columns"][1], "airline");

    let given = Given { workflow: Some(workflow("line")), ..Given::default() };
    let error = plan("remove the mailer node", IntentKind::Patch, &given).await.unwrap_err();
    assert!(error.message.contains("\"mailer\"") && error.message.contains("`email_ops`"), "{error}");
    assert_eq!(error.details["nodes"][0], "fetch");

    let error = plan("remove the mailer", IntentKind::Patch, &Given::default()).await.unwrap_err();
    assert!(error.message.contains("current_workflow"), "{error}");
    for (request, kind) in [("ask legal", IntentKind::Handoff), ("?", IntentKind::Execute), ("?", IntentKind::Patch)] {
        let error = plan(request, kind, &given).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::PlannerCannot, "{request}");
    }
    let long = plan(&"top ".repeat(100_000), IntentKind::Execute, &given).await.unwrap_err();
    assert!(long.message.contains("words"), "{long}");
}

#[tokio::test]
async fn unsure_requests_take_the_lane_whose_grammar_understands_them() {
    let given = Given { columns: Some(columns("flights")), workflow: Some(workflow("line")), ..Given::default() };
    for (request, tool) in [("the 3 cheapest", "execute_pipeline"), ("remove clean_rows", "patch_workflow")] {
        assert_eq!(plan(request, IntentKind::Unclear, &given).await.unwrap().name, tool);
    }
    assert!(plan("do something", IntentKind::Unclear, &given).await.is_err());
}

#[tokio::test]
async fn the_one_plan_is_not_tried_twice() {
    let mut given = Given { columns: Some(columns("flights")), ..Given::default() };
    let call = plan("top 3 by price", IntentKind::Execute, &given).await.unwrap();
    let report = ToolReport::failed("step 1 (top_k): no rows");
    given.transcript = vec![Exchange { text: String::new(), calls: vec![(call, report)] }];
    let error = plan("top 3 by price", IntentKind::Execute, &given).await.unwrap_err();
    assert_eq!((error.code, error.tool.as_deref()), (ErrorCode::PlannerCannot, Some("execute_pipeline")));
    assert!(error.message.contains("no rows"));
}
