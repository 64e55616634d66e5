//! Superlatives: `top 10 by rating`, `the 5 cheapest`, `the flight with the highest price`.

use super::{
    aggregate,
    columns::Columns,
    comparison::{DATES, EARNINGS, LENGTH, MONEY},
    stage::{By, End, Key, Stage},
};
use crate::planner::rules::{
    cursor::{Cursor, Parsed, Problem},
    lex::{Kind, Unit},
};

/// A family of column names, and whether the largest come first.
type Candidate = (&'static [&'static str], bool);

/// Superlatives that say what they rank by; of several candidates the first with a column counts.
const TELLING: &[(&str, &[Candidate])] = &[
    ("cheapest", &[(MONEY, false)]),
    ("least expensive", &[(MONEY, false)]),
    ("lowest priced", &[(MONEY, false)]),
    ("lowest-priced", &[(MONEY, false)]),
    ("most affordable", &[(MONEY, false)]),
    ("most expensive", &[(MONEY, true)]),
    ("priciest", &[(MONEY, true)]),
    ("costliest", &[(MONEY, true)]),
    ("dearest", &[(MONEY, true)]),
    ("highest priced", &[(MONEY, true)]),
    ("latest", &[(DATES, true)]),
    ("newest", &[(DATES, true)]),
    ("most recent", &[(DATES, true)]),
    ("earliest", &[(DATES, false)]),
    ("longest", &[(LENGTH, true)]),
    ("shortest", &[(LENGTH, false)]),
    ("fastest", &[(&["duration", "time", "latency"], false)]),
    ("quickest", &[(&["duration", "time", "latency"], false)]),
    ("slowest", &[(&["duration", "time", "latency"], true)]),
    ("heaviest", &[(&["weight", "mass"], true)]),
    ("lightest", &[(&["weight", "mass"], false)]),
    ("tallest", &[(&["height"], true)]),
    ("closest", &[(&["distance"], false)]),
    ("nearest", &[(&["distance"], false)]),
    ("farthest", &[(&["distance"], true)]),
    ("furthest", &[(&["distance"], true)]),
    ("best rated", &[(&["rating", "score", "star"], true)]),
    ("top rated", &[(&["rating", "score", "star"], true)]),
    ("top-rated", &[(&["rating", "score", "star"], true)]),
    ("highest rated", &[(&["rating", "score", "star"], true)]),
    ("lowest rated", &[(&["rating", "score", "star"], false)]),
    ("worst rated", &[(&["rating", "score", "star"], false)]),
    ("best", &[(&["rating", "score", "star", "grade"], true)]),
    ("worst", &[(&["rating", "score", "star", "grade"], false)]),
    ("largest", &[(SIZE, true)]),
    ("biggest", &[(SIZE, true)]),
    ("smallest", &[(SIZE, false)]),
    ("oldest", &[(&["age"], true), (SINCE, false)]),
    ("youngest", &[(&["age"], false), (&["born", "birthdate", "birthday", "birth"], true)]),
    ("highest paid", &[(EARNINGS, true)]),
    ("best paid", &[(EARNINGS, true)]),
    ("lowest paid", &[(EARNINGS, false)]),
    ("worst paid", &[(EARNINGS, false)]),
];

const SINCE: &[&str] = &["date", "timestamp", "datetime", "created", "day", "at", "year", "founded", "built"];
const SIZE: &[&str] = &["size", "amount", "total", "quantity", "value", "area", "population", "volume"];

/// Superlatives that need a column behind them.
pub(super) const OF_COLUMN: &[(&str, bool)] = &[
    ("highest", true),
    ("largest", true),
    ("biggest", true),
    ("greatest", true),
    ("most", true),
    ("maximum", true),
    ("max", true),
    ("longest", true),
    ("latest", true),
    ("best", true),
    ("newest", true),
    ("lowest", false),
    ("smallest", false),
    ("least", false),
    ("fewest", false),
    ("minimum", false),
    ("min", false),
    ("shortest", false),
    ("earliest", false),
    ("worst", false),
    ("oldest", false),
];

/// `top 10`, `first 5`, `5 cheapest`, `the most expensive`, `with the highest price`.
pub(super) fn rank(at: &mut Cursor<'_>, columns: &Columns, stage: &mut Stage) -> Result<bool, Problem> {
    const OPENERS: &[&str] =
        &["with the", "having the", "with", "has the", "have the", "had the", "is the", "are the", "the", "in the"];
    let start = at.look();
    let opened = at.eat_any(OPENERS);
    let end = at.eat_key(&[("top", End::Top), ("first", End::First), ("bottom", End::Bottom), ("last", End::Last)]);
    let mut count = at.count();
    let share = at.peek(0).is_some_and(|token| matches!(token.kind, Kind::Number(_, Unit::Percent)));
    if end.is_some() && (share || at.sees("percent")) {
        return Err("a share of the rows (give a number of rows)".into());
    }
    let found = superlative(at, columns)?;
    if found.is_some() && count.is_none() {
        count = at.count();
    }
    if matches!(end, Some(End::Bottom | End::Last)) && found.is_some() {
        return Err("\"bottom\" or \"last\" together with a superlative".into());
    }
    // "the highest price" is a number; "the flight with the highest price" is a row.
    let of_row = opened.is_some_and(|opener| opener.starts_with(['w', 'h']));
    if let (Some((_, true)), None, None, false) = (&found, end, count, of_row) {
        *at = start;
        return Ok(false);
    }
    let found = found.map(|(key, _)| key);
    if found.is_none() && (end.is_none() || count.is_none()) {
        // "top flights" has no number; a number alone is for another rule.
        if end.is_some_and(|end| end != End::First) && !at.look().at_boundary() && count.is_none() {
            return Err("how many rows are meant (as in \"top 10\")".into());
        }
        *at = start;
        return Ok(false);
    }
    if count == Some(0) {
        return Err("0 rows (ask for one at least)".into());
    }
    if let Some(k) = count {
        let same = stage.take.is_none_or(|(known, _)| known == k);
        if !same || stage.limit.is_some() {
            return Err("two different numbers of rows".into());
        }
        let end = if found.is_some() { End::Top } else { end.unwrap_or(End::Top) };
        stage.take = Some((k, end));
    }
    if let Some(key) = found {
        if stage.rank.as_ref().is_some_and(|known| *known != key) {
            return Err("two different superlatives (use \"sorted by a, then by b\")".into());
        }
        stage.rank = Some(key);
    }
    Ok(true)
}

/// A superlative with what it ranks by, and whether a column had to be named ("highest price").
fn superlative(at: &mut Cursor<'_>, columns: &Columns) -> Parsed<(Key, bool)> {
    let start = at.look();
    if let Some(descending) = at.eat_key(OF_COLUMN) {
        if let Some(key) = aggregate::one(at, columns)? {
            return Ok(Some((Key { by: By::Aggregate(key), descending: Some(descending) }, false)));
        }
        if let Some(name) = at.column(columns).filter(|_| columns.known.is_some()) {
            return Ok(Some((Key { by: By::Column(name), descending: Some(descending) }, true)));
        }
        *at = start;
    }
    let Some((candidates, word)) = telling(at) else { return Ok(None) };
    if at.sees("first") {
        *at = start;
        return Ok(None);
    }
    // "the 5 cheapest flights by total": the column that is named wins.
    if let Some(ahead) = (0..4).find(|ahead| at.word(*ahead) == "by") {
        let mut named = at.look();
        named.at += ahead + 1;
        if let Some(name) = named.column(columns) {
            if ahead == 0 {
                *at = named;
            }
            return Ok(Some((Key { by: By::Column(name), descending: Some(candidates[0].1) }, false)));
        }
    }
    Ok(Some((family_column(columns, candidates, word)?, false)))
}

/// A superlative that says what it ranks by.
pub(super) fn telling(at: &mut Cursor<'_>) -> Option<(&'static [Candidate], &'static str)> {
    let longest = TELLING.iter().filter(|(word, _)| at.sees(word)).max_by_key(|(word, _)| word.len());
    let (word, candidates) = longest?;
    at.eat(word);
    Some((candidates, word))
}

/// The column that a superlative ranks by.
pub(super) fn family_column(columns: &Columns, candidates: &[Candidate], word: &str) -> Result<Key, Problem> {
    if columns.known.is_none() {
        return Err(format!("which column \"{word}\" ranks by (as in \"top 5 by price\")"));
    }
    let mut problem = None;
    for (family, descending) in candidates {
        match columns.of_family(family) {
            Ok(name) => return Ok(Key { by: By::Column(name), descending: Some(*descending) }),
            Err(several) if several.is_empty() => {
                problem.get_or_insert_with(|| {
                    let words = family[..family.len().min(3)].join(", ");
                    format!("which column \"{word}\" ranks by (no {words} here; say \"by <column>\")")
                });
            }
            Err(several) => {
                return Err(format!("which of {} \"{word}\" ranks by (say \"by <column>\")", several.join(", ")));
            }
        }
    }
    Err(problem.unwrap_or_default())
}
