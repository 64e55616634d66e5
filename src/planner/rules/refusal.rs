//! Refusals: what was not understood, what would be, and the names at hand.

use serde_json::Value;

use crate::{
    job::{ErrorCode, JobError},
    planner::Brief,
};

/// Names listed in a message.
const NAMES: usize = 30;
/// Unknown parts listed in a message.
const PARTS: usize = 8;

const DATA_ABILITIES: &str = "the offline planner can filter (\"under 500\", \"where airline is X\"), sort (\"sorted by \
price, then by name descending\"), take (\"top 10 by price\", \"the 5 cheapest\"), choose columns (\"only airline and \
price\"), rename and drop columns, remove duplicates, and count, sum, average, min or max (\"average price per airline\")";

const CHANGE_ABILITIES: &str = "the offline planner can add a node (\"add an http node called enrich after fetch\"), \
remove it (\"remove the enrich node\"), rename it, connect and disconnect nodes, change a setting (\"set the timeout of \
fetch to 30 seconds\"), notify (\"whenever the price drops below 500, email ops\") and require approval (\"require \
approval before publish\")";

/// A request about data with parts that nobody understood.
pub(super) fn data(parts: &[String], brief: &Brief<'_>) -> JobError {
    let columns: Vec<&str> = brief.columns.unwrap_or_default().iter().map(|column| column.name.as_str()).collect();
    let known = match columns.len() {
        0 => String::new(),
        _ => format!("; the columns are {}", listed(&columns)),
    };
    let message = format!("did not understand {}; {DATA_ABILITIES}{known}", joined(parts));
    cannot(message, parts).with_detail("columns", Value::from(columns))
}

/// A workflow change that was not understood.
pub(super) fn change(problem: &str, brief: &Brief<'_>) -> JobError {
    let nodes: Vec<&str> = brief
        .workflow
        .and_then(|workflow| workflow.get("nodes"))
        .and_then(Value::as_array)
        .map(|nodes| nodes.iter().filter_map(|node| node.get("id").and_then(Value::as_str)).collect())
        .unwrap_or_default();
    let known = match nodes.len() {
        0 => String::new(),
        _ => format!("; the nodes are {}", listed(&nodes)),
    };
    let parts = [problem.to_owned()];
    let message = format!("did not understand {problem}; {CHANGE_ABILITIES}{known}");
    cannot(message, &parts).with_detail("nodes", Value::from(nodes))
}

/// The one plan there was has failed: the same words give the same plan.
pub(super) fn after_failure(tool: &str, report: &str) -> JobError {
    let message = format!("the plan failed and the offline planner has no other: {report}");
    JobError::new(ErrorCode::PlannerCannot, message).with_tool(tool)
}

/// More words than a request has.
pub(super) fn too_long() -> JobError {
    let message = format!(
        "the request has more than {} words; the offline planner reads short requests, configure a model for longer ones",
        super::lex::MAX_TOKENS
    );
    JobError::new(ErrorCode::PlannerCannot, message)
}

/// The grammar has no words for people.
pub(super) fn needs_agent() -> JobError {
    JobError::new(
        ErrorCode::PlannerCannot,
        "the request needs an agent, which the offline planner does not replace; configure agents or a model",
    )
}

/// The tool is not there for this job.
pub(super) fn not_offered(tool: &str) -> JobError {
    JobError::new(ErrorCode::PlannerCannot, format!("the request needs `{tool}`, which this job does not offer"))
}

fn cannot(message: String, parts: &[String]) -> JobError {
    JobError::new(ErrorCode::PlannerCannot, message).with_detail("not_understood", Value::from(parts.to_vec()))
}

fn listed(names: &[&str]) -> String {
    let shown = names.iter().take(NAMES).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > NAMES { format!("{shown} and {} more", names.len() - NAMES) } else { shown }
}

fn joined(parts: &[String]) -> String {
    let shown = parts.iter().take(PARTS).cloned().collect::<Vec<_>>().join(", ");
    if parts.len() > PARTS { format!("{shown} and {} more words", parts.len() - PARTS) } else { shown }
}
