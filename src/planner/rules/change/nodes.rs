//! Nodes as people name them: by id, by a part of it, by type, or as the first or last step.

use super::flow::{Flow, has_words};
use crate::planner::rules::{
    cursor::{Cursor, Problem},
    lex::Kind,
    names,
};

/// Words for any node.
pub(super) const NODE_WORDS: &[&str] = &["node", "step", "task", "stage", "nodes", "steps", "block"];

/// Words for node types, and the type.
pub(super) const TYPES: &[(&str, &str)] = &[
    ("function", "function"),
    ("http request", "http"),
    ("http call", "http"),
    ("http", "http"),
    ("api call", "http"),
    ("api request", "http"),
    ("web request", "http"),
    ("request", "http"),
    ("agent", "agent"),
    ("human in the loop", "hitl"),
    ("human-in-the-loop", "hitl"),
    ("human approval", "hitl"),
    ("manual approval", "hitl"),
    ("human review", "hitl"),
    ("manual review", "hitl"),
    ("approval gate", "hitl"),
    ("approval", "hitl"),
    ("sign-off", "hitl"),
    ("sign off", "hitl"),
    ("hitl", "hitl"),
    ("conditional", "conditional"),
    ("condition", "conditional"),
    ("loop", "loop"),
    ("parallel", "parallel"),
    ("transform", "transform"),
    ("transformation", "transform"),
    ("aggregate", "aggregate"),
    ("aggregation", "aggregate"),
    ("filter", "filter"),
];

/// Words of a node's name that are looked at together.
const NAME_WORDS: usize = 5;

/// The node named here; nothing where no name begins.
pub(super) fn node(at: &mut Cursor<'_>, flow: &Flow) -> Result<Option<String>, Problem> {
    let start = at.look();
    at.articles();
    if let Some(found) = extreme(at, flow)? {
        return Ok(Some(found));
    }
    let prefixed = at.eat_any(NODE_WORDS).is_some();
    if prefixed {
        at.eat_any(&["called", "named", "with id", "with the id", "id", ":"]);
    }
    for len in (1..=NAME_WORDS).rev() {
        if let Some(found) = named(at, flow, len, prefixed)? {
            at.at += len;
            at.eat_any(NODE_WORDS);
            return Ok(Some(found));
        }
    }
    *at = start;
    Ok(None)
}

/// The node named here, or the reason why there is none.
pub(super) fn must(at: &mut Cursor<'_>, flow: &Flow) -> Result<String, Problem> {
    if let Some(found) = node(at, flow)? {
        return Ok(found);
    }
    let mut here = at.look();
    here.articles();
    let written = here.raw();
    let close = names::closest(written, flow.nodes.iter().map(|node| node.id.as_str()));
    Err(match close {
        _ if written.is_empty() => "which node is meant".into(),
        Some(close) => format!("the node \"{written}\" (did you mean `{close}`?)"),
        None => format!("the node \"{written}\""),
    })
}

/// "the first step", "the last node", "the end".
fn extreme(at: &mut Cursor<'_>, flow: &Flow) -> Result<Option<String>, Problem> {
    let start = at.look();
    let which = at.eat_any(&["first", "last", "final"]);
    let named = which.is_some() && at.eat_any(NODE_WORDS).is_some();
    let Some(which) = which.filter(|_| named) else {
        *at = start;
        return Ok(None);
    };
    let found = if which == "first" { flow.first() } else { flow.last() };
    match found {
        Some(node) => Ok(Some(node.id.clone())),
        None => Err(format!("which node is the {which} one: there are several (name it)")),
    }
}

/// The node that the next `len` tokens name.
fn named(at: &Cursor<'_>, flow: &Flow, len: usize, prefixed: bool) -> Result<Option<String>, Problem> {
    let Some(part) = at.rest().get(..len) else { return Ok(None) };
    if !part.iter().all(|token| token.is_word() || token.kind == Kind::Quoted || matches!(token.kind, Kind::Number(..)))
    {
        return Ok(None);
    }
    let raw = part.iter().map(|token| token.raw.as_str()).collect::<Vec<_>>().join(" ");
    let words: Vec<String> = part.iter().flat_map(|token| names::words(&token.raw)).collect();
    let by = |fits: &dyn Fn(&str) -> bool| {
        flow.nodes.iter().filter(|node| fits(&node.id)).map(|n| n.id.clone()).collect::<Vec<_>>()
    };
    if let Some(exact) = by(&|id| id == raw).first().or(by(&|id| names::words(id) == words).first()) {
        return Ok(Some(exact.clone()));
    }
    // A part of an id, or a type, counts where it says "node" or "step" or stands before nothing that may belong to it.
    let mut after = at.look();
    after.at += len;
    let marked = prefixed || NODE_WORDS.contains(&after.word(0));
    let parts = by(&|id| has_words(id, &words));
    let kind = TYPES.iter().find(|(name, _)| *name == raw.to_lowercase()).map(|(_, kind)| *kind);
    let typed: Vec<String> = flow
        .nodes
        .iter()
        .filter(|node| Some(&*node.kind) == kind || names::words(&node.kind) == words)
        .map(|node| node.id.clone())
        .collect();
    for found in [parts, typed] {
        match found.as_slice() {
            [] => {}
            [only] => return Ok(Some(only.clone())),
            several if marked || len > 1 => return Err(format!("which of {} \"{raw}\" means", several.join(", "))),
            several => return Err(format!("which of {} \"{raw}\" means", several.join(", "))),
        }
    }
    Ok(None)
}
