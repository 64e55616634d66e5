//! `table_filter`: rows that meet a condition.

use regex::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

use super::Operation;
use crate::table::{
    TableError,
    error::did_you_mean,
    plan::{Cast, Checker, Columns, Compiler, Spec},
    read::Field,
    run::{Cx, Pending, Table},
    value::{Cell, Kind},
};

/// Keeps the rows that meet a condition. Comparisons never coerce: number with number, text with text;
/// anything else, null and missing included, is false.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FilterSpec {
    /// `{field, op, value}` or `{and: [..]}`, `{or: [..]}`, `{not: ..}`.
    condition: ConditionSpec,
}

/// One test (`field`, `op`, `value`), or one of `and`, `or`, `not` over conditions.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ConditionSpec {
    field: Option<String>,
    #[schemars(with = "Option<OpName>")]
    op: Option<String>,
    /// What to compare with: `[low, high]` for between, a list for in and not_in.
    #[serde(deserialize_with = "some_value")]
    value: Option<Value>,
    /// `number` reads numeric text as a number.
    cast: Option<Cast>,
    ignore_case: Option<bool>,
    and: Option<Vec<ConditionSpec>>,
    or: Option<Vec<ConditionSpec>>,
    not: Option<Box<ConditionSpec>>,
}

/// Keeps `"value": null` apart from no value.
fn some_value<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// The operators, as the schema lists them.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used: names are read by hand, for a better error")]
enum OpName {
    #[schemars(rename = "==")]
    Eq,
    #[schemars(rename = "!=")]
    Ne,
    #[schemars(rename = "<")]
    Lt,
    #[schemars(rename = "<=")]
    Le,
    #[schemars(rename = ">")]
    Gt,
    #[schemars(rename = ">=")]
    Ge,
    #[schemars(rename = "in")]
    In,
    #[schemars(rename = "not_in")]
    NotIn,
    #[schemars(rename = "between")]
    Between,
    #[schemars(rename = "contains")]
    Contains,
    #[schemars(rename = "starts_with")]
    StartsWith,
    #[schemars(rename = "ends_with")]
    EndsWith,
    #[schemars(rename = "matches")]
    Matches,
    #[schemars(rename = "is_null")]
    IsNull,
    #[schemars(rename = "not_null")]
    NotNull,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
    Between,
    Contains,
    StartsWith,
    EndsWith,
    Matches,
    IsNull,
    NotNull,
}

/// Every operator with its name first and the other spellings that models use.
const OPS: [(Op, &[&str]); 15] = [
    (Op::Eq, &["==", "=", "eq", "equals"]),
    (Op::Ne, &["!=", "<>", "ne", "neq", "not_equals"]),
    (Op::Lt, &["<", "lt"]),
    (Op::Le, &["<=", "le", "lte"]),
    (Op::Gt, &[">", "gt"]),
    (Op::Ge, &[">=", "ge", "gte"]),
    (Op::In, &["in"]),
    (Op::NotIn, &["not_in", "not in", "nin"]),
    (Op::Between, &["between"]),
    (Op::Contains, &["contains"]),
    (Op::StartsWith, &["starts_with", "startswith"]),
    (Op::EndsWith, &["ends_with", "endswith"]),
    (Op::Matches, &["matches", "regex"]),
    (Op::IsNull, &["is_null"]),
    (Op::NotNull, &["not_null", "is_not_null"]),
];

/// A checked condition.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(super) condition: Condition,
    /// The field of each test, for what is said about skipped values.
    pub(super) fields: Vec<(String, String)>,
}

#[derive(Debug)]
pub(super) enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Test(Box<Test>),
}

#[derive(Debug)]
pub(super) struct Test {
    pub(super) number: usize,
    pub(super) field: Field,
    pub(super) op: Op,
    /// What to compare with as JSON: one value, or the elements of the list.
    pub(super) values: Vec<String>,
    pub(super) pattern: Option<Regex>,
    pub(super) cast: bool,
    pub(super) ignore_case: bool,
}

impl Spec for FilterSpec {
    const NAME: &'static str = "table_filter";

    fn compile(self, _compiler: &mut Compiler<'_>) -> Result<Box<dyn Operation>, TableError> {
        let mut fields = Vec::new();
        let condition = condition(self.condition, &mut fields).map_err(|error| match error.field {
            Some(_) => error,
            None => error.with_field("condition"),
        })?;
        Ok(Box::new(FilterStep(Arc::new(Filter { condition, fields }))))
    }
}

fn condition(spec: ConditionSpec, fields: &mut Vec<(String, String)>) -> Result<Condition, TableError> {
    let forms = [spec.and.is_some(), spec.or.is_some(), spec.not.is_some(), spec.field.is_some() || spec.op.is_some()];
    if forms.iter().filter(|form| **form).count() != 1 {
        return Err(TableError::invalid(
            "a condition is {field, op, value}, {and: [..]}, {or: [..]} or {not: ..}: exactly one of them",
        ));
    }
    let mut list = |specs: Vec<ConditionSpec>| {
        specs.into_iter().map(|spec| condition(spec, fields)).collect::<Result<Vec<_>, TableError>>()
    };
    if let Some(all) = spec.and {
        return Ok(Condition::All(list(all)?));
    }
    if let Some(any) = spec.or {
        return Ok(Condition::Any(list(any)?));
    }
    match spec.not {
        Some(not) => Ok(Condition::Not(Box::new(condition(*not, fields)?))),
        None => test(spec, fields),
    }
}

fn test(spec: ConditionSpec, fields: &mut Vec<(String, String)>) -> Result<Condition, TableError> {
    let field = spec.field.ok_or_else(|| TableError::invalid("a condition needs a field").with_field("field"))?;
    let op = operator(spec.op.as_deref().unwrap_or_default(), &field)?;
    let values = operand(op, spec.value, &field)?;
    let ignore_case = spec.ignore_case.unwrap_or(false);
    let pattern = match op {
        Op::Matches => Some(pattern(&values[0], ignore_case)?),
        _ => None,
    };
    let needed = values.first().map_or("comparable", |value| match Kind::of(value) {
        Kind::Number => "a number",
        Kind::Text => "text",
        Kind::Bool => "true or false",
        Kind::Array => "a list",
        Kind::Object => "an object",
        Kind::Null => "comparable",
    });
    fields.push((field.clone(), needed.to_owned()));
    Ok(Condition::Test(Box::new(Test {
        number: fields.len() - 1,
        field: Field::new(&field),
        op,
        values,
        pattern,
        cast: spec.cast.is_some(),
        ignore_case,
    })))
}

fn operator(name: &str, field: &str) -> Result<Op, TableError> {
    let lower = name.trim().to_lowercase();
    OPS.iter().find(|(_, names)| names.contains(&lower.as_str())).map(|(op, _)| *op).ok_or_else(|| {
        let known: Vec<&str> = OPS.iter().map(|(_, names)| names[0]).collect();
        let message = format!(
            "the condition on '{field}' has the unknown op '{name}'{}: use one of {}",
            did_you_mean(name, known.iter().copied()),
            known.join(" ")
        );
        TableError::invalid(message).with_field(field).with_found(name)
    })
}

/// Checks that the value suits the operator; gives it as JSON, a list as its elements.
fn operand(op: Op, value: Option<Value>, field: &str) -> Result<Vec<String>, TableError> {
    let wrong = |what: &str, found: &Value| {
        let op = OPS.iter().find(|(known, _)| *known == op).map_or("", |(_, names)| names[0]);
        Err(TableError::invalid(format!("{op} on '{field}' takes {what} as its value, found {found}"))
            .with_field(field)
            .with_found(found.to_string()))
    };
    if matches!(op, Op::IsNull | Op::NotNull) {
        return Ok(Vec::new());
    }
    let Some(value) = value else {
        return Err(TableError::invalid(format!("the condition on '{field}' needs a value")).with_field(field));
    };
    match (op, &value) {
        (Op::Between, Value::Array(bounds)) if bounds.len() == 2 => {}
        (Op::Between, _) => return wrong("[low, high]", &value),
        (Op::In | Op::NotIn, Value::Array(_)) => {}
        (Op::In | Op::NotIn, _) => return wrong("a list", &value),
        (Op::StartsWith | Op::EndsWith | Op::Matches, Value::String(_)) => {}
        (Op::StartsWith | Op::EndsWith | Op::Matches, _) => return wrong("text", &value),
        (Op::Lt | Op::Le | Op::Gt | Op::Ge, Value::Array(_) | Value::Object(_) | Value::Null) => {
            return wrong("a number or text", &value);
        }
        _ => return Ok(vec![value.to_string()]),
    }
    Ok(match value {
        Value::Array(values) => values.iter().map(Value::to_string).collect(),
        value => vec![value.to_string()],
    })
}

/// Compiles a regular expression given as a JSON string, within bounds.
fn pattern(json: &str, ignore_case: bool) -> Result<Regex, TableError> {
    let Cell::Text(text) = Cell::read(Some(json)) else {
        return Err(TableError::invalid("a pattern must be text"));
    };
    regex(&text, ignore_case)
}

/// Compiles a regular expression. Matching takes time linear in the text; the compiled size is bounded.
pub(super) fn regex(text: &str, ignore_case: bool) -> Result<Regex, TableError> {
    const MAX_COMPILED_BYTES: usize = 1 << 20;
    RegexBuilder::new(text)
        .case_insensitive(ignore_case)
        .size_limit(MAX_COMPILED_BYTES)
        .dfa_size_limit(MAX_COMPILED_BYTES)
        .build()
        .map_err(|error| {
            let last = error.to_string();
            let reason = last.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            TableError::invalid(format!("the pattern {text:?} cannot be used: {reason}")).with_found(text)
        })
}

struct FilterStep(Arc<Filter>);

impl Operation for FilterStep {
    fn columns(&self, before: Columns, checker: &mut Checker<'_>) -> Result<Columns, TableError> {
        self.0.condition.check(&before, checker)?;
        Ok(before)
    }

    fn run(&self, mut table: Table, cx: &mut Cx<'_>) -> Result<Table, TableError> {
        table.filters.push(Pending { step: cx.step(), filter: Arc::clone(&self.0) });
        Ok(table)
    }
}

impl Condition {
    fn check(&self, columns: &Columns, checker: &mut Checker<'_>) -> Result<(), TableError> {
        match self {
            Self::All(list) | Self::Any(list) => list.iter().try_for_each(|one| one.check(columns, checker)),
            Self::Not(inner) => inner.check(columns, checker),
            Self::Test(test) if test.asks_for_null() => Ok(()),
            Self::Test(test) => checker.require(columns, &test.field),
        }
    }
}
