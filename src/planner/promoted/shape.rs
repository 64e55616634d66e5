//! The shape of a pipeline: its steps with every literal replaced by its type.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// What a literal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A count of rows: time cannot change what it means.
    Count,
    Number,
    Text,
    Numbers,
    Texts,
}

impl Kind {
    /// The kind of a value, where it is a literal at all: `true` and `null` are part of what is done.
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Number(_) => Some(Self::Number),
            Value::String(_) => Some(Self::Text),
            Value::Array(items) if items.is_empty() => None,
            Value::Array(items) if items.iter().all(Value::is_number) => Some(Self::Numbers),
            Value::Array(items) if items.iter().all(Value::is_string) => Some(Self::Texts),
            _ => None,
        }
    }

    /// JSON Schema of such a value.
    pub(super) fn schema(self) -> Value {
        match self {
            Self::Count => json!({"type": "integer", "minimum": 0}),
            Self::Number => json!({"type": "number"}),
            Self::Text => json!({"type": "string"}),
            Self::Numbers => json!({"type": "array", "items": {"type": "number"}}),
            Self::Texts => json!({"type": "array", "items": {"type": "string"}}),
        }
    }

    /// Whether `value` is one.
    pub(super) fn takes(self, value: &Value) -> bool {
        match self {
            Self::Count => value.as_u64().is_some(),
            kind => Self::of(value) == Some(kind),
        }
    }
}

/// A literal of a pipeline.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Literal {
    /// Where it stands, as a JSON pointer.
    pub(super) place: String,
    /// What it may be called.
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) value: Value,
}

/// A pipeline apart: what stays, and the literals in order.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// The steps without their literals, members in order of their names: equal texts are equal shapes.
    pub(super) fixed: String,
    pub(super) literals: Vec<Literal>,
}

impl Shape {
    /// Takes the steps of a pipeline apart.
    pub(super) fn of(steps: &Value) -> Self {
        let mut masked = steps.clone();
        let mut literals = Vec::new();
        for (i, step) in masked.as_array_mut().into_iter().flatten().enumerate() {
            take_step(step, &format!("/{i}"), &mut literals);
        }
        Self { fixed: canonical(&masked), literals }
    }

    /// A short name for the shape: it is the same wherever the shape is seen.
    pub(super) fn fingerprint(&self) -> String {
        Sha256::digest(&self.fixed).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }
}

fn take_step(step: &mut Value, place: &str, literals: &mut Vec<Literal>) {
    let name = step["step"].as_str().unwrap_or_default().to_owned();
    let Some(members) = step.as_object_mut() else { return };
    match name.as_str() {
        "table_filter" => {
            if let Some(condition) = members.get_mut("condition") {
                take_condition(condition, &format!("{place}/condition"), literals);
            }
        }
        "top_k" => take_counts(members, &["k"], place, literals),
        "slice" => take_counts(members, &["offset", "limit"], place, literals),
        "http_request" => {
            for (key, value) in members.get_mut("params").and_then(Value::as_object_mut).into_iter().flatten() {
                take(value, format!("{place}/params/{}", escaped(key)), key.clone(), None, literals);
            }
        }
        _ => {}
    }
}

fn take_counts(members: &mut Map<String, Value>, keys: &[&str], place: &str, literals: &mut Vec<Literal>) {
    for key in keys {
        if let Some(value) = members.get_mut(*key) {
            take(value, format!("{place}/{key}"), (*key).to_owned(), Some(Kind::Count), literals);
        }
    }
}

fn take_condition(condition: &mut Value, place: &str, literals: &mut Vec<Literal>) {
    let Some(members) = condition.as_object_mut() else { return };
    for key in ["and", "or"] {
        for (i, inner) in members.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().enumerate() {
            take_condition(inner, &format!("{place}/{key}/{i}"), literals);
        }
    }
    if let Some(inner) = members.get_mut("not") {
        take_condition(inner, &format!("{place}/not"), literals);
    }
    let text = |key: &str| members.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (field, op) = (text("field"), text("op"));
    let Some(value) = members.get_mut("value") else { return };
    match value.as_array_mut() {
        // Two bounds are two things to say.
        Some(bounds) if op == "between" && bounds.len() == 2 => {
            for (i, (bound, word)) in bounds.iter_mut().zip(["from", "to"]).enumerate() {
                take(bound, format!("{place}/value/{i}"), format!("{field}_{word}"), None, literals);
            }
        }
        _ => take(value, format!("{place}/value"), format!("{field}{}", op_word(&op)), None, literals),
    }
}

/// What an operator adds to a field's name.
fn op_word(op: &str) -> &str {
    match op {
        "<" => "_below",
        "<=" => "_at_most",
        ">" => "_above",
        ">=" => "_at_least",
        "!=" => "_not",
        "in" => "_in",
        "not_in" => "_not_in",
        "contains" => "_contains",
        "starts_with" => "_starts_with",
        "ends_with" => "_ends_with",
        "matches" => "_matches",
        _ => "",
    }
}

fn take(value: &mut Value, place: String, name: String, kind: Option<Kind>, literals: &mut Vec<Literal>) {
    let Some(found) = Kind::of(value) else { return };
    let kind = kind.filter(|kind| kind.takes(value)).unwrap_or(found);
    let value = std::mem::replace(value, json!({"literal": format!("{kind:?}")}));
    literals.push(Literal { place, name: plain_name(&name), kind, value });
}

/// Letters, digits and underscores, as names of parameters want it.
pub(super) fn plain_name(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_alphanumeric() {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('_') {
            name.push('_');
        }
        if name.len() == 32 {
            break;
        }
    }
    let name = name.trim_end_matches('_');
    if name.is_empty() { "value".to_owned() } else { name.to_owned() }
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// JSON text with the members of every object in order of their names.
pub(super) fn canonical(value: &Value) -> String {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                members.sort_by_key(|(key, _)| key.as_str());
                Value::Object(members.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect())
            }
            Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
            other => other.clone(),
        }
    }
    sorted(value).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(steps: &str) -> Shape {
        Shape::of(&serde_json::from_str(steps).unwrap())
    }

    #[test]
    fn values_vary_and_everything_else_is_the_shape() {
        let base = r#"[{"step":"table_filter","condition":{"field":"price","op":"<","value":300}},{"step":"top_k","k":5,"by":"price"}]"#;
        for (other, same) in [
            (base.replace("300", "1.50"), true),
            (base.replace("\"k\":5,\"by\":\"price\"", "\"by\":\"price\",\"k\":7"), true),
            (base.replace("300", "\"300\""), false),
            (base.replace("300", "null"), false),
            (base.replace("\"<\"", "\"<=\""), false),
            (base.replace("\"by\":\"price\"", "\"by\":\"cost\""), false),
            (base.replace("top_k", "slice"), false),
        ] {
            assert_eq!(shape(base).fixed == shape(&other).fixed, same, "{other}");
        }
    }

    #[test]
    fn literals_are_named_after_what_they_do() {
        let steps = r#"[{"step":"http_request","url":"https://a.b/c","params":{"From City":"Rome"}},
            {"step":"table_filter","condition":{"and":[{"field":"a.b","op":">=","value":1.10},{"not":{"field":"x","op":"in","value":["p","q"]}},
              {"or":[{"field":"t","op":"between","value":[1,2]},{"field":"ok","op":"==","value":true}]}]}},
            {"step":"slice","offset":1,"limit":2},{"step":"derive","as":"z","expr":"a * 0.9"}]"#;
        let found = shape(steps);
        let names: Vec<_> = found.literals.iter().map(|literal| (literal.name.as_str(), literal.kind)).collect();
        assert_eq!(
            names,
            [
                ("from_city", Kind::Text),
                ("a_b_at_least", Kind::Number),
                ("x_in", Kind::Texts),
                ("t_from", Kind::Number),
                ("t_to", Kind::Number),
                ("offset", Kind::Count),
                ("limit", Kind::Count)
            ]
        );
        let all: Value = serde_json::from_str(steps).unwrap();
        for literal in &found.literals {
            assert_eq!(all.pointer(&literal.place), Some(&literal.value), "{}", literal.place);
        }
        assert_eq!(found.literals[1].value.to_string(), "1.10", "every digit is kept");
        assert!(found.fixed.contains("0.9") && found.fixed.contains("true"), "{}", found.fixed);
    }
}
