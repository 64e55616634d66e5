//! Columns to show and to rename.

use super::{columns::Columns, order::unknown, stage::Stage};
use crate::planner::rules::{
    cursor::{Cursor, Problem},
    lex::Kind,
    names,
};

/// Whether the part was there.
pub(super) type Found = Result<bool, Problem>;

/// What stands behind a column that is compared, not shown.
#[rustfmt::skip]
const COMPARED: &[&str] = &[
    "is", "isnt", "are", "under", "over", "above", "below", "between", "contains", "containing", "equals",
    "equal", "=", "==", "!=", "<", ">", "<=", ">=", "at", "more", "less", "greater", "not", "starts", "ends",
    "starting", "ending", "matches", "exceeds", "before", "after", "since", "has", "fewer", "higher", "lower",
];

/// Whether a comparison goes on here.
pub(super) fn compared(at: &Cursor<'_>) -> bool {
    let word = at.word(0);
    COMPARED.contains(&word) && !(word == "at" && !at.sees("at least") && !at.sees("at most"))
}

/// `only airline and price`, `columns a, b`, `airline and price`, `the price of …`.
pub(super) fn select(at: &mut Cursor<'_>, columns: &Columns, stage: &mut Stage) -> Found {
    #[rustfmt::skip]
    const OPENERS: &[&str] = &[
        "only the columns", "just the columns", "only columns", "only show", "show only", "just show",
        "only the", "just the", "only", "just", "with columns", "with the columns", "with only the", "with only",
        "with just the", "with just", "the columns", "columns", "the fields", "fields", "including only",
        "keep only", "keeping only", "limited to", "and nothing but", "nothing but", "select", "the column",
        "column",
    ];
    let start = at.look();
    let opened = at.eat_any(OPENERS).is_some();
    at.eat(":");
    let mut found = Vec::new();
    let mut exact = opened;
    loop {
        let here = at.look();
        let Some(name) = at.column(columns) else { break };
        let mut named = here;
        named.articles();
        exact |=
            columns.known.is_none() || at.at - named.at > 1 || names::plural(named.word(0)) == names::plural(&name);
        let new = if at.eat("as") { new_name(at) } else { None };
        found.push((name, new));
        let before = at.look();
        if !at.joint() || at.look().column(columns).is_none() {
            *at = before;
            break;
        }
    }
    // "flights under 500" where a column is called `flight`: the rows, not the column.
    let rows = found.len() == 1 && !exact;
    let unseen = columns.known.is_none() && !opened;
    // "select a, b from flights" where a column is called `from`.
    let preposition = matches!(found.as_slice(), [(name, _)] if ["from", "to", "in", "by", "on", "at", "of", "for"].contains(&name.as_str()));
    // "only flights whose airline …": a clause about the rows follows.
    let clause = found.len() == 1 && matches!(at.word(0), "whose" | "where" | "who" | "having");
    let rows = rows || (preposition && !opened) || (clause && names::plural(at.before()));
    if found.is_empty() || compared(at) || rows || unseen {
        *at = start;
        return Ok(false);
    }
    if opened || found.len() > 1 {
        at.eat_any(&["columns", "fields", "of each", "of every", "for each", "for every"]);
    }
    for (name, new) in found {
        if !stage.select.iter().any(|(known, _)| *known == name) {
            stage.select.push((name, new));
        }
    }
    Ok(true)
}

/// A new column name: one word or quoted text.
pub(super) fn new_name(at: &mut Cursor<'_>) -> Option<String> {
    let token = at.peek(0)?;
    let name = matches!(token.kind, Kind::Quoted) || token.is_word();
    at.at += usize::from(name);
    name.then(|| token.raw.clone())
}

/// `rename a to b, c to d`.
pub(super) fn rename(at: &mut Cursor<'_>, columns: &Columns, stage: &mut Stage) -> Found {
    if at.eat_any(&["rename", "renaming", "relabel"]).is_none() {
        return Ok(false);
    }
    loop {
        let Some(old) = at.column(columns) else {
            return Err(format!("what to rename: {}", unknown(at, columns)));
        };
        let to = at.eat_any(&["to", "as", "into", "->", "→", "=>"]).is_some();
        let Some(new) = new_name(at).filter(|_| to) else {
            return Err(format!("the new name of `{old}` (as in \"rename {old} to total\")"));
        };
        if columns.get(&new).is_some() {
            return Err(format!("renaming `{old}` to `{new}`, which is there already"));
        }
        stage.rename.push((old, new));
        let before = at.look();
        if !at.joint() || at.look().column(columns).is_none() || at.eat("rename") {
            *at = before;
            return Ok(true);
        }
    }
}
