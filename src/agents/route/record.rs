//! A decision as it is kept and shown.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    decide::{Candidate, Choice, Pick, decide, ranking},
    tags::{TagSource, TagStep},
};
use crate::{
    agents::trail::{TrailEntry, TrailKind},
    job::{ErrorCode, JobError, RawJson},
};

/// Everything a decision rests on, and the decision: [`RouteRecord::replay`] makes it again without a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteRecord {
    /// Which execution it belongs to.
    pub execution_id: String,
    /// The state of the registry it was made with.
    pub registry_hash: String,
    /// Who scored.
    pub embedder: String,
    /// Why it was not the one that would have been best.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub embedder_fallback: Option<String>,
    /// The tag step.
    pub tags: TagStep,
    /// How many agents own a found tag, or how many there are.
    #[serde(default)]
    pub considered: usize,
    /// Those agents with their scores, in the order of the registry; the best of them where they are very many.
    pub candidates: Vec<Candidate>,
    /// What the model picked, where it was asked to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pick: Option<Pick>,
    /// Why the scores decided although the model was asked to pick.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pick_fallback: Option<String>,
    /// The outcome.
    pub choice: Choice,
}

impl RouteRecord {
    /// Makes the decision again from what is on record.
    #[must_use]
    pub fn replay(&self) -> Choice {
        decide(&self.candidates, self.pick.as_ref())
    }
}

/// One line of `all_scores`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub struct ScoredAgent {
    pub agent_id: String,
    pub name: String,
    pub score: f64,
}

/// The agent that was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub struct SelectedAgent {
    pub id: String,
    pub name: String,
}

/// The `result` of a routed job, and the answer of `POST /v1/agents/route`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the protocol's; docs/agents.md explains each")]
pub struct RouteResult {
    pub mode: String,
    pub execution_id: String,
    pub extracted_tags: Vec<String>,
    /// How many agents were left after the tags.
    pub filtered_count: usize,
    /// Best first, at most `show_top_n`.
    pub all_scores: Vec<ScoredAgent>,
    pub selected_agent: Option<SelectedAgent>,
    pub handoff_successful: bool,
    pub embedder: String,
    /// What the winner had to reach; nobody: what the best would have had to.
    pub threshold: Option<f64>,
    pub reason: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub answer: Option<String>,
}

/// What each step took.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    pub(super) tags: Duration,
    pub(super) scores: Duration,
    pub(super) pick: Duration,
}

/// A decision with how it is to be shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Decision {
    /// Everything about it.
    pub record: RouteRecord,
    /// How many agents are shown.
    pub show_top_n: usize,
    /// Whether it was remembered from an earlier request.
    pub cached: bool,
    /// The entry of an agent that was chosen from a collection: whoever goes on with this decision has the same agent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub entry: Option<serde_json::Value>,
    #[serde(skip)]
    pub(super) times: Times,
}

impl Decision {
    /// Id of the agent chosen.
    #[must_use]
    pub fn winner(&self) -> Option<&str> {
        self.record.choice.winner.as_deref()
    }

    fn shown(&self) -> Vec<ScoredAgent> {
        let candidates = &self.record.candidates;
        let best = ranking(candidates).into_iter().take(self.show_top_n).map(|i| &candidates[i]);
        best.map(|c| ScoredAgent { agent_id: c.agent_id.to_string(), name: c.name.to_string(), score: c.score })
            .collect()
    }

    /// The result, with the agent's answer where it gave one.
    #[must_use]
    pub fn result(&self, answer: Option<String>) -> RouteResult {
        let record = &self.record;
        let chosen = record.candidates.iter().find(|c| Some(&*c.agent_id) == self.winner());
        let best = ranking(&record.candidates).first().map(|i| &record.candidates[*i]);
        RouteResult {
            mode: "route".into(),
            execution_id: record.execution_id.clone(),
            extracted_tags: record.tags.found.clone(),
            filtered_count: record.considered.max(record.candidates.len()),
            all_scores: self.shown(),
            selected_agent: chosen.map(|c| SelectedAgent { id: c.agent_id.to_string(), name: c.name.to_string() }),
            handoff_successful: chosen.is_some(),
            embedder: record.embedder.clone(),
            threshold: chosen.or(best).map(|c| c.threshold),
            reason: record.choice.reason.clone(),
            answer,
        }
    }

    /// The `no_agent` error of a job for which nobody was found.
    #[must_use]
    pub fn refusal(&self) -> JobError {
        let shown = self.shown();
        let list: Vec<String> = shown.iter().map(|s| format!("{} {:.3}", s.agent_id, s.score)).collect();
        let list = if list.is_empty() { String::new() } else { format!(" (best: {})", list.join(", ")) };
        let message = format!(
            "no agent fits this prompt: {}{list}; say more, lower the threshold or add an agent",
            self.record.choice.reason
        );
        let candidates = serde_json::to_value(&shown).unwrap_or_default();
        JobError::new(ErrorCode::NoAgent, message)
            .with_detail("candidates", candidates)
            .with_detail("execution_id", self.record.execution_id.as_str())
    }

    /// The entries of the audit trail.
    #[must_use]
    pub fn trail(&self) -> Vec<TrailEntry> {
        let record = &self.record;
        let entry = |kind, duration| TrailEntry::new(&record.execution_id, kind, duration);
        let mut tag = entry(TrailKind::Tag, self.times.tags);
        tag.reason = Some(match (&record.tags.fallback, record.tags.source) {
            (Some(why), _) => format!("words of the prompt, because the model failed: {why}"),
            (None, TagSource::Model) => "chosen by the model".into(),
            (None, TagSource::Lexical) => "words of the prompt".into(),
        });
        tag.details = Some(RawJson::of(&json!({"offered": record.tags.offered, "found": record.tags.found})));
        let mut score = entry(TrailKind::Score, self.times.scores);
        score.reason = Some(format!("scored by {}{}", record.embedder, if self.cached { ", remembered" } else { "" }));
        score.details = Some(RawJson::of(&json!({"considered": record.considered, "candidates": record.candidates})));
        let mut select = entry(TrailKind::Select, self.times.pick);
        select.agent_id = record.choice.winner.clone();
        select.handoff_decision = Some(if record.choice.winner.is_some() { "selected" } else { "nobody" }.into());
        select.reason = Some(match &record.pick_fallback {
            Some(why) => format!("{}; the model could not pick: {why}", record.choice.reason),
            None => record.choice.reason.clone(),
        });
        select.details = Some(RawJson::of(
            &json!({"pick": record.pick, "tied_with": record.choice.tied_with, "runner_up": record.choice.runner_up}),
        ));
        vec![tag, score, select]
    }
}
