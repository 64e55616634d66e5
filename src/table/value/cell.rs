//! One cell: typed, borrowed from the row, ordered as the contract orders mixed columns.

use std::{borrow::Cow, cmp::Ordering};

use super::{
    canonical,
    number::{Number, numeric},
};
use crate::table::read::{Scanner, Text};

/// What a field of a row holds. A missing field is null.
#[derive(Debug, Clone)]
pub(crate) enum Cell<'a> {
    Null,
    Bool(bool),
    Number(Number<'a>),
    Text(Cow<'a, str>),
    /// The array as written.
    Array(&'a str),
    /// The object as written.
    Object(&'a str),
}

/// The type of a cell, in the order of mixed columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    Text,
    Array,
    Object,
}

impl Kind {
    /// As messages and columns call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "boolean",
            Self::Number => "number",
            Self::Text => "text",
            Self::Array => "array",
            Self::Object => "object",
        }
    }

    /// The type of a well-formed value, by its first byte.
    pub(crate) fn of(raw: &str) -> Self {
        match raw.as_bytes().first() {
            Some(b'"') => Self::Text,
            Some(b'{') => Self::Object,
            Some(b'[') => Self::Array,
            Some(b't' | b'f') => Self::Bool,
            Some(b'-' | b'0'..=b'9') => Self::Number,
            _ => Self::Null,
        }
    }
}

impl<'a> Cell<'a> {
    /// Reads a well-formed value; nothing is null.
    #[inline]
    pub(crate) fn read(raw: Option<&'a str>) -> Self {
        let Some(raw) = raw else { return Self::Null };
        match Kind::of(raw) {
            Kind::Null => Self::Null,
            Kind::Bool => Self::Bool(raw == "true"),
            Kind::Number => Self::Number(Number::new(raw)),
            Kind::Text => Self::Text(text(raw)),
            Kind::Array => Self::Array(raw),
            Kind::Object => Self::Object(raw),
        }
    }

    /// The same with numeric text read as a number.
    pub(crate) fn read_cast(raw: Option<&'a str>) -> Self {
        match Self::read(raw) {
            Self::Text(Cow::Borrowed(text)) => match numeric(text) {
                Some(number) => Self::Number(Number::new(number)),
                None => Self::Text(Cow::Borrowed(text)),
            },
            cell => cell,
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Null => Kind::Null,
            Self::Bool(_) => Kind::Bool,
            Self::Number(_) => Kind::Number,
            Self::Text(_) => Kind::Text,
            Self::Array(_) => Kind::Array,
            Self::Object(_) => Kind::Object,
        }
    }

    /// Total order: by type, then by value; arrays element by element, objects member by member.
    #[inline]
    pub(crate) fn compare(&self, other: &Cell<'_>) -> Ordering {
        match (self, other) {
            (Self::Number(a), Cell::Number(b)) => a.compare(*b),
            (Self::Text(a), Cell::Text(b)) => a.as_ref().cmp(b.as_ref()),
            (Self::Bool(a), Cell::Bool(b)) => a.cmp(b),
            (Self::Array(a), Cell::Array(b)) => elements(a, b),
            (Self::Object(a), Cell::Object(b)) => members(a, b),
            _ => self.kind().cmp(&other.kind()),
        }
    }

    /// Whether both are the same value: `1` and `1.0` are, whatever the order of an object's keys.
    pub(crate) fn same(&self, other: &Cell<'_>) -> bool {
        match (self, other) {
            (Self::Array(a), Cell::Array(b)) | (Self::Object(a), Cell::Object(b)) => {
                canonical::of(a) == canonical::of(b)
            }
            _ => self.compare(other) == Ordering::Equal,
        }
    }
}

/// The string meant by a well-formed string value.
fn text(raw: &str) -> Cow<'_, str> {
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    Text { raw: inner, escaped: memchr::memchr(b'\\', inner.as_bytes()).is_some() }.decode()
}

fn elements(a: &str, b: &str) -> Ordering {
    let list = |raw| {
        let mut items = Vec::new();
        // What came from a checked scan is well formed; anything else would compare as empty.
        let _ = Scanner::new(raw).array(|element| items.push(element));
        items
    };
    let (a, b) = (list(a), list(b));
    let pairs = a.iter().zip(&b).map(|(a, b)| Cell::read(Some(a)).compare(&Cell::read(Some(b))));
    pairs.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
}

/// A key and its value.
type Member<'a> = (Cow<'a, str>, &'a str);

fn members(a: &str, b: &str) -> Ordering {
    let (a, b) = (sorted_members(a), sorted_members(b));
    let pair = |(a, b): (&Member<'_>, &Member<'_>)| {
        a.0.cmp(&b.0).then_with(|| Cell::read(Some(a.1)).compare(&Cell::read(Some(b.1))))
    };
    let different = a.iter().zip(&b).map(pair).find(|order| order.is_ne());
    different.unwrap_or_else(|| a.len().cmp(&b.len()))
}

/// Members by key, the last of equal keys only.
pub(super) fn sorted_members(raw: &str) -> Vec<Member<'_>> {
    let mut members = Vec::new();
    let _ = Scanner::new(raw).object(|key, value| members.push((key.decode(), value)));
    members.reverse();
    members.sort_by(|a, b| a.0.cmp(&b.0));
    members.dedup_by(|later, earlier| later.0 == earlier.0);
    members
}
