//! One tool call of an agent: within bounds, told to whoever listens, and on record before the next step.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use tracing::Instrument;

use super::{Made, Stage, Timed, millis};
use crate::{
    agents::{
        run::AgentRun,
        trail::{Trail, TrailKind},
    },
    job::{ErrorCode, EventKind, JobError, RawJson, Tokens, ToolCallRecord, ToolStatus},
    llm::ToolCall,
    settings::limits,
    telemetry::{names, spans},
    tools::{Permission, Tool, ToolContext, ToolEnd, Watch},
};

/// What came of a call, as it goes on record.
#[derive(Debug, Serialize, Deserialize)]
struct Called {
    outcome: Result<String, JobError>,
    warnings: Vec<String>,
    /// Where data from outside in it came from.
    #[serde(default)]
    read: Vec<String>,
}

impl Stage<'_> {
    /// One call with its events and its record.
    pub(super) async fn call(
        &self,
        run: &AgentRun,
        call: &ToolCall,
        trail: &mut Trail,
        made: &mut Made,
    ) -> Result<String, JobError> {
        let step = format!("tool:{}:{}", self.scope, run.calls());
        let agent = run.seat().agent.as_str();
        let tainted_by = made.taint.seen().to_vec();
        let watch = Watch::over(made.taint.clone());
        let told = self
            .recorded(&step, trail, async {
                let mut warnings = Vec::new();
                let around = (format!("{step}:"), &watch);
                match self.observed(run, call, around, &mut warnings).await {
                    Err(error) if error.deferred || (error.retryable && !self.goes_on(run, &error)) => Err(error),
                    outcome => Ok(Called { outcome, warnings, read: watch.fresh() }),
                }
            })
            .await;
        let (outcome, ms) = match told {
            Ok(Timed { value: Called { outcome, warnings, read }, ms, cost_usd, .. }) => {
                read.iter().for_each(|source| made.taint.read(source));
                // An agent that a task was delegated to costs as well.
                made.spent(Tokens::default(), 0, cost_usd);
                made.warnings.extend(warnings);
                (outcome, ms)
            }
            Err(error) => (Err(error), 0),
        };
        let status = status(outcome.as_ref().err());
        let error = outcome.as_ref().err().map(ToString::to_string);
        let entry = trail.add(TrailKind::Tool);
        entry.agent_id = Some(agent.to_owned());
        entry.reason.clone_from(&error);
        entry.duration_ms = ms;
        let mut details = serde_json::json!({"tool": call.name, "status": status});
        if !tainted_by.is_empty() {
            details["tainted_by"] = tainted_by.into();
        }
        entry.details = Some(RawJson::of(&details));
        let args = shortened(&call.arguments);
        made.tool_calls.push(ToolCallRecord { tool: call.name.clone(), args, status, duration_ms: ms, error });
        outcome
    }

    /// The call itself, told to whoever listens.
    async fn observed(
        &self,
        run: &AgentRun,
        call: &ToolCall,
        around: (String, &Watch),
        warnings: &mut Vec<String>,
    ) -> Result<String, JobError> {
        let agent = run.seat().agent.as_str();
        self.emit(agent, EventKind::ToolStarted, &[("tool", call.name.clone())]);
        let started = Instant::now();
        let tool = self.own_tools(&run.seat().tools).find(|tool| tool.spec().name == call.name);
        let span = spans::execute_tool(&call.name, Some(&call.id), None);
        let outcome = match tool {
            Some(tool) => self.in_time(self.dispatch(&**tool, call, &around, warnings)).instrument(span.clone()).await,
            None => Err(self.no_such_tool(run, call)),
        };
        if let Err(error) = &outcome {
            spans::failed(&span, error.code.as_str());
        }
        let mut facts = vec![("tool", call.name.clone()), ("duration_ms", millis(started.elapsed()).to_string())];
        facts.extend(outcome.as_ref().err().map(|error| ("error", error.to_string())));
        self.emit(agent, EventKind::ToolFinished, &facts);
        // A label must stay bounded, whatever a model writes.
        let label = if tool.is_some() { call.name.clone() } else { "unknown".into() };
        let word = match status(outcome.as_ref().err()) {
            ToolStatus::Ok => "ok",
            ToolStatus::Refused => "refused",
            _ => "error",
        };
        metrics::counter!(names::TOOL_CALLS_TOTAL, "tool" => label, "outcome" => word).increment(1);
        outcome
    }

    fn no_such_tool(&self, run: &AgentRun, call: &ToolCall) -> JobError {
        let own = self.own_tools(&run.seat().tools).map(|tool| tool.spec().name.clone());
        let names: Vec<String> = own.chain(run.transfers().into_iter().map(|spec| spec.name)).collect();
        let message = match names.is_empty() {
            true => format!("there is no tool {:?}, nor any other: answer", call.name),
            false => format!("there is no tool {:?}: call one of {} or answer", call.name, names.join(", ")),
        };
        JobError::new(ErrorCode::LlmBadOutput, message).with_retryable(false)
    }

    async fn dispatch(
        &self,
        tool: &dyn Tool,
        call: &ToolCall,
        (step, watch): &(String, &Watch),
        warnings: &mut Vec<String>,
    ) -> Result<String, JobError> {
        let named = |error: JobError| if error.tool.is_some() { error } else { error.with_tool(call.name.as_str()) };
        if call.arguments.len() > limits::MAX_ARGUMENT_BYTES {
            let most = limits::MAX_ARGUMENT_BYTES;
            return Err(named(tool.too_long(&call.arguments, most)));
        }
        if tool.permission() == Permission::Approval {
            return Err(named(no_approval(&call.name)));
        }
        let bounds = tool.bounds();
        let deadline = self.deadline().min(Instant::now() + bounds.time);
        let context = ToolContext { step, deadline, watch: Some(watch), ..self.context };
        let work = tokio::time::timeout_at(deadline.into(), tool.call(&call.arguments, &context));
        match work.await {
            Ok(Ok(ToolEnd::Done(output))) => {
                warnings.extend(output.warnings);
                Ok(cut(output.summary, bounds.result_bytes))
            }
            Ok(Ok(ToolEnd::Told(text))) => Ok(cut(text, bounds.result_bytes)),
            Ok(Ok(ToolEnd::Park(_))) => Err(named(no_approval(&call.name))),
            Ok(Err(error)) => Err(named(error)),
            Err(_) if deadline >= self.context.deadline => Err(out_of_time()),
            Err(_) => {
                let message = format!("{} took longer than {} s: ask it for less", call.name, bounds.time.as_secs());
                Err(named(JobError::new(ErrorCode::LimitExceeded, message)))
            }
        }
    }
}

fn status(error: Option<&JobError>) -> ToolStatus {
    match error {
        None => ToolStatus::Ok,
        Some(error) if error.code == ErrorCode::HttpBlocked => ToolStatus::Refused,
        Some(_) => ToolStatus::Error,
    }
}

fn no_approval(tool: &str) -> JobError {
    let message = format!("{tool} needs an approval, which an agent cannot wait for");
    JobError::new(ErrorCode::HandoffFailed, message)
}

fn out_of_time() -> JobError {
    JobError::new(ErrorCode::Timeout, "the job's time was over before its agents were done: raise timeout_sec")
}

fn shortened(arguments: &RawJson) -> RawJson {
    if arguments.len() <= limits::RECORDED_ARGS_BYTES {
        return arguments.clone();
    }
    RawJson::of(&serde_json::json!({"bytes": arguments.len()}))
}

/// At most `most` bytes of a result, and a word about the rest.
fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        let all = text.len();
        text.truncate(text.floor_char_boundary(most));
        text.push_str(&format!("… (cut off: {all} bytes in all)"));
    }
    text
}
