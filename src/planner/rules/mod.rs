//! The offline planner: a grammar instead of a model.
//!
//! It understands requests about tables and simple workflow changes, and gives exactly one tool call. What it does
//! not understand it refuses with `planner_cannot` and what it could do; it never guesses and never drops a word.

mod change;
mod cursor;
mod data;
mod lex;
mod names;
mod refusal;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Brief, Exchange, Planner, Turn};
use crate::{
    job::{IntentKind, JobError, RawJson},
    llm::{CallContext, ToolCall},
};

/// The tool for table pipelines.
const EXECUTE: &str = "execute_pipeline";
/// The tool for workflow changes.
const PATCH: &str = "patch_workflow";

/// Plans by grammar; keeps nothing and asks nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct RulesPlanner;

#[async_trait]
impl Planner for RulesPlanner {
    async fn next(
        &self,
        brief: &Brief<'_>,
        transcript: &[Exchange],
        _context: &CallContext<'_>,
    ) -> Result<Turn, JobError> {
        if let Some(failed) = transcript.iter().rev().flat_map(|turn| &turn.calls).find(|(_, report)| !report.ok) {
            return Err(refusal::after_failure(&failed.0.name, &failed.1.content));
        }
        let (tool, arguments) = plan(brief)?;
        let call = ToolCall { id: "call_1".into(), name: tool.into(), arguments: RawJson::from(&arguments) };
        Ok(Turn::Calls { calls: vec![call], text: String::new() })
    }
}

/// The one tool call for a brief: the tool's name and its arguments.
fn plan(brief: &Brief<'_>) -> Result<(&'static str, Value), JobError> {
    let prompt = brief.job.prompt_text();
    let Some(tokens) = lex::tokens(prompt) else { return Err(refusal::too_long()) };
    let offered = |tool: &str| brief.tools.iter().any(|spec| spec.name == tool);
    let wanted = match brief.intent.intent {
        IntentKind::Execute => EXECUTE,
        IntentKind::Patch => PATCH,
        IntentKind::Handoff => return Err(refusal::needs_agent()),
        // Unsure: whichever grammar understands every word.
        IntentKind::Unclear if offered(PATCH) && change::operations(&tokens, brief).is_ok() => PATCH,
        IntentKind::Unclear => EXECUTE,
    };
    if !offered(wanted) {
        return Err(refusal::not_offered(wanted));
    }
    if wanted == PATCH {
        let (operations, notes) =
            change::operations(&tokens, brief).map_err(|problem| refusal::change(&problem, brief))?;
        let description: String = prompt.trim().chars().take(200).collect();
        let mut spec = json!({"operations": operations, "description": description});
        if !notes.is_empty() {
            spec["notes"] = notes.into();
        }
        return Ok((PATCH, json!({"patch_spec": spec})));
    }
    let pipeline = data::pipeline(&tokens, brief.columns).map_err(|what| refusal::data(&what.parts, brief))?;
    Ok((EXECUTE, json!({"pipeline": pipeline})))
}
