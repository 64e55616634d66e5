//! Conditions: `price under 500 and airline is Lufthansa or Ryanair`.

use super::{
    columns::{Columns, Known},
    comparison::{AFTER_FIELD, ANY, COMPARATORS, DATES, MONEY, Op, TELLING, VERBS},
    logic::{Condition, Field, all_of, any_of, compare, not, one_or},
    quantity::{or_more, plain, unit_column},
    value::Value,
};
use crate::planner::rules::cursor::{Cursor, Parsed, number_word};
use crate::planner::rules::{lex::Kind, names};

/// Parses conditions joined by `and`, `or` and `but`; `and` binds closer.
pub(super) struct Conditions<'a> {
    pub(super) columns: &'a Columns,
    /// The field of the last comparison: "price over 100 and under 200".
    pub(super) last: Option<String>,
    /// Whether bare known values ("Lufthansa") count as conditions.
    pub(super) bare: bool,
}

/// What everything of its kind has: "no price" means that it is missing, not that it is 0.
const NEVER_ZERO: &[&str] = &["price", "fare", "cost", "salary", "wage", "rent", "rating", "score", "age", "duration"];

impl Conditions<'_> {
    /// A whole condition, or nothing where none begins here.
    pub(super) fn any(&mut self, at: &mut Cursor<'_>) -> Parsed<Condition> {
        let Some(first) = self.all(at)? else { return Ok(None) };
        let mut found = vec![first];
        loop {
            let before = at.look();
            at.eat(",");
            let next = if at.eat("or") { self.relative(at).all(at)? } else { None };
            let Some(next) = next else {
                *at = before;
                return Ok(Some(one_or(found, any_of)));
            };
            found.push(next);
        }
    }

    fn all(&mut self, at: &mut Cursor<'_>) -> Parsed<Condition> {
        let Some(first) = self.one(at)? else { return Ok(None) };
        let mut found = vec![first];
        loop {
            let before = at.look();
            let comma = at.eat(",");
            let joined = at.eat_any(&["and", "but", "&"]).is_some();
            let next = if joined || comma { self.relative(at).one(at)? } else { None };
            let Some(next) = next else {
                *at = before;
                return Ok(Some(one_or(found, all_of)));
            };
            found.push(next);
        }
    }

    /// Takes the words that may open another condition of the same list.
    fn relative(&mut self, at: &mut Cursor<'_>) -> &mut Self {
        at.eat_any(&["where", "with", "having", "that", "which", "who", "whose"]);
        self
    }

    fn one(&mut self, at: &mut Cursor<'_>) -> Parsed<Condition> {
        #[rustfmt::skip]
        const ONE_WORDS: &[&str] = &[
            "that are", "that is", "which are", "which is", "who are", "are", "is", "was", "were", "have", "has",
            "had",
        ];
        let start = at.look();
        if at.eat("(") {
            if let Some(inner) = self.any(at)?
                && at.eat(")")
            {
                return Ok(Some(inner));
            }
            *at = start;
            return Ok(None);
        }
        at.eat_any(ONE_WORDS);
        let found = match self.of_column(at)? {
            Some(found) => Some(found),
            None => match self.implied(at)? {
                Some(found) => Some(found),
                None => self.presence(at).or_else(|| self.bare(at)),
            },
        };
        if found.is_none() {
            *at = start;
        }
        Ok(found)
    }

    /// `<column> <op> <value>`.
    fn of_column(&mut self, at: &mut Cursor<'_>) -> Parsed<Condition> {
        let start = at.look();
        let Some(field) = at.column(self.columns) else { return Ok(None) };
        if rows_meant(&start, at, &field, self.columns) {
            *at = start;
            return Ok(None);
        }
        // "a rating of 4" compares; "the price of 4 flights" does not.
        let owned = start.sees("a") || start.sees("an");
        let found = match owned && at.eat("of") {
            true => self.equals(at, &field, Op::Eq)?,
            false => self.after_column(at, &field)?,
        };
        match &found {
            None => *at = start,
            Some(_) => self.last = Some(field),
        }
        Ok(found)
    }

    fn after_column(&self, at: &mut Cursor<'_>, field: &str) -> Parsed<Condition> {
        let start = at.look();
        let copula =
            at.eat_any(&["that is", "is", "are", "was", "were", "be", "has", "have", "should be", "must be"]).is_some();
        if !copula && let Some(negated) = at.eat_any(&["isnt", "arent", "wasnt"]) {
            let _ = negated;
            if at.eat_any(&["set", "present", "known", "given", "there"]).is_some() {
                return Ok(Some(Condition::Missing { field: field.into(), or_empty: false }));
            }
            return Ok(self.equals(at, field, Op::Ne)?.or_else(|| self.missing(at, field).map(not)));
        }
        let denied = copula && at.sees("not") && !at.sees("not in") && !at.sees("not one of") && {
            let mut after = at.look();
            after.eat("not");
            self.missing(&mut after, field).is_some()
        };
        if denied {
            at.eat("not");
        }
        if let Some(missing) = self.missing(at, field) {
            return Ok(Some(if denied { not(missing) } else { missing }));
        }
        if copula && at.eat_any(&["set", "present", "known", "given", "there"]).is_some() || at.eat("exists") {
            return Ok(Some(not(Condition::Missing { field: field.into(), or_empty: false })));
        }
        let op = at.eat_key(COMPARATORS).or_else(|| at.eat_key(AFTER_FIELD));
        let op = op.or(copula.then_some(Op::Eq));
        let found = match op {
            None => self.column_value(at, field),
            Some(op) => self.equals(at, field, op)?,
        };
        if found.is_none() {
            // "sorted by price of the …": not a comparison after all.
            *at = start;
        }
        Ok(found)
    }

    /// `<column> 500 or less`, `airline Lufthansa`.
    fn column_value(&self, at: &mut Cursor<'_>, field: &str) -> Option<Condition> {
        let start = at.look();
        let value = Value::single(at, self.columns, Some(field))
            .filter(|value| matches!(value, Value::Text { known: true, .. }));
        if let Some(value) = value {
            return Some(compare(field, Op::Eq, value));
        }
        *at = start;
        if matches!(at.peek(0).map(|token| &token.kind), Some(Kind::Number(..))) {
            let value = Value::single(at, self.columns, Some(field))?;
            let op = or_more(at)?;
            return Some(compare(field, op, value));
        }
        None
    }

    /// The value after an operator, with `or more` behind it, or a list of values.
    fn equals(&self, at: &mut Cursor<'_>, field: &str, op: Op) -> Parsed<Condition> {
        let named = Some(field);
        if let Some(piece) = piece(at, op) {
            return Ok(Some(compare(field, op, piece)));
        }
        at.articles();
        let condition = match op {
            Op::Between => {
                let Some(low) = Value::single(at, self.columns, named) else { return Ok(None) };
                if at.eat_any(&["and", "to", "-", "till", "until"]).is_none() {
                    return Err(format!("`between` needs two values, as in \"{field} between 1 and 5\""));
                }
                let Some(high) = Value::single(at, self.columns, named) else { return Ok(None) };
                compare(field, op, Value::List(vec![low, high]))
            }
            Op::In | Op::NotIn => {
                let values = Value::list(at, self.columns, named);
                if values.is_empty() {
                    return Ok(None);
                }
                compare(field, op, Value::List(values))
            }
            Op::Eq | Op::Ne => {
                let Some(value) = Value::single(at, self.columns, named) else { return Ok(None) };
                if let Some(op) = (op == Op::Eq).then(|| or_more(at)).flatten() {
                    return Ok(Some(compare(field, op, value)));
                }
                let mut values = vec![value];
                while let Some(next) = alternative(at, self.columns, field, op) {
                    values.push(next);
                }
                match <[Value; 1]>::try_from(values) {
                    Ok([value]) => compare(field, op, value),
                    Err(several) => compare(field, if op == Op::Eq { Op::In } else { Op::NotIn }, Value::List(several)),
                }
            }
            op => {
                let Some(value) = Value::single(at, self.columns, named) else { return Ok(None) };
                let ordering = matches!(op, Op::Lt | Op::Le | Op::Gt | Op::Ge);
                if ordering && matches!(value, Value::Text { quoted: false, .. } | Value::Bool(_)) {
                    return Ok(None);
                }
                compare(field, op, value)
            }
        };
        Ok(Some(condition))
    }

    fn missing(&self, at: &mut Cursor<'_>, field: &str) -> Option<Condition> {
        let word = at.eat_any(&["null", "missing", "unknown", "not set", "unset", "none", "empty", "blank"])?;
        // A text column may well know the value "unknown" or "none".
        if self.columns.get(field).is_some_and(|column| column.value(word).is_some()) {
            return Some(compare(field, Op::Eq, Value::text(word, self.columns, field)));
        }
        Some(Condition::Missing { field: field.into(), or_empty: matches!(word, "empty" | "blank") })
    }

    /// "under $500", "more than 3 stops", "cheaper than 300", "3 or more stops", "between 5 and 10 euros".
    fn implied(&mut self, at: &mut Cursor<'_>) -> Parsed<Condition> {
        let start = at.look();
        let about = at.eat_key(VERBS);
        let telling = if about.is_some() { None } else { at.eat_key(TELLING) };
        let (op, family) = match telling {
            Some((op, family)) => (op, family),
            None if at.eat("between") => (Op::Between, about.unwrap_or(ANY)),
            None => match (at.eat_key(COMPARATORS), about) {
                (Some(op), _) => (op, about.unwrap_or(ANY)),
                (None, Some(_)) => {
                    *at = start;
                    return Ok(None);
                }
                (None, None) => return self.dated(at).map_or_else(|| Ok(self.counted(at)), |found| Ok(Some(found))),
            },
        };
        at.articles();
        let dated = family == DATES;
        let Some(mut value) = plain(at, self.columns, dated) else {
            *at = start;
            return Ok(None);
        };
        if op == Op::Between {
            if at.eat_any(&["and", "to", "-"]).is_none() {
                return Err("`between` needs two values, as in \"between 1 and 5\"".into());
            }
            let Some(high) = plain(at, self.columns, dated) else {
                *at = start;
                return Ok(None);
            };
            value = Value::List(vec![value, high]);
        }
        let money = value.is_money();
        let field = if let Some(field) = unit_column(at, self.columns, money) {
            self.last = Some(field.clone());
            Field::Named(field)
        } else {
            // "at least 3 seats.business": the number is about the path that follows.
            if at.word(0).contains('.') {
                *at = start;
                return Ok(None);
            }
            match (&self.last, value.is_date()) {
                _ if !family.is_empty() => Field::Implied(family),
                (Some(last), _) => Field::Named(last.clone()),
                (None, true) => Field::Implied(DATES),
                (None, false) => Field::Implied(if money { MONEY } else { ANY }),
            }
        };
        Ok(Some(Condition::Compare { field, op, value }))
    }

    /// "created after 2026-01-15": a word of the one date column that has it.
    fn dated(&mut self, at: &mut Cursor<'_>) -> Option<Condition> {
        let start = at.look();
        let mut named = self.columns.iter().filter(|column| column.is_date() && column.has_word(at.word(0)));
        let field = named.next().filter(|_| named.next().is_none())?.name.clone();
        at.at += 1;
        let op = TELLING.iter().find(|(word, (_, family))| *family == DATES && at.sees(word));
        if let Some((word, (op, _))) = op
            && at.eat(word)
            && let Some(value) = Value::date(at)
        {
            return Some(compare(&field, *op, value));
        }
        *at = start;
        None
    }

    /// "3 stops", "4 or more stops", "no stops": a number and its column.
    fn counted(&mut self, at: &mut Cursor<'_>) -> Option<Condition> {
        let start = at.look();
        let zero = at.eat("zero");
        let none = zero || at.eat("no");
        let value = if none { Some(Value::zero()) } else { plain(at, self.columns, false) };
        let op = value.as_ref().map(|_| or_more(at).unwrap_or(Op::Eq));
        let field = value.as_ref().and_then(|_| at.column(self.columns));
        let number =
            field.as_ref().is_some_and(|field| self.columns.get(field).is_some_and(|column| column.is_number()));
        // "no stops" counts them; "no price" says that it is not known.
        let known = field.as_ref().and_then(|field| self.columns.get(field));
        let counts = zero || !none || !known.is_some_and(|column| NEVER_ZERO.iter().any(|word| column.has_word(word)));
        match (value, op, field) {
            (Some(value), Some(op), Some(field)) if number && counts => {
                self.last = Some(field.clone());
                Some(Condition::Compare { field: Field::Named(field), op, value })
            }
            _ => {
                *at = start;
                None
            }
        }
    }

    /// "missing price", "without a price", "with a price".
    fn presence(&mut self, at: &mut Cursor<'_>) -> Option<Condition> {
        const PRESENCE_WORDS: &[&str] =
            &["missing", "without a", "without an", "without any", "no", "lacking", "empty", "blank", "null"];
        let start = at.look();
        let missing = at.eat_any(PRESENCE_WORDS);
        let field = at.column(self.columns);
        match (missing, field) {
            (Some("without a" | "without an" | "without any"), Some(field))
                if names::plural(&field) && self.columns.get(&field).is_some_and(Known::is_number) =>
            {
                Some(compare(&field, Op::Eq, Value::zero()))
            }
            (Some(word), Some(field)) => {
                at.eat_any(&["value", "values"]);
                Some(Condition::Missing { field, or_empty: matches!(word, "empty" | "blank") })
            }
            _ => {
                *at = start;
                None
            }
        }
    }

    /// "Lufthansa", "not cancelled", "active".
    fn bare(&mut self, at: &mut Cursor<'_>) -> Option<Condition> {
        let start = at.look();
        let denied = at.eat_any(&["not", "non", "neither"]).is_some();
        at.articles();
        let found = self.boolean(at).or_else(|| if self.bare { known_value(at, self.columns) } else { None });
        match found {
            Some(found) => Some(if denied { not(found) } else { found }),
            None => {
                *at = start;
                None
            }
        }
    }

    /// "active": a boolean column by itself, or the words of `is_active`.
    fn boolean(&self, at: &mut Cursor<'_>) -> Option<Condition> {
        let word = at.word(0);
        if word.is_empty() {
            return None;
        }
        let find = |word: &str| {
            let named = |name: &str| name == word || name == format!("is {word}") || name == format!("has {word}");
            self.columns.iter().find(|column| column.is_boolean() && named(column.key()))
        };
        // "unpaid" and "inactive" are the other value of `paid` and `active`.
        let opposite =
            || ["un", "in", "non-", "not-", "non"].iter().find_map(|prefix| find(word.strip_prefix(prefix)?));
        let (column, value) = match find(word) {
            Some(column) => (column, true),
            None => (opposite()?, false),
        };
        at.at += 1;
        Some(compare(&column.name, Op::Eq, Value::Bool(value)))
    }
}

/// "flights under 500", "flights from Berlin": the plural of a text column's name stands for the rows.
fn rows_meant(start: &Cursor<'_>, at: &Cursor<'_>, field: &str, columns: &Columns) -> bool {
    let column = columns.get(field);
    let plural = at.at == start.at + 1 && names::plural(start.word(0)) && !names::plural(field);
    let follows = ["from", "to", "after", "before", "since", "until", "in", "between", "at", "not", "including", "on"];
    let loose = at.look().eat_key(COMPARATORS).is_some() || follows.contains(&at.word(0));
    plural && loose && column.is_some_and(|column| !column.is_number())
}

/// A value that one column is known to hold. Where several hold it, nothing: that would be a guess.
fn known_value(at: &mut Cursor<'_>, columns: &Columns) -> Option<Condition> {
    let found = columns.values_at(at.rest());
    let [(field, value, len)] = found.as_slice() else { return None };
    // A word of the grammar is a value only as part of a longer one ("in progress"), or spelled like it ("IT").
    let spelled = at.raw() == value && value.starts_with(char::is_uppercase);
    if *len == 1 && at.at_boundary() && !spelled {
        return None;
    }
    at.at += len;
    // "business class" of a column `class`.
    let mut named = at.look();
    if named.column(columns).as_ref() == Some(field) && !names::plural(at.word(0)) {
        *at = named;
    }
    Some(compare(field, Op::Eq, Value::Text { text: value.clone(), known: true, quoted: false }))
}

/// Another value after `or` (or `nor`, or a comma): "is Lufthansa or Ryanair".
fn alternative(at: &mut Cursor<'_>, columns: &Columns, field: &str, op: Op) -> Option<Value> {
    let before = at.look();
    let comma = at.eat(",");
    let or = at.eat_any(if op == Op::Ne { &["nor", "or", "and"] } else { &["or"] }).is_some();
    let mut probe = at.look();
    let condition = probe.column(columns).is_some() && !or_value(&before, columns, field);
    if (or || comma) && !condition && number_word(at.word(0)).is_none() {
        let start = at.look();
        if let Some(value) = Value::single(at, columns, Some(field)) {
            // A comma goes on only with a value that is known, or with another alternative behind it.
            let known =
                matches!(&value, Value::Text { known: true, .. } | Value::Text { quoted: true, .. }) || at.sees("or");
            if or && value_kind(&value, columns, field) || known {
                return Some(value);
            }
        }
        *at = start;
    }
    *at = before;
    None
}

fn value_kind(value: &Value, columns: &Columns, field: &str) -> bool {
    let number = columns.get(field).is_some_and(|column| column.is_number());
    !(number && matches!(value, Value::Text { .. }))
}

fn or_value(at: &Cursor<'_>, columns: &Columns, field: &str) -> bool {
    let mut probe = at.look();
    probe.eat(",");
    probe.eat_any(&["or", "and", "nor"]);
    columns.get(field).is_some_and(|column| column.value(probe.raw()).is_some())
}

/// "starts with A": the letter is no article where the sentence ends behind it.
fn piece(at: &mut Cursor<'_>, op: Op) -> Option<Value> {
    let textual = matches!(op, Op::StartsWith | Op::EndsWith | Op::Contains | Op::NotContains);
    if !textual || !matches!(at.word(0), "a" | "an" | "the") {
        return None;
    }
    let mut behind = at.look();
    behind.at += 1;
    if !behind.done() && !behind.at_boundary() {
        return None;
    }
    let text = at.raw().to_owned();
    *at = behind;
    Some(Value::Text { text, known: false, quoted: false })
}
