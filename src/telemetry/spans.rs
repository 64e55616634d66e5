//! Spans with the names and attributes of OpenTelemetry's conventions for generative AI.
//!
//! `tracing` wants span names that are known at compile time: the name that traces show stands in `otel.name`.
//! Prompts, arguments and answers are attributes only where `telemetry.capture_content` is on.

use tracing::{Span, field::Empty};

/// The span of one call of a model.
#[derive(Debug, Clone, Copy)]
pub struct Chat<'a> {
    /// Who is asked: `openai`, `anthropic`, ….
    pub provider: &'a str,
    /// The model that is asked for.
    pub model: &'a str,
    /// Host of the server.
    pub host: &'a str,
    /// Port of the server.
    pub port: u16,
    /// Longest answer in tokens.
    pub max_tokens: u32,
    /// How much chance is wanted.
    pub temperature: f64,
    /// Whether the answer was asked for in pieces.
    pub stream: bool,
}

/// `chat {model}`.
#[must_use]
pub fn chat(call: Chat<'_>) -> Span {
    tracing::info_span!(
        "chat",
        otel.name = format!("chat {}", call.model),
        otel.kind = "client",
        otel.status_code = Empty,
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = call.provider,
        gen_ai.request.model = call.model,
        gen_ai.request.max_tokens = call.max_tokens,
        gen_ai.request.temperature = call.temperature,
        gen_ai.request.stream = call.stream,
        gen_ai.response.model = Empty,
        gen_ai.response.id = Empty,
        gen_ai.response.finish_reasons = Empty,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
        gen_ai.usage.cache_read.input_tokens = Empty,
        gen_ai.input.messages = Empty,
        gen_ai.output.messages = Empty,
        server.address = call.host,
        server.port = call.port,
        error.r#type = Empty,
    )
}

/// `execute_tool {name}`; `arguments` only where content may be captured.
#[must_use]
pub fn execute_tool(name: &str, call_id: Option<&str>, arguments: Option<&str>) -> Span {
    tracing::info_span!(
        "execute_tool",
        otel.name = format!("execute_tool {name}"),
        otel.kind = "internal",
        otel.status_code = Empty,
        gen_ai.operation.name = "execute_tool",
        gen_ai.tool.name = name,
        gen_ai.tool.r#type = "function",
        gen_ai.tool.call.id = call_id,
        gen_ai.tool.call.arguments = arguments,
        gen_ai.tool.call.result = Empty,
        error.r#type = Empty,
    )
}

/// Marks a span as failed with a stable error code.
pub fn failed(span: &Span, code: &str) {
    span.record("error.type", code);
    span.record("otel.status_code", "ERROR");
}
