//! A conversation as the rest of the program sees it: serialisable, so that it can be journalled.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    job::{RawJson, Tokens},
    settings::limits::MAX_CALLS_PER_TURN,
};

/// One message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the roles of Chat Completions")]
pub enum Message {
    System(String),
    User(String),
    Assistant { text: String, calls: Vec<ToolCall> },
    Tool { call_id: String, name: String, content: String },
}

/// A call the model asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The server's id, or one of ours where the server gave none. Unique within a reply.
    pub id: String,
    /// Tool name as the model wrote it.
    pub name: String,
    /// Always well-formed JSON; `{}` where the model gave none. What is no JSON stands here as a text
    /// ([`ToolCall::is_unreadable`]), where the request asks for that.
    pub arguments: RawJson,
}

impl ToolCall {
    /// Whether the model wrote words where the arguments should stand: nobody can make the call.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        self.arguments.as_str().trim_start().starts_with('"')
    }
}

/// A tool as it is offered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// `[A-Za-z0-9_-]{1,64}`.
    pub name: String,
    /// What it does and when to use it.
    pub description: String,
    /// JSON Schema of the arguments.
    pub parameters: Value,
    /// Whether the server shall enforce the schema. We check in any case.
    pub strict: bool,
}

/// Whether the model must call a tool.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the choices of Chat Completions")]
pub enum ToolChoice {
    #[default]
    Auto,
    Required,
    None,
}

/// Structured output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResponseFormat {
    /// Name of the schema.
    pub name: String,
    /// JSON Schema of the answer.
    pub schema: Value,
}

/// One request. Unset fields take the configured defaults.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields of Chat Completions")]
pub struct ChatRequest {
    pub model: Option<String>,
    pub messages: Vec<Message>,
    pub tools: Vec<ToolSpec>,
    pub tool_choice: ToolChoice,
    pub temperature: Option<f64>,
    pub max_tokens: Option<u32>,
    pub response_format: Option<ResponseFormat>,
    /// Same key for requests that share their beginning, so that the provider's prompt cache is hit.
    pub prompt_cache_key: Option<String>,
    /// Whoever asks tells the model itself what is wrong with a reply: calls that cannot be read, too many of them, and
    /// a reply that is empty come as they are. Else such a request is sent again.
    pub mends: bool,
}

/// A whole reply. Has text, calls or both; neither only where the request [mends](ChatRequest::mends) that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatReply {
    /// What the model said in words; empty with bare tool calls.
    pub text: String,
    /// What it wants called, in order.
    pub calls: Vec<ToolCall>,
    /// What it cost, as far as the server said.
    pub tokens: Tokens,
    /// The model that answered.
    pub model: String,
}

impl ChatReply {
    /// Whether there is nothing to mend about it.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let says_something = !self.calls.is_empty() || !self.text.trim().is_empty();
        says_something && self.calls.len() <= MAX_CALLS_PER_TURN && !self.calls.iter().any(ToolCall::is_unreadable)
    }
}
