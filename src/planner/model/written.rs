//! A plan that a model wrote down instead of calling the tool: the arguments alone, usually in a fenced block.
//!
//! Taken only where it can be nothing else. Words with an example in them stay words, unless the task was one for the
//! very tool that the block fits.

use serde_json::Value;

use crate::{
    job::{IntentKind, RawJson},
    llm::ToolCall,
    planner::Brief,
};

const EXECUTE: &str = "execute_pipeline";
const PATCH: &str = "patch_workflow";
const FENCE: &str = "```";

/// The call that `text`, said after `turns` others, amounts to, if it does.
pub(super) fn plan(text: &str, turns: usize, brief: &Brief<'_>) -> Option<ToolCall> {
    let text = text.trim();
    let (block, alone) = match text.starts_with(['{', '[']) {
        true => (text, true),
        false => only_block(text)?,
    };
    let (name, arguments) = arguments(block)?;
    let asked_for = match brief.intent.intent {
        IntentKind::Execute => name == EXECUTE,
        IntentKind::Patch => name == PATCH,
        IntentKind::Handoff | IntentKind::Unclear => false,
    };
    let offered = brief.tools.iter().any(|tool| tool.name == name);
    let taken = offered && (alone || asked_for);
    // The same in a replay, and told apart from those of other turns.
    let id = format!("call_written_{}", turns + 1);
    taken.then(|| ToolCall { id, name: name.into(), arguments })
}

/// The inside of the one fenced block, and whether nothing else is said.
fn only_block(text: &str) -> Option<(&str, bool)> {
    let (before, rest) = text.split_once(FENCE)?;
    let (block, after) = rest.split_once(FENCE)?;
    if after.contains(FENCE) {
        return None;
    }
    let body = block.trim_start_matches(|c: char| c.is_ascii_alphanumeric()).trim();
    Some((body, before.trim().is_empty() && after.trim().is_empty()))
}

/// The tool whose arguments these are, and the arguments with every digit as written.
fn arguments(block: &str) -> Option<(&'static str, RawJson)> {
    let value: Value = serde_json::from_str(block).ok()?;
    let all_have = |list: &Value, key: &str| {
        list.as_array().is_some_and(|items| {
            !items.is_empty() && items.iter().all(|item| item.get(key).is_some_and(Value::is_string))
        })
    };
    let (steps, operations) = (value.get("pipeline"), value.get("operations"));
    let spec = value.get("patch_spec").and_then(|spec| spec.get("operations"));
    let (name, text) = if all_have(&value, "step") {
        (EXECUTE, format!("{{\"pipeline\":{block}}}"))
    } else if steps.is_some_and(|steps| all_have(steps, "step")) {
        (EXECUTE, block.to_owned())
    } else if spec.is_some_and(|operations| all_have(operations, "op")) {
        (PATCH, block.to_owned())
    } else if operations.is_some_and(|operations| all_have(operations, "op")) {
        (PATCH, format!("{{\"patch_spec\":{block}}}"))
    } else {
        return None;
    };
    Some((name, RawJson::from_trusted(text)))
}
