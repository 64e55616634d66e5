//! A tool call as the outside sees it: its events, its record, its metrics.

use std::{future::Future, time::Instant};

use crate::{
    job::{ErrorCode, Event, EventKind, JobError, RawJson, ToolCallRecord, ToolStatus},
    llm::ToolCall,
    settings::limits,
    telemetry::names,
};

/// What is written down about a job on its way, whether it ends well or not.
#[derive(Debug, Default)]
pub struct Record {
    /// Every tool call, in order.
    pub tool_calls: Vec<ToolCallRecord>,
    /// What did not go as one may have thought.
    pub warnings: Vec<String>,
}

impl Record {
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
    /// Its arguments.
    pub arguments: &'a RawJson,
    /// Records an event of the job.
    pub emit: &'a (dyn Fn(Event) + Send + Sync),
}

impl Observed<'_> {
    /// Makes the call by awaiting `work`.
    pub async fn run<T>(
        self,
        record: &mut Record,
        work: impl Future<Output = Result<T, JobError>>,
    ) -> Result<T, JobError> {
        (self.emit)(Event::new(EventKind::ToolStarted).with("tool", self.tool));
        let started = Instant::now();
        let outcome = work.await;
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let error = outcome.as_ref().err();
        let (status, word) = match error {
            None => (ToolStatus::Ok, "ok"),
            Some(error) if error.code == ErrorCode::HttpBlocked => (ToolStatus::Refused, "refused"),
            Some(_) => (ToolStatus::Error, "error"),
        };
        metrics::counter!(names::TOOL_CALLS_TOTAL, "tool" => self.label.to_owned(), "outcome" => word).increment(1);
        let error = error.map(JobError::to_string);
        let finished = Event::new(EventKind::ToolFinished).with("tool", self.tool).with("duration_ms", duration_ms);
        (self.emit)(match &error {
            Some(text) => finished.with("error", text.as_str()),
            None => finished,
        });
        let args = shortened(self.arguments);
        record.tool_calls.push(ToolCallRecord { tool: self.tool.to_owned(), args, status, duration_ms, error });
        outcome
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
