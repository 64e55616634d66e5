//! What is left out: repeats, columns, and rows that meet a condition.

use super::{
    columns::Columns,
    condition::Conditions,
    logic::{Condition, not},
    order::unknown,
    select::{Found, compared},
    stage::Stage,
    vocabulary::ROWS,
};
use crate::planner::rules::cursor::Problem;
use crate::planner::rules::{cursor::Cursor, names};

/// `remove duplicates`, `distinct airlines`, `without repeats by email`.
pub(super) fn distinct(at: &mut Cursor<'_>, columns: &Columns, stage: &mut Stage) -> Found {
    #[rustfmt::skip]
    const REPEATS: &[&str] = &[
        "remove all duplicate rows", "remove all duplicates", "remove the duplicates", "remove any duplicates",
        "remove duplicate rows", "remove duplicate entries", "remove duplicate records", "remove duplicates",
        "drop duplicate rows", "drop the duplicates", "drop duplicates", "delete duplicate rows",
        "delete duplicates", "delete the duplicates", "get rid of duplicates", "get rid of the duplicates",
        "filter out duplicates", "without duplicate rows", "without duplicates", "without repeats",
        "no duplicates", "eliminate duplicates", "excluding duplicates", "deduplicate", "dedupe", "deduplicated",
        "deduped", "dedup", "unique rows", "distinct rows", "duplicates removed",
    ];
    if at.eat_any(REPEATS).is_some() {
        let before = at.look();
        at.articles();
        if !ROWS.contains(&at.word(0)) || at.eat_any(&["from the", "from"]).is_some() {
            *at = before;
        } else {
            at.at += 1;
        }
        let mut fields = Vec::new();
        if at
            .eat_any(&["by", "based on", "on", "with respect to", "with the same", "of", "in", "over", "considering"])
            .is_some()
        {
            fields = at.column_list(columns);
            if fields.is_empty() && !at.at_boundary() {
                return Err(format!("which columns make a duplicate: {}", unknown(at, columns)));
            }
        }
        stage.distinct.get_or_insert_default().extend(fields);
        return Ok(true);
    }
    let start = at.look();
    at.articles();
    if at.eat_any(&["distinct", "unique", "different"]).is_none() {
        *at = start;
        return Ok(false);
    }
    at.eat_any(&["values of the", "values of", "values for", "values in"]);
    let fields = at.column_list(columns);
    if fields.is_empty() {
        return Err(format!("what is to be distinct: {}", unknown(at, columns)));
    }
    at.eat_any(&["values", "combinations", "pairs"]);
    stage.unique.extend(fields);
    Ok(true)
}

/// `without column x`, `drop a and b`, `remove rows where …`, `exclude cancelled orders`, `except Lufthansa`.
pub(super) fn remove(at: &mut Cursor<'_>, columns: &Columns, stage: &mut Stage) -> Found {
    #[rustfmt::skip]
    const VERBS: &[&str] = &[
        "get rid of", "filter out", "throw out", "throw away", "weed out", "leave out", "leaving out", "drop",
        "dropping", "remove", "removing", "exclude", "excluding", "omit", "omitting", "hide", "delete",
        "discard", "eliminate", "without", "except for", "except", "apart from", "but not", "ignore", "ignoring",
        "skip the ones", "skip those", "all but", "not including",
    ];
    let start = at.look();
    let Some(verb) = at.eat_any(VERBS) else { return Ok(false) };
    if verb == "without" && at.eat_any(&["a", "an", "any"]).is_some() {
        *at = start;
        return Ok(false);
    }
    let here = at.look();
    at.articles();
    let fields = at.column_list(columns);
    if !fields.is_empty() && !compared(at) && columns_meant(at, &here, columns) {
        if let (true, [field], true) =
            (verb == "without" && at.at == here.at + 1, fields.as_slice(), behind_rows(&start))
        {
            return Err(format!(
                "whether \"without {field}\" leaves out the column or keeps the rows that have none (say \"without \
                 the {field} column\" or \"with no {field}\")"
            ));
        }
        stage.drop.extend(fields);
        return Ok(true);
    }
    *at = here;
    match removed_rows(at, columns)? {
        Some(condition) => {
            stage.filters.push(not(condition));
            Ok(true)
        }
        None => {
            let mut what = here;
            what.articles();
            let what = what.raw();
            Err(format!("what to leave out: \"{what}\" is neither a column nor a condition"))
        }
    }
}

/// "flights without price": the noun of the rows stands right before, and nothing else was asked yet.
fn behind_rows(at: &Cursor<'_>) -> bool {
    let word = at.before();
    ROWS.contains(&word) || names::plural(word)
}

/// "drop price" means the column; "drop flights over 500" means rows even where a column is called `flight`.
fn columns_meant(at: &Cursor<'_>, start: &Cursor<'_>, columns: &Columns) -> bool {
    let named = at.at > start.at && at.at - start.at > 1;
    let relative = ["where", "with", "that", "which", "whose", "who", "from", "without"].contains(&at.word(0));
    let mut conditions = Conditions { columns, last: None, bare: true };
    let compares = conditions.any(&mut at.look()).ok().flatten().is_some();
    !compares && (named || !relative)
}

/// The condition behind a verb of removal.
fn removed_rows(at: &mut Cursor<'_>, columns: &Columns) -> Result<Option<Condition>, Problem> {
    #[rustfmt::skip]
    const REMOVED_ROWS_WORDS: &[&str] = &[
        "where", "with", "whose", "that have", "that has", "that are", "that were", "that is", "that cost",
        "that", "which are", "which have", "which", "who are", "who", "having", "in which", "from", "for", "of",
        "if",
    ];
    let mut conditions = Conditions { columns, last: None, bare: true };
    at.articles();
    if let Some(found) = conditions.any(at)? {
        let before = at.look();
        noun(at, columns);
        if !at.at_boundary() {
            *at = before;
        }
        return Ok(Some(found));
    }
    noun(at, columns);
    at.eat_any(REMOVED_ROWS_WORDS);
    at.articles();
    conditions.any(at)
}

/// The noun of the rows.
fn noun(at: &mut Cursor<'_>, columns: &Columns) {
    at.articles();
    let word = at.word(0);
    let column = columns.at(at.rest()).is_some() && columns.known.is_some();
    if ROWS.contains(&word) || (names::plural(word) && (column || !at.at_boundary())) {
        at.at += 1;
    }
}
