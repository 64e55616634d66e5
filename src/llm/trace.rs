//! What traces show of a model call: the attributes of the conventions for generative AI, content only where asked.

use serde_json::{Value, json};
use tracing::Span;

use super::{ChatRequest, Message, ToolCall, route::Leg, stream::Assembled};
use crate::{job::Tokens, telemetry::spans};

/// Hosts and the names that the conventions have for who runs them.
const PROVIDERS: &[(&str, &str)] = &[
    ("azure.com", "azure.ai.openai"),
    ("anthropic.com", "anthropic"),
    ("googleapis.com", "gcp.gemini"),
    ("deepseek.com", "deepseek"),
    ("mistral.ai", "mistral_ai"),
    ("groq.com", "groq"),
    ("perplexity.ai", "perplexity"),
    ("cohere.com", "cohere"),
    ("x.ai", "x_ai"),
];

/// Who runs the server at `host`. Of a server that nobody knows it is known that it speaks OpenAI's protocol.
pub(super) fn provider(host: &str) -> &'static str {
    let runs = |domain: &str| host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    PROVIDERS.iter().find(|(domain, _)| runs(domain)).map_or("openai", |(_, name)| name)
}

/// The span of a call to one model, retries included.
pub(super) fn chat(leg: Leg<'_>, request: &ChatRequest, capture: bool) -> Span {
    let (endpoint, defaults) = (&leg.route.endpoint, leg.route.defaults);
    let span = spans::chat(spans::Chat {
        provider: endpoint.provider,
        model: leg.model,
        host: endpoint.url.host_str().unwrap_or_default(),
        port: endpoint.url.port_or_known_default().unwrap_or_default(),
        max_tokens: request.max_tokens.unwrap_or(defaults.max_tokens),
        temperature: request.temperature.unwrap_or(defaults.temperature),
        stream: endpoint.memory.of(leg.model).stream,
    });
    if capture && !span.is_disabled() {
        let messages: Vec<Value> = request.messages.iter().map(message).collect();
        span.record("gen_ai.input.messages", Value::from(messages).to_string());
    }
    span
}

/// Notes the answer on the span of its call.
pub(super) fn answered(span: &Span, answer: &Assembled, capture: bool) {
    if span.is_disabled() {
        return;
    }
    let seen = &answer.seen;
    for (name, value) in [("gen_ai.response.model", &seen.model), ("gen_ai.response.id", &seen.id)] {
        if !value.is_empty() {
            span.record(name, value.as_str());
        }
    }
    if !seen.finish.is_empty() {
        span.record("gen_ai.response.finish_reasons", json!([seen.finish]).to_string());
    }
    if let Some(Tokens { prompt, completion, cached }) = answer.usage {
        span.record("gen_ai.usage.input_tokens", prompt);
        span.record("gen_ai.usage.output_tokens", completion);
        span.record("gen_ai.usage.cache_read.input_tokens", cached);
    }
    if capture {
        let mut said = said("assistant", &answer.text, &answer.calls);
        said["finish_reason"] = seen.finish.as_str().into();
        span.record("gen_ai.output.messages", json!([said]).to_string());
    }
}

/// A message as the conventions write it.
fn message(message: &Message) -> Value {
    match message {
        Message::System(text) => said("system", text, &[]),
        Message::User(text) => said("user", text, &[]),
        Message::Assistant { text, calls } => said("assistant", text, calls),
        Message::Tool { call_id, content, .. } => {
            let part = json!({"type": "tool_call_response", "id": call_id, "response": content});
            json!({"role": "tool", "parts": [part]})
        }
    }
}

fn said(role: &str, text: &str, calls: &[ToolCall]) -> Value {
    let words = (!text.is_empty()).then(|| json!({"type": "text", "content": text}));
    let calls = calls.iter().map(|call| {
        let arguments = call.arguments.to_value().unwrap_or_default();
        json!({"type": "tool_call", "id": call.id, "name": call.name, "arguments": arguments})
    });
    json!({"role": role, "parts": words.into_iter().chain(calls).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_after_who_runs_it() {
        for (host, name) in [
            ("api.openai.com", "openai"),
            ("my.openai.azure.com", "azure.ai.openai"),
            ("api.x.ai", "x_ai"),
            ("notx.ai", "openai"),
            ("127.0.0.1", "openai"),
        ] {
            assert_eq!(provider(host), name, "{host}");
        }
    }
}
