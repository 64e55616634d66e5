//! Orders: `sorted by price, then by name descending`, `cheapest first`.

use super::{
    aggregate,
    columns::Columns,
    rank::{OF_COLUMN, family_column, telling},
    stage::{By, Key, Stage},
    vocabulary::ROWS,
};
use crate::planner::rules::{
    cursor::{Cursor, Parsed, Problem},
    names,
};

/// Directions behind a sort key.
const DIRECTIONS: &[(&str, bool)] = &[
    ("in ascending order", false),
    ("in increasing order", false),
    ("in descending order", true),
    ("in decreasing order", true),
    ("in reverse order", true),
    ("in alphabetical order", false),
    ("from lowest to highest", false),
    ("from low to high", false),
    ("from highest to lowest", true),
    ("from high to low", true),
    ("from smallest to largest", false),
    ("from largest to smallest", true),
    ("from cheapest to most expensive", false),
    ("from oldest to newest", false),
    ("from newest to oldest", true),
    ("from a to z", false),
    ("lowest to highest", false),
    ("highest to lowest", true),
    ("low to high", false),
    ("high to low", true),
    ("smallest to largest", false),
    ("largest to smallest", true),
    ("oldest to newest", false),
    ("newest to oldest", true),
    ("ascending", false),
    ("asc", false),
    ("increasing", false),
    ("descending", true),
    ("desc", true),
    ("decreasing", true),
    ("reversed", true),
    ("lowest first", false),
    ("smallest first", false),
    ("cheapest first", false),
    ("earliest first", false),
    ("fewest first", false),
    ("least first", false),
    ("shortest first", false),
    ("highest first", true),
    ("largest first", true),
    ("biggest first", true),
    ("most expensive first", true),
    ("newest first", true),
    ("latest first", true),
    ("most recent first", true),
    ("most first", true),
    ("longest first", true),
    ("starting with the lowest", false),
    ("starting with the cheapest", false),
    ("starting with the highest", true),
    ("starting with the most expensive", true),
    ("alphabetically", false),
];

#[rustfmt::skip]
/// Directions of ages: of a column `age` the oldest have the most, of dates the least.
const AGES: &[(&str, bool)] = &[
    ("oldest first", true),
    ("youngest first", false),
    ("from oldest to youngest", true),
    ("from youngest to oldest", false),
    ("oldest to youngest", true),
    ("youngest to oldest", false),
];

const SORTS: &[&str] = &["sorted", "sort", "ordered", "order", "arranged", "arrange", "rank", "ranked", "reorder"];

/// `sorted by …`.
pub(super) fn sort(at: &mut Cursor<'_>, columns: &Columns, stage: &mut Stage) -> Result<bool, Problem> {
    let start = at.look();
    if columns.known.is_some() && start.look().column(columns).is_some() {
        // A column called `rank` or `order id`.
        return Ok(false);
    }
    let Some(verb) = at.eat_any(SORTS) else { return Ok(false) };
    at.eat_any(&["them", "it", "these", "those", "all of them", "everything"]);
    let early = direction(at);
    if !at.sees("by") && !at.sees("on") {
        rows_between(at);
    }
    let early = early.or_else(|| direction(at));
    if at.eat_any(&["by", "on", "according to"]).is_none() {
        let whole = at.column(columns).or_else(|| {
            stage.unique.first().or(stage.select.first().map(|(name, _)| name)).cloned().filter(|_| early.is_some())
        });
        let Some(name) = whole else {
            *at = start;
            return Err(format!(
                "what to {} by (as in \"sorted by price\")",
                if verb.starts_with("rank") { "rank" } else { "sort" }
            ));
        };
        stage.sort.push(Key { by: By::Column(name), descending: direction(at).or(early) });
        return Ok(true);
    }
    let mut keys = keys(at, columns)?;
    if let (Some(descending), Some(key)) = (early, keys.first_mut()) {
        key.descending.get_or_insert(descending);
    }
    if verb.starts_with("rank") && keys.iter().any(|key| key.descending.is_none()) {
        return Err("which way to rank (add \"ascending\" or \"descending\")".into());
    }
    stage.sort.extend(keys);
    Ok(true)
}

/// "sort the flights by price": the noun is the rows'.
fn rows_between(at: &mut Cursor<'_>) {
    let start = at.look();
    at.articles();
    let noun = ROWS.contains(&at.word(0)) || names::plural(at.word(0));
    at.at += usize::from(noun);
    if !noun || !(at.sees("by") || at.sees("on") || at.sees("in") || at.sees("from") || at.sees("alphabetically")) {
        *at = start;
    }
}

/// `a desc, then by b and c`: at least one key.
pub(super) fn keys(at: &mut Cursor<'_>, columns: &Columns) -> Result<Vec<Key>, Problem> {
    let mut keys = vec![key(at, columns)?.ok_or_else(|| unknown(at, columns))?];
    loop {
        let before = at.look();
        let comma = at.eat(",");
        let joined = at.eat_any(&["and then by", "then by", "and by", "and then", "then", "and"]).is_some();
        at.eat("by");
        match if comma || joined { key(at, columns).unwrap_or_default() } else { None } {
            // "sorted by price, airline is Lufthansa" goes on with a condition.
            Some(next)
                if !at.sees("is")
                    && !at.sees("under")
                    && !at.sees("over")
                    && !at.sees("above")
                    && !at.sees("below") =>
            {
                keys.push(next);
            }
            _ => {
                *at = before;
                return Ok(keys);
            }
        }
    }
}

fn key(at: &mut Cursor<'_>, columns: &Columns) -> Parsed<Key> {
    let start = at.look();
    at.articles();
    // "sorted by average price": the column that an aggregate has made.
    if let Some(made) = aggregate::one(&mut at.look(), columns)?.filter(|made| columns.get(&made.name()).is_some()) {
        aggregate::one(at, columns)?;
        return Ok(Some(Key { by: By::Column(made.name()), descending: direction(at) }));
    }
    // "sorted by cheapest".
    if let Some((candidates, word)) = telling(&mut at.look())
        && at.look().column(columns).is_none()
        && !OF_COLUMN.iter().any(|(of, _)| *of == word)
    {
        telling(at);
        at.eat("first");
        return family_column(columns, candidates, word).map(Some);
    }
    let early = at.eat_key(DIRECTIONS).or_else(|| {
        // "by highest price", "by lowest fare".
        let before = at.look();
        let found = at.eat_key(OF_COLUMN);
        if found.is_some() && at.look().column(columns).is_none() {
            *at = before;
            return None;
        }
        found
    });
    let by = match at.column(columns) {
        Some(name) => Some(By::Column(name)),
        None => aggregate::one(at, columns)?.map(By::Aggregate),
    };
    let Some(by) = by else {
        *at = start;
        return Ok(None);
    };
    let descending = aged(at, &by.name(), columns).or_else(|| direction(at)).or(early);
    Ok(Some(Key { by, descending }))
}

/// "oldest first" behind a key.
fn aged(at: &mut Cursor<'_>, name: &str, columns: &Columns) -> Option<bool> {
    let before = at.look();
    at.eat(",");
    let Some(oldest) = at.eat_key(AGES) else {
        *at = before;
        return None;
    };
    let age = columns.get(name).map_or(name == "age", |column| column.has_word("age"));
    Some(oldest == age)
}

fn direction(at: &mut Cursor<'_>) -> Option<bool> {
    let before = at.look();
    let comma = at.eat(",");
    let opened = at.eat("(");
    at.eat_any(&["with the", "the"]);
    let found = at.eat_key(DIRECTIONS);
    if found.is_none() || (opened && !at.eat(")")) || (comma && found.is_none()) {
        *at = before;
        return None;
    }
    at.eat("order");
    found
}

/// Says which column was not found, with what it may have meant.
pub(super) fn unknown(at: &Cursor<'_>, columns: &Columns) -> Problem {
    let named = at.raw();
    if named.is_empty() {
        return "which column is meant".into();
    }
    match crate::planner::rules::names::closest(named, columns.names().into_iter()) {
        Some(close) => format!("the column \"{named}\" (did you mean `{close}`?)"),
        None => format!("the column \"{named}\""),
    }
}

/// `cheapest first`, `newest orders first`, `highest price first`, and a direction behind its key.
pub(super) fn first(at: &mut Cursor<'_>, columns: &Columns, stage: &mut Stage) -> Result<bool, Problem> {
    let start = at.look();
    at.eat_any(&["with the", "the"]);
    if let Some((candidates, word)) = telling(at) {
        if names::plural(at.word(0)) && at.word(1) == "first" {
            at.at += 1;
        }
        if at.eat("first") {
            match stage.sort.last_mut().filter(|key| key.descending.is_none()) {
                Some(key) => key.descending = Some(candidates[0].1),
                None => stage.sort.push(family_column(columns, candidates, word)?),
            }
            return Ok(true);
        }
        *at = start;
        at.eat_any(&["with the", "the"]);
    }
    if let Some(descending) = at.eat_key(OF_COLUMN) {
        let name = if columns.known.is_some() { at.column(columns) } else { None };
        if let Some(name) = name.filter(|_| at.eat("first")) {
            stage.sort.push(Key { by: By::Column(name), descending: Some(descending) });
            return Ok(true);
        }
    }
    *at = start;
    late_direction(at, stage)
}

/// "…, ascending" belongs to the key before it; "…, highest first" behind one aggregate orders by that.
fn late_direction(at: &mut Cursor<'_>, stage: &mut Stage) -> Result<bool, Problem> {
    let start = at.look();
    let Some(descending) = direction(at) else { return Ok(false) };
    let keys = if stage.by.is_empty() { &mut stage.sort } else { &mut stage.by };
    if let Some(key) = keys.last_mut().filter(|key| key.descending.is_none()) {
        key.descending = Some(descending);
        return Ok(true);
    }
    if let ([aggregate], true) = (stage.aggregates.as_slice(), start.sees_before(at, "first")) {
        stage.sort.push(Key { by: By::Aggregate(aggregate.clone()), descending: Some(descending) });
        return Ok(true);
    }
    *at = start;
    Ok(false)
}
