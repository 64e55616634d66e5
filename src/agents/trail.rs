//! The audit trail: every decision of one execution, oldest first.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{analytics::Execution, guardrails::is_trip};
use crate::{
    job::{ErrorCode, JobError, RawJson, Tokens},
    store::{SharedStore, Write},
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

/// This moment as trails write it: RFC 3339, UTC, always of one width, so that text sorts like time.
#[must_use]
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
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
        let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self { duration_ms: ms, ..Self::at(execution_id, kind, now()) }
    }

    /// An entry of the moment `timestamp`.
    #[must_use]
    pub fn at(execution_id: &str, kind: TrailKind, timestamp: String) -> Self {
        Self {
            execution_id: execution_id.to_owned(),
            timestamp,
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
            duration_ms: 0,
        }
    }
}

/// The entries of one execution as they come, to be written down together.
#[derive(Debug, Clone)]
pub struct Trail {
    id: String,
    /// The moment of the last step that is on record: entries that follow from it bear its time, also when the
    /// walk is made again after a crash.
    now: String,
    entries: Vec<TrailEntry>,
    /// How earlier attempts at the job ended, which the walk does not come by again.
    earlier: Vec<TrailEntry>,
}

impl Trail {
    /// An empty trail of the execution `id` that began at `now`.
    #[must_use]
    pub fn new(id: &str, now: &str) -> Self {
        Self { id: id.to_owned(), now: now.to_owned(), entries: Vec::new(), earlier: Vec::new() }
    }

    /// The trail of another attempt at the same job: `earlier` tells how those before it ended.
    #[must_use]
    pub fn after(mut self, mut earlier: Vec<TrailEntry>) -> Self {
        earlier.sort_by(|a, b| a.timestamp.cmp(&b.timestamp));
        self.earlier = earlier;
        self
    }

    /// Goes on as the trail of the execution `id`, with what is known of it.
    pub fn turn_into(&mut self, id: &str, known: Vec<TrailEntry>) {
        id.clone_into(&mut self.id);
        if let Some(last) = known.last() {
            self.now.clone_from(&last.timestamp);
        }
        self.entries.extend(known);
    }

    /// How many attempts ended before this one.
    #[must_use]
    pub fn attempts(&self) -> usize {
        self.earlier.len()
    }

    /// The execution's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The moment of what follows.
    pub(super) fn now(&self) -> &str {
        &self.now
    }

    /// Sets the moment of what follows.
    pub(super) fn tick(&mut self, now: &str) {
        now.clone_into(&mut self.now);
    }

    /// A new entry at the end, to be filled in.
    pub fn add(&mut self, kind: TrailKind) -> &mut TrailEntry {
        let at = self.entries.len();
        self.entries.push(TrailEntry::at(&self.id, kind, self.now.clone()));
        &mut self.entries[at]
    }

    /// Entries that were made elsewhere.
    pub fn extend(&mut self, entries: impl IntoIterator<Item = TrailEntry>) {
        self.entries.extend(entries);
    }

    /// Notes why the execution ended without an answer, and with whom: the agent whose guardrail ended it, else `agent`.
    pub fn stop(&mut self, agent: Option<&str>, error: &JobError) {
        let guarded = error.details.get("agent_id").and_then(|id| id.as_str()).filter(|_| is_trip(error));
        let entry = self.add(TrailKind::Stop);
        entry.agent_id = guarded.or(agent).map(str::to_owned);
        entry.handoff_decision = Some(stop_reason(error).to_owned());
        entry.reason = Some(error.to_string());
    }

    /// The newest entry.
    pub(super) fn last(&mut self) -> Option<&mut TrailEntry> {
        self.entries.last_mut()
    }

    /// How this attempt ended: its last entry, which is made where there is none yet.
    pub fn end(&mut self, error: &JobError) -> TrailEntry {
        if self.entries.last().is_none_or(|last| last.kind != TrailKind::Stop) {
            self.stop(None, error);
        }
        self.entries[self.entries.len() - 1].clone()
    }

    /// The entries, oldest first. An earlier attempt ended behind all that this one found on record.
    #[must_use]
    pub fn entries(&self) -> Vec<TrailEntry> {
        let mut all = self.entries.clone();
        for earlier in &self.earlier {
            let at = all.iter().position(|entry| entry.timestamp > earlier.timestamp).unwrap_or(all.len());
            all.insert(at, TrailEntry { execution_id: self.id.clone(), ..earlier.clone() });
        }
        all
    }
}

/// Why an execution ended, in one word: the bound's own reason, who or what stopped the job, else the error's code.
#[must_use]
pub fn stop_reason(error: &JobError) -> &str {
    let code = match error.code {
        ErrorCode::Timeout => "deadline",
        code => code.as_str(),
    };
    error.details.get("reason").and_then(|reason| reason.as_str()).unwrap_or(code)
}

/// Where trails are kept, one list per execution, and what each execution came to.
#[derive(Clone)]
pub struct TrailStore {
    store: SharedStore,
    ttl: Duration,
}

/// Executions that are listed and summed up; older ones go.
pub const MAX_EXECUTIONS: usize = 2000;

impl TrailStore {
    /// Trails in `store`, each kept for `ttl` after it was written.
    #[must_use]
    pub fn new(store: SharedStore, ttl: Duration) -> Self {
        Self { store, ttl }
    }

    /// Writes a trail and what its execution came to, in one round trip. What an earlier attempt at the same
    /// execution wrote is replaced.
    ///
    /// # Errors
    /// `internal` when the store fails.
    pub async fn keep(&self, entries: &[TrailEntry], execution: &Execution) -> Result<(), JobError> {
        let trail = Write::Replace {
            key: key(&execution.execution_id),
            entries: entries.iter().map(|entry| RawJson::of(entry).bytes().clone()).collect(),
            ttl: self.ttl,
        };
        let index = Write::Push {
            key: INDEX.into(),
            entry: RawJson::of(execution).bytes().clone(),
            keep: MAX_EXECUTIONS,
            ttl: self.ttl,
        };
        self.store.write(vec![trail, index]).await.map_err(failed)
    }

    /// The trail of an execution, oldest first; empty when nothing is known of it.
    ///
    /// # Errors
    /// `internal` when the store fails or holds something else there.
    pub async fn list(&self, execution_id: &str) -> Result<Vec<TrailEntry>, JobError> {
        let lines = self.store.list(&key(execution_id)).await.map_err(failed)?;
        lines.iter().map(|line| serde_json::from_slice(line).map_err(failed)).collect()
    }

    /// What the latest executions came to, newest first, each once; of one mode where `mode` names it.
    ///
    /// # Errors
    /// `internal` when the store fails.
    pub async fn executions(&self, mode: Option<&str>) -> Result<Vec<Execution>, JobError> {
        let lines = self.store.list(INDEX).await.map_err(failed)?;
        let mut seen = rustc_hash::FxHashSet::default();
        let all = lines.iter().rev().filter_map(|line| serde_json::from_slice::<Execution>(line).ok());
        Ok(all
            .filter(|execution| seen.insert(execution.execution_id.clone()))
            .filter(|execution| mode.is_none_or(|mode| execution.mode == mode))
            .collect())
    }
}

const INDEX: &str = "handoff-executions";

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
    async fn a_trail_holds_its_own_execution_only_oldest_first_and_once() {
        let trails = TrailStore::new(MemoryStore::new(1 << 20), Duration::from_secs(60));
        let run =
            |id: &str, mode: &str| Execution { execution_id: id.into(), mode: mode.into(), ..Execution::default() };
        let trail = |id: &str, kinds: &[TrailKind]| {
            let mut trail = Trail::new(id, "2026-01-01T00:00:00Z");
            kinds.iter().for_each(|kind| {
                trail.add(*kind);
            });
            trail
        };
        let write = async |id: &str, mode: &str, kinds: &[TrailKind]| {
            trails.keep(&trail(id, kinds).entries(), &run(id, mode)).await.unwrap();
        };
        write("a", "network", &[TrailKind::Transfer]).await;
        write("b", "tiers", &[TrailKind::Stop]).await;
        // The same execution again, further than before.
        write("a", "network", &[TrailKind::Transfer, TrailKind::Execute]).await;
        let kinds: Vec<_> = trails.list("a").await.unwrap().iter().map(|entry| entry.kind).collect();
        assert_eq!(kinds, [TrailKind::Transfer, TrailKind::Execute]);
        assert!(trails.list("c").await.unwrap().is_empty());
        let ids = async |mode| -> Vec<String> {
            trails.executions(mode).await.unwrap().into_iter().map(|execution| execution.execution_id).collect()
        };
        assert_eq!(ids(None).await, ["a", "b"]);
        assert_eq!(ids(Some("tiers")).await, ["b"]);
        assert!(ids(Some("pool")).await.is_empty());
    }

    #[test]
    fn earlier_attempts_stand_where_they_ended() {
        let at = |second: u32| format!("2026-01-01T00:00:0{second}Z");
        let ended = |second: u32| {
            let mut trail = Trail::new("another", &at(second));
            trail.end(&JobError::new(ErrorCode::LlmUnavailable, "away"))
        };
        let mut trail = Trail::new("x", &at(1)).after(vec![ended(2), ended(1)]);
        assert_eq!(trail.attempts(), 2);
        trail.add(TrailKind::Pool);
        for (second, kind) in [(2, TrailKind::Transfer), (3, TrailKind::Execute)] {
            trail.tick(&at(second));
            trail.add(kind);
        }
        let told: Vec<(TrailKind, String)> =
            trail.entries().into_iter().map(|entry| (entry.kind, entry.timestamp)).collect();
        let want = [
            (TrailKind::Pool, at(1)),
            (TrailKind::Stop, at(1)),
            (TrailKind::Transfer, at(2)),
            (TrailKind::Stop, at(2)),
            (TrailKind::Execute, at(3)),
        ];
        assert_eq!(told, want);
        assert!(trail.entries().iter().all(|entry| entry.execution_id == "x"));
    }
}
