//! Which lane a prompt asks for: a one-time data operation, a lasting workflow change, or work for an agent.
//!
//! A job that says so itself is taken at its word. Otherwise offline rules decide in microseconds; only where
//! they are unsure is a model asked, and whatever goes wrong there is `unclear`, never a failed job.

mod class;
mod clause;
mod cue;
mod eval;
mod follow;
mod lexicon;
mod model;
mod nouns;
mod people;
mod permanence;
mod rules;
mod score;
mod verbs;
mod words;

pub use eval::{Evaluation, ReadError, evaluate};
pub use model::{IntentModel, unanswered};
pub use rules::classify;

use crate::job::{Intent, IntentKind, IntentSource, Job, LaneChoice};

/// What is known beside the prompt. Names sharpen the decision; without them the words alone decide.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts<'a> {
    /// The job carries or names a workflow.
    pub has_workflow: bool,
    /// There is data to work on.
    pub has_data: bool,
    /// Column names of that data.
    pub columns: &'a [String],
    /// Ids of the workflow's nodes.
    pub nodes: &'a [String],
    /// The data at hand came of the request before, in the same session.
    pub goes_on: bool,
}

/// Decides a job's lane: its own word first, then the rules, and below `rules_threshold` (0 to 1) the model,
/// where there is one. Never fails.
pub async fn decide(job: &Job, facts: &Facts<'_>, rules_threshold: f64, model: Option<&IntentModel<'_>>) -> Intent {
    if let Some(intent) = explicit(job) {
        return intent;
    }
    let by_rules = classify(job.prompt_text(), facts);
    match model {
        Some(model) if by_rules.confidence < rules_threshold => model.ask(job.prompt_text(), facts).await,
        _ => by_rules,
    }
}

/// The lane a job names itself, by `lane` or by a ready-made `pipeline`, `patch_spec` or `handoff`.
#[must_use]
pub fn explicit(job: &Job) -> Option<Intent> {
    let (intent, by) = match job.lane {
        LaneChoice::Execute => (IntentKind::Execute, "lane"),
        LaneChoice::Patch => (IntentKind::Patch, "lane"),
        LaneChoice::Handoff => (IntentKind::Handoff, "lane"),
        LaneChoice::Auto if job.patch_spec.is_some() => (IntentKind::Patch, "patch_spec"),
        LaneChoice::Auto if job.handoff.is_some() => (IntentKind::Handoff, "handoff"),
        LaneChoice::Auto if job.pipeline.is_some() => (IntentKind::Execute, "pipeline"),
        LaneChoice::Auto => return None,
    };
    let reasoning = format!("the job says so itself with `{by}`.");
    Some(Intent { intent, confidence: 1.0, reasoning, source: IntentSource::Explicit })
}

#[cfg(test)]
mod tests;
