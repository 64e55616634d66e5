//! Reading what models and producers write as a patch.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, SeqAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use super::{Op, Operation, PatchSpec, Reason, Refusal, pointer};
use crate::job::in_plain_words;

/// The shape that is asked for, repeated whenever another one arrives.
const SHAPE: &str = r#"give {"operations":[{"op":"add","path":"/nodes/-","value":{..}}],"description":".."}"#;

/// Texts inside texts are unpacked this often.
const MAX_UNPACK: usize = 3;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, alias = "ops", alias = "patch", alias = "patches", alias = "changes")]
    operations: Option<&'a RawValue>,
    #[serde(borrow)]
    description: Option<&'a RawValue>,
    #[serde(borrow)]
    notes: Option<&'a RawValue>,
    #[serde(borrow)]
    op: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Parts<'a> {
    #[serde(borrow)]
    op: Option<&'a RawValue>,
    #[serde(borrow)]
    path: Option<&'a RawValue>,
    #[serde(borrow)]
    from: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<&'a RawValue>,
    #[serde(borrow)]
    value_json: Option<&'a RawValue>,
}

/// A value that is there is `Some`, null too.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads a whole patch.
pub(super) fn spec(text: &str, max_operations: usize) -> Result<PatchSpec, Refusal> {
    unpacked(text, MAX_UNPACK, &mut |text| match text.as_bytes().first() {
        Some(b'[') => Ok(PatchSpec { operations: operations(text, max_operations)?, ..PatchSpec::default() }),
        Some(b'{') => envelope(text, max_operations),
        _ => Err(general(format!("the patch cannot be read: {SHAPE}"))),
    })
}

fn plain(error: &serde_json::Error) -> String {
    in_plain_words(&error.to_string())
}

fn envelope(text: &str, max_operations: usize) -> Result<PatchSpec, Refusal> {
    let envelope: Envelope<'_> = serde_json::from_str(text)
        .map_err(|error| general(format!("the patch cannot be read ({}): {SHAPE}", plain(&error))))?;
    let description =
        envelope.description.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok()).unwrap_or_default();
    let operations = match (envelope.operations, envelope.op) {
        (Some(list), _) => unpacked(list.get(), MAX_UNPACK, &mut |text| operations(text, max_operations))?,
        (None, Some(_)) => vec![operation(text).map_err(|message| at(0, String::new(), message))?],
        (None, None) => return Err(general(format!("the patch has no operations: {SHAPE}"))),
    };
    let notes = envelope.notes.and_then(|raw| serde_json::from_str::<Vec<String>>(raw.get()).ok()).unwrap_or_default();
    Ok(PatchSpec { operations, description, notes })
}

/// Hands `text` on; a JSON string is opened first, and words around the JSON inside it are left out.
fn unpacked<T>(text: &str, levels: usize, then: &mut dyn FnMut(&str) -> Result<T, Refusal>) -> Result<T, Refusal> {
    let text = text.trim();
    if levels == 0 || !text.starts_with('"') {
        return then(text);
    }
    let inner: String =
        serde_json::from_str(text).map_err(|error| general(format!("the patch cannot be read: {}", plain(&error))))?;
    let Some(json) = json_in(&inner) else {
        return Err(general(format!("the patch is text without a list of operations: {SHAPE}")));
    };
    unpacked(json, levels - 1, then)
}

/// The one JSON list or object in a text. Words before and after it do not matter; a second one does.
fn json_in(text: &str) -> Option<&str> {
    let start = text.find(['[', '{', '"'])?;
    let rest = &text[start..];
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
    let first = values.next()?.ok()?;
    let after = &rest[values.byte_offset()..];
    (!after.contains(['[', '{'])).then_some(first.get())
}

/// Reads a list of operations, and no more of it than `max`.
fn operations(text: &str, max: usize) -> Result<Vec<Operation>, Refusal> {
    if text.starts_with('{') {
        return operation(text).map(|one| vec![one]).map_err(|message| at(0, String::new(), message));
    }
    if !text.starts_with('[') {
        return Err(general(format!("operations is no list: {SHAPE}")));
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let items = AtMost(max).deserialize(&mut deserializer).map_err(|error| {
        let error = error.to_string();
        general(if error.contains(TOO_MANY) {
            too_many(max)
        } else {
            format!("the operations cannot be read: {}", in_plain_words(&error))
        })
    })?;
    let mut reasons = Vec::new();
    let mut operations = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        match operation(item.get()) {
            Ok(operation) => operations.push(operation),
            Err(message) => {
                reasons.push(Reason { operation: Some(index), what: String::new(), message });
            }
        }
    }
    if reasons.is_empty() { Ok(operations) } else { Err(Refusal { conflict: false, reasons }) }
}

/// Says which bound a list of operations breaks.
pub(super) fn too_many(max: usize) -> String {
    format!("more than {max} operations: split the change (patch.max_operations)")
}

/// Reads one operation; the error says what is wrong with it.
fn operation(text: &str) -> Result<Operation, String> {
    let text = text.trim();
    if text.starts_with('"') {
        let inner: String = serde_json::from_str(text).map_err(|error| plain(&error))?;
        let json = json_in(&inner).filter(|json| json.starts_with('{')).ok_or("an operation is an object")?;
        return operation(json);
    }
    if !text.starts_with('{') {
        return Err("an operation is an object with op and path".to_owned());
    }
    let parts: Parts<'_> = serde_json::from_str(text).map_err(|error| format!("cannot be read: {}", plain(&error)))?;
    let name = text_of("op", parts.op)?;
    let op = Op::ALL
        .into_iter()
        .find(|op| op.as_str().eq_ignore_ascii_case(name.trim()))
        .ok_or_else(|| format!("{name:?} is no operation: use add, remove, replace, move, copy or test"))?;
    let path = text_of("path", parts.path)?;
    let from = if op.has_from() { Some(text_of("from", parts.from)?) } else { None };
    let value = if op.has_value() { Some(value(op, &path, &parts)?) } else { None };
    Ok(Operation { op, path, from, value })
}

fn text_of(name: &str, raw: Option<&RawValue>) -> Result<String, String> {
    let raw = raw.ok_or_else(|| format!("{name} is missing"))?;
    serde_json::from_str(raw.get()).map_err(|_| format!("{name} is not text"))
}

fn value(op: Op, path: &str, parts: &Parts<'_>) -> Result<Value, String> {
    let read = |text: &str| {
        serde_json::from_str::<Value>(text).map_err(|error| format!("value cannot be read: {}", plain(&error)))
    };
    match (parts.value, parts.value_json) {
        (Some(_), Some(_)) => Err("both value and value_json: give one".to_owned()),
        (None, Some(raw)) => read(&text_of("value_json", Some(raw))?),
        (Some(raw), None) => read(raw.get()).map(|value| as_meant(path, value)),
        (None, None) => Err(format!("{} needs a value", op.as_str())),
    }
}

/// An object or list written as text, in a place where only an object or list can stand.
fn as_meant(path: &str, value: Value) -> Value {
    let Value::String(text) = &value else { return value };
    let Ok(pointer) = pointer::parse(path) else { return value };
    let segments = pointer::segments(&pointer);
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let structured = matches!(
        segments.as_slice(),
        ["nodes" | "edges" | "metadata"] | ["nodes" | "edges", _] | ["nodes", _, "config" | "retry"]
    );
    match serde_json::from_str::<Value>(text) {
        Ok(inner) if structured && (inner.is_object() || inner.is_array()) => inner,
        _ => value,
    }
}

fn general(message: String) -> Refusal {
    Refusal::one(Reason::general(message))
}

fn at(index: usize, what: String, message: String) -> Refusal {
    Refusal::one(Reason { operation: Some(index), what, message })
}

/// Stands in the error of a list that is too long, to tell it from a list that is malformed.
const TOO_MANY: &str = "too many operations";

/// Reads a list as slices of its text and stops when it is longer than the bound.
struct AtMost(usize);

impl<'de> DeserializeSeed<'de> for AtMost {
    type Value = Vec<&'de RawValue>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for AtMost {
    type Value = Vec<&'de RawValue>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of operations")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while let Some(item) = items.next_element::<&RawValue>()? {
            if kept.len() == self.0 {
                return Err(A::Error::custom(TOO_MANY));
            }
            kept.push(item);
        }
        Ok(kept)
    }
}
