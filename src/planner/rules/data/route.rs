//! From here to there, in places and in dates.

use super::{
    columns::Columns,
    comparison::{DATES, Op},
    logic::{Condition, compare, not},
    select::Found,
    stage::Stage,
    value::Value,
};
use crate::planner::rules::{
    cursor::{Cursor, Problem},
    lex::Kind,
};

/// Columns that hold where something starts and where it ends.
const ROUTES: &[(&str, &str)] = &[
    ("from", "to"),
    ("origin", "destination"),
    ("departure", "arrival"),
    ("source", "target"),
    ("source", "destination"),
    ("start", "end"),
    ("departure airport", "arrival airport"),
    ("departure city", "arrival city"),
    ("from city", "to city"),
    ("origin city", "destination city"),
    ("sender", "recipient"),
];

/// `from Berlin to Rome`, `to Rome`, `from 2026-01-01 to 2026-01-31`.
pub(super) fn route(at: &mut Cursor<'_>, columns: &Columns, stage: &mut Stage) -> Found {
    const ROUTE_WORDS_1: &[&str] =
        &["flying to", "going to", "leaving for", "bound for", "heading to", "arriving in", "arriving at", "to"];
    const ROUTE_WORDS: &[&str] =
        &["flying from", "leaving from", "departing from", "starting from", "going from", "coming from", "from"];
    let start = at.look();
    let denied = at.eat("not");
    let keys = |key: &str| columns.iter().find(|column| column.key() == key).map(|column| column.name.clone());
    let pair = ROUTES.iter().find_map(|(from, to)| Some((keys(from)?, keys(to)?)));
    let leaving = at.eat_any(ROUTE_WORDS).is_some();
    if !denied
        && leaving
        && let Some(range) = dates(at, columns)?
    {
        stage.filters.push(range);
        return Ok(true);
    }
    let Some((from, to)) = pair else {
        *at = start;
        return Ok(false);
    };
    let mut all = Vec::new();
    if leaving && let Some(places) = places(at, columns, &from) {
        all.push(places);
    }
    let before = at.look();
    let going = at.eat_any(ROUTE_WORDS_1).is_some();
    match going.then(|| places(at, columns, &to)).flatten() {
        Some(places) => all.push(places),
        None => *at = before,
    }
    if all.is_empty() {
        *at = start;
        return Ok(false);
    }
    if denied {
        let route = if all.len() == 1 { all.remove(0) } else { Condition::All(all) };
        all = vec![not(route)];
    }
    stage.filters.extend(all);
    Ok(true)
}

/// One place or several: `Berlin`, `Berlin, Paris or Madrid`.
fn places(at: &mut Cursor<'_>, columns: &Columns, field: &str) -> Option<Condition> {
    let mut found = vec![place(at, columns, field)?];
    loop {
        let before = at.look();
        at.eat(",");
        at.eat_any(&["or", "and"]);
        match place(at, columns, field).filter(|_| before.at != at.at) {
            Some(next) => found.push(next),
            None => {
                *at = before;
                break;
            }
        }
    }
    Some(if found.len() == 1 {
        compare(field, Op::Eq, found.remove(0))
    } else {
        compare(field, Op::In, Value::List(found))
    })
}

/// A place: known in the column, or written with a capital.
fn place(at: &mut Cursor<'_>, columns: &Columns, field: &str) -> Option<Value> {
    let start = at.look();
    at.eat("the");
    let capital =
        at.raw().starts_with(char::is_uppercase) || at.peek(0).is_some_and(|token| token.kind == Kind::Quoted);
    let value = Value::single(at, columns, Some(field))?;
    if capital || matches!(value, Value::Text { known: true, .. }) {
        return Some(value);
    }
    *at = start;
    None
}

/// `2026-01-01 to 2026-01-31` of the one column with dates.
fn dates(at: &mut Cursor<'_>, columns: &Columns) -> Result<Option<Condition>, Problem> {
    let start = at.look();
    if let Some(low) = Value::date(at).filter(Value::is_date)
        && at.eat_any(&["to", "until", "till", "through", "-"]).is_some()
        && let Some(high) = Value::date(at)
    {
        let field = columns.of_family(DATES).map_err(|_| "which column the dates are about".to_owned())?;
        return Ok(Some(compare(&field, Op::Between, Value::List(vec![low, high]))));
    }
    *at = start;
    Ok(None)
}
