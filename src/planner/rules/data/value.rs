//! Values as they are written in a request.

use super::columns::Columns;
use crate::planner::rules::cursor::{Cursor, number_word};
use crate::planner::rules::lex::{Kind, Unit};

/// Words of a value without quotes.
const VALUE_WORDS: usize = 4;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// JSON text of a number.
    Number {
        digits: String,
        unit: Unit,
    },
    /// `known`: spelled as in the data; `quoted`: spelled as meant.
    Text {
        text: String,
        known: bool,
        quoted: bool,
    },
    Date(String),
    Bool(bool),
    List(Vec<Value>),
}

impl Value {
    pub(super) fn zero() -> Self {
        Self::Number { digits: "0".into(), unit: Unit::Plain }
    }

    pub(super) fn text(text: &str, columns: &Columns, field: &str) -> Self {
        match columns.get(field).and_then(|column| column.value(text)) {
            Some(known) => Self::Text { text: known.into(), known: true, quoted: false },
            None => Self::Text { text: text.into(), known: false, quoted: false },
        }
    }

    /// Written with a currency.
    pub(super) fn is_money(&self) -> bool {
        match self {
            Self::Number { unit, .. } => *unit == Unit::Money,
            Self::List(values) => values.iter().any(Self::is_money),
            _ => false,
        }
    }

    pub(super) fn is_date(&self) -> bool {
        match self {
            Self::Date(_) => true,
            Self::List(values) => values.iter().any(Self::is_date),
            _ => false,
        }
    }

    /// One value for `field` (or for a field not named yet): a number, a date, quoted text, a known value, or
    /// words up to the next word of the grammar.
    pub(super) fn single(at: &mut Cursor<'_>, columns: &Columns, field: Option<&str>) -> Option<Self> {
        let token = at.peek(0)?;
        match &token.kind {
            Kind::Number(digits, unit) => {
                let (digits, mut unit) = (digits.clone(), *unit);
                let whole = token.raw.clone();
                if let Some(known) = field.and_then(|field| known_value(at, columns, field)) {
                    return Some(known);
                }
                at.at += 1;
                if at
                    .eat_any(&["dollars", "dollar", "euros", "euro", "usd", "eur", "gbp", "pounds", "bucks", "cents"])
                    .is_some()
                {
                    unit = Unit::Money;
                } else if at.eat_any(&["percent", "per cent"]).is_some() {
                    unit = Unit::Percent;
                }
                let text = field.and_then(|field| columns.get(field)).is_some_and(|c| c.is_text() && !c.is_number());
                Some(if text {
                    Self::Text { text: whole, known: false, quoted: true }
                } else {
                    Self::Number { digits, unit }
                })
            }
            Kind::Date => {
                at.at += 1;
                Some(Self::Date(token.raw.clone()))
            }
            Kind::Quoted => {
                at.at += 1;
                Some(Self::Text { text: token.raw.clone(), known: false, quoted: true })
            }
            Kind::Word => Self::words(at, columns, field),
            Kind::Url | Kind::Sign => None,
        }
    }

    fn words(at: &mut Cursor<'_>, columns: &Columns, field: Option<&str>) -> Option<Self> {
        if let Some(known) = field.and_then(|field| known_value(at, columns, field)) {
            return Some(known);
        }
        let word = at.word(0);
        let column = field.and_then(|field| columns.get(field));
        if let Some(boolean) = boolean(word).filter(|_| column.is_none_or(|column| !column.is_text())) {
            at.at += 1;
            return Some(Self::Bool(boolean));
        }
        if let Some(number) =
            number_word(word).or((word == "one").then_some(1)).filter(|_| column.is_none_or(|c| c.is_number()))
        {
            at.at += 1;
            return Some(Self::Number { digits: number.to_string(), unit: Unit::Plain });
        }
        if column.is_some_and(|column| !column.is_text() && column.is_number()) {
            return None;
        }
        let mut text = Vec::new();
        while !at.at_boundary() && text.len() < VALUE_WORDS {
            text.push(at.raw().to_owned());
            at.at += 1;
        }
        (!text.is_empty()).then(|| Self::Text { text: text.join(" "), known: false, quoted: false })
    }

    /// A date, or a year as the beginning of one.
    pub(super) fn date(at: &mut Cursor<'_>) -> Option<Self> {
        let token = at.peek(0)?;
        let found = match &token.kind {
            Kind::Date => token.raw.clone(),
            Kind::Number(year, Unit::Plain) if year.len() == 4 && (year.starts_with('1') || year.starts_with('2')) => {
                year.clone()
            }
            _ => return None,
        };
        at.at += 1;
        Some(Self::Date(found))
    }

    /// `(A, B)`, `[A, B]`, `A, B and C`, `A or B`.
    pub(super) fn list(at: &mut Cursor<'_>, columns: &Columns, field: Option<&str>) -> Vec<Self> {
        let open = at.eat_any(&["(", "["]);
        let mut values = Vec::new();
        while let Some(value) = Self::single(at, columns, field) {
            values.push(value);
            let before = at.look();
            let comma = at.eat(",");
            let joined = at.eat_any(&["or", "and", "nor"]).is_some();
            let more = !at.at_boundary() && (open.is_some() || at.look().column(columns).is_none());
            if !(comma || joined) || !more {
                *at = before;
                break;
            }
        }
        if open.is_some() && at.eat_any(&[")", "]"]).is_none() {
            return Vec::new();
        }
        values
    }
}

/// The longest known value of `field` here.
fn known_value(at: &mut Cursor<'_>, columns: &Columns, field: &str) -> Option<Value> {
    let (_, value, len) = columns.values_at(at.rest()).into_iter().find(|(column, ..)| column == field)?;
    at.at += len;
    Some(Value::Text { text: value, known: true, quoted: false })
}

fn boolean(word: &str) -> Option<bool> {
    match word {
        "true" | "yes" => Some(true),
        "false" | "no" => Some(false),
        _ => None,
    }
}
