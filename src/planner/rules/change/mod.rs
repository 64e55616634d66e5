//! Workflow changes: from a sentence and the current workflow to patch operations.
//!
//! Commands are read one after another on a working copy, so a later one sees what an earlier one made. A word
//! that no command takes is a refusal.

mod condition;
mod edit;
mod flow;
mod nodes;
mod notify;
mod settings;

use serde_json::Value;

use self::flow::Flow;
use super::{
    cursor::{Cursor, Problem},
    lex::Token,
};
use crate::planner::Brief;

/// Words around a command that carry nothing.
#[rustfmt::skip]
const FRAME: &[&str] = &[
    "please", "pls", "plz", "kindly", "can you", "could you", "would you", "will you", "i want you to",
    "i want to", "i would like to", "id like to", "id like you to", "we need to", "i need to", "you should",
    "we should", "hi", "hey", "hello", "thanks", "thank you", "from now on", "going forward", "in future",
    "in the future", "also", "now", "then", "finally", "let us", "lets", "to the workflow", "in the workflow",
    "to this workflow", "in this workflow", ",", ".", ";", "!", "?", "and then", "and", "always",
    "automatically", "permanently",
];

/// Operations, and what was taken for granted.
type Change = (Vec<Value>, Vec<String>);

/// The operations that `tokens` ask for, at least one.
pub(super) fn operations(tokens: &[Token], brief: &Brief<'_>) -> Result<Change, Problem> {
    let Some(workflow) = brief.workflow else {
        return Err("a change without a workflow to change (give `current_workflow`)".into());
    };
    changes(tokens, workflow, brief.job.node_id.as_deref())
}

fn changes(tokens: &[Token], workflow: &Value, own: Option<&str>) -> Result<Change, Problem> {
    let before = Flow::read(workflow);
    let mut flow = Flow::read(workflow);
    let mut at = Cursor::new(tokens);
    while !at.done() {
        if at.eat_any(FRAME).is_some() {
            continue;
        }
        if !command(&mut at, &mut flow, own)? {
            return Err(format!("\"{}\"", words_here(&at)));
        }
        // A command ends where the next begins: anything else is a word that was not understood.
        let ends = at.done() || at.look().eat_any(FRAME).is_some();
        if !ends {
            return Err(format!("\"{}\"", words_here(&at)));
        }
    }
    if flow.operations.is_empty() {
        return Err("what to change".into());
    }
    flow.check(&before)?;
    Ok((flow.operations, flow.notes))
}

fn command(at: &mut Cursor<'_>, flow: &mut Flow, own: Option<&str>) -> Result<bool, Problem> {
    Ok(notify::approval(at, flow)?
        || edit::connect(at, flow)?
        || edit::add(at, flow)?
        || edit::remove(at, flow)?
        || edit::rename(at, flow)?
        || notify::notify(at, flow, own)?
        || settings::set(at, flow)?)
}

fn words_here(at: &Cursor<'_>) -> String {
    at.rest().iter().take(6).map(|token| token.raw.as_str()).collect::<Vec<_>>().join(" ")
}
