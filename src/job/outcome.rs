//! The one result of a job.

use serde::{Deserialize, Serialize};

use super::{JobError, JobId, Preview, RawJson, Tokens};

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "plain words")]
pub enum Status {
    Completed,
    Failed,
    Cancelled,
}

impl Status {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The lane that ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// A table pipeline.
    Execute,
    /// A workflow change.
    Patch,
    /// Agents.
    Handoff,
    /// The model answered in words.
    Answer,
}

impl Lane {
    /// The word on the wire and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Execute => "execute",
            Self::Patch => "patch",
            Self::Handoff => "handoff",
            Self::Answer => "answer",
        }
    }
}

/// What a prompt asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentKind {
    /// A one-time data operation.
    Execute,
    /// A lasting workflow change.
    Patch,
    /// Work for an agent.
    Handoff,
    /// None of these with enough certainty.
    Unclear,
}

impl IntentKind {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Execute => "execute",
            Self::Patch => "patch",
            Self::Handoff => "handoff",
            Self::Unclear => "unclear",
        }
    }
}

/// Who decided on the intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentSource {
    /// The offline rules.
    Rules,
    /// The model.
    Model,
    /// The job said so itself (`lane`, `pipeline`, `patch_spec` or `handoff`).
    Explicit,
}

/// The decision which lane a job takes, with its reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// What is asked.
    pub intent: IntentKind,
    /// 0 to 1.
    pub confidence: f64,
    /// One sentence.
    pub reasoning: String,
    /// Who decided.
    pub source: IntentSource,
}

/// Where a plan came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanSource {
    /// The job brought it.
    Ready,
    /// The offline grammar.
    Rules,
    /// A model.
    Model,
    /// A promoted tool, without a model.
    Promoted,
    /// A kept answer of a model that was not asked again.
    Cache,
}

/// Where the plan of a job came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanOrigin {
    /// Who made it.
    pub source: PlanSource,
    /// The promoted tool it was taken from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tool: Option<String>,
    /// What filled that tool's parameters.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub arguments: Option<RawJson>,
}

/// How a tool call went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolStatus {
    /// It did what was asked.
    Ok,
    /// It failed; the error went back to the model.
    Error,
    /// It was not allowed.
    Refused,
    /// Another call of the same turn made it pointless.
    Skipped,
}

/// One tool call of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCallRecord {
    /// Name of the tool.
    pub tool: String,
    /// Arguments as they were given, shortened when large.
    pub args: RawJson,
    /// How it went.
    pub status: ToolStatus,
    /// Wall time.
    pub duration_ms: u64,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// Everything about how the result came to be.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names are the contract's; docs/protocol.md explains each")]
pub struct Metadata {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intent: Option<Intent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanOrigin>,
    pub tool_calls: Vec<ToolCallRecord>,
    pub tokens_used: u64,
    pub tokens: Tokens,
    pub cost_usd: f64,
    pub cache_hit: bool,
    pub llm_calls: u32,
    pub llm_model: Option<String>,
    pub attempt: u32,
    pub queue_time_ms: u64,
    pub waited_ms: u64,
    pub execution_time_ms: u64,
    pub warnings: Vec<String>,
}

/// What is published at `agent:results:<job_id>`, exactly once.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names are the contract's; docs/protocol.md explains each")]
pub struct JobResult {
    pub version: &'static str,
    pub job_id: JobId,
    pub run_id: Option<String>,
    pub node_id: Option<String>,
    pub status: Status,
    pub lane: Option<Lane>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_ref: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_preview: Option<Preview>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<JobError>,
    pub metadata: Metadata,
    /// RFC 3339, UTC.
    pub completed_at: String,
}

impl JobResult {
    /// The version this program writes.
    pub const VERSION: &'static str = "1.0";
}
