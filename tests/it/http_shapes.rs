//! The shapes in the API's description are those of the types that are sent: no room below HTTP knows of them.

use std::collections::BTreeSet;

use agent_runner::{
    agents::{
        AgentSummary, Analytics, Execution, Listing, PoolSummary, RouteResult, ScoredAgent, SelectedAgent, Strategy,
        TierAnalytics, TierFigures, TrailEntry, TrailKind,
    },
    job::{
        ErrorCode, Intent, IntentKind, IntentSource, JobError, JobResult, Lane, Metadata, PlanOrigin, PlanSource,
        Preview, RawJson, Status, Tokens, ToolCallRecord, ToolStatus,
    },
    queue::{DeadLetter, JobState, JobView},
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::support::{
    described::{closed, described, fits},
    rig::job,
};

/// Holds a shape to what a type becomes in JSON: everything the fullest value has is described, and what is required
/// is exactly what the emptiest has.
fn held(document: &Value, name: &str, fullest: &impl Serialize, emptiest: &impl Serialize) {
    let (fullest, emptiest) = (serde_json::to_value(fullest).unwrap(), serde_json::to_value(emptiest).unwrap());
    fits(document, name, &fullest);
    fits(document, name, &emptiest);
    let schema = &document["components"]["schemas"][name];
    let names = |value: &Value| -> BTreeSet<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(names(&fullest), names(&schema["properties"]), "{name}");
    let required: BTreeSet<String> =
        schema["required"].as_array().unwrap().iter().map(|member| member.as_str().unwrap().to_owned()).collect();
    assert_eq!(required, names(&emptiest), "{name}");
}

fn full_error() -> JobError {
    let error = JobError::new(ErrorCode::PipelineFailed, "no such column: name one").with_tool("execute_pipeline");
    error.with_step("table_sort").with_detail("step_number", 1)
}

fn full_result() -> JobResult {
    let raw = || RawJson::of(&json!({"a": 1}));
    let intent = Intent {
        intent: IntentKind::Patch,
        confidence: 0.5,
        reasoning: "said so".into(),
        source: IntentSource::Explicit,
    };
    let call = ToolCallRecord {
        tool: "execute_pipeline".into(),
        args: raw(),
        status: ToolStatus::Refused,
        duration_ms: 3,
        error: Some("no".into()),
    };
    let plan = PlanOrigin { source: PlanSource::Promoted, tool: Some("t".into()), arguments: Some(raw()) };
    JobResult {
        version: JobResult::VERSION,
        job_id: job("a"),
        run_id: Some("r".into()),
        node_id: Some("n".into()),
        status: Status::Failed,
        lane: Some(Lane::Answer),
        result_ref: Some("artifact://a".into()),
        result: Some(raw()),
        result_preview: Some(Preview::Text { text: "x".into() }),
        error: Some(full_error()),
        metadata: Metadata {
            intent: Some(intent),
            plan: Some(plan),
            tool_calls: vec![call],
            llm_model: Some("m".into()),
            warnings: vec!["w".into()],
            ..Metadata::default()
        },
        completed_at: "2026-01-01T00:00:00Z".into(),
    }
}

fn bare_result() -> JobResult {
    JobResult {
        run_id: None,
        node_id: None,
        lane: None,
        result_ref: None,
        result: None,
        result_preview: None,
        error: None,
        metadata: Metadata::default(),
        ..full_result()
    }
}

#[tokio::test]
async fn what_becomes_of_jobs_has_the_shape_that_is_described() {
    let document = closed(described().await.0);
    held(&document, "Result", &full_result(), &bare_result());
    held(&document, "Metadata", &full_result().metadata, &Metadata::default());
    held(&document, "Error", &full_error(), &JobError::new(ErrorCode::Internal, "a defect"));
    let bare = JobView {
        job_id: job("a"),
        state: JobState::Queued,
        lane: None,
        attempts: 0,
        created_at: None,
        due_at: None,
        started_at: None,
        completed_at: None,
        result: None,
        error: None,
        pending: None,
        owner: None,
    };
    let full = JobView {
        due_at: Some("2026-01-01T00:00:00Z".into()),
        started_at: Some("2026-01-01T00:00:00Z".into()),
        completed_at: Some("2026-01-01T00:00:00Z".into()),
        result: Some(RawJson::of(&full_result())),
        error: Some(json!({"type": "internal"})),
        pending: Some(RawJson::of(&json!({"tool": "t"}))),
        ..bare.clone()
    };
    held(&document, "JobView", &full, &bare);
    for state in ["queued", "running", "awaiting_approval", "completed", "failed", "cancelled"] {
        let state: JobState = serde_json::from_value(state.into()).unwrap();
        fits(&document, "State", &json!(state.as_str()));
    }
    let bare = DeadLetter {
        letter_id: String::new(),
        raw: None,
        raw_base64: None,
        job_id: None,
        workflow_owner: None,
        source: None,
        error: full_error(),
        attempts: 1,
        crashes: 2,
        failed_at: "2026-01-01T00:00:00Z".into(),
    };
    let text = || Some("x".to_owned());
    let full = DeadLetter {
        letter_id: "x".into(),
        raw: text(),
        raw_base64: text(),
        job_id: text(),
        workflow_owner: text(),
        source: text(),
        ..bare.clone()
    };
    held(&document, "DeadLetter", &full, &bare);
}

#[tokio::test]
async fn what_is_said_of_agents_has_the_shape_that_is_described() {
    let document = closed(described().await.0);
    let agent = |threshold, model| AgentSummary {
        id: "a".into(),
        name: "A".into(),
        description: "d".into(),
        tags: vec!["t".into()],
        examples: 1,
        threshold,
        model,
        tools: vec!["execute_pipeline".into()],
        handoffs: vec!["b".into()],
        capabilities: vec!["c".into()],
    };
    held(&document, "Agent", &agent(Some(0.5), Some("m".into())), &agent(None, None));
    let pools = [Strategy::RoundRobin, Strategy::LeastLoaded, Strategy::Capability, Strategy::Fallback];
    let pools = pools.map(|strategy| PoolSummary { name: "p".into(), strategy, agents: vec!["a".into()] });
    let listing = Listing {
        agents: vec![agent(None, None)],
        pools: pools.into(),
        tiers: vec!["default".into()],
        mcp_servers: vec!["db".into()],
        registry_hash: "00".into(),
    };
    held(&document, "Agents", &listing, &listing);
    let full = RouteResult {
        mode: "route".into(),
        execution_id: "e".into(),
        extracted_tags: vec!["t".into()],
        filtered_count: 1,
        all_scores: vec![ScoredAgent { agent_id: "a".into(), name: "A".into(), score: 0.5 }],
        selected_agent: Some(SelectedAgent { id: "a".into(), name: "A".into() }),
        handoff_successful: true,
        embedder: "lexical".into(),
        threshold: Some(0.2),
        reason: "r".into(),
        answer: Some("yes".into()),
    };
    let bare = RouteResult { selected_agent: None, threshold: None, answer: None, ..full.clone() };
    held(&document, "RouteResult", &full, &bare);
    let bare = Execution { mode: "tiers".into(), ..Execution::default() };
    let full = Execution {
        workflow_owner: Some("ann".into()),
        agent_id: Some("a".into()),
        pool: Some("p".into()),
        final_tier: Some(2),
        tiers: vec![TierFigures { complexity_score: Some(0.5), ..TierFigures::default() }, TierFigures::default()],
        ..bare.clone()
    };
    held(&document, "Execution", &full, &bare);
    let tiers =
        vec![TierAnalytics { mean_complexity: Some(0.5), ..TierAnalytics::default() }, TierAnalytics::default()];
    held(&document, "Analytics", &Analytics { tiers, ..Analytics::default() }, &Analytics::default());
}

#[tokio::test]
async fn a_trail_has_the_shape_that_is_described() {
    let document = closed(described().await.0);
    let kinds = [
        TrailKind::Tag,
        TrailKind::Score,
        TrailKind::Select,
        TrailKind::Evaluate,
        TrailKind::Execute,
        TrailKind::Escalate,
        TrailKind::Transfer,
        TrailKind::Pool,
        TrailKind::Fallback,
        TrailKind::Tool,
        TrailKind::Stop,
    ];
    for kind in kinds {
        let bare = TrailEntry::at("e", kind, "2026-01-01T00:00:00Z".into());
        let text = || Some("x".to_owned());
        let full = TrailEntry {
            agent_id: text(),
            tier_level: Some(1),
            can_handle: Some(true),
            complexity_score: Some(0.5),
            reasoning: text(),
            requires_tier: Some(2),
            handoff_decision: text(),
            forced: Some(true),
            from: text(),
            to: text(),
            reason: text(),
            tokens: Some(Tokens::default()),
            details: Some(RawJson::of(&json!({"tags": []}))),
            ..bare.clone()
        };
        held(&document, "TrailEntry", &full, &bare);
    }
}
