//! From parsed conditions to the pipeline's: fields that were only implied are found, types are checked.

use serde_json::{Map, Value as Json, json};

use super::{
    columns::{Columns, Known},
    comparison::{DATES, MONEY, Op},
    logic::{Condition, Field},
    value::Value,
};
use crate::planner::rules::cursor::Problem;
use crate::planner::rules::lex::Unit;

/// What a condition may lean on.
pub(super) struct Resolver<'a> {
    pub(super) columns: &'a Columns,
    /// The column that is sorted or ranked by: "under 500 sorted by price".
    pub(super) sorted: Option<&'a str>,
}

impl Resolver<'_> {
    /// The `condition` of a `table_filter`.
    pub(super) fn json(&self, condition: &Condition) -> Result<Json, Problem> {
        let list = |all: &[Condition]| all.iter().map(|one| self.json(one)).collect::<Result<Vec<_>, _>>();
        Ok(match condition {
            Condition::All(all) => json!({"and": list(all)?}),
            Condition::Any(all) => json!({"or": list(all)?}),
            Condition::Not(inner) => match &**inner {
                Condition::Missing { field, or_empty: false } => json!({"field": field, "op": "not_null"}),
                inner => json!({"not": self.json(inner)?}),
            },
            Condition::Missing { field, or_empty } => {
                let missing = json!({"field": field, "op": "is_null"});
                let text = self.columns.get(field).is_none_or(Known::is_text);
                if *or_empty && text {
                    json!({"or": [missing, {"field": field, "op": "==", "value": ""}]})
                } else {
                    missing
                }
            }
            Condition::Compare { field, op, value } => {
                let field = self.field(field, value)?;
                self.compare(&field, *op, value)?
            }
        })
    }

    fn field(&self, field: &Field, value: &Value) -> Result<String, Problem> {
        let family = match field {
            Field::Named(name) => return Ok(name.clone()),
            Field::Implied(family) => *family,
        };
        let fits = |column: &Known| if value.is_date() { column.is_date() } else { column.is_number() };
        if let Some(sorted) = self.sorted
            && self.columns.get(sorted).is_none_or(fits)
            && self.in_family(sorted, family)
        {
            return Ok(sorted.to_owned());
        }
        let what = if value.is_date() { "date" } else { "number" };
        let ask =
            |candidates: &str| format!("which column the {what} {value} is about (name it, as in \"{candidates}\")");
        if self.columns.known.is_none() {
            return Err(ask("price under 500"));
        }
        if !family.is_empty()
            && let Ok(name) = self.columns.of_family(family)
            && self.columns.get(&name).is_some_and(fits)
        {
            return Ok(name);
        }
        if family == DATES || family.is_empty() {
            let fitting: Vec<&Known> = self.columns.iter().filter(|column| fits(column)).collect();
            if let [only] = fitting.as_slice() {
                return Ok(only.name.clone());
            }
            // Of several numbers, the one that is money is what "under 500" is said of.
            if family.is_empty()
                && let Ok(money) = self.columns.of_family(&MONEY[..4])
                && self.columns.get(&money).is_some_and(fits)
            {
                return Ok(money);
            }
        }
        let candidate = self.columns.iter().find(|column| fits(column)).map_or("price", |column| &column.name);
        Err(ask(&format!("{candidate} under 500")))
    }

    /// Whether the sort column can be what "cheaper than" or "$500" speaks of.
    fn in_family(&self, sorted: &str, family: &[&str]) -> bool {
        family.is_empty()
            || match self.columns.get(sorted) {
                Some(column) => {
                    family.iter().any(|word| column.has_word(word)) || self.columns.of_family(family).is_err()
                }
                None => true,
            }
    }

    fn compare(&self, field: &str, op: Op, value: &Value) -> Result<Json, Problem> {
        let column = self.columns.get(field);
        let textual = matches!(op, Op::Contains | Op::NotContains | Op::StartsWith | Op::EndsWith | Op::Matches);
        if textual && column.is_some_and(|column| column.is_number() && !column.is_text()) {
            return Err(format!("`{field}` holds numbers, so `{}` does not apply", op.as_str()));
        }
        if let (Op::Gt | Op::Lt | Op::Ge | Op::Le, Value::Text { text, .. }) = (op, value) {
            return Err(format!(
                "\"{text}\" is neither a number nor an ISO date, so `{field} {}` cannot be checked",
                op.as_str()
            ));
        }
        if let Some((op, start)) = self.day(column, op, value) {
            return Ok(json!({"field": field, "op": op, "value": start}));
        }
        let mut condition = Map::new();
        condition.insert("field".into(), field.into());
        condition.insert("op".into(), op.as_str().into());
        condition.insert("value".into(), self.value(column, value)?);
        if column.is_some_and(Known::numeric_text) && value.is_number() {
            condition.insert("cast".into(), "number".into());
        }
        if value.any_case() {
            condition.insert("ignore_case".into(), true.into());
        }
        let condition = Json::Object(condition);
        Ok(if op == Op::NotContains { json!({"not": condition}) } else { condition })
    }

    /// "on 2026-01-31" of a column with times, and "in 2026": the beginning of the text decides.
    fn day<'v>(&self, column: Option<&Known>, op: Op, value: &'v Value) -> Option<(&'static str, &'v str)> {
        let (Op::Eq, Value::Date(day)) = (op, value) else { return None };
        let longer = day.len() < 10 || (day.len() == 10 && column.is_some_and(Known::has_time));
        longer.then_some(("starts_with", day.as_str()))
    }

    fn value(&self, column: Option<&Known>, value: &Value) -> Result<Json, Problem> {
        Ok(match value {
            Value::List(values) => {
                Json::Array(values.iter().map(|one| self.value(column, one)).collect::<Result<_, _>>()?)
            }
            Value::Bool(boolean) => (*boolean).into(),
            Value::Date(date) => {
                if let Some(column) = column.filter(|column| column.is_number() && !column.is_text()) {
                    return Err(format!(
                        "`{}` holds numbers, so it cannot be compared with the date {date}",
                        column.name
                    ));
                }
                date.as_str().into()
            }
            Value::Text { text, .. } => {
                if let Some(column) = column.filter(|column| column.is_number()) {
                    return Err(format!("`{}` holds numbers, so it cannot be compared with \"{text}\"", column.name));
                }
                text.as_str().into()
            }
            Value::Number { digits, unit } => {
                if let Some(column) = column.filter(|column| column.is_text() && !column.is_number()) {
                    return Err(format!(
                        "`{}` holds text, so it cannot be compared with the number {digits}",
                        column.name
                    ));
                }
                number(digits, *unit == Unit::Percent && column.is_some_and(Known::is_share))
            }
        })
    }
}

impl Value {
    fn is_number(&self) -> bool {
        match self {
            Self::Number { .. } => true,
            Self::List(values) => values.iter().any(Self::is_number),
            _ => false,
        }
    }

    /// Spelled by ear: neither as in the data nor in quotes.
    fn any_case(&self) -> bool {
        match self {
            Self::Text { known, quoted, .. } => !known && !quoted,
            Self::List(values) => values.iter().any(Self::any_case),
            _ => false,
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number { digits, .. } => f.write_str(digits),
            Self::Text { text, .. } | Self::Date(text) => f.write_str(text),
            Self::Bool(boolean) => write!(f, "{boolean}"),
            Self::List(values) => {
                let words: Vec<String> = values.iter().map(ToString::to_string).collect();
                f.write_str(&words.join(" and "))
            }
        }
    }
}

/// A JSON number with every digit kept; a percentage of a column of shares is divided by a hundred.
fn number(digits: &str, share: bool) -> Json {
    let digits = if share { hundredth(digits) } else { digits.to_owned() };
    serde_json::from_str(&digits).unwrap_or(Json::Null)
}

/// `12.5` → `0.125`, by moving the point.
fn hundredth(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let padded = format!("{whole:0>3}");
    let (whole, moved) = padded.split_at(padded.len() - 2);
    let fraction = format!("{moved}{fraction}");
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::hundredth;

    #[test]
    fn percentages_move_the_point() {
        for (percent, share) in
            [("10", "0.1"), ("5", "0.05"), ("12.5", "0.125"), ("100", "1"), ("-50", "-0.5"), ("250", "2.5")]
        {
            assert_eq!(hundredth(percent), share);
        }
    }
}
