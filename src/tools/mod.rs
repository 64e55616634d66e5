//! What a plan may do: each tool one file behind one trait.

mod execute_pipeline;
mod fetch;
mod gate;
pub mod mcp;
mod names;
mod openapi;
mod patch_workflow;
mod promoted;
mod search;
mod sources;
mod taint;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

pub use execute_pipeline::ExecutePipeline;
pub use gate::{Decision, Gate, PendingCall, decide, decision, is_call, sent, waited, why_it_waits};
pub use names::{Names, function_name};
pub use openapi::{KnownOperations, OpenApiAction};
pub use patch_workflow::{Commit, PatchWorkflow, Pending};
pub use promoted::{CallTool, SavedPipelines, SearchTools};
pub use search::{FindTools, Offered, SearchSource, ToolHit};
pub use sources::Sources;
pub use taint::{Taint, Watch};

use crate::{
    job::{ErrorCode, Event, Job, JobError, Lane, Meter, Preview, RawJson},
    llm::ToolSpec,
    store::Journal,
};

/// What surrounds a call.
#[derive(Clone, Copy)]
pub struct ToolContext<'a> {
    /// The job that calls. Owner and target of a change come from here, never from the arguments.
    pub job: &'a Job,
    /// The first data of the job, where it has any.
    pub data: Option<&'a RawJson>,
    /// What is on record of this job.
    pub journal: &'a Journal,
    /// Begins the names of the steps that the call itself puts on record: two calls of one tool in an agent's run
    /// must not take each other's records. Empty where a plan makes the calls.
    pub step: &'a str,
    /// What the job has spent.
    pub meter: &'a Meter,
    /// When the job's time is over.
    pub deadline: Instant,
    /// Fires when the job must stop.
    pub cancel: &'a CancellationToken,
    /// Records an event of the job.
    pub emit: &'a (dyn Fn(Event) + Send + Sync),
    /// What the run that calls has read from outside; nothing where a lane calls its own tool.
    pub watch: Option<&'a Watch>,
}

/// How a call ended.
#[derive(Debug, Clone)]
pub enum ToolEnd {
    /// It is done.
    Done(ToolOutput),
    /// It needs someone's approval first; [`Tool::resume`] goes on from what is given here.
    Park(RawJson),
    /// It looked something up for the planner; no job can end with that.
    Told(String),
}

/// What a call gave.
#[derive(Debug, Clone)]
pub struct ToolOutput {
    /// The lane's result when this call was the last one.
    pub result: RawJson,
    /// Which lane that is.
    pub lane: Lane,
    /// The short form for the producer.
    pub preview: Preview,
    /// The short form for a model.
    pub summary: String,
    /// What did not go as one may have thought.
    pub warnings: Vec<String>,
}

/// Whether a call may be made at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Permission {
    /// It may.
    #[default]
    Free,
    /// Someone has to agree to each call first.
    Approval,
}

/// What one call by an agent may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToolBounds {
    /// Longest time; the job's own end comes first.
    pub time: Duration,
    /// Bytes of the result that the model is told; the rest is cut off and said so.
    pub result_bytes: usize,
}

impl Default for ToolBounds {
    fn default() -> Self {
        Self { time: Duration::from_secs(300), result_bytes: 64 << 10 }
    }
}

/// What a call does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It changes nothing anywhere.
    Reads,
    /// It may be made again with the same arguments: it is idempotent, or keeps its own record.
    Repeatable,
    /// It has consequences that a second call would have again.
    Once,
}

/// A tool.
#[async_trait]
pub trait Tool: Send + Sync {
    /// How it is offered. The same bytes every time, so that the provider's prompt cache is hit.
    fn spec(&self) -> &ToolSpec;

    /// Whether an agent may call it by itself.
    fn permission(&self) -> Permission {
        Permission::Free
    }

    /// What one call by an agent may take.
    fn bounds(&self) -> ToolBounds {
        ToolBounds::default()
    }

    /// Whether this call changes nothing anywhere: such calls of one turn run side by side. Arguments that cannot be
    /// read do nothing either.
    fn only_reads(&self, arguments: &RawJson) -> bool {
        let _ = arguments;
        false
    }

    /// What this call does to the world.
    fn effect(&self, arguments: &RawJson) -> Effect {
        if self.only_reads(arguments) { Effect::Reads } else { Effect::Once }
    }

    /// Where data of strangers in the call's result comes from; nothing where it holds none.
    fn outside(&self, arguments: &RawJson, context: &ToolContext<'_>) -> Option<String> {
        let _ = (arguments, context);
        None
    }

    /// Whether this call has consequences that data of strangers must not bring about by itself.
    ///
    /// # Errors
    /// Whatever keeps the tool from knowing; then the call is not made.
    async fn has_consequences(&self, arguments: &RawJson, context: &ToolContext<'_>) -> Result<bool, JobError> {
        let _ = context;
        Ok(self.effect(arguments) != Effect::Reads)
    }

    /// Why arguments longer than `most` bytes are not taken.
    fn too_long(&self, arguments: &RawJson, most: usize) -> JobError {
        let message = format!("the arguments have {} bytes, at most {most} are taken", arguments.len());
        JobError::new(ErrorCode::LimitExceeded, message)
    }

    /// Does it.
    async fn call(&self, arguments: &RawJson, context: &ToolContext<'_>) -> Result<ToolEnd, JobError>;

    /// Whether a call at first only prepares something, and waits for the approval of that.
    fn prepares(&self, context: &ToolContext<'_>) -> bool {
        let _ = context;
        false
    }

    /// Does it, and calls `begins` when the call is really made: after whatever it has to wait for.
    async fn perform(
        &self,
        arguments: &RawJson,
        context: &ToolContext<'_>,
        begins: &(dyn Fn() + Send + Sync),
    ) -> Result<ToolEnd, JobError> {
        begins();
        self.call(arguments, context).await
    }

    /// Goes on with a call that was parked and has been approved since.
    async fn resume(&self, pending: &RawJson, context: &ToolContext<'_>) -> Result<ToolOutput, JobError> {
        let _ = (pending, context);
        Err(JobError::new(ErrorCode::Internal, format!("{} has nothing to resume", self.spec().name)))
    }
}
