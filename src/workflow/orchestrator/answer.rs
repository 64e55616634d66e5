//! What orchestrators answer, in the shapes they use.

use serde_json::Value;

use super::Workflow;

/// The workflow in an answer: the answer itself, or a member that holds it.
pub(super) fn workflow_of(answer: Value) -> Result<Workflow, String> {
    let is_workflow = |value: &Value| value.get("nodes").is_some() || value.get("edges").is_some();
    let inner = ["workflow", "materialized_workflow", "definition", "content", "data"]
        .iter()
        .find(|name| !is_workflow(&answer) && answer.get(**name).is_some_and(is_workflow));
    match inner {
        Some(name) => Workflow::from_value(answer[*name].clone()),
        None if is_workflow(&answer) => Workflow::from_value(answer),
        None => Err("it has neither nodes nor edges".to_owned()),
    }
}

/// What the orchestrator calls a patch.
pub(super) fn artifact_id(answer: &Value) -> Option<String> {
    ["artifact_id", "cas_id", "patch_id", "id"].iter().find_map(|name| match answer.get(*name)? {
        Value::String(id) if !id.is_empty() => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    })
}

/// What tells a listed patch from others: its id, or all that is known of it.
pub(super) fn name_of(entry: &Value) -> String {
    artifact_id(entry).unwrap_or_else(|| entry.to_string())
}

/// The patches of a run, oldest first.
pub(super) fn patches_of(answer: &Value) -> Vec<&Value> {
    let list = answer.as_array().or_else(|| answer.get("patches").and_then(Value::as_array));
    let mut patches: Vec<&Value> = list.into_iter().flatten().collect();
    let sequence = |patch: &Value| patch.get("seq").and_then(Value::as_u64);
    if patches.iter().all(|patch| sequence(patch).is_some()) {
        patches.sort_by_key(|patch| sequence(patch));
    }
    patches
}

/// The operations in an answer: a list, or the member that holds one.
pub(super) fn operations_of(answer: &Value) -> Option<&Value> {
    if answer.is_array() { Some(answer) } else { answer.get("operations").filter(|list| list.is_array()) }
}
