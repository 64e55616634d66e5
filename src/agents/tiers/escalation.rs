//! Which tier does what, as a state machine without I/O.

use serde::{Deserialize, Serialize};

use super::read::{Evaluation, Product};
use crate::job::{ErrorCode, JobError};

/// The levels that may be used, and how one is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ladder {
    /// Ascending; gaps are allowed.
    pub(super) levels: Vec<u32>,
    /// Go to the level that an evaluation asks for instead of the next one.
    pub(super) skip_to_required: bool,
}

/// What happened.
#[derive(Debug)]
pub(super) enum Event {
    /// Nothing yet.
    Start,
    /// The present level judged the task.
    Evaluated(Result<Evaluation, JobError>),
    /// The present level did the task, or failed at it.
    Executed(Result<Product, JobError>),
}

/// What to do next.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    /// Ask this level whether it can do the task.
    Evaluate(u32),
    /// Let this level do it.
    Execute {
        /// The level.
        level: u32,
        /// It does not think that it can, but there is no other.
        forced: bool,
    },
    /// Finish with this, done by the present level.
    Finish(Product),
    /// Give up.
    Fail(JobError),
}

/// A level that was left, and what it found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Finding {
    /// The level.
    pub(super) level: u32,
    /// In words for the next level.
    pub(super) text: String,
}

/// A step from one level to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Step {
    /// The level that was left.
    pub(super) from: u32,
    /// The level that goes on.
    pub(super) to: u32,
    /// Why.
    pub(super) reason: String,
}

/// State of an escalation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Escalation {
    ladder: Ladder,
    at: usize,
    findings: Vec<Finding>,
    steps: Vec<Step>,
}

impl Escalation {
    /// An escalation that has not begun.
    #[must_use]
    pub(super) fn new(ladder: Ladder) -> Self {
        Self { ladder, at: 0, findings: Vec::new(), steps: Vec::new() }
    }

    /// The present level; 0 where there is none.
    #[must_use]
    pub(super) fn level(&self) -> u32 {
        self.ladder.levels.get(self.at).copied().unwrap_or_default()
    }

    /// Whether no level is left above the present one.
    #[must_use]
    pub(super) fn at_the_top(&self) -> bool {
        self.at + 1 >= self.ladder.levels.len()
    }

    /// What lower levels found, lowest first.
    #[must_use]
    pub(super) fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The steps up so far.
    #[must_use]
    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Takes in what happened and says what to do.
    pub(super) fn next(&mut self, event: Event) -> Action {
        match event {
            Event::Start if self.ladder.levels.is_empty() => {
                let message = "there is no tier at or below max_tier: raise max_tier or add a tier";
                Action::Fail(JobError::new(ErrorCode::HandoffFailed, message))
            }
            Event::Start => Action::Evaluate(self.level()),
            Event::Evaluated(Ok(evaluation)) if evaluation.can_handle => {
                Action::Execute { level: self.level(), forced: false }
            }
            // The last level does it in any case.
            Event::Evaluated(_) if self.at_the_top() => Action::Execute { level: self.level(), forced: true },
            Event::Evaluated(Ok(evaluation)) => {
                let reason = evaluation.reasoning.clone().unwrap_or_else(|| "it cannot handle the task".into());
                let finding = evaluation.finding();
                self.step_up(evaluation.requires_tier, reason, finding)
            }
            Event::Evaluated(Err(error)) => {
                let reason = format!("the evaluation failed: {error}");
                let finding = "its evaluation failed".to_owned();
                self.step_up(None, reason, finding)
            }
            Event::Executed(Ok(product)) => Action::Finish(product),
            Event::Executed(Err(error)) if self.at_the_top() => Action::Fail(error),
            Event::Executed(Err(error)) => {
                let reason = format!("the execution failed: {error}");
                let finding = format!("it tried and failed: {}", error.message);
                self.step_up(None, reason, finding)
            }
        }
    }

    fn step_up(&mut self, required: Option<u32>, reason: String, finding: String) -> Action {
        let from = self.level();
        self.findings.push(Finding { level: from, text: finding });
        let last = self.ladder.levels.len() - 1;
        let wanted = required.filter(|_| self.ladder.skip_to_required).unwrap_or_default();
        let next = (self.at + 1..=last).find(|i| self.ladder.levels[*i] >= wanted);
        self.at = next.unwrap_or(last);
        self.steps.push(Step { from, to: self.level(), reason });
        Action::Evaluate(self.level())
    }
}
