//! Takes the members of a mapping one by one and notes what is wrong with each, so that a file shows all of
//! its faults at once.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::settings::Secret;

/// A mapping being read. What is left at the end is unknown, and said so.
pub(super) struct Fields<'a> {
    path: String,
    members: Map<String, Value>,
    known: Vec<&'static str>,
    faults: &'a mut Vec<String>,
}

impl<'a> Fields<'a> {
    /// The mapping at `path`; anything else is a fault, and reads as empty.
    pub(super) fn of(path: String, value: Value, faults: &'a mut Vec<String>) -> Self {
        let members = match value {
            Value::Object(members) => members,
            Value::Null => Map::new(),
            other => {
                faults.push(format!("{path}: must be a mapping, found {}", short(&other)));
                Map::new()
            }
        };
        Self { path, members, known: Vec::new(), faults }
    }

    pub(super) fn fault(&mut self, key: &str, what: impl std::fmt::Display) {
        self.faults.push(format!("{}: {what}", self.path_of(key)));
    }

    pub(super) fn path_of(&self, key: &str) -> String {
        match (self.path.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (_, true) => self.path.clone(),
            _ => format!("{}.{key}", self.path),
        }
    }

    /// The raw member, where it is there and not null.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.members.shift_remove(key).filter(|value| !value.is_null())
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.members.get(key).is_some_and(|value| !value.is_null())
    }

    /// Where faults of nested values go.
    pub(super) fn faults(&mut self) -> &mut Vec<String> {
        self.faults
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        let value = self.take(key)?;
        self.as_text(key, value)
    }

    fn as_text(&mut self, key: &str, value: Value) -> Option<String> {
        match value {
            Value::String(text) => Some(text.trim().to_owned()),
            other => {
                self.fault(key, format_args!("must be text, found {}; put it in quotes", short(&other)));
                None
            }
        }
    }

    /// A number within `low..=high`.
    pub(super) fn number(&mut self, key: &'static str, low: f64, high: f64) -> Option<f64> {
        let value = self.take(key)?;
        match value.as_f64() {
            Some(number) if (low..=high).contains(&number) => Some(number),
            _ => {
                self.fault(key, format_args!("must be a number from {low} to {high}, found {}", short(&value)));
                None
            }
        }
    }

    /// A whole number from 1.
    pub(super) fn count(&mut self, key: &'static str) -> Option<u32> {
        let value = self.take(key)?;
        match value.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0) {
            Some(number) => Some(number),
            None => {
                self.fault(key, format_args!("must be a whole number from 1, found {}", short(&value)));
                None
            }
        }
    }

    /// True or false; false where absent.
    pub(super) fn flag(&mut self, key: &'static str) -> bool {
        match self.take(key) {
            None => false,
            Some(Value::Bool(truth)) => truth,
            Some(other) => {
                self.fault(key, format_args!("must be true or false, found {}", short(&other)));
                false
            }
        }
    }

    /// A whole number from 0.
    pub(super) fn count_or_zero(&mut self, key: &'static str) -> Option<u32> {
        if self.members.get(key).and_then(Value::as_u64) == Some(0) {
            self.take(key);
            return Some(0);
        }
        self.count(key)
    }

    pub(super) fn list(&mut self, key: &'static str) -> Vec<Value> {
        match self.take(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.fault(key, format_args!("must be a list, found {}", short(&other)));
                Vec::new()
            }
        }
    }

    /// A list of texts, none of them empty.
    pub(super) fn texts(&mut self, key: &'static str) -> Vec<String> {
        let items = self.list(key);
        let mut texts = Vec::with_capacity(items.len());
        for (i, item) in items.into_iter().enumerate() {
            let at = format!("{key}[{i}]");
            match self.as_text(&at, item) {
                Some(text) if text.is_empty() => self.fault(&at, "is empty: give it words or leave it out"),
                Some(text) => texts.push(text),
                None => {}
            }
        }
        texts
    }

    /// A mapping from names to values, in order.
    pub(super) fn mapping(&mut self, key: &'static str) -> Map<String, Value> {
        match self.take(key) {
            None => Map::new(),
            Some(Value::Object(members)) => members,
            Some(other) => {
                self.fault(key, format_args!("must be a mapping, found {}", short(&other)));
                Map::new()
            }
        }
    }

    /// A mapping from names to texts that must not show.
    pub(super) fn secrets(&mut self, key: &'static str) -> BTreeMap<String, Secret> {
        let members = self.mapping(key);
        let mut secrets = BTreeMap::new();
        for (name, value) in members {
            match value {
                Value::String(text) => {
                    secrets.insert(name, Secret::from(text.as_str()));
                }
                _ => self.fault(key, format_args!("{name} must be text; put it in quotes")),
            }
        }
        secrets
    }

    /// Notes every member that nobody asked for.
    pub(super) fn finish(mut self) {
        for key in std::mem::take(&mut self.members).keys() {
            let near = self
                .known
                .iter()
                .map(|known| (strsim::jaro_winkler(key, known), known))
                .filter(|(likeness, _)| *likeness > 0.8)
                .max_by(|a, b| a.0.total_cmp(&b.0));
            let hint = match near {
                Some((_, known)) => format!("did you mean `{known}`?"),
                None => format!("known are {}", self.known.join(", ")),
            };
            self.fault(key, format_args!("unknown key; {hint}"));
        }
    }
}

/// A value as a message may show it.
pub(super) fn short(value: &Value) -> String {
    let text = match value {
        Value::Array(_) => return "a list".into(),
        Value::Object(_) => return "a mapping".into(),
        other => other.to_string(),
    };
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
