//! The request as it goes over the wire.
//!
//! Members stand in one order: tools and messages as early as can be, and what differs from job to job (the bound of the
//! answer, the key of the cache) behind them. So two requests that begin alike are alike byte for byte up to the first
//! difference of what they say, which is what provider prompt caches need.

use async_openai::types::chat::{
    ChatCompletionMessageToolCall, ChatCompletionMessageToolCalls, ChatCompletionRequestAssistantMessage,
    ChatCompletionRequestMessage, ChatCompletionRequestSystemMessage, ChatCompletionRequestToolMessage,
    ChatCompletionRequestUserMessage, ChatCompletionStreamOptions, ChatCompletionTool, ChatCompletionTools,
    FunctionCall, FunctionObject, ResponseFormat as WireFormat, ResponseFormatJsonSchema, ToolChoiceOptions,
};
use bytes::Bytes;
use serde::Serialize;

use super::{
    ChatRequest, Message, ResponseFormat, ToolCall, ToolChoice, ToolSpec,
    quirks::{Bound, Format, Quirks},
};

/// Longest name of a function, by the servers' rules.
const MAX_NAME_CHARS: usize = 64;

/// The fields of Chat Completions that we send.
#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<ChatCompletionStreamOptions>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ChatCompletionTools>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<ToolChoiceOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<WireFormat>,
    messages: Vec<ChatCompletionRequestMessage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_key: Option<&'a str>,
}

/// What fills the fields that a request leaves open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Defaults {
    pub(super) temperature: f64,
    pub(super) max_tokens: u32,
}

impl Defaults {
    /// The longest answer that `request` wants, in tokens.
    pub(super) fn answer(self, request: &ChatRequest) -> u32 {
        request.max_tokens.unwrap_or(self.max_tokens)
    }
}

/// Writes `request` for `model` in the manner that its server takes, for an answer of at most `max_tokens` tokens.
pub(super) fn write(request: &ChatRequest, model: &str, defaults: Defaults, max_tokens: u32, quirks: Quirks) -> Bytes {
    let body = Body {
        model,
        tools: request.tools.iter().map(|spec| tool(spec, quirks.strict)).collect(),
        // "auto" is what servers do by themselves when tools are there.
        tool_choice: match request.tool_choice {
            _ if request.tools.is_empty() || !quirks.tool_choice => None,
            ToolChoice::Auto => None,
            ToolChoice::Required => Some(ToolChoiceOptions::Required),
            ToolChoice::None => Some(ToolChoiceOptions::None),
        },
        response_format: request.response_format.as_ref().and_then(|wanted| format(wanted, quirks)),
        temperature: quirks.temperature.then_some(request.temperature.unwrap_or(defaults.temperature)),
        max_tokens: (quirks.bound == Bound::MaxTokens).then_some(max_tokens),
        max_completion_tokens: (quirks.bound == Bound::MaxCompletionTokens).then_some(max_tokens),
        stream: quirks.stream,
        stream_options: (quirks.stream && quirks.stream_options)
            .then_some(ChatCompletionStreamOptions { include_usage: Some(true), include_obfuscation: None }),
        prompt_cache_key: request.prompt_cache_key.as_deref().filter(|_| quirks.prompt_cache_key),
        messages: request.messages.iter().map(message).collect(),
    };
    // Strings, numbers and checked JSON: nothing in it can fail to be written.
    serde_json::to_vec(&body).unwrap_or_default().into()
}

fn tool(spec: &ToolSpec, strict: bool) -> ChatCompletionTools {
    ChatCompletionTools::Function(ChatCompletionTool {
        function: FunctionObject {
            name: spec.name.clone(),
            description: Some(spec.description.clone()),
            parameters: Some(spec.parameters.clone()),
            strict: (spec.strict && strict).then_some(true),
        },
    })
}

fn format(wanted: &ResponseFormat, quirks: Quirks) -> Option<WireFormat> {
    match quirks.format {
        Format::Schema => Some(WireFormat::JsonSchema {
            json_schema: ResponseFormatJsonSchema {
                description: None,
                name: wanted.name.clone(),
                schema: wanted.schema.clone(),
                strict: quirks.strict.then_some(true),
            },
        }),
        Format::Object => Some(WireFormat::JsonObject),
        Format::Plain => None,
    }
}

fn message(message: &Message) -> ChatCompletionRequestMessage {
    match message {
        Message::System(text) => ChatCompletionRequestSystemMessage::from(text.as_str()).into(),
        Message::User(text) => ChatCompletionRequestUserMessage::from(text.as_str()).into(),
        Message::Assistant { text, calls } => {
            let tool_calls: Vec<_> = calls.iter().map(call).collect();
            ChatCompletionRequestAssistantMessage {
                content: (!text.is_empty() || calls.is_empty()).then(|| text.as_str().into()),
                tool_calls: (!tool_calls.is_empty()).then_some(tool_calls),
                ..Default::default()
            }
            .into()
        }
        Message::Tool { call_id, content, .. } => {
            ChatCompletionRequestToolMessage { content: content.as_str().into(), tool_call_id: call_id.clone() }.into()
        }
    }
}

fn call(call: &ToolCall) -> ChatCompletionMessageToolCalls {
    ChatCompletionMessageToolCalls::Function(ChatCompletionMessageToolCall {
        id: call.id.clone(),
        function: FunctionCall { name: sent_name(&call.name), arguments: call.arguments.as_str().to_owned() },
    })
}

/// The name of a call as servers take it back: they refuse a conversation with any other, whoever wrote it.
fn sent_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
    name.chars().map(plain).take(MAX_NAME_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_model_made_up_does_not_spoil_the_conversation() {
        for (written, sent) in [
            ("transfer_to_billing", "transfer_to_billing"),
            ("transfer_to_ billing()", "transfer_to__billing__"),
            ("größe", "gr__e"),
        ] {
            assert_eq!(sent_name(written), sent);
        }
        assert_eq!(sent_name(&"x".repeat(100)).len(), MAX_NAME_CHARS);
    }
}
