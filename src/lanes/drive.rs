//! Carries out what [`Turns`] asks for: the only place where a planner and tools meet.

use std::sync::Arc;

use crate::{
    job::{ErrorCode, Event as JobEvent, EventKind, Job, JobError, Lane, Preview, RawJson},
    llm::{CallContext, ToolCall},
    planner::{Brief, Planner, ToolReport, Turn},
    settings::limits,
    tools::{Tool, ToolContext, ToolEnd, ToolOutput},
};

use super::{
    LaneEnd,
    observe::{Observed, Record, shortened},
    turns::{Action, Bounds, Event, Turns},
};

/// One planner with its tools, on one job.
pub struct Drive<'a> {
    /// Who plans.
    pub planner: &'a dyn Planner,
    /// Whether each turn goes on record: because it is paid for, or because planning again would meet a workflow
    /// that the job itself has changed.
    pub on_record: bool,
    /// What may be called.
    pub tools: &'a [Arc<dyn Tool>],
    /// What the planner knows.
    pub brief: Brief<'a>,
    /// What surrounds a tool call.
    pub tool_context: ToolContext<'a>,
    /// What surrounds a model call.
    pub call_context: CallContext<'a>,
    /// Bounds of the loop.
    pub bounds: Bounds,
}

impl Drive<'_> {
    /// Runs the loop to its end.
    pub async fn run(self, record: &mut Record) -> Result<LaneEnd, JobError> {
        let mut turns = Turns::new(self.bounds);
        let mut output: Option<ToolOutput> = None;
        let mut event = Event::Start;
        let mut calls_made = 0_u32;
        loop {
            event = match turns.next(event) {
                Action::Plan => Event::Planned(self.plan(&turns).await?),
                Action::Call(call) => {
                    calls_made += 1;
                    // A second patch would be checked against a workflow that the first has changed.
                    if output.as_ref().is_some_and(|done| done.lane == Lane::Patch) {
                        record.skip(&call);
                        let content = "skipped: this job has changed the workflow already".to_owned();
                        event = Event::Called(Ok(ToolReport { ok: true, content }));
                        continue;
                    }
                    match self.call(&call, calls_made, record).await {
                        Ok(ToolEnd::Park(pending)) => return Ok(LaneEnd::Parked(pending)),
                        Ok(ToolEnd::Done(done)) => {
                            let report = ToolReport { ok: true, content: done.summary.clone() };
                            record.warnings.extend(done.warnings.iter().cloned());
                            output = Some(done);
                            Event::Called(Ok(report))
                        }
                        Err(error) => Event::Called(Err(error)),
                    }
                }
                Action::Finish => return output.map(LaneEnd::from).ok_or_else(no_output),
                Action::Answer(text) => return Ok(answer(&text)),
                Action::Fail(error) => return Err(error),
            };
        }
    }

    async fn plan(&self, turns: &Turns) -> Result<Turn, JobError> {
        let made = turns.transcript().len();
        let next = self.planner.next(&self.brief, turns.transcript(), &self.call_context);
        let turn = if self.on_record {
            let context = &self.tool_context;
            context.journal.step(&format!("turn:{made}"), context.meter, next).await?
        } else {
            next.await?
        };
        let Turn::Calls { calls, .. } = &turn else { return Ok(turn) };
        if calls.is_empty() {
            return Err(JobError::new(ErrorCode::LlmBadOutput, "the model neither answered nor called a tool"));
        }
        if calls.len() > limits::MAX_CALLS_PER_TURN {
            let message =
                format!("{} tool calls in one reply, at most {} are taken", calls.len(), limits::MAX_CALLS_PER_TURN);
            return Err(JobError::new(ErrorCode::LlmBadOutput, message));
        }
        for call in calls {
            let planned = JobEvent::new(EventKind::Plan).with("tool", call.name.as_str());
            (self.tool_context.emit)(planned.with_json("args", &shortened(&call.arguments)));
        }
        Ok(turn)
    }

    async fn call(&self, call: &ToolCall, number: u32, record: &mut Record) -> Result<ToolEnd, JobError> {
        // A label must stay bounded, whatever a model writes.
        let known = self.tools.iter().any(|tool| tool.spec().name == call.name);
        let label = if known { call.name.as_str() } else { "unknown" };
        let observed = Observed { tool: &call.name, label, arguments: &call.arguments, emit: self.tool_context.emit };
        observed.run(record, self.dispatch(call, number)).await
    }

    async fn dispatch(&self, call: &ToolCall, number: u32) -> Result<ToolEnd, JobError> {
        let Some(tool) = self.tools.iter().find(|tool| tool.spec().name == call.name) else {
            let names: Vec<_> = self.tools.iter().map(|tool| tool.spec().name.as_str()).collect();
            return Err(JobError::new(
                ErrorCode::LlmBadOutput,
                format!("there is no tool {:?}: call one of {}", call.name, names.join(", ")),
            )
            .with_retryable(false));
        };
        if call.arguments.len() > limits::MAX_ARGUMENT_BYTES {
            let message = format!(
                "the arguments have {} bytes, at most {} are taken",
                call.arguments.len(),
                limits::MAX_ARGUMENT_BYTES
            );
            return Err(JobError::new(ErrorCode::LimitExceeded, message).with_tool(call.name.as_str()));
        }
        let named = |mut error: JobError| {
            error.tool.get_or_insert_with(|| call.name.clone());
            error
        };
        if !self.on_record {
            return tool.call(&call.arguments, &self.tool_context).await.map_err(named);
        }
        let context = &self.tool_context;
        let mut done = None;
        // A mendable error is part of what the model was told, so it goes on record; a success ends the loop
        // and an error that the job retries must happen again.
        let told: Option<JobError> = context
            .journal
            .step(&format!("tool:{number}"), context.meter, async {
                match tool.call(&call.arguments, context).await.map_err(named) {
                    Err(error) if error.retryable => Err(error),
                    Err(error) => Ok(Some(error)),
                    Ok(end) => {
                        done = Some(end);
                        Ok(None)
                    }
                }
            })
            .await?;
        match (told, done) {
            (Some(error), _) => Err(error),
            (None, Some(end)) => Ok(end),
            // On record as done, but its output is not: calling again is safe, since tools with lasting
            // effects keep their own marks.
            (None, None) => tool.call(&call.arguments, context).await.map_err(named),
        }
    }
}

impl From<ToolOutput> for LaneEnd {
    fn from(output: ToolOutput) -> Self {
        Self::Done { lane: output.lane, result: output.result, preview: output.preview }
    }
}

fn answer(text: &str) -> LaneEnd {
    LaneEnd::Done {
        lane: Lane::Answer,
        result: RawJson::of(&serde_json::json!({"type": "text_response", "message": text})),
        preview: Preview::text(text),
    }
}

fn no_output() -> JobError {
    JobError::new(ErrorCode::Internal, "the plan ended without a result")
}

/// The planner of a job that brings its own plan: one call, no words.
pub struct ReadyPlan(pub ToolCall);

#[async_trait::async_trait]
impl Planner for ReadyPlan {
    async fn next(&self, _: &Brief<'_>, _: &[crate::planner::Exchange], _: &CallContext<'_>) -> Result<Turn, JobError> {
        Ok(Turn::Calls { calls: vec![self.0.clone()], text: String::new() })
    }
}

/// The ready plan of a job, if it brings one.
#[must_use]
pub fn ready_plan(job: &Job) -> Option<ReadyPlan> {
    let call = |name: &str, key: &str, plan: &RawJson| {
        let arguments = format!("{{\"{key}\":{}}}", plan.as_str());
        ReadyPlan(ToolCall { id: "ready".into(), name: name.into(), arguments: RawJson::from_trusted(arguments) })
    };
    let pipeline = || job.pipeline.as_ref().map(|plan| call("execute_pipeline", "pipeline", plan));
    let patch = || job.patch_spec.as_ref().map(|spec| call("patch_workflow", "patch_spec", spec));
    match job.lane {
        crate::job::LaneChoice::Patch => patch(),
        crate::job::LaneChoice::Execute => pipeline(),
        crate::job::LaneChoice::Handoff => None,
        crate::job::LaneChoice::Auto => patch().or_else(pipeline),
    }
}
