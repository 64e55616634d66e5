//! A job as a producer sends it, read in one pass over its bytes.
//!
//! Every field is first found as raw JSON and then read on its own, so that one bad field never hides the
//! `job_id` that its producer waits on. Large parts (`data`, `current_workflow`, …) stay slices of the message.

mod fields;
mod read;
mod token;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use self::token::Token;
use super::{Budget, Handoff, JobId, Owner, RawJson, Rejected};

/// Bounds on a message, checked before anything in it is interpreted.
#[derive(Debug, Clone, Copy)]
pub struct JobLimits {
    /// Longest message, in bytes.
    pub max_job_bytes: usize,
    /// Longest prompt, in bytes.
    pub max_prompt_bytes: usize,
}

/// The lane a producer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "plain words")]
pub enum LaneChoice {
    /// The intent decides, or `pipeline`, `patch_spec` or `handoff` where one is given.
    #[default]
    Auto,
    Execute,
    Patch,
    Handoff,
}

/// What a patch changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PatchTarget {
    /// The stored workflow.
    Workflow,
    /// One running instance.
    Run,
}

/// Order among jobs of one claimed batch, or of all jobs that come through the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[expect(missing_docs, reason = "plain words")]
pub enum Priority {
    High,
    #[default]
    Normal,
    Low,
}

/// A result of an earlier node that the job may work on.
#[derive(Debug, Clone, Default)]
pub struct PreviousResult {
    /// The node that made it.
    pub node_id: Option<String>,
    /// `artifact://…` or `cas://sha256:…`.
    pub result_ref: Option<String>,
    /// A bounded look at it.
    pub preview: Option<RawJson>,
    /// The rows themselves.
    pub data: Option<RawJson>,
}

/// What surrounds the job.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Oldest first.
    pub previous_results: Vec<PreviousResult>,
    /// Continues a conversation.
    pub session_id: Option<String>,
    /// Whatever the orchestrator keeps about the run.
    pub workflow_state: Option<RawJson>,
}

/// One job, checked. At least one of `prompt`, `pipeline`, `patch_spec` and `handoff` is there.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names are the contract's; docs/protocol.md explains each")]
pub struct Job {
    pub job_id: JobId,
    pub run_id: Option<String>,
    pub node_id: Option<String>,
    pub workflow_tag: Option<String>,
    pub workflow_owner: Option<String>,
    pub prompt: Option<Arc<str>>,
    pub current_workflow: Option<RawJson>,
    pub context: Context,
    /// The job's own time limit.
    pub timeout: Option<Duration>,
    /// Attempts already made elsewhere; they count towards `retry.max_attempts`.
    pub retry_count: u32,
    pub created_at: Option<String>,
    pub lane: LaneChoice,
    pub pipeline: Option<RawJson>,
    pub patch_spec: Option<RawJson>,
    pub patch_target: Option<PatchTarget>,
    pub dry_run: bool,
    pub require_approval: bool,
    pub input_ref: Option<String>,
    pub data: Option<RawJson>,
    pub handoff: Option<Handoff>,
    /// Earliest start, in milliseconds since the Unix epoch.
    pub run_at_ms: Option<u64>,
    pub delay_ms: Option<u64>,
    pub priority: Priority,
    pub budget: Budget,
    pub traceparent: Option<String>,
}

impl Job {
    /// Reads a message. What cannot be read is [`Rejected`], with the id wherever that much was legible.
    pub fn parse(message: &Bytes, limits: &JobLimits) -> Result<Self, Rejected> {
        read::job(message, limits)
    }

    /// Whose the job is, where it says so.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        self.workflow_owner.as_deref().and_then(Owner::of)
    }

    /// The prompt, or nothing for a ready-made job.
    #[must_use]
    pub fn prompt_text(&self) -> &str {
        self.prompt.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
