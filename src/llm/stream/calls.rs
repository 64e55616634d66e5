//! Tool calls put together from their deltas.
//!
//! Servers leave out `index`, start it at 1, use it again for another call, send the id always, once or never,
//! and send a call whole or in any order of its parts. A part belongs to the call with its id, else with its
//! index, else to the one at its position or the last one; a second name, or a name after complete arguments, begins another call.

use std::collections::HashSet;

use serde_json::Value;

use crate::{
    job::{ErrorCode, RawJson, ToolCallRecord, ToolStatus},
    llm::{
        ToolCall,
        fault::{Fault, Kind},
    },
    settings::limits::{MAX_ARGUMENT_BYTES, MAX_CALLS_PER_TURN, MAX_CALLS_READ, RECORDED_ARGS_BYTES},
};

/// Longest id that is passed on; a longer one gets one of ours.
const MAX_ID_BYTES: usize = 64;

/// Stands where the model wrote no name: an answer to the call needs one.
const NAMELESS: &str = "unnamed";

/// Longest tool name that any server allows.
const MAX_NAME_BYTES: usize = 128;

/// A call as far as it has arrived.
#[derive(Debug, Default)]
struct Partial {
    id: String,
    index: Option<i64>,
    name: String,
    arguments: String,
}

impl Partial {
    fn is_complete(&self) -> bool {
        !self.name.is_empty() && serde_json::from_str::<serde::de::IgnoredAny>(&self.arguments).is_ok()
    }
}

/// The calls of one reply, in the order in which they began.
#[derive(Debug, Default)]
pub(super) struct Calls(Vec<Partial>);

/// The parts of one delta.
struct Part<'a> {
    id: &'a str,
    index: Option<i64>,
    /// Place among the parts that came together, where there were several.
    position: Option<usize>,
    name: &'a str,
    arguments: Option<&'a Value>,
}

impl Calls {
    /// Takes one element of `tool_calls`; `position` is its place where there are several. True where it
    /// brought anything.
    pub(super) fn push(&mut self, delta: &Value, position: Option<usize>) -> Result<bool, Fault> {
        let function = delta.get("function").filter(|function| function.is_object());
        // Some servers leave the wrapper out.
        let function = function.unwrap_or(delta);
        let text =
            |value: Option<&'_ Value>| value.and_then(Value::as_str).map(str::trim).unwrap_or_default().to_owned();
        let (id, name) = (text(delta.get("id")), text(function.get("name")));
        let arguments = ["arguments", "parameters"].iter().find_map(|key| function.get(*key)).filter(|a| !a.is_null());
        let index = delta.get("index").and_then(|index| match index {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_i64(),
        });
        self.take(&Part { id: &id, index, position, name: &name, arguments })
    }

    fn take(&mut self, part: &Part<'_>) -> Result<bool, Fault> {
        let empty = part.arguments.is_none_or(|arguments| arguments.as_str() == Some(""));
        if part.id.is_empty() && part.name.is_empty() && empty {
            return Ok(false);
        }
        let at = match self.target(part) {
            Some(at) => at,
            None if self.0.len() >= MAX_CALLS_READ => {
                return Err(Fault::new(
                    Kind::TooLarge,
                    format!("the model asked for more than {MAX_CALLS_READ} tool calls at once"),
                ));
            }
            None => {
                self.0.push(Partial { index: part.index, ..Partial::default() });
                self.0.len() - 1
            }
        };
        let call = &mut self.0[at];
        if call.id.is_empty() {
            part.id.clone_into(&mut call.id);
        }
        if call.name.is_empty() {
            part.name.clone_into(&mut call.name);
        }
        match part.arguments {
            Some(Value::String(piece)) => call.arguments.push_str(piece),
            // An object instead of text; sent again whole, it does not double.
            Some(whole) => call.arguments = whole.to_string(),
            None => {}
        }
        if call.arguments.len() > MAX_ARGUMENT_BYTES || call.name.len() > MAX_NAME_BYTES {
            return Err(Fault::new(
                Kind::TooLarge,
                format!("the model wrote a tool call beyond {MAX_ARGUMENT_BYTES} bytes of arguments"),
            ));
        }
        Ok(true)
    }

    /// The call that `part` goes on with, or none where it begins another.
    fn target(&self, part: &Part<'_>) -> Option<usize> {
        if !part.id.is_empty()
            && let Some(at) = self.0.iter().position(|call| call.id == part.id)
        {
            return Some(at).filter(|at| !self.begins_another(*at, part) || part.index == self.0[*at].index);
        }
        let at = match part.index {
            Some(index) => self.0.iter().rposition(|call| call.index == Some(index)),
            None => part
                .position
                .filter(|position| part.name.is_empty() && *position < self.0.len())
                .or_else(|| self.0.len().checked_sub(1)),
        };
        let at = at.or_else(|| {
            // An id or arguments may come before the index was ever told.
            let last = self.0.len().checked_sub(1)?;
            (self.0[last].index.is_none() && part.name.is_empty() && part.id.is_empty()).then_some(last)
        })?;
        let other_id = !part.id.is_empty() && !self.0[at].id.is_empty();
        (!other_id && !self.begins_another(at, part)).then_some(at)
    }

    /// Whether the name in `part` is the start of a call after the one at `at`.
    fn begins_another(&self, at: usize, part: &Part<'_>) -> bool {
        let call = &self.0[at];
        if part.name.is_empty() || call.name.is_empty() {
            return false;
        }
        part.name != call.name || (part.arguments.is_some_and(|a| a.as_str() != Some("")) && call.is_complete())
    }

    /// The finished calls. A part without a name that says nothing is dropped. With `mends` what cannot be read stands
    /// as a text, and there may be more than are taken.
    pub(super) fn finish(self, mends: bool) -> Result<Vec<ToolCall>, Fault> {
        if self.0.len() > MAX_CALLS_PER_TURN && !mends {
            return Err(Fault::new(
                Kind::BadOutput,
                format!("the model asked for more than {MAX_CALLS_PER_TURN} tool calls at once"),
            ));
        }
        let mut ids = HashSet::new();
        let mut calls = Vec::with_capacity(self.0.len());
        for mut partial in self.0 {
            if partial.name.is_empty() {
                if partial.arguments.trim().is_empty() {
                    continue;
                }
                if !mends {
                    return Err(Fault::new(Kind::BadOutput, "the model wrote a tool call without a name"));
                }
                NAMELESS.clone_into(&mut partial.name);
            }
            let arguments = match arguments(&partial.arguments) {
                Some(arguments) => arguments,
                None if mends => RawJson::of(recorded(&partial.arguments)),
                None => return Err(unreadable(partial)),
            };
            let usable = !partial.id.is_empty() && partial.id.len() <= MAX_ID_BYTES && !ids.contains(&partial.id);
            let id = if usable { partial.id } else { new_id() };
            ids.insert(id.clone());
            calls.push(ToolCall { id, name: partial.name, arguments });
        }
        Ok(calls)
    }
}

/// A call whose arguments are no JSON: what the model wrote is shown as the text that it is.
fn unreadable(call: Partial) -> Fault {
    let message = format!("the model wrote arguments for {} that are not JSON", call.name);
    let made = ToolCallRecord {
        tool: call.name,
        args: RawJson::of(recorded(&call.arguments)),
        status: ToolStatus::Error,
        duration_ms: 0,
        error: Some(format!("{}: {message}", ErrorCode::LlmBadOutput.as_str())),
    };
    Fault { unreadable: Some(Box::new(made)), ..Fault::new(Kind::BadOutput, message) }
}

/// As much of what a model wrote as is kept.
fn recorded(text: &str) -> &str {
    &text[..text.floor_char_boundary(RECORDED_ARGS_BYTES)]
}

/// An id of ours: servers want them unique over a whole conversation.
pub(super) fn new_id() -> String {
    format!("call_{}", uuid::Uuid::now_v7().simple())
}

/// Arguments as well-formed JSON: nothing is `{}`, text after the value is ignored, JSON inside text is taken
/// out. None where there is no JSON.
pub(super) fn arguments(text: &str) -> Option<RawJson> {
    let text = text.trim();
    if text.is_empty() || text == "null" {
        return Some(RawJson::from_trusted(&b"{}"[..]));
    }
    let (first, rest) = first_value(text)?;
    // `{}{"a":1}`: a placeholder, then what was meant.
    let first = match first_value(rest.trim_start()) {
        Some((second, _)) if first.get().len() == 2 && second.get().starts_with('{') => second,
        _ => first,
    };
    if first.get().starts_with('"')
        && let Ok(inner) = serde_json::from_str::<String>(first.get())
        && inner.trim_start().starts_with('{')
    {
        return first_value(inner.trim()).map(|(value, _)| RawJson::from_trusted(value.get().to_owned().into_bytes()));
    }
    Some(RawJson::from_trusted(first.get().to_owned().into_bytes()))
}

/// The JSON value at the start of `text`, and what stands after it.
fn first_value(text: &str) -> Option<(&serde_json::value::RawValue, &str)> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&serde_json::value::RawValue>();
    let value = values.next()?.ok()?;
    Some((value, &text[values.byte_offset()..]))
}
