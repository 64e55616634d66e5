//! The shapes of agents, of the choice among them, and of what was decided.

#![expect(dead_code, reason = "shapes: described, never built")]

use utoipa::{
    ToSchema,
    openapi::{Object as ObjectSchema, ObjectBuilder, schema::SchemaType},
};

use super::{
    jobs::{Mode, Words},
    outcomes::{Object, Tokens},
};

/// The agents file, without instructions, commands and headers.
#[derive(ToSchema)]
pub(in crate::http) struct Agents {
    agents: Vec<Agent>,
    pools: Vec<Pool>,
    /// Names of the tier sets.
    tiers: Vec<String>,
    mcp_servers: Vec<String>,
    /// SHA-256 of the agents file, in hex; empty without one.
    registry_hash: String,
}

#[derive(ToSchema)]
pub(super) struct Agent {
    id: String,
    name: String,
    /// What routing reads.
    description: String,
    tags: Vec<String>,
    /// How many.
    examples: u64,
    #[schema(required)]
    threshold: Option<f64>,
    #[schema(required)]
    model: Option<String>,
    tools: Vec<String>,
    handoffs: Vec<String>,
    capabilities: Vec<String>,
}

#[derive(ToSchema)]
pub(super) struct Pool {
    name: String,
    strategy: Strategy,
    agents: Vec<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum Strategy {
    RoundRobin,
    LeastLoaded,
    Capability,
    Fallback,
}

/// A prompt that somebody is to be chosen for.
#[derive(ToSchema)]
pub(in crate::http) struct RouteRequest {
    prompt: Words,
    /// Least score.
    #[schema(minimum = -1, maximum = 1)]
    threshold: Option<f64>,
    /// How many scored agents are shown.
    #[schema(minimum = 0)]
    show_top_n: Option<usize>,
    /// The agent that is chosen never answers here.
    #[schema(schema_with = only_true)]
    dry_run: Option<bool>,
}

fn only_true() -> ObjectSchema {
    ObjectBuilder::new()
        .schema_type(SchemaType::AnyValue)
        .enum_values(Some([Some(true), None]))
        .default(Some(true.into()))
        .build()
}

/// The decision, and what it rests on.
#[derive(ToSchema)]
pub(in crate::http) struct RouteResult {
    mode: Mode,
    execution_id: String,
    extracted_tags: Vec<String>,
    /// How many agents were left after the tags.
    filtered_count: u64,
    /// Best first.
    all_scores: Vec<ScoredAgent>,
    #[schema(required)]
    selected_agent: Option<SelectedAgent>,
    /// False where nobody fits.
    handoff_successful: bool,
    embedder: String,
    /// What the winner had to reach; nobody: what the best would have had to.
    #[schema(required)]
    threshold: Option<f64>,
    reason: String,
    /// Of a routed job; not here.
    #[schema(required = false)]
    answer: String,
}

#[derive(ToSchema)]
pub(super) struct ScoredAgent {
    agent_id: String,
    name: String,
    score: f64,
}

#[derive(ToSchema)]
pub(super) struct SelectedAgent {
    id: String,
    name: String,
}

/// The latest executions, and what all that are kept come to.
#[derive(ToSchema)]
pub(in crate::http) struct Handoffs {
    /// Newest first.
    handoffs: Vec<Execution>,
    analytics: Analytics,
}

/// One execution in short.
#[derive(ToSchema)]
pub(super) struct Execution {
    execution_id: String,
    mode: Mode,
    job_id: String,
    #[schema(required = false)]
    workflow_owner: String,
    /// RFC 3339, UTC.
    started_at: String,
    /// `ok`, or the code of the error.
    outcome: String,
    /// Who answered.
    #[schema(required)]
    agent_id: Option<String>,
    #[schema(required = false)]
    pool: String,
    model_calls: u32,
    handoffs: u32,
    #[schema(required = false)]
    final_tier: u32,
    escalations: u32,
    #[schema(required = false)]
    tiers: Vec<TierFigures>,
    cost_usd: f64,
}

/// What one tier did in one execution.
#[derive(ToSchema)]
pub(super) struct TierFigures {
    tier_level: u32,
    #[schema(required)]
    complexity_score: Option<f64>,
    resolved: bool,
    escalated: bool,
    tokens: u64,
    cost_usd: f64,
}

/// Many executions together.
#[derive(ToSchema)]
pub(super) struct Analytics {
    executions: u64,
    ok: u64,
    failed: u64,
    model_calls: u64,
    handoffs: u64,
    escalations: u64,
    /// Over every evaluation that could be read.
    #[schema(required)]
    mean_complexity: Option<f64>,
    cost_usd: f64,
    /// By ascending level.
    tiers: Vec<TierAnalytics>,
}

/// One tier over many executions.
#[derive(ToSchema)]
pub(super) struct TierAnalytics {
    tier_level: u32,
    executions: u64,
    resolved: u64,
    /// Of all executions that some tier resolved.
    #[schema(minimum = 0, maximum = 1)]
    resolved_share: f64,
    escalations: u64,
    #[schema(required)]
    mean_complexity: Option<f64>,
    tokens: u64,
    cost_usd: f64,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum TrailKind {
    Tag,
    Score,
    Select,
    Evaluate,
    Execute,
    Escalate,
    Transfer,
    Pool,
    Fallback,
    Tool,
    Stop,
}

/// One decision. What does not apply to its kind is absent.
#[derive(ToSchema)]
pub(super) struct TrailEntry {
    execution_id: String,
    /// RFC 3339, UTC.
    timestamp: String,
    kind: TrailKind,
    #[schema(required)]
    agent_id: Option<String>,
    #[schema(required = false)]
    tier_level: u32,
    #[schema(required = false)]
    can_handle: bool,
    #[schema(required = false)]
    complexity_score: f64,
    #[schema(required = false)]
    reasoning: String,
    #[schema(required = false)]
    requires_tier: u32,
    #[schema(required = false)]
    handoff_decision: String,
    #[schema(required = false)]
    forced: bool,
    #[schema(required = false)]
    from: String,
    #[schema(required = false)]
    to: String,
    #[schema(required = false)]
    reason: String,
    #[schema(required = false)]
    tokens: Tokens,
    /// The facts behind the decision.
    #[schema(required = false)]
    details: Object,
    duration_ms: u64,
}

/// Every decision of one execution, oldest first.
#[derive(ToSchema)]
pub(in crate::http) struct Trail {
    execution_id: String,
    trail: Vec<TrailEntry>,
}
