//! A reply put together from chunks, each read leniently: what is unknown is skipped, what is there is used.

use serde_json::Value;

use super::{calls::Calls, printed, think::Text};
use crate::{
    job::Tokens,
    llm::{
        ToolCall,
        fault::{Fault, Kind},
        usage::Heard,
    },
};

/// Characters of a refusal that are repeated to people.
const REFUSAL_CHARS: usize = 300;

/// A reply as far as it has arrived.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    text: Text,
    refusal: String,
    calls: Calls,
    seen: Seen,
    usage: Option<Tokens>,
    /// Bytes of words, thoughts and calls.
    content: usize,
}

/// What the server said about its answer. Nothing is decided by it: it is for people who look at traces.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Seen {
    /// The answer's id.
    pub(crate) id: String,
    /// The model that it calls its own.
    pub(crate) model: String,
    /// Why it ended.
    pub(crate) finish: String,
}

/// Bytes kept of each.
const SEEN_BYTES: usize = 200;

impl Seen {
    /// Takes what a chunk is the first to say.
    fn note(&mut self, chunk: &Value) {
        for (slot, key) in [(&mut self.id, "id"), (&mut self.model, "model")] {
            if let Some(text) = chunk.get(key).and_then(Value::as_str).filter(|_| slot.is_empty()) {
                text[..text.floor_char_boundary(SEEN_BYTES)].clone_into(slot);
            }
        }
    }
}

/// A whole reply.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Assembled {
    pub(crate) text: String,
    pub(crate) calls: Vec<ToolCall>,
    /// None where the server said nothing about it.
    pub(crate) usage: Option<Tokens>,
    pub(crate) seen: Seen,
}

impl Assembler {
    /// Whether the server said that the model is done.
    pub(super) fn is_finished(&self) -> bool {
        !self.seen.finish.is_empty()
    }

    /// Takes one chunk or one whole completion. True where it brought content, which is what idle timers wait
    /// for; text that can be shown goes to `show`.
    pub(super) fn take(&mut self, chunk: &Value, show: &mut dyn FnMut(&str)) -> Result<bool, Fault> {
        if let Some(usage) = chunk.get("usage").and_then(usage) {
            self.usage = Some(usage);
        }
        self.seen.note(chunk);
        let Some(choices) = chunk.get("choices").and_then(Value::as_array) else { return Ok(false) };
        // We ask for one choice; of several, the first counts.
        let first = |choice: &&Value| choice.get("index").is_none_or(|index| index.as_i64().unwrap_or(0) == 0);
        let mut content = false;
        for choice in choices.iter().filter(first) {
            content |= self.choice(choice, show)?;
        }
        Ok(content)
    }

    fn choice(&mut self, choice: &Value, show: &mut dyn FnMut(&str)) -> Result<bool, Fault> {
        let delta = ["delta", "message"].iter().find_map(|key| choice.get(*key)).filter(|delta| delta.is_object());
        let mut content = false;
        if let Some(delta) = delta {
            self.content += text_bytes(delta);
            content |= self.delta(delta, show)?;
        } else if let Some(text) = choice.get("text").and_then(Value::as_str) {
            self.content += text.len();
            content |= self.say(text, show);
        }
        if let Some(reason) = choice.get("finish_reason").and_then(Value::as_str).filter(|reason| !reason.is_empty()) {
            reason.clone_into(&mut self.seen.finish);
            content = true;
        }
        if let Some(usage) = choice.get("usage").and_then(usage) {
            self.usage = Some(usage);
        }
        Ok(content)
    }

    fn delta(&mut self, delta: &Value, show: &mut dyn FnMut(&str)) -> Result<bool, Fault> {
        let mut content = match delta.get("content") {
            Some(Value::String(text)) => self.say(text, show),
            Some(Value::Array(parts)) => {
                let mut any = false;
                for part in parts {
                    any = true;
                    if let Some(text) = part.get("text").and_then(Value::as_str) {
                        self.say(text, show);
                    }
                }
                any
            }
            _ => false,
        };
        if let Some(text) = delta.get("refusal").and_then(Value::as_str).filter(|text| !text.is_empty()) {
            self.refusal.push_str(text);
            content = true;
        }
        // Thoughts are no part of the answer, but they are a sign of life.
        content |= ["reasoning_content", "reasoning", "thinking"]
            .iter()
            .any(|key| delta.get(*key).is_some_and(|thought| !thought.is_null() && thought.as_str() != Some("")));
        match delta.get("tool_calls") {
            Some(Value::Array(parts)) => {
                for (at, part) in parts.iter().enumerate() {
                    content |= self.calls.push(part, Some(at).filter(|_| parts.len() > 1))?;
                }
            }
            Some(part @ Value::Object(_)) => content |= self.calls.push(part, None)?,
            _ => {}
        }
        if let Some(call) = delta.get("function_call").filter(|call| call.is_object()) {
            content |= self.calls.push(call, None)?;
        }
        Ok(content)
    }

    fn say(&mut self, text: &str, show: &mut dyn FnMut(&str)) -> bool {
        let shown = self.text.push(text);
        if !shown.is_empty() {
            show(shown);
        }
        !text.is_empty()
    }

    /// The whole reply, decided by its content: what servers say about the reason of the end is often wrong.
    /// `ended` says that the server ended it; `offered` are the names of the tools the model could call. With `mends`
    /// faults of the model itself are no failure.
    pub(super) fn finish(self, ended: bool, offered: &[&str], mends: bool) -> Result<Assembled, Fault> {
        if !ended && !self.is_finished() {
            let so_far = self.text.len();
            return Err(Fault::new(
                Kind::Cut,
                format!("the answer broke off after {so_far} bytes of text, before its end"),
            ));
        }
        match self.seen.finish.to_ascii_lowercase().as_str() {
            "content_filter" | "safety" | "recitation" | "prohibited_content" => {
                return Err(Fault::new(Kind::Refused, "the provider's content filter stopped the answer"));
            }
            "length" | "max_tokens" | "model_length" => {
                return Err(Fault::new(
                    Kind::OutOfTokens,
                    "the answer was cut off at the token limit: raise llm.max_tokens or ask for less",
                ));
            }
            // The provider failed, and said so here.
            "error" => return Err(Fault::new(Kind::Unavailable, "the provider failed while answering")),
            _ => {}
        }
        let (usage, seen) = (self.usage, self.seen);
        let mut calls = self.calls.finish(mends)?;
        let mut text = self.text.finish();
        if calls.is_empty()
            && let Some(printed) = printed::calls(&text, offered)
        {
            calls = printed;
            text.clear();
        }
        let silent = calls.is_empty() && text.trim().is_empty();
        if !silent || (mends && self.refusal.is_empty()) {
            return Ok(Assembled { text, calls, usage, seen });
        }
        if self.refusal.is_empty() {
            return Err(Fault::new(Kind::BadOutput, "the model answered with neither words nor a tool call"));
        }
        let refusal: String = self.refusal.chars().take(REFUSAL_CHARS).collect();
        Err(Fault::new(Kind::Refused, format!("the model refused: {refusal}")))
    }

    /// What was heard so far, on answers that are no success too.
    pub(super) fn heard(&self) -> Heard {
        let begun = self.content > 0 || self.is_finished();
        Heard { counted: self.usage, begun, content: self.content, cut_short: false }
    }
}

/// Bytes of what a model wrote in `delta`: texts, but for those that only name things.
fn text_bytes(delta: &Value) -> usize {
    match delta {
        Value::String(text) => text.len(),
        Value::Array(parts) => parts.iter().map(text_bytes).sum(),
        Value::Object(members) => {
            let written = members.iter().filter(|(name, _)| !matches!(name.as_str(), "id" | "type" | "role" | "index"));
            written.map(|(_, value)| text_bytes(value)).sum()
        }
        _ => 0,
    }
}

/// Counts in any of their shapes; none where there are no counts.
fn usage(value: &Value) -> Option<Tokens> {
    let count = |value: &Value, keys: &[&str]| {
        keys.iter().find_map(|key| match value.get(*key)? {
            Value::Number(number) => number.as_u64().or_else(|| number.as_f64().map(|float| float.max(0.0) as u64)),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        })
    };
    let prompt = count(value, &["prompt_tokens", "input_tokens"]);
    let completion = count(value, &["completion_tokens", "output_tokens"]);
    let total = count(value, &["total_tokens"]);
    let (prompt, completion) = match (prompt, completion, total) {
        (None, None, None) => return None,
        (None, None, Some(total)) => (total, 0),
        (Some(prompt), None, Some(total)) => (prompt, total.saturating_sub(prompt)),
        (None, Some(completion), Some(total)) => (total.saturating_sub(completion), completion),
        (prompt, completion, _) => (prompt.unwrap_or(0), completion.unwrap_or(0)),
    };
    let details = ["prompt_tokens_details", "input_tokens_details"].iter().find_map(|key| value.get(*key));
    let cached = details
        .and_then(|details| count(details, &["cached_tokens"]))
        .or_else(|| count(value, &["prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens"]))
        .unwrap_or(0);
    Some(Tokens { prompt, completion, cached: cached.min(prompt) })
}
