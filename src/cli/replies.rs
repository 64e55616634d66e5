//! `run --replies`: a model that says what a file says, to try agents and test them without any model.

use std::{collections::VecDeque, path::Path};

use async_trait::async_trait;
use parking_lot::Mutex;
use serde::Deserialize;

use super::Failure;
use crate::{
    job::{ErrorCode, JobError, RawJson, Tokens},
    llm::{CallContext, ChatModel, ChatReply, ChatRequest, ToolCall},
};

/// One line of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default)]
    text: String,
    #[serde(default)]
    calls: Vec<Call>,
    /// The code of an error, in place of a reply.
    error: Option<ErrorCode>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    name: String,
    arguments: Option<RawJson>,
}

/// Replies in the order of a file.
pub(super) struct Replies(Mutex<VecDeque<Line>>);

impl Replies {
    /// Reads a file: one JSON object a line, `#` before remarks.
    pub(super) fn load(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|e| Failure::Usage(format!("{shown}: {e}")))?;
        let lines = text.lines().enumerate();
        let lines = lines.filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
        let read = |(i, line): (usize, &str)| {
            serde_json::from_str(line).map_err(|e| {
                Failure::Usage(format!(
                    "{shown}:{}: {e}: a line is {{\"text\": …}}, {{\"calls\": [{{\"name\", \"arguments\"}}]}} or {{\"error\": code}}",
                    i + 1
                ))
            })
        };
        lines.map(read).collect::<Result<VecDeque<Line>, _>>().map(|lines| Self(Mutex::new(lines)))
    }

    /// How many were not asked for.
    pub(super) fn left(&self) -> usize {
        self.0.lock().len()
    }
}

#[async_trait]
impl ChatModel for Replies {
    async fn chat(&self, _: &ChatRequest, context: &CallContext<'_>) -> Result<ChatReply, JobError> {
        context.meter.begin_request()?;
        let Some(line) = self.0.lock().pop_front() else {
            let message = "the file of replies has no more lines: add one for this model call";
            return Err(JobError::new(ErrorCode::LlmUnavailable, message).with_retryable(false));
        };
        if let Some(code) = line.error {
            return Err(JobError::new(code, "so the file of replies says"));
        }
        if let Some(tell) = context.on_text {
            line.text.split_inclusive(' ').for_each(tell);
        }
        let call = |(i, call): (usize, Call)| ToolCall {
            id: format!("call_{}", i + 1),
            name: call.name,
            arguments: call.arguments.unwrap_or_else(|| RawJson::from_trusted("{}")),
        };
        let calls = line.calls.into_iter().enumerate().map(call).collect();
        Ok(ChatReply { text: line.text, calls, tokens: Tokens::default(), model: "replies".into() })
    }
}
