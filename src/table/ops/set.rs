//! Steps that set one column of each row: `derive`, `parse_date`, `regex_extract`.

use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Operation,
    date::{DateFormat, iso_date},
    expression::{Bound, Evaluator, Expression, fields},
    filter::regex,
};
use crate::table::{
    TableError,
    plan::{Checker, Columns, Compiler, Spec},
    read::{Field, FieldSlot, Layout, quoted},
    run::{Cx, Row, Sink, Table, Writer},
    value::Cell,
};

/// Adds a column computed by a CEL expression over the row's fields (`row.price`, or `price`); a missing
/// field is null, and a row where the expression fails gets null and a warning.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeriveSpec {
    /// The new column.
    #[serde(rename = "as")]
    name: String,
    /// Like `price * 1.25` or `seats.economy > 0 ? "yes" : "no"`.
    expr: String,
}

/// Turns dates into ISO 8601 text; null and a warning where it fails.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ParseDateSpec {
    field: String,
    /// A strftime format like `%d.%m.%Y %H:%M`; without it ISO 8601 and RFC 2822 are read.
    format: Option<String>,
    /// The new column; the field itself unless given.
    #[serde(rename = "as")]
    name: Option<String>,
}

/// Takes group 1 of a pattern, or the whole match without a group; null without a match.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegexSpec {
    field: String,
    pattern: String,
    /// The new column; the field itself unless given.
    #[serde(rename = "as")]
    name: Option<String>,
}

impl Spec for DeriveSpec {
    const NAME: &'static str = "derive";

    fn compile(self, _compiler: &mut Compiler<'_>) -> Result<Box<dyn Operation>, TableError> {
        Ok(Box::new(Derive { name: self.name, expression: Expression::compile(&self.expr)? }))
    }
}

impl Spec for ParseDateSpec {
    const NAME: &'static str = "parse_date";

    fn compile(self, _compiler: &mut Compiler<'_>) -> Result<Box<dyn Operation>, TableError> {
        let format = self.format.map(|format| DateFormat::compile(&format)).transpose()?;
        Ok(Box::new(FromText {
            name: self.name.unwrap_or_else(|| self.field.clone()),
            field: Field::new(&self.field),
            reading: Reading::Date(format),
        }))
    }
}

impl Spec for RegexSpec {
    const NAME: &'static str = "regex_extract";

    fn compile(self, _compiler: &mut Compiler<'_>) -> Result<Box<dyn Operation>, TableError> {
        let pattern = regex(&self.pattern, false).map_err(|error| error.with_field("pattern"))?;
        Ok(Box::new(FromText {
            name: self.name.unwrap_or_else(|| self.field.clone()),
            field: Field::new(&self.field),
            reading: Reading::Pattern(pattern),
        }))
    }
}

/// Writes rows anew with one column set.
struct Setter<'s, F> {
    name: &'s str,
    present: usize,
    value: F,
    rows: Writer,
}

impl<'a, F: RowValue> Sink<'a> for Setter<'_, F> {
    fn row(&mut self, row: &Row<'a, '_>) -> Result<(), TableError> {
        let value = self.value.of(row);
        self.rows.set_member(row.text, row.slots[self.present].is_some(), self.name, &value)
    }

    fn absorb(&mut self, later: Self) -> Result<(), TableError> {
        self.rows.absorb(later.rows);
        self.value.absorb(later.value);
        Ok(())
    }
}

/// Computes one value a row, as JSON, and remembers where it could not.
trait RowValue: Send + Sized {
    fn of(&mut self, row: &Row<'_, '_>) -> String;
    fn absorb(&mut self, later: Self);
}

struct Derive {
    name: String,
    expression: Expression,
}

impl Operation for Derive {
    fn columns(&self, before: Columns, checker: &mut Checker<'_>) -> Result<Columns, TableError> {
        for field in fields(&self.expression) {
            checker.require(&before, &field)?;
        }
        Ok(before.with(&self.name))
    }

    fn run(&self, table: Table, cx: &mut Cx<'_>) -> Result<Table, TableError> {
        let mut layout = Layout::default();
        let bound: Bound<'_> = self.expression.bind(&mut layout);
        let present = layout.key(&self.name);
        let limits = cx.limits;
        let make = || {
            let value = Derived { evaluator: bound.evaluator(), failed: 0, first: None };
            Setter { name: &self.name, present, value, rows: Writer::new(limits) }
        };
        let sink = cx.pass(&table, layout, make)?;
        if let Some(reason) = sink.value.first {
            let rows = if sink.value.failed == 1 { "1 row" } else { &format!("{} rows", sink.value.failed) };
            cx.warn(format!("'{}' is null in {rows}: {reason}", self.name));
        }
        Ok(sink.rows.finish().into())
    }
}

struct Derived<'e> {
    evaluator: Evaluator<'e>,
    failed: u64,
    first: Option<String>,
}

impl RowValue for Derived<'_> {
    fn of(&mut self, row: &Row<'_, '_>) -> String {
        self.evaluator.evaluate(row.text, row.slots).unwrap_or_else(|reason| {
            self.failed += 1;
            self.first.get_or_insert(reason);
            "null".into()
        })
    }

    fn absorb(&mut self, later: Self) {
        self.failed += later.failed;
        self.first = self.first.take().or(later.first);
    }
}

struct FromText {
    name: String,
    field: Field,
    reading: Reading,
}

enum Reading {
    Date(Option<DateFormat>),
    Pattern(Regex),
}

impl Reading {
    /// The value read from a text; none where it cannot be.
    fn read(&self, text: &str) -> Option<String> {
        match self {
            Self::Date(Some(format)) => format.read(text),
            Self::Date(None) => iso_date(text),
            Self::Pattern(pattern) => {
                let found = pattern.captures(text)?;
                found.get(usize::from(pattern.captures_len() > 1)).map(|part| part.as_str().to_owned())
            }
        }
    }
}

impl Operation for FromText {
    fn columns(&self, before: Columns, checker: &mut Checker<'_>) -> Result<Columns, TableError> {
        checker.require(&before, &self.field)?;
        Ok(before.with(&self.name))
    }

    fn run(&self, table: Table, cx: &mut Cx<'_>) -> Result<Table, TableError> {
        let mut layout = Layout::default();
        let slot = layout.field(&self.field);
        let present = layout.key(&self.name);
        let limits = cx.limits;
        let make = || {
            let value = TextValue { slot: &slot, reading: &self.reading, unread: 0, other_types: 0 };
            Setter { name: &self.name, present, value, rows: Writer::new(limits) }
        };
        let sink = cx.pass(&table, layout, make)?;
        cx.warn_skipped(self.field.name(), sink.value.other_types, "text");
        match &self.reading {
            Reading::Date(Some(format)) => {
                let needed = format!("a date in the format {:?}", format.text());
                cx.warn_skipped(self.field.name(), sink.value.unread, &needed);
            }
            Reading::Date(None) => {
                cx.warn_skipped(self.field.name(), sink.value.unread, "a date in ISO 8601 or RFC 2822");
            }
            Reading::Pattern(_) => {}
        }
        Ok(sink.rows.finish().into())
    }
}

struct TextValue<'s> {
    slot: &'s FieldSlot,
    reading: &'s Reading,
    unread: u64,
    other_types: u64,
}

impl RowValue for TextValue<'_> {
    fn of(&mut self, row: &Row<'_, '_>) -> String {
        match Cell::read(self.slot.of(row.slots)) {
            Cell::Null => "null".into(),
            Cell::Text(text) => match self.reading.read(&text) {
                Some(value) => quoted(&value),
                None => {
                    self.unread += 1;
                    "null".into()
                }
            },
            // A number is read as it is written: `20260102` by `%Y%m%d`.
            Cell::Number(number) => match self.reading.read(number.text()) {
                Some(value) => quoted(&value),
                None => {
                    self.unread += 1;
                    "null".into()
                }
            },
            _ => {
                self.other_types += 1;
                "null".into()
            }
        }
    }

    fn absorb(&mut self, later: Self) {
        self.unread += later.unread;
        self.other_types += later.other_types;
    }
}
