//! From a task in words to tool calls: by the offline grammar, or by a model.
//!
//! A planner keeps no state. Everything said so far is in the transcript, so a conversation can be
//! journalled, resumed and replayed.

mod model;
mod promoted;
mod rules;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    job::{Intent, Job, JobError},
    llm::{CallContext, ToolCall, ToolSpec},
    store::Session,
};

pub use crate::table::Column;
pub use model::{ModelPlanner, Reference};
pub use promoted::{Catalogue, Found, Match, Parameter, Promoted, PromotedPlanner, lesson, signature};
pub use rules::RulesPlanner;

/// Everything a planner may know.
pub struct Brief<'a> {
    /// The job.
    pub job: &'a Job,
    /// What was decided about it.
    pub intent: &'a Intent,
    /// The tools that may be called.
    pub tools: &'a [ToolSpec],
    /// Columns of the first data, where there is any.
    pub columns: Option<&'a [Column]>,
    /// How many rows the first data has.
    pub row_count: Option<usize>,
    /// The workflow in its normal form (`{"nodes":[…],"edges":[…]}`), where there is one.
    pub workflow: Option<&'a serde_json::Value>,
    /// What was asked in the same session before, and what came of it.
    pub session: Option<&'a Session>,
}

/// What a planner wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Turn {
    /// Call these, in order; `text` is what was said beside it.
    Calls {
        /// At least one.
        calls: Vec<ToolCall>,
        /// Usually empty.
        text: String,
    },
    /// The answer, in words.
    Answer(String),
}

/// One finished turn: what was asked and what came of each call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    /// What the planner said beside the calls.
    pub text: String,
    /// The calls with what is told about each, in order.
    pub calls: Vec<(ToolCall, ToolReport)>,
}

/// What a planner is told about a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolReport {
    /// Whether it did what was asked.
    pub ok: bool,
    /// Whether the job can end with it; looking something up is only a step on the way.
    pub concludes: bool,
    /// A bounded account of the result or the error.
    pub content: String,
}

impl ToolReport {
    /// A call that did what was asked.
    #[must_use]
    pub fn done(content: impl Into<String>) -> Self {
        Self { ok: true, concludes: true, content: content.into() }
    }

    /// A call that found out something for the planner.
    #[must_use]
    pub fn told(content: impl Into<String>) -> Self {
        Self { ok: true, concludes: false, content: content.into() }
    }

    /// A call that failed.
    #[must_use]
    pub fn failed(content: impl Into<String>) -> Self {
        Self { ok: false, concludes: false, content: content.into() }
    }
}

/// Plans.
#[async_trait]
pub trait Planner: Send + Sync {
    /// Whether the next turn, after `transcript`, is a model's, so that it is paid for.
    fn asks(&self, transcript: &[Exchange]) -> bool {
        let _ = transcript;
        false
    }

    /// The next turn, given everything before it.
    ///
    /// # Errors
    /// `planner_cannot` with what would work, or whatever the model's side failed with.
    async fn next(
        &self,
        brief: &Brief<'_>,
        transcript: &[Exchange],
        context: &CallContext<'_>,
    ) -> Result<Turn, JobError>;
}
