//! Aggregates: one value from many cells.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::table::{
    TableError,
    error::did_you_mean,
    plan::Cast,
    read::Field,
    value::{Cell, Exact, Kind, Number, Sum, TooLarge, canonical, json_number, middle},
};

/// One aggregate: `op` over `field`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AggregateSpec {
    #[schemars(with = "OpName")]
    op: String,
    /// Needed by all but count, which without it counts rows.
    field: Option<String>,
    /// The column's name, `<op>` or `<op>_<field>` unless given.
    #[serde(rename = "as")]
    name: Option<String>,
    /// `number` reads numeric text as a number.
    cast: Option<Cast>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case", inline)]
#[expect(dead_code, reason = "only its schema is used: names are read by hand, for a better error")]
enum OpName {
    Count,
    CountDistinct,
    Sum,
    Avg,
    Min,
    Max,
    Median,
    First,
    Last,
    Collect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Count,
    CountDistinct,
    Sum,
    Avg,
    Min,
    Max,
    Median,
    First,
    Last,
    Collect,
}

/// Every operation with its name first and the other spellings that models use.
const OPS: [(Op, &[&str]); 10] = [
    (Op::Count, &["count"]),
    (Op::CountDistinct, &["count_distinct", "distinct_count", "nunique"]),
    (Op::Sum, &["sum", "total"]),
    (Op::Avg, &["avg", "mean", "average"]),
    (Op::Min, &["min"]),
    (Op::Max, &["max"]),
    (Op::Median, &["median"]),
    (Op::First, &["first"]),
    (Op::Last, &["last"]),
    (Op::Collect, &["collect"]),
];

/// A checked aggregate.
#[derive(Debug)]
pub(super) struct Aggregate {
    op: Op,
    pub(super) field: Option<Field>,
    pub(super) name: String,
    cast: bool,
}

impl Aggregate {
    /// Checks a list of aggregates whose names must differ from each other and from `taken`.
    pub(super) fn compile(specs: Vec<AggregateSpec>, taken: &[String]) -> Result<Vec<Self>, TableError> {
        let mut names: Vec<String> = taken.to_vec();
        let mut aggregates = Vec::with_capacity(specs.len());
        for spec in specs {
            let aggregate = Self::one(spec)?;
            if names.contains(&aggregate.name) {
                let message =
                    format!("the result would have two columns '{}': name one of them with as", aggregate.name);
                return Err(TableError::invalid(message).with_field("aggregates").with_found(aggregate.name));
            }
            names.push(aggregate.name.clone());
            aggregates.push(aggregate);
        }
        Ok(aggregates)
    }

    fn one(spec: AggregateSpec) -> Result<Self, TableError> {
        let lower = spec.op.trim().to_lowercase();
        let Some((op, names)) = OPS.iter().find(|(_, names)| names.contains(&lower.as_str())) else {
            let known: Vec<&str> = OPS.iter().map(|(_, names)| names[0]).collect();
            let hint = did_you_mean(&spec.op, known.iter().copied());
            let message = format!("unknown aggregate '{}'{hint}: use one of {}", spec.op, known.join(" "));
            return Err(TableError::invalid(message).with_field("op").with_found(spec.op));
        };
        let field = spec.field.filter(|field| !(field == "*" && *op == Op::Count));
        if field.is_none() && *op != Op::Count {
            return Err(TableError::invalid(format!("{} needs a field", names[0])).with_field("field"));
        }
        let name = spec.name.unwrap_or_else(|| match &field {
            Some(field) => format!("{}_{field}", names[0]),
            None => names[0].to_owned(),
        });
        Ok(Self { op: *op, field: field.as_deref().map(Field::new), name, cast: spec.cast.is_some() })
    }

    /// A value over nothing yet.
    pub(super) fn start<'a>(&self) -> Value<'a> {
        match self.op {
            Op::Count => Value::Count(0),
            Op::CountDistinct => Value::Distinct(HashSet::new()),
            Op::Sum => Value::Sum(Sum::Exact(Exact::ZERO)),
            Op::Avg => Value::Mean(Sum::Exact(Exact::ZERO), 0),
            Op::Min | Op::Max => Value::Extreme(Extreme::default()),
            Op::Median => Value::Median(Vec::new()),
            Op::First => Value::First(None),
            Op::Last => Value::Last("null"),
            Op::Collect => Value::Collect(Vec::new()),
        }
    }

    /// Adds a row's cell. True when the cell was skipped for its type.
    #[inline]
    pub(super) fn add<'a>(&self, value: &mut Value<'a>, raw: Option<&'a str>) -> Result<bool, TableError> {
        match value {
            Value::Count(count) => {
                let counts = self.field.is_none() || raw.is_some_and(|raw| Kind::of(raw) != Kind::Null);
                *count += u64::from(counts);
            }
            Value::First(first) => {
                first.get_or_insert(raw.unwrap_or("null"));
            }
            Value::Last(last) => *last = raw.unwrap_or("null"),
            Value::Collect(all) => all.push(raw.unwrap_or("null")),
            Value::Sum(sum) | Value::Mean(sum, _) if raw.is_some_and(|raw| Kind::of(raw) == Kind::Number) => {
                sum.add(raw.unwrap_or("0")).map_err(|TooLarge| self.too_large())?;
                if let Value::Mean(_, count) = value {
                    *count += 1;
                }
            }
            _ => {
                let cell = if self.cast { Cell::read_cast(raw) } else { Cell::read(raw) };
                return self.add_cell(value, cell, raw);
            }
        }
        Ok(false)
    }

    fn add_cell<'a>(&self, value: &mut Value<'a>, cell: Cell<'a>, raw: Option<&'a str>) -> Result<bool, TableError> {
        match (value, cell) {
            (_, Cell::Null) => {}
            (Value::Distinct(seen), Cell::Number(number)) => {
                seen.insert(canonical::of(number.text()));
            }
            (Value::Distinct(seen), _) => {
                seen.insert(canonical::of(raw.unwrap_or("null")));
            }
            (Value::Sum(sum), Cell::Number(number)) => sum.add(number.text()).map_err(|TooLarge| self.too_large())?,
            (Value::Mean(sum, count), Cell::Number(number)) => {
                sum.add(number.text()).map_err(|TooLarge| self.too_large())?;
                *count += 1;
            }
            (Value::Median(numbers), Cell::Number(number)) => numbers.push(number),
            (Value::Extreme(extreme), cell) => extreme.add(cell, raw.unwrap_or("null"), self.op == Op::Min),
            _ => return Ok(true),
        }
        Ok(false)
    }

    /// Adds what later rows gave.
    pub(super) fn merge<'a>(&self, value: &mut Value<'a>, later: Value<'a>) -> Result<(), TableError> {
        match (value, later) {
            (Value::Count(count), Value::Count(more)) => *count += more,
            (Value::Distinct(seen), Value::Distinct(more)) => seen.extend(more),
            (Value::Sum(sum), Value::Sum(more)) => sum.merge(more).map_err(|TooLarge| self.too_large())?,
            (Value::Mean(sum, count), Value::Mean(more, more_count)) => {
                sum.merge(more).map_err(|TooLarge| self.too_large())?;
                *count += more_count;
            }
            (Value::Extreme(extreme), Value::Extreme(more)) => extreme.merge(more, self.op == Op::Min),
            (Value::Median(numbers), Value::Median(more)) => numbers.extend(more),
            (Value::First(first), Value::First(later)) => *first = first.or(later),
            (Value::Last(last), Value::Last(later)) => *last = later,
            (Value::Collect(all), Value::Collect(more)) => all.extend(more),
            _ => {}
        }
        Ok(())
    }

    fn too_large(&self) -> TableError {
        let field = self.field.as_ref().map_or("", Field::name);
        TableError::failed(format!("the sum of '{field}' needs more than 128 bits")).with_field(field)
    }

    /// What a skipped value was not.
    pub(super) fn needed(&self) -> &'static str {
        "a number"
    }
}

/// An aggregate so far.
pub(super) enum Value<'a> {
    Count(u64),
    Distinct(HashSet<Vec<u8>>),
    Sum(Sum),
    Mean(Sum, u64),
    Extreme(Extreme<'a>),
    Median(Vec<Number<'a>>),
    First(Option<&'a str>),
    Last(&'a str),
    Collect(Vec<&'a str>),
}

impl Value<'_> {
    /// As JSON, and how many values a mixed column made it skip.
    pub(super) fn finish(self) -> (String, u64) {
        let text = match self {
            Self::Count(count) => count.to_string(),
            Self::Distinct(seen) => seen.len().to_string(),
            Self::Sum(sum) => sum.text(),
            Self::Mean(_, 0) => "null".into(),
            Self::Mean(sum, count) => sum.mean(count),
            Self::Extreme(extreme) => return extreme.finish(),
            Self::Median(numbers) => middle(numbers).unwrap_or_else(|| "null".into()),
            Self::First(first) => first.unwrap_or("null").to_owned(),
            Self::Last(last) => last.to_owned(),
            Self::Collect(all) => format!("[{}]", all.join(",")),
        };
        (text, 0)
    }
}

/// The smallest or largest cell. A column of several types counts as the one that comes first of number,
/// text, boolean, array and object.
#[derive(Default)]
pub(super) struct Extreme<'a> {
    best: Option<(Cell<'a>, &'a str)>,
    of_kind: u64,
    all: u64,
}

fn preference(kind: Kind) -> u8 {
    match kind {
        Kind::Number => 0,
        Kind::Text => 1,
        Kind::Bool => 2,
        Kind::Array => 3,
        Kind::Object => 4,
        Kind::Null => 5,
    }
}

impl<'a> Extreme<'a> {
    fn add(&mut self, cell: Cell<'a>, raw: &'a str, smallest: bool) {
        self.merge(Extreme { best: Some((cell, raw)), of_kind: 1, all: 1 }, smallest);
    }

    fn merge(&mut self, later: Self, smallest: bool) {
        self.all += later.all;
        let Some((cell, raw)) = later.best else { return };
        let Some((best, _)) = &self.best else {
            (self.best, self.of_kind) = (Some((cell, raw)), later.of_kind);
            return;
        };
        match preference(cell.kind()).cmp(&preference(best.kind())) {
            std::cmp::Ordering::Greater => {}
            std::cmp::Ordering::Less => (self.best, self.of_kind) = (Some((cell, raw)), later.of_kind),
            std::cmp::Ordering::Equal => {
                self.of_kind += later.of_kind;
                let order = cell.compare(best);
                if if smallest { order.is_lt() } else { order.is_gt() } {
                    self.best = Some((cell, raw));
                }
            }
        }
    }

    fn finish(self) -> (String, u64) {
        let text = match self.best {
            // A number read from text becomes one; everything else stands as it came.
            Some((Cell::Number(number), raw)) if raw.starts_with('"') => json_number(number.text()),
            Some((_, raw)) => raw.to_owned(),
            None => "null".to_owned(),
        };
        (text, self.all - self.of_kind)
    }
}
