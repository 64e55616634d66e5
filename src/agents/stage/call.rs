//! One tool call of an agent: within bounds, told to whoever listens, and on record before the next step.

use std::{sync::OnceLock, time::Instant};

use serde::{Deserialize, Serialize};
use tracing::Instrument;

use super::{Made, Report, Stage, Step, Timed, millis};
use crate::{
    agents::{
        run::AgentRun,
        trail::{Trail, TrailKind},
    },
    job::{ErrorCode, Event, EventKind, JobError, RawJson, Tokens, ToolCallRecord, ToolStatus},
    llm::ToolCall,
    queue::failpoint,
    settings::limits,
    telemetry::{names, spans},
    tools::{Permission, Tool, ToolContext, ToolEnd, Watch, sent},
};

/// What came of a call, as it goes on record.
#[derive(Debug, Serialize, Deserialize)]
struct Called {
    outcome: Result<String, JobError>,
    warnings: Vec<String>,
    /// Where data from outside in it came from.
    #[serde(default)]
    read: Vec<String>,
    /// Of a call that delegated.
    report: Option<Report>,
}

impl Stage<'_> {
    /// One call with its events and its record.
    pub(super) async fn call(
        &self,
        run: &mut AgentRun,
        call: &ToolCall,
        trail: &mut Trail,
        made: &mut Made,
    ) -> Result<String, JobError> {
        let step = format!("tool:{}:{}", self.scope, run.calls());
        made.order(run, trail);
        let tainted_by = made.taint.seen().to_vec();
        let watch = Watch::over(made.taint.clone());
        let (asked, errands) = (&*run, &made.errands);
        let told = self
            .recorded(Step::Free(&step), trail, async {
                let mut warnings = Vec::new();
                let within = format!("{step}:");
                match self.observed(asked, call, (&within, &watch), &mut warnings).await {
                    Err(error) if error.deferred || (error.retryable && !self.goes_on(asked, &error)) => Err(error),
                    outcome => Ok(Called { outcome, warnings, read: watch.fresh(), report: errands.report() }),
                }
            })
            .await;
        failpoint::reach("tool_made");
        let (outcome, report, ms) = match told {
            Ok(Timed { value: Called { outcome, warnings, read, report }, ms, cost_usd, .. }) => {
                read.iter().for_each(|source| made.taint.read(source));
                made.warnings.extend(warnings);
                // What delegated work has cost stands in its report, also where a part of it was paid for before a death.
                made.spent(Tokens::default(), 0, if report.is_some() { 0.0 } else { cost_usd });
                (outcome, report, ms)
            }
            Err(error) => (Err(error), made.errands.report(), 0),
        };
        if let Some(report) = report {
            run.count_elsewhere(made.take_in(report, trail));
        }
        let agent = run.seat().agent.as_str();
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
        around: (&str, &Watch),
        warnings: &mut Vec<String>,
    ) -> Result<String, JobError> {
        let (journal, meter) = (self.context.journal, self.context.meter);
        let agent = run.seat().agent.as_str();
        let event = |kind| Event::new(kind).with("agent_id", agent).with("tool", call.name.as_str());
        // A call that is put off in the middle, since an agent that it delegates to waits, is told of once; so is one that
        // an earlier delivery made, whose outcome is not known.
        let mark = format!("{}told", around.0);
        let told = journal.has(&[&mark, &sent(around.0)], meter).await?;
        let began = OnceLock::new();
        let begins = || {
            if began.set(Instant::now()).is_ok() && !told {
                (self.context.emit)(event(EventKind::ToolStarted));
            }
        };
        let tool = self.tools.offered(&run.seat().tools).into_iter().find(|tool| tool.spec().name == call.name);
        let span = spans::execute_tool(&call.name, Some(&call.id), None);
        let outcome = match &tool {
            Some(tool) => {
                let made = self.dispatch(&**tool, call, around, &begins, warnings);
                self.in_time(made).instrument(span.clone()).await
            }
            None => {
                begins();
                Err(self.no_such_tool(run, call))
            }
        };
        if outcome.as_ref().is_err_and(|error| error.deferred) {
            if began.get().is_some() && !told {
                journal.mark(&mark, meter).await?;
            }
            return outcome;
        }
        if let Err(error) = &outcome {
            spans::failed(&span, error.code.as_str());
        }
        if let Some(began) = began.get() {
            let finished = event(EventKind::ToolFinished).with("duration_ms", millis(began.elapsed()));
            (self.context.emit)(match &outcome {
                Ok(_) => finished,
                Err(error) => finished.with("error", error.to_string()),
            });
        }
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
        let own = self.tools.offered(&run.seat().tools);
        let own = own.iter().map(|tool| tool.spec().name.clone());
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
        (step, watch): (&str, &Watch),
        begins: &(dyn Fn() + Send + Sync),
        warnings: &mut Vec<String>,
    ) -> Result<String, JobError> {
        let named = |error: JobError| if error.tool.is_some() { error } else { error.with_tool(call.name.as_str()) };
        if call.is_unreadable() {
            let message = format!("the arguments of {} are not JSON: call it again with one JSON object", call.name);
            return Err(named(JobError::new(ErrorCode::LlmBadOutput, message).with_retryable(false)));
        }
        if call.arguments.len() > limits::MAX_ARGUMENT_BYTES {
            let most = limits::MAX_ARGUMENT_BYTES;
            begins();
            return Err(named(tool.too_long(&call.arguments, most)));
        }
        if tool.permission() == Permission::Approval {
            begins();
            return Err(named(no_approval(&call.name)));
        }
        let bounds = tool.bounds();
        let deadline = self.deadline().min(Instant::now() + bounds.time);
        let context = ToolContext { step, deadline, watch: Some(watch), ..self.context };
        let work = tokio::time::timeout_at(deadline.into(), tool.perform(&call.arguments, &context, begins));
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
