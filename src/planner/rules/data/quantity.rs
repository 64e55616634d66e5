//! Numbers with what stands around them: a currency, `or more`, the column they count.

use super::{columns::Columns, comparison::Op, value::Value};
use crate::planner::rules::{
    cursor::{Cursor, number_word},
    lex::{Kind, Unit},
};

/// `or more`, `or less` behind a number.
pub(super) fn or_more(at: &mut Cursor<'_>) -> Option<Op> {
    at.eat_key(&[
        ("or more", Op::Ge),
        ("or above", Op::Ge),
        ("or higher", Op::Ge),
        ("or over", Op::Ge),
        ("or greater", Op::Ge),
        ("or better", Op::Ge),
        ("and above", Op::Ge),
        ("and up", Op::Ge),
        ("+", Op::Ge),
        ("or less", Op::Le),
        ("or fewer", Op::Le),
        ("or below", Op::Le),
        ("or lower", Op::Le),
        ("or under", Op::Le),
        ("and below", Op::Le),
    ])
}

/// A number with its currency word, or a date where one fits.
pub(super) fn plain(at: &mut Cursor<'_>, columns: &Columns, dated: bool) -> Option<Value> {
    let kind = &at.peek(0)?.kind;
    let number = matches!(kind, Kind::Number(..)) || number_word(at.word(0)).is_some() || at.sees("one");
    let date = *kind == Kind::Date || (dated && matches!(kind, Kind::Number(_, Unit::Plain)));
    if dated {
        date.then(|| Value::date(at)).flatten()
    } else {
        (number || date).then(|| Value::single(at, columns, None)).flatten()
    }
}

/// The column behind a number: "more than 3 stops", "under 500 in price".
pub(super) fn unit_column(at: &mut Cursor<'_>, columns: &Columns, money: bool) -> Option<String> {
    let before = at.look();
    let joined = at.eat_any(&["in", "of"]).is_some();
    columns.known.as_ref()?;
    let field = at.column(columns);
    let fits = field.as_ref().is_some_and(|field| columns.get(field).is_some_and(|column| column.is_number()));
    if fits && (!money || joined) {
        return field;
    }
    *at = before;
    None
}
