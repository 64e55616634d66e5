//! One tool of an MCP server, as an agent calls it.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Lease, ListedTool};
use crate::{
    job::{ErrorCode, JobError, Lane, Preview, RawJson},
    llm::ToolSpec,
    tools::{Effect, Tool, ToolBounds, ToolContext, ToolEnd, ToolOutput},
};

/// Bytes of an answer that a model is told.
const RESULT_BYTES: usize = 64 << 10;

/// Bytes of an error that a model is told: errors stand in events and trails, too.
const ERROR_BYTES: usize = 8 << 10;

/// A tool of a server. It holds the server, which stays while anybody may still call it.
pub struct McpTool {
    spec: ToolSpec,
    listed: ListedTool,
    lease: Arc<Lease>,
}

impl McpTool {
    /// The tool `listed` of the server behind `lease`.
    #[must_use]
    pub fn new(listed: ListedTool, lease: Arc<Lease>) -> Self {
        let spec = ToolSpec {
            name: listed.function.clone(),
            description: listed.description.clone(),
            parameters: listed.schema.clone(),
            strict: false,
        };
        Self { spec, listed, lease }
    }

    /// As the server calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.listed.name
    }

    fn told(&self, why: &str) -> JobError {
        let why = cut(why, ERROR_BYTES);
        let server = self.lease.spec().name.as_str();
        JobError::new(ErrorCode::HandoffFailed, format!("the MCP server {server}, tool {}: {why}", self.listed.name))
            .with_retryable(false)
            .with_tool(self.spec.name.as_str())
            .with_detail("server", server)
    }

    fn output(&self, text: &str) -> ToolOutput {
        let text = cut(text, RESULT_BYTES);
        ToolOutput {
            result: RawJson::of(&json!({"type": "text_response", "tool": self.spec.name, "message": text})),
            lane: Lane::Handoff,
            preview: Preview::text(&text),
            summary: text,
            warnings: Vec::new(),
        }
    }
}

fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    format!("{}… (cut off: {} bytes in all)", &text[..text.floor_char_boundary(most)], text.len())
}

#[async_trait]
impl Tool for McpTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn bounds(&self) -> ToolBounds {
        // A server that has to be started first may take as long again.
        ToolBounds { time: self.lease.spec().timeout * 2, result_bytes: RESULT_BYTES + 64 }
    }

    fn only_reads(&self, _: &RawJson) -> bool {
        self.listed.reads
    }

    fn effect(&self, _: &RawJson) -> Effect {
        match (self.listed.reads, self.listed.repeats) {
            (true, _) => Effect::Reads,
            (false, true) => Effect::Repeatable,
            (false, false) => Effect::Once,
        }
    }

    /// What a tool says of itself. Most say nothing: asking about each of their calls would make people approve blindly.
    async fn has_consequences(&self, _: &RawJson, _: &ToolContext<'_>) -> Result<bool, JobError> {
        Ok(self.listed.changes)
    }

    /// Whatever the server's tool is for, its words are not ours.
    fn outside(&self, _: &RawJson, _: &ToolContext<'_>) -> Option<String> {
        Some(format!("mcp:{}/{}", self.lease.spec().name, self.listed.name))
    }

    async fn call(&self, arguments: &RawJson, _: &ToolContext<'_>) -> Result<ToolEnd, JobError> {
        let arguments = match arguments.to_value() {
            Ok(Value::Object(arguments)) => arguments,
            Ok(Value::Null) => serde_json::Map::new(),
            _ => return Err(self.told("the arguments must be an object")),
        };
        let called = self.lease.call(&self.listed.name, arguments).await;
        Ok(ToolEnd::Done(self.output(&called.map_err(|why| self.told(&why))?)))
    }
}
