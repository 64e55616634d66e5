//! From scores to a choice: pure, so that a recorded decision can be made again.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Whose threshold an agent was measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThresholdFrom {
    /// The request named one.
    Request,
    /// The agent's own.
    Agent,
    /// `routing.threshold` of the configuration.
    Routing,
    /// The embedder's calibrated default.
    Embedder,
}

/// One agent that could have been chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its id.
    pub agent_id: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// -1 to 1.
    pub score: f64,
    /// What the score had to reach.
    pub threshold: f64,
    /// Whose threshold that was.
    pub threshold_from: ThresholdFrom,
}

/// What a model chose among a shortlist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pick {
    /// Ids it was shown, best score first.
    pub shortlist: Vec<String>,
    /// Its choice; none: it said that nobody fits.
    pub picked: Option<String>,
}

/// The outcome, with its reasons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Id of the agent chosen; none: nobody fits.
    pub winner: Option<String>,
    /// Why, in a sentence.
    pub reason: String,
    /// Agents with the same score that come later in the registry.
    pub tied_with: Vec<String>,
    /// Who would have been next, and why not.
    pub runner_up: Option<RunnerUp>,
}

/// The next best agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunnerUp {
    /// Its id.
    pub agent_id: String,
    /// Why it was not chosen.
    pub why_not: String,
}

/// Positions of `candidates`, best score first; ties keep their order.
#[must_use]
pub(crate) fn ranking(candidates: &[Candidate]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by(|a, b| candidates[*b].score.total_cmp(&candidates[*a].score));
    order
}

/// Chooses among `candidates`, which stand in the order of the registry: the best one at or above its threshold,
/// or the model's pick where there was one.
#[must_use]
pub fn decide(candidates: &[Candidate], pick: Option<&Pick>) -> Choice {
    let order = ranking(candidates);
    let ranked: Vec<&Candidate> = order.iter().map(|i| &candidates[*i]).collect();
    let winner = match pick {
        Some(Pick { picked: Some(id), .. }) => ranked.iter().find(|c| *c.agent_id == **id && reaches_set_threshold(c)),
        Some(Pick { picked: None, .. }) => None,
        None => ranked.iter().find(|c| reaches(c)),
    };
    let Some(winner) = winner else {
        return Choice { winner: None, reason: nobody(&ranked, pick), tied_with: Vec::new(), runner_up: None };
    };
    let others = || ranked.iter().filter(|c| c.agent_id != winner.agent_id);
    let tied_with: Vec<String> = if pick.is_none() {
        others().filter(|c| c.score == winner.score).map(|c| c.agent_id.to_string()).collect()
    } else {
        Vec::new()
    };
    let runner_up = others()
        .next()
        .map(|next| RunnerUp { agent_id: next.agent_id.to_string(), why_not: why_not(next, winner, pick.is_some()) });
    let reason = match pick {
        Some(_) => format!("the model picked it from the shortlist; its score is {:.3}", winner.score),
        None => format!("{:.3} reaches {:.3} ({})", winner.score, winner.threshold, whose(winner.threshold_from)),
    };
    Choice { winner: Some(winner.agent_id.to_string()), reason, tied_with, runner_up }
}

fn reaches(candidate: &Candidate) -> bool {
    candidate.score >= candidate.threshold
}

/// A model that picks also refuses, so the embedder's own threshold is not asked; one that somebody set is.
fn reaches_set_threshold(candidate: &Candidate) -> bool {
    candidate.threshold_from == ThresholdFrom::Embedder || reaches(candidate)
}

fn nobody(ranked: &[&Candidate], pick: Option<&Pick>) -> String {
    match (ranked.first(), pick) {
        (None, _) => "there are no agents to choose from".into(),
        (_, Some(Pick { picked: None, .. })) => "the model picked nobody from the shortlist".into(),
        (Some(best), _) => format!(
            "the best, {}, has {:.3} and needs {:.3} ({})",
            best.agent_id,
            best.score,
            best.threshold,
            whose(best.threshold_from)
        ),
    }
}

fn why_not(next: &Candidate, winner: &Candidate, picked: bool) -> String {
    if picked {
        "the model picked another".into()
    } else if !reaches(next) {
        format!("{:.3} is below its threshold of {:.3} ({})", next.score, next.threshold, whose(next.threshold_from))
    } else if next.score == winner.score {
        "the same score, but later in the registry".into()
    } else {
        format!("{:.3} is {:.3} less", next.score, winner.score - next.score)
    }
}

fn whose(from: ThresholdFrom) -> &'static str {
    match from {
        ThresholdFrom::Request => "the request's threshold",
        ThresholdFrom::Agent => "the agent's threshold",
        ThresholdFrom::Routing => "routing.threshold",
        ThresholdFrom::Embedder => "the embedder's default threshold",
    }
}
