//! Carries out what [`Turns`] asks for: the only place where a planner and tools meet.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

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
    /// Whether arguments may stand in traces.
    pub capture_content: bool,
}

/// What is on record of a call. Its output is not: calling again is safe, since tools with lasting effects keep their
/// own marks.
#[derive(Serialize, Deserialize)]
enum OnRecord {
    Done,
    /// A mendable error is part of what the model was told. An error that the job retries must happen again.
    Failed(JobError),
    /// What was looked up may be another thing by now.
    Told(String),
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
                Action::Plan => {
                    let turn = self.plan(&turns, record).await?;
                    Event::Planned { reads: self.reads(&turn), turn }
                }
                // A second patch would be checked against a workflow that the first has changed.
                Action::Call(calls) if output.as_ref().is_some_and(|done| done.lane == Lane::Patch) => {
                    calls.iter().for_each(|call| record.skip(call));
                    let skipped = || Ok(ToolReport::done("skipped: this job has changed the workflow already"));
                    Event::Called(calls.iter().map(|_| skipped()).collect())
                }
                Action::Call(calls) => {
                    let ends = self.calls(&calls, calls_made + 1, record).await;
                    calls_made += u32::try_from(calls.len()).unwrap_or(u32::MAX);
                    let mut reports = Vec::with_capacity(ends.len());
                    for end in ends {
                        reports.push(match end {
                            Ok(ToolEnd::Park(pending)) => return Ok(LaneEnd::Parked(pending)),
                            Ok(ToolEnd::Told(text)) => Ok(ToolReport::told(text)),
                            Ok(ToolEnd::Done(done)) => {
                                record.warnings.extend(done.warnings.iter().cloned());
                                Ok(ToolReport::done(output.insert(done).summary.as_str()))
                            }
                            Err(error) => Err(error),
                        });
                    }
                    Event::Called(reports)
                }
                Action::Finish => return output.map(LaneEnd::from).ok_or_else(no_output),
                Action::Answer(text) => return Ok(answer(&text)),
                Action::Fail(error) => return Err(error),
            };
        }
    }

    async fn plan(&self, turns: &Turns, record: &mut Record) -> Result<Turn, JobError> {
        let made = turns.transcript().len();
        let next = self.planner.next(&self.brief, turns.transcript(), &self.call_context);
        let turn = if self.on_record {
            let context = &self.tool_context;
            let step = format!("turn:{made}");
            let turn = match self.planner.asks(turns.transcript()) {
                true => context.journal.paid(&step, context.meter, next).await,
                false => context.journal.step(&step, context.meter, next).await,
            };
            record.tool_calls.extend(context.journal.unreadable(&step, context.meter).await?);
            turn?
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
            (self.tool_context.emit)(planned.with_json("args", &shortened(&call.arguments).without_secrets()));
        }
        Ok(turn)
    }

    /// Which calls of a turn only read. Of a single call nobody asks: it has no neighbours.
    fn reads(&self, turn: &Turn) -> Vec<bool> {
        let Turn::Calls { calls, .. } = turn else { return Vec::new() };
        if calls.len() < 2 {
            return Vec::new();
        }
        // A tool that is not there does nothing, and arguments that are too long are not looked at.
        let reads = |call: &ToolCall| {
            call.arguments.len() > limits::MAX_ARGUMENT_BYTES
                || self.tool(&call.name).is_none_or(|tool| tool.only_reads(&call.arguments))
        };
        calls.iter().map(reads).collect()
    }

    /// Makes calls side by side, the first of them with number `first`. Their ends and their records stand in the
    /// order of the calls.
    async fn calls(&self, calls: &[ToolCall], first: u32, record: &mut Record) -> Vec<Result<ToolEnd, JobError>> {
        let alone = calls.len() == 1;
        let work = calls.iter().zip(first..).map(|(call, number)| async move {
            let journal = self.tool_context.journal.scoped(&format!("call:{number}"));
            let scoped = ToolContext { journal: &journal, ..self.tool_context };
            let context = if alone { &self.tool_context } else { &scoped };
            // A label must stay bounded, whatever a model writes.
            let label = self.tool(&call.name).map_or("unknown", |_| call.name.as_str());
            let observed = Observed {
                tool: &call.name,
                label,
                call_id: Some(&call.id),
                arguments: &call.arguments,
                prepares: self.tool(&call.name).is_some_and(|tool| tool.prepares(context)),
                emit: context.emit,
                capture: self.capture_content,
            };
            observed.run(self.dispatch(call, number, context)).await
        });
        let done = futures::future::join_all(work).await;
        let mut ends = Vec::with_capacity(done.len());
        for (end, made) in done {
            record.tool_calls.push(made);
            ends.push(end);
        }
        ends
    }

    fn tool(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.tools.iter().find(|tool| tool.spec().name == name)
    }

    async fn dispatch(&self, call: &ToolCall, number: u32, context: &ToolContext<'_>) -> Result<ToolEnd, JobError> {
        let Some(tool) = self.tool(&call.name) else {
            let names: Vec<_> = self.tools.iter().map(|tool| tool.spec().name.as_str()).collect();
            return Err(JobError::new(
                ErrorCode::LlmBadOutput,
                format!("there is no tool {:?}: call one of {}", call.name, names.join(", ")),
            )
            .with_retryable(false));
        };
        if call.arguments.len() > limits::MAX_ARGUMENT_BYTES {
            let error = tool.too_long(&call.arguments, limits::MAX_ARGUMENT_BYTES);
            return Err(error.with_tool(call.name.as_str()));
        }
        let named = |mut error: JobError| {
            error.tool.get_or_insert_with(|| call.name.clone());
            error
        };
        let make = || async { tool.call(&call.arguments, context).await.map_err(named) };
        if !self.on_record {
            return make().await;
        }
        let mut fresh = None;
        let known = context
            .journal
            .step(&format!("tool:{number}"), context.meter, async {
                match make().await {
                    Err(error) if error.retryable => Err(error),
                    Err(error) => Ok(OnRecord::Failed(error)),
                    Ok(ToolEnd::Told(text)) => Ok(OnRecord::Told(text)),
                    Ok(end) => {
                        fresh = Some(end);
                        Ok(OnRecord::Done)
                    }
                }
            })
            .await?;
        match (known, fresh) {
            (OnRecord::Failed(error), _) => Err(error),
            (OnRecord::Told(text), _) => Ok(ToolEnd::Told(text)),
            (OnRecord::Done, Some(end)) => Ok(end),
            (OnRecord::Done, None) => make().await,
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
