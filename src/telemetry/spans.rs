//! Spans with the names and attributes of OpenTelemetry's conventions for generative AI.
//!
//! `tracing` wants span names that are known at compile time: the name that traces show stands in `otel.name`.
//! Prompts, arguments and answers are attributes only where `telemetry.capture_content` is on.

use tracing::{Span, field::Empty};

use super::otlp;

/// The span of one delivery of a job, under the span that its sender named in `traceparent`. Lines logged within it say
/// whose they are: the job's id and, where there is one, the trace's.
#[must_use]
pub fn job(job_id: &str, traceparent: Option<&str>) -> Span {
    let span = tracing::info_span!(
        "job",
        otel.name = Empty,
        otel.kind = "consumer",
        otel.status_code = Empty,
        job_id,
        trace_id = Empty,
        error.r#type = Empty,
    );
    if otlp::is_on() {
        span.record("otel.name", "process job");
        if let Some(traceparent) = traceparent {
            otlp::continue_from(&span, traceparent);
        }
        for (name, value) in [
            ("messaging.system", "redis"),
            ("messaging.operation.name", "process"),
            ("messaging.operation.type", "process"),
            ("messaging.message.id", job_id),
        ] {
            otlp::attribute(&span, name, value.to_owned());
        }
    }
    if let Some(trace_id) = otlp::trace_id(&span).or_else(|| traceparent?.get(3..35).map(str::to_owned)) {
        span.record("trace_id", trace_id);
    }
    span
}

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
