//! A tool call as the outside sees it: its events, its record, its metrics.

use std::{future::Future, time::Instant};

use tracing::Instrument;

use super::handoff::Book;
use crate::{
    agents::Made,
    job::{ErrorCode, Event, EventKind, JobError, PlanOrigin, RawJson, ToolCallRecord, ToolStatus},
    llm::ToolCall,
    settings::limits,
    telemetry::{names, spans},
    tools::{ToolEnd, ToolOutput},
};

/// What is written down about a job on its way, whether it ends well or not.
#[derive(Debug, Default)]
pub struct Record {
    /// Every tool call, in order.
    pub tool_calls: Vec<ToolCallRecord>,
    /// What did not go as one may have thought.
    pub warnings: Vec<String>,
    /// Where the plan came from.
    pub plan: Option<PlanOrigin>,
    /// The handoff that is under way.
    pub handoff: Option<Box<Book>>,
}

impl Record {
    /// Takes in what came of a handoff.
    pub(super) fn take_in(&mut self, made: &mut Made) {
        self.tool_calls.append(&mut made.tool_calls);
        self.warnings.append(&mut made.warnings);
    }

    /// Notes a call that was not made.
    pub(super) fn skip(&mut self, call: &ToolCall) {
        let args = shortened(&call.arguments);
        let status = ToolStatus::Skipped;
        self.tool_calls.push(ToolCallRecord { tool: call.name.clone(), args, status, duration_ms: 0, error: None });
    }
}

/// A call that is about to be made.
pub struct Observed<'a> {
    /// Name of the tool, as it was asked for.
    pub tool: &'a str,
    /// The same for metrics, where names must be bounded.
    pub label: &'a str,
    /// The planner's id of the call, where it has one.
    pub call_id: Option<&'a str>,
    /// Its arguments.
    pub arguments: &'a RawJson,
    /// Whether it may only prepare something, and wait: then it is told of when it has not.
    pub prepares: bool,
    /// Records an event of the job.
    pub emit: &'a (dyn Fn(Event) + Send + Sync),
    /// Whether arguments may stand in traces.
    pub capture: bool,
}

impl Observed<'_> {
    /// Makes the call by awaiting `work`. Gives what came of it and the record of it: of calls that run side by side
    /// the records are put in order by whoever asked for them.
    pub async fn run<T: Outcome>(
        self,
        work: impl Future<Output = Result<T, JobError>>,
    ) -> (Result<T, JobError>, ToolCallRecord) {
        if !self.prepares {
            (self.emit)(Event::new(EventKind::ToolStarted).with("tool", self.tool));
        }
        let span = spans::execute_tool(self.tool, self.call_id, self.capture.then(|| self.arguments.as_str()));
        let started = Instant::now();
        let outcome = work.instrument(span.clone()).await;
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let error = outcome.as_ref().err();
        let (status, word) = match error {
            None => (ToolStatus::Ok, "ok"),
            Some(error) if error.code == ErrorCode::HttpBlocked => (ToolStatus::Refused, "refused"),
            Some(_) => (ToolStatus::Error, "error"),
        };
        if let Some(error) = error {
            spans::failed(&span, error.code.as_str());
        }
        let error = error.map(JobError::to_string);
        if !outcome.as_ref().is_ok_and(Outcome::waits) {
            metrics::counter!(names::TOOL_CALLS_TOTAL, "tool" => self.label.to_owned(), "outcome" => word).increment(1);
            self.tell_end(duration_ms, error.as_deref());
        }
        let args = shortened(self.arguments);
        (outcome, ToolCallRecord { tool: self.tool.to_owned(), args, status, duration_ms, error })
    }
}

impl Observed<'_> {
    fn tell_end(&self, duration_ms: u64, error: Option<&str>) {
        if self.prepares {
            (self.emit)(Event::new(EventKind::ToolStarted).with("tool", self.tool));
        }
        let finished = Event::new(EventKind::ToolFinished).with("tool", self.tool).with("duration_ms", duration_ms);
        (self.emit)(match error {
            Some(text) => finished.with("error", text),
            None => finished,
        });
    }
}

/// What a call can come to.
pub trait Outcome {
    /// The call was not made: it waits for approval.
    fn waits(&self) -> bool;
}

impl Outcome for ToolEnd {
    fn waits(&self) -> bool {
        matches!(self, Self::Park(_))
    }
}

impl Outcome for ToolOutput {
    fn waits(&self) -> bool {
        false
    }
}

/// Arguments as they are kept beside a result.
pub(super) fn shortened(arguments: &RawJson) -> RawJson {
    if arguments.len() <= limits::RECORDED_ARGS_BYTES {
        return arguments.clone();
    }
    let head: String = arguments.as_str().chars().take(200).collect();
    RawJson::of(&serde_json::json!({"shortened": head, "bytes": arguments.len()}))
}
