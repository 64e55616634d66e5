//! The audit trail: every decision of one execution, oldest first.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    job::{ErrorCode, JobError, RawJson, Tokens},
    store::SharedStore,
};

/// What was decided or done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "plain words")]
pub enum TrailKind {
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

/// One entry. What does not apply to its kind is absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the protocol's; docs/agents.md explains each")]
pub struct TrailEntry {
    pub execution_id: String,
    /// RFC 3339, UTC.
    pub timestamp: String,
    pub kind: TrailKind,
    pub agent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tier_level: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub can_handle: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub complexity_score: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reasoning: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub requires_tier: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub handoff_decision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub forced: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tokens: Option<Tokens>,
    /// The facts behind the decision: of a route its tags, or its candidates with scores and thresholds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub details: Option<RawJson>,
    pub duration_ms: u64,
}

impl TrailEntry {
    /// An entry of now.
    #[must_use]
    pub fn new(execution_id: &str, kind: TrailKind, duration: Duration) -> Self {
        Self {
            execution_id: execution_id.to_owned(),
            timestamp: jiff::Timestamp::now().to_string(),
            kind,
            agent_id: None,
            tier_level: None,
            can_handle: None,
            complexity_score: None,
            reasoning: None,
            requires_tier: None,
            handoff_decision: None,
            forced: None,
            from: None,
            to: None,
            reason: None,
            tokens: None,
            details: None,
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// Where trails are kept, one list per execution.
#[derive(Clone)]
pub struct TrailStore {
    store: SharedStore,
    ttl: Duration,
}

impl TrailStore {
    /// Trails in `store`, each kept for `ttl` after its last entry.
    #[must_use]
    pub fn new(store: SharedStore, ttl: Duration) -> Self {
        Self { store, ttl }
    }

    /// Adds an entry at the end of its execution's trail.
    ///
    /// # Errors
    /// `internal` when the store fails.
    pub async fn append(&self, entry: &TrailEntry) -> Result<(), JobError> {
        let bytes = RawJson::of(entry).bytes().clone();
        self.store.append(&key(&entry.execution_id), bytes, self.ttl).await.map_err(failed)
    }

    /// The trail of an execution, oldest first; empty when nothing is known of it.
    ///
    /// # Errors
    /// `internal` when the store fails or holds something else there.
    pub async fn list(&self, execution_id: &str) -> Result<Vec<TrailEntry>, JobError> {
        let lines = self.store.list(&key(execution_id)).await.map_err(failed)?;
        lines.iter().map(|line| serde_json::from_slice(line).map_err(failed)).collect()
    }
}

fn key(execution_id: &str) -> String {
    format!("handoffs:{execution_id}")
}

fn failed(error: impl std::fmt::Display) -> JobError {
    JobError::new(ErrorCode::Internal, format!("the audit trail could not be kept or read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn a_trail_holds_its_own_execution_only_oldest_first() {
        let trails = TrailStore::new(MemoryStore::new(1 << 20), Duration::from_secs(60));
        for (execution, kind) in [("a", TrailKind::Tag), ("b", TrailKind::Stop), ("a", TrailKind::Select)] {
            trails.append(&TrailEntry::new(execution, kind, Duration::ZERO)).await.unwrap();
        }
        let kinds: Vec<_> = trails.list("a").await.unwrap().iter().map(|entry| entry.kind).collect();
        assert_eq!(kinds, [TrailKind::Tag, TrailKind::Select]);
        assert!(trails.list("c").await.unwrap().is_empty());
    }
}
