//! What a condition is, and how conditions are put together.

use super::{comparison::Op, value::Value};
use crate::planner::rules::cursor::Problem;

/// A condition, with fields that may not be named yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Condition {
    Compare { field: Field, op: Op, value: Value },
    Missing { field: String, or_empty: bool },
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
}

/// The field a comparison is about.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Field {
    Named(String),
    /// "under $500": found by what the number and the comparison say.
    Implied(&'static [&'static str]),
}

impl Condition {
    /// Gives a number that stands for no column in particular ("more than 5") one; says whether it was such.
    pub(super) fn name_implied(&mut self, name: &str) -> bool {
        match self {
            Self::Compare { field: field @ Field::Implied([]), value, .. } if !value.is_money() && !value.is_date() => {
                *field = Field::Named(name.to_owned());
                true
            }
            _ => false,
        }
    }
}

pub(super) fn compare(field: &str, op: Op, value: Value) -> Condition {
    Condition::Compare { field: Field::Named(field.into()), op, value }
}

pub(super) fn not(condition: Condition) -> Condition {
    Condition::Not(Box::new(condition))
}

/// "business and economy": one field cannot hold both, so either is meant.
pub(super) fn all_of(found: Vec<Condition>) -> Condition {
    match any_of(found) {
        Condition::Any(found) => Condition::All(found),
        either => either,
    }
}

/// `a == x or a == y` is `a in [x, y]`.
pub(super) fn any_of(found: Vec<Condition>) -> Condition {
    let mut values = Vec::new();
    let mut same: Option<&Field> = None;
    for condition in &found {
        match condition {
            Condition::Compare { field, op: Op::Eq, value } if same.is_none_or(|same| same == field) => {
                same = Some(field);
                values.push(value.clone());
            }
            _ => return Condition::Any(found),
        }
    }
    match same {
        Some(field) => Condition::Compare { field: field.clone(), op: Op::In, value: Value::List(values) },
        None => Condition::Any(found),
    }
}

pub(super) fn one_or(mut found: Vec<Condition>, join: fn(Vec<Condition>) -> Condition) -> Condition {
    if found.len() == 1 { found.remove(0) } else { join(found) }
}

/// Two values that one field would have to hold at once ("airline is Skyway Aurora"): no row could pass.
pub(super) fn contradiction(filters: &[Condition]) -> Option<Problem> {
    let equal = |condition: &Condition| match condition {
        Condition::Compare { field: Field::Named(name), op: Op::Eq, value: Value::Text { text, .. } } => {
            Some((name.clone(), text.clone()))
        }
        _ => None,
    };
    let equals: Vec<(String, String)> = filters.iter().filter_map(equal).collect();
    equals.iter().enumerate().find_map(|(place, (field, text))| {
        let (_, other) = equals[..place].iter().find(|(name, other)| name == field && other != text)?;
        Some(format!("how {field} can be both \"{other}\" and \"{text}\" (say \"{other} or {text}\" for either)"))
    })
}
