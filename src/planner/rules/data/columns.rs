//! The columns of the data at hand, found by name, kind and known values.

use serde_json::Value;

use super::vocabulary;
use crate::planner::{
    Column,
    rules::{
        cursor::Cursor,
        lex::{Kind, Token},
        names,
    },
};

/// Words of a column name or value that are looked at together.
const PHRASE_WORDS: usize = 5;

/// One column.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) name: String,
    kind: String,
    examples: Vec<Value>,
    key: String,
}

impl Known {
    fn new(name: &str, kind: &str, examples: Vec<Value>) -> Self {
        Self { name: name.into(), kind: kind.into(), examples, key: names::words(name).join(" ") }
    }

    pub(super) fn is_boolean(&self) -> bool {
        self.kind == "boolean"
    }

    pub(super) fn is_text(&self) -> bool {
        self.kind == "text"
    }

    pub(super) fn is_number(&self) -> bool {
        self.kind == "number" || self.numeric_text()
    }

    /// Numbers written as text: they compare and sort as numbers only with a cast.
    pub(super) fn numeric_text(&self) -> bool {
        matches!(self.kind.as_str(), "text" | "mixed")
            && self.examples.iter().any(Value::is_string)
            && self.examples.iter().all(|value| match value {
                Value::String(text) => text.trim().parse::<f64>().is_ok_and(f64::is_finite),
                Value::Number(_) | Value::Null => true,
                _ => false,
            })
    }

    /// ISO dates as text: they compare as text.
    pub(super) fn is_date(&self) -> bool {
        let dated = |text: &str| {
            let b = text.as_bytes();
            b.len() >= 7 && b[..4].iter().all(u8::is_ascii_digit) && b[4] == b'-' && b[5].is_ascii_digit()
        };
        self.is_text() && self.examples.iter().any(|value| value.as_str().is_some_and(dated))
    }

    /// Whether its dates carry a time of day.
    pub(super) fn has_time(&self) -> bool {
        self.examples.iter().any(|value| value.as_str().is_some_and(|text| text.len() > 10))
    }

    /// Shares, 0 to 1.
    pub(super) fn is_share(&self) -> bool {
        let numbers: Vec<f64> = self.examples.iter().filter_map(Value::as_f64).collect();
        !numbers.is_empty() && numbers.iter().all(|number| (0.0..=1.0).contains(number))
    }

    /// The known value that equals `text` but for case.
    pub(super) fn value(&self, text: &str) -> Option<&str> {
        let mut known = self.examples.iter().filter_map(Value::as_str);
        known.find(|value| value.eq_ignore_ascii_case(text) || value.to_lowercase() == text.to_lowercase())
    }

    /// Whether one of the words of its name is `word`.
    pub(super) fn has_word(&self, word: &str) -> bool {
        self.key.split(' ').any(|part| part == word)
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }
}

/// All columns, or none where the data has not been seen yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Columns {
    pub(super) known: Option<Vec<Known>>,
}

impl Columns {
    /// Columns as the caller knows them; none, or an empty list, means that any name may turn out right.
    pub(super) fn new(columns: Option<&[Column]>) -> Self {
        let known = columns.filter(|columns| !columns.is_empty()).map(|columns| {
            columns
                .iter()
                .map(|column| {
                    let examples = column.examples.iter().filter_map(|example| example.to_value().ok()).collect();
                    Known::new(&column.name, &column.kind, examples)
                })
                .collect()
        });
        Self { known }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Known> {
        self.known.iter().flatten()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Known> {
        self.iter().find(|column| column.name == name)
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.iter().map(|column| column.name.as_str()).collect()
    }

    /// The columns after a step that leaves `names` (new ones are of unknown kind).
    pub(super) fn keep(&self, names: &[String], kind: &str) -> Self {
        let kept =
            names.iter().map(|name| self.get(name).cloned().unwrap_or_else(|| Known::new(name, kind, Vec::new())));
        Self { known: self.known.as_ref().map(|_| kept.collect()) }
    }

    /// These columns, and the others behind them.
    pub(super) fn or(mut self, others: &Self) -> Self {
        if let (Some(known), Some(more)) = (&mut self.known, &others.known) {
            for column in more {
                if !known.iter().any(|one| one.name == column.name) {
                    known.push(column.clone());
                }
            }
        }
        self
    }

    /// The column whose name starts at the front of `tokens`, and how many tokens it takes.
    pub(super) fn at(&self, tokens: &[Token]) -> Option<(String, usize)> {
        let first = tokens.first()?;
        let Some(known) = &self.known else {
            let named = first.kind == Kind::Quoted || first.is_word() && identifier(&first.text);
            return named.then(|| (first.raw.clone(), 1));
        };
        if let Some(exact) = known.iter().find(|column| column.name == first.raw || column.name == first.text) {
            // A longer name may start with a shorter one: `price` and `price per night`.
            let longer = (2..=PHRASE_WORDS).rev().find_map(|len| phrase(known, tokens, len));
            return longer.or_else(|| Some((exact.name.clone(), 1)));
        }
        (1..=PHRASE_WORDS).rev().find_map(|len| phrase(known, tokens, len)).or_else(|| path(known, first))
    }

    /// The column that knows the value at the front of `tokens`: column, value as it stands in the data, length.
    /// All that fit with the longest match.
    pub(super) fn values_at(&self, tokens: &[Token]) -> Vec<(String, String, usize)> {
        for len in (1..=PHRASE_WORDS.min(tokens.len())).rev() {
            let part = &tokens[..len];
            if !part.iter().all(|token| token.is_word() || (len > 1 && matches!(token.kind, Kind::Number(..)))) {
                continue;
            }
            let text = part.iter().map(|token| token.raw.as_str()).collect::<Vec<_>>().join(" ");
            let one = names::singular(&text.to_lowercase());
            let found: Vec<_> = self
                .iter()
                .filter_map(|column| {
                    let value = column.value(&text).or_else(|| column.value(&one))?;
                    Some((column.name.clone(), value.to_owned(), len))
                })
                .collect();
            if !found.is_empty() {
                return found;
            }
        }
        Vec::new()
    }

    /// The one column of a family of meanings ("price", "cost", …): an exact name wins over a part of one.
    pub(super) fn of_family(&self, family: &[&str]) -> Result<String, Vec<String>> {
        for stem in family {
            if let Some(column) = self.iter().find(|column| column.key == *stem) {
                return Ok(column.name.clone());
            }
        }
        let part: Vec<_> = self
            .iter()
            .filter(|column| family.iter().any(|stem| column.has_word(stem)))
            .map(|c| c.name.clone())
            .collect();
        match <[String; 1]>::try_from(part) {
            Ok([only]) => Ok(only),
            Err(several) => Err(several),
        }
    }
}

impl Cursor<'_> {
    /// A column here; the word `column` or `field` around it is taken too.
    pub(super) fn column(&mut self, columns: &Columns) -> Option<String> {
        let start = self.at;
        self.articles();
        let prefixed = self.eat_any(&["column", "field", "columns", "fields"]).is_some();
        if let Some((name, len)) = columns.at(self.rest()) {
            self.at += len;
            if !prefixed {
                self.eat_any(&["column", "field", "columns", "fields"]);
            }
            return Some(name);
        }
        self.at = start;
        None
    }

    /// A list of columns: `a, b and c`.
    pub(super) fn column_list(&mut self, columns: &Columns) -> Vec<String> {
        let mut found = Vec::new();
        while let Some(name) = self.column(columns) {
            found.push(name);
            let before = self.at;
            if !self.joint() || self.clone().column(columns).is_none() {
                self.at = before;
                break;
            }
        }
        found
    }

    /// Where a value or a noun ends at the latest: at a word of the grammar, a sign or the end.
    pub(super) fn at_boundary(&self) -> bool {
        self.peek(0).is_none_or(|token| match token.kind {
            Kind::Word => vocabulary::reserved(&token.text),
            Kind::Sign | Kind::Url => true,
            Kind::Number(..) | Kind::Quoted | Kind::Date => false,
        })
    }
}

/// The column that `len` tokens name together.
fn phrase(known: &[Known], tokens: &[Token], len: usize) -> Option<(String, usize)> {
    let part = tokens.get(..len)?;
    let named = |token: &Token| {
        token.is_word() || (token.kind == Kind::Quoted && len == 1) || matches!(token.kind, Kind::Number(..)) && len > 1
    };
    if !part.iter().all(named) {
        return None;
    }
    let key = part.iter().flat_map(|token| names::words(&token.raw)).collect::<Vec<_>>().join(" ");
    if key.is_empty() {
        return None;
    }
    known.iter().find(|column| column.key == key).map(|column| (column.name.clone(), len))
}

/// `seats.economy`: a path into a column that holds objects or lists.
fn path(known: &[Known], token: &Token) -> Option<(String, usize)> {
    let root = token.raw.split(['.', '[']).next().filter(|root| root.len() < token.raw.len())?;
    let column = known.iter().find(|column| column.name == root)?;
    matches!(column.kind.as_str(), "object" | "array" | "mixed").then(|| (token.raw.clone(), 1))
}

/// A name that may be a column nobody has seen yet.
fn identifier(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_') && !vocabulary::reserved(word)
}
