//! The shapes of what becomes of jobs: what is known of one, its result, its dead letter.
//!
//! The rooms that own the types behind them know nothing of this; a test holds each shape to what its type becomes in
//! JSON. An `Option` that is `required` is always there and may be null; what is `required = false` may be absent.

#![expect(dead_code, reason = "shapes: described, never built")]

use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::jobs::{JobId, Lane, State};

/// Any object.
pub(super) type Object = Map<String, Value>;

/// The job that was meant.
#[derive(ToSchema)]
pub(in crate::http) struct Accepted {
    job_id: JobId,
}

/// The queue's switch.
#[derive(ToSchema)]
pub(in crate::http) struct Switch {
    paused: bool,
}

/// Why a job failed.
#[derive(ToSchema)]
pub(super) struct Error {
    /// A stable word to match on: docs/errors.md lists them.
    r#type: String,
    /// What was wrong and what to do.
    message: String,
    /// Whether another attempt may help.
    retryable: bool,
    /// The tool that failed.
    #[schema(required = false)]
    tool: String,
    /// The pipeline step that failed.
    #[schema(required = false)]
    step: String,
    /// Facts for programs.
    #[schema(required = false)]
    details: Object,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum Status {
    Completed,
    Failed,
    Cancelled,
}

/// The one result of a job.
#[derive(ToSchema)]
#[schema(as = Result)]
pub(in crate::http) struct JobResult {
    version: String,
    job_id: JobId,
    #[schema(required)]
    run_id: Option<String>,
    #[schema(required)]
    node_id: Option<String>,
    status: Status,
    /// The lane that ran.
    #[schema(required)]
    lane: Option<Lane>,
    /// Where the result is kept.
    #[schema(required = false)]
    result_ref: String,
    /// The result itself, up to `results.inline_max_bytes`.
    #[schema(required = false)]
    result: Value,
    /// A bounded look at it.
    #[schema(required = false)]
    result_preview: Object,
    #[schema(required = false)]
    error: Error,
    metadata: Metadata,
    /// RFC 3339, UTC.
    completed_at: String,
}

/// How a result came to be.
#[derive(ToSchema)]
struct Metadata {
    #[schema(required = false)]
    intent: Intent,
    #[schema(required = false)]
    plan: Plan,
    tool_calls: Vec<ToolCall>,
    /// Over every model call of the job.
    tokens_used: u64,
    tokens: Tokens,
    cost_usd: f64,
    cache_hit: bool,
    /// Requests sent to a model, retries included.
    llm_calls: u32,
    #[schema(required)]
    llm_model: Option<String>,
    attempt: u32,
    queue_time_ms: u64,
    waited_ms: u64,
    execution_time_ms: u64,
    warnings: Vec<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum IntentKind {
    Execute,
    Patch,
    Handoff,
    Unclear,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum IntentSource {
    Rules,
    Model,
    Explicit,
}

/// What the prompt asks for.
#[derive(ToSchema)]
struct Intent {
    intent: IntentKind,
    #[schema(minimum = 0, maximum = 1)]
    confidence: f64,
    reasoning: String,
    source: IntentSource,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum PlanSource {
    Ready,
    Rules,
    Model,
    Promoted,
    Cache,
}

/// Where the plan came from.
#[derive(ToSchema)]
struct Plan {
    source: PlanSource,
    /// The promoted tool it was taken from.
    #[schema(required = false)]
    tool: String,
    /// What filled that tool's parameters.
    #[schema(required = false)]
    arguments: Value,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum ToolStatus {
    Ok,
    Error,
    Refused,
    Skipped,
}

/// One tool call of a job.
#[derive(ToSchema)]
struct ToolCall {
    tool: String,
    /// As they were given, shortened when large.
    args: Value,
    status: ToolStatus,
    duration_ms: u64,
    #[schema(required = false)]
    error: String,
}

/// Tokens as providers count them; `cached` is a part of `prompt`.
#[derive(ToSchema)]
pub(super) struct Tokens {
    prompt: u64,
    completion: u64,
    cached: u64,
}

/// What is known of a job.
#[derive(ToSchema)]
pub(in crate::http) struct JobView {
    job_id: JobId,
    state: State,
    /// The lane that ran.
    #[schema(required)]
    lane: Option<String>,
    attempts: u32,
    #[schema(required)]
    created_at: Option<String>,
    /// Until when it waits: asked for, or for another attempt. RFC 3339, UTC.
    #[schema(required = false)]
    due_at: String,
    /// RFC 3339, UTC.
    #[schema(required = false)]
    started_at: String,
    /// RFC 3339, UTC.
    #[schema(required = false)]
    completed_at: String,
    /// Of a job that ended; not in lists.
    #[schema(required = false)]
    result: JobResult,
    #[schema(required = false)]
    error: Object,
    /// What waits for approval.
    #[schema(required = false)]
    pending: Value,
}

/// A page of jobs.
#[derive(ToSchema)]
pub(in crate::http) struct Jobs {
    jobs: Vec<JobView>,
    /// The `cursor` of the next page; absent on the last one.
    #[schema(required = false)]
    next_cursor: String,
}

/// A message that nobody could finish.
#[derive(ToSchema)]
pub(super) struct DeadLetter {
    /// By which it can be put back or thrown away alone.
    #[schema(required = false)]
    letter_id: String,
    /// The message as received, with credentials masked.
    #[schema(required = false)]
    raw: String,
    /// The same, where it is not UTF-8.
    #[schema(required = false)]
    raw_base64: String,
    #[schema(required = false)]
    job_id: String,
    #[schema(required = false)]
    workflow_owner: String,
    /// The list or stream it came from.
    #[schema(required = false)]
    source: String,
    error: Error,
    attempts: u32,
    /// How many workers died over it.
    crashes: u32,
    /// RFC 3339, UTC.
    failed_at: String,
}

/// A page of dead letters.
#[derive(ToSchema)]
pub(in crate::http) struct DeadLetters {
    dead: Vec<DeadLetter>,
    /// The `cursor` of the next page; absent on the last one.
    #[schema(required = false)]
    next_cursor: String,
}

/// Dead letters that are gone.
#[derive(ToSchema)]
pub(in crate::http) struct Discarded {
    /// How many.
    discarded: u64,
}

/// What a batch of retries did.
#[derive(ToSchema)]
pub(in crate::http) struct Batch {
    looked_at: u64,
    retried: u64,
    /// Their jobs are under way again or have completed.
    passed_over: u64,
    /// The `cursor` of the next batch; absent after the last one.
    #[schema(required = false)]
    next_cursor: String,
}
