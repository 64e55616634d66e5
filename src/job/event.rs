//! What happens to a job while it lives.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::RawJson;

/// The kinds of lifecycle events, in the order they usually come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "plain words; docs/protocol.md explains each")]
pub enum EventKind {
    Queued,
    Started,
    Intent,
    Plan,
    ToolStarted,
    ToolFinished,
    StepFinished,
    AgentStarted,
    Token,
    AgentCompleted,
    Handoff,
    Tier,
    Approval,
    Retry,
    Completed,
    Failed,
    Cancelled,
}

impl EventKind {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Started => "started",
            Self::Intent => "intent",
            Self::Plan => "plan",
            Self::ToolStarted => "tool_started",
            Self::ToolFinished => "tool_finished",
            Self::StepFinished => "step_finished",
            Self::AgentStarted => "agent_started",
            Self::Token => "token",
            Self::AgentCompleted => "agent_completed",
            Self::Handoff => "handoff",
            Self::Tier => "tier",
            Self::Approval => "approval",
            Self::Retry => "retry",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the stream of a job ends with this event.
    #[must_use]
    pub fn is_last(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// One event. `job_id` and `at` are added where it is recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What happened.
    pub event: EventKind,
    /// What fits: `tool`, `step`, `agent_id`, `text`, `error` …. Members as JSON text, each with a comma in front:
    /// every job writes some ten of these, and nobody inside reads them.
    facts: String,
}

impl Event {
    /// An event without data.
    #[must_use]
    pub fn new(event: EventKind) -> Self {
        Self { event, facts: String::new() }
    }

    /// Adds a fact. `key` is a plain word. What cannot be written as JSON is null.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Serialize) -> Self {
        let value = serde_json::to_string(&value);
        self.facts.push_str(",\"");
        self.facts.push_str(key);
        self.facts.push_str("\":");
        self.facts.push_str(value.as_deref().unwrap_or("null"));
        self
    }

    /// Adds a fact that is JSON already.
    #[must_use]
    pub fn with_json(mut self, key: &str, value: &RawJson) -> Self {
        self.facts.push_str(",\"");
        self.facts.push_str(key);
        self.facts.push_str("\":");
        self.facts.push_str(value.as_str());
        self
    }

    /// What fits, taken apart: for whoever shows it.
    #[must_use]
    pub fn data(&self) -> Map<String, Value> {
        let members = self.facts.strip_prefix(',').unwrap_or_default();
        serde_json::from_str(&format!("{{{members}}}")).unwrap_or_default()
    }

    /// What fits, as members of a JSON object that follow others.
    #[must_use]
    pub fn facts(&self) -> &str {
        &self.facts
    }
}
