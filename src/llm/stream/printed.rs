//! Tool calls that a model printed as text because its server did not turn them into calls.
//!
//! Taken only where the text is nothing else and names a tool that was offered: words about JSON stay words.

use serde_json::Value;

use super::calls;
use crate::{
    llm::{ToolCall, structured},
    settings::limits::MAX_CALLS_PER_TURN,
};

/// The calls printed in `text`, or none where it is just text.
pub(super) fn calls(text: &str, offered: &[&str]) -> Option<Vec<ToolCall>> {
    let text = text.trim();
    if offered.is_empty() || text.is_empty() {
        return None;
    }
    let calls = tagged(text, offered).or_else(|| function_tag(text, offered)).or_else(|| {
        let text = text.strip_prefix("[TOOL_CALLS]").unwrap_or(text).trim();
        let text = structured::unfence(text);
        if !text.starts_with(['{', '[']) {
            return None;
        }
        of_value(&serde_json::from_str(text).ok()?, offered)
    })?;
    (!calls.is_empty() && calls.len() <= MAX_CALLS_PER_TURN).then_some(calls)
}

/// `<tool_call>{"name":…,"arguments":…}</tool_call>`, once or more.
fn tagged(text: &str, offered: &[&str]) -> Option<Vec<ToolCall>> {
    const OPEN: &str = "<tool_call>";
    let mut rest = text.strip_prefix(OPEN)?;
    let mut calls = Vec::new();
    loop {
        let (inside, after) = rest.split_once("</tool_call>").unwrap_or((rest, ""));
        calls.extend(of_value(&serde_json::from_str(inside.trim()).ok()?, offered)?);
        match after.trim_start() {
            "" => return Some(calls),
            more => rest = more.strip_prefix(OPEN)?,
        }
    }
}

/// `<function=name>{…}</function>`.
fn function_tag(text: &str, offered: &[&str]) -> Option<Vec<ToolCall>> {
    let (name, rest) = text.strip_prefix("<function=")?.split_once('>')?;
    let arguments = rest.trim().strip_suffix("</function>").unwrap_or(rest);
    offered.contains(&name).then(|| Some(vec![call(name, arguments)?]))?
}

/// One call, a list of calls, or either wrapped as in a real reply.
fn of_value(value: &Value, offered: &[&str]) -> Option<Vec<ToolCall>> {
    if let Some(inner) = value.get("tool_calls") {
        return of_value(inner, offered);
    }
    if let Value::Array(items) = value {
        let calls: Option<Vec<Vec<ToolCall>>> = items.iter().map(|item| of_value(item, offered)).collect();
        return calls.map(|calls| calls.into_iter().flatten().collect());
    }
    let function = value.get("function").filter(|function| function.is_object()).unwrap_or(value);
    let name = ["name", "tool", "function"].iter().find_map(|key| function.get(*key)?.as_str())?;
    let arguments = ["arguments", "parameters", "args", "input"].iter().find_map(|key| function.get(*key))?;
    if !offered.contains(&name) {
        return None;
    }
    let arguments = match arguments {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Some(vec![call(name, &arguments)?])
}

fn call(name: &str, arguments: &str) -> Option<ToolCall> {
    Some(ToolCall { id: calls::new_id(), name: name.to_owned(), arguments: calls::arguments(arguments)? })
}

#[cfg(test)]
mod tests {
    #[track_caller]
    fn check(text: &str, want: &[(&str, &str)]) {
        let calls = super::calls(text, &["run", "patch"]).unwrap_or_default();
        let got: Vec<(&str, &str)> = calls.iter().map(|call| (call.name.as_str(), call.arguments.as_str())).collect();
        assert_eq!(got, want, "{text}");
    }

    #[test]
    fn printed_calls_are_taken_and_words_stay_words() {
        check(r#"{"name":"run","arguments":{"k":1}}"#, &[("run", r#"{"k":1}"#)]);
        check("```json\n{\"name\":\"run\",\"parameters\":{\"k\":1}}\n```", &[("run", r#"{"k":1}"#)]);
        check(r#"<tool_call>{"name":"run","arguments":{}}</tool_call>"#, &[("run", "{}")]);
        check(
            "<tool_call>{\"name\":\"run\",\"arguments\":\"{\\\"k\\\":2}\"}</tool_call>\n<tool_call>{\"name\":\"patch\",\"arguments\":{}}",
            &[("run", r#"{"k":2}"#), ("patch", "{}")],
        );
        check(r#"<function=run>{"k":1}</function>"#, &[("run", r#"{"k":1}"#)]);
        check(r#"[TOOL_CALLS][{"name":"run","arguments":{"k":1}}]"#, &[("run", r#"{"k":1}"#)]);
        check(r#"{"tool_calls":[{"function":{"name":"patch","arguments":"{}"}}]}"#, &[("patch", "{}")]);
        check(r#"{"tool":"run","args":{"k":1}}"#, &[("run", r#"{"k":1}"#)]);
        check(r#"{"name":"unknown","arguments":{}}"#, &[]);
        check(r#"{"name":"run"}"#, &[]);
        check(r#"I would call {"name":"run","arguments":{}}"#, &[]);
        check(r#"[{"name":"run","arguments":{}},{"city":"Rome"}]"#, &[]);
        check("<function=other>{}</function>", &[]);
        check("[1,2]", &[]);
        check("", &[]);
    }
}
