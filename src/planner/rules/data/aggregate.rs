//! Aggregates: `average price and total seats per airline`, `how many orders by status`.

use super::{
    columns::Columns,
    order,
    stage::{Aggregate, Stage},
    vocabulary::ROWS,
};
use crate::planner::rules::cursor::{Cursor, Parsed, Problem};
use crate::planner::rules::names;

const OPS: &[(&str, &str)] = &[
    ("the sum of", "sum"),
    ("sum of", "sum"),
    ("sum up", "sum"),
    ("add up", "sum"),
    ("add together", "sum"),
    ("total up", "sum"),
    ("adding up", "sum"),
    ("total of", "sum"),
    ("total", "sum"),
    ("sum", "sum"),
    ("combined", "sum"),
    ("overall", "sum"),
    ("average of", "avg"),
    ("average", "avg"),
    ("avg", "avg"),
    ("mean of", "avg"),
    ("mean", "avg"),
    ("median of", "median"),
    ("median", "median"),
    ("minimum of", "min"),
    ("minimum", "min"),
    ("min of", "min"),
    ("min", "min"),
    ("smallest", "min"),
    ("lowest", "min"),
    ("earliest", "min"),
    ("maximum of", "max"),
    ("maximum", "max"),
    ("max of", "max"),
    ("max", "max"),
    ("largest", "max"),
    ("highest", "max"),
    ("latest", "max"),
    ("number of distinct", "count_distinct"),
    ("number of different", "count_distinct"),
    ("number of unique", "count_distinct"),
    ("count of distinct", "count_distinct"),
    ("count of unique", "count_distinct"),
    ("count of different", "count_distinct"),
    ("count distinct", "count_distinct"),
    ("count unique", "count_distinct"),
    ("count different", "count_distinct"),
    ("count the distinct", "count_distinct"),
    ("count the unique", "count_distinct"),
    ("count the different", "count_distinct"),
    ("how many distinct", "count_distinct"),
    ("how many different", "count_distinct"),
    ("how many unique", "count_distinct"),
    ("distinct count of", "count_distinct"),
    ("total number of", "count"),
    ("total count of", "count"),
    ("the number of", "count"),
    ("number of", "count"),
    ("count of", "count"),
    ("total count", "count"),
    ("count up", "count"),
    ("count", "count"),
    ("how many", "count"),
];

/// One aggregate with its column, as a key to order by: "average price", "number of flights", "count".
pub(super) fn one(at: &mut Cursor<'_>, columns: &Columns) -> Parsed<Aggregate> {
    let start = at.look();
    at.articles();
    let Some(op) = at.eat_key(OPS) else {
        *at = start;
        return Ok(None);
    };
    if op == "count" {
        noun(at);
        return Ok(Some(Aggregate { op, field: None }));
    }
    at.articles();
    match at.column(columns) {
        Some(field) => Ok(Some(Aggregate { op, field: Some(field) })),
        None => {
            *at = start;
            Ok(None)
        }
    }
}

/// The noun of the rows, where one stands: "flights", "of the flights".
fn noun(at: &mut Cursor<'_>) {
    let before = at.look();
    at.eat("of");
    at.articles();
    let word = at.word(0);
    let rows = ROWS.contains(&word) || (names::plural(word) && !at.at_boundary());
    let mut after = at.look();
    after.at += 1;
    if rows && after.at_boundary() {
        *at = after;
    } else {
        *at = before;
    }
}

/// One or more aggregates.
pub(super) fn aggregates(at: &mut Cursor<'_>, columns: &Columns, stage: &mut Stage) -> Result<bool, Problem> {
    let start = at.look();
    at.articles();
    let mut ops = Vec::new();
    while let Some(op) = at.eat_key(OPS) {
        ops.push(op);
        let before = at.look();
        let joined = at.joint();
        at.articles();
        if !joined || at.look().eat_key(OPS).is_none() {
            *at = before;
            break;
        }
    }
    let Some(op) = ops.last().copied() else {
        *at = start;
        return Ok(false);
    };
    if op == "count" && ops.len() == 1 {
        return counted(at, columns, stage);
    }
    at.eat_any(&["up", "of"]);
    at.eat_any(&["all of the", "all the", "the values of", "the value of", "value of", "values of", "all"]);
    let fields = fields(at, columns);
    if fields.is_empty() {
        let named = at.look();
        *at = start;
        // "the highest rated" and "lowest first" are for other rules.
        if matches!(op, "min" | "max") || named.at_boundary() && op == "sum" && ops.len() == 1 && !named.done() {
            return Ok(false);
        }
        return Err(format!("what to compute the {} of: {}", words(op), order::unknown(&named, columns)));
    }
    for field in &fields {
        for op in &ops {
            let field = (*op != "count").then(|| field.clone());
            numeric(op, field.as_deref(), columns)?;
            push(stage, Aggregate { op, field });
        }
    }
    Ok(true)
}

/// The columns of one operation: "average price and duration"; a second one that is compared is none.
fn fields(at: &mut Cursor<'_>, columns: &Columns) -> Vec<String> {
    let mut found = Vec::new();
    while let Some(name) = at.column(columns) {
        found.push(name);
        let before = at.look();
        if !at.joint() || at.look().column(columns).is_none() {
            *at = before;
            break;
        }
    }
    found
}

/// "how many flights", "count airlines", "number of orders".
fn counted(at: &mut Cursor<'_>, columns: &Columns, stage: &mut Stage) -> Result<bool, Problem> {
    at.articles();
    let mut probe = at.look();
    let column = if columns.known.is_some() { probe.column(columns) } else { None };
    // The first column names the rows ("flight" of flights): counting them counts rows.
    let identity = column.as_deref().is_some_and(|name| columns.names().first() == Some(&name));
    let compared =
        probe.sees("is") || probe.sees("under") || probe.sees("over") || probe.sees("above") || probe.sees("below");
    let aggregate = match column {
        Some(_) if identity => {
            *at = probe;
            Aggregate { op: "count", field: None }
        }
        Some(name) if !compared && columns.get(&name).is_some_and(|column| !column.is_boolean()) => {
            *at = probe;
            Aggregate { op: "count_distinct", field: Some(name) }
        }
        _ => {
            noun(at);
            Aggregate { op: "count", field: None }
        }
    };
    push(stage, aggregate);
    Ok(true)
}

fn push(stage: &mut Stage, aggregate: Aggregate) {
    if !stage.aggregates.contains(&aggregate) {
        stage.aggregates.push(aggregate);
    }
}

/// Sums and averages need numbers.
fn numeric(op: &str, field: Option<&str>, columns: &Columns) -> Result<(), Problem> {
    let column = field.and_then(|field| columns.get(field));
    if matches!(op, "sum" | "avg" | "median")
        && let Some(column) = column.filter(|column| column.is_text() && !column.is_number())
    {
        return Err(format!("the {} of `{}`, which holds text", words(op), column.name));
    }
    Ok(())
}

fn words(op: &str) -> &str {
    match op {
        "avg" => "average",
        "min" => "minimum",
        "max" => "maximum",
        "count_distinct" => "number of distinct values",
        op => op,
    }
}

/// `per airline`, `for each airline and class`, `grouped by airline`.
pub(super) fn group(at: &mut Cursor<'_>, columns: &Columns, stage: &mut Stage) -> Result<bool, Problem> {
    let start = at.look();
    #[rustfmt::skip]
    const OPENERS: &[&str] = &[
        "grouped by", "group them by", "group it by", "group by", "grouping by", "broken down by", "split by",
        "per", "for each", "for every", "of each", "of every", "in each", "in every", "from each", "each",
        "by each", "for all the different", "for the different",
    ];
    let opened = at.eat_any(OPENERS).is_some()
        || (at.eat("group") && {
            // "group the orders by status"
            at.articles();
            noun(at);
            at.eat("by")
        });
    if !opened {
        *at = start;
        return Ok(false);
    }
    let fields = at.column_list(columns);
    if fields.is_empty() {
        let problem = order::unknown(at, columns);
        return Err(format!("what to group by: {problem}"));
    }
    stage.group.extend(fields);
    Ok(true)
}
