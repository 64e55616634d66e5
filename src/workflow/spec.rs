//! What a patch is made of.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{Refusal, reading};
use crate::job::RawJson;

/// The operations of RFC 6902.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the standard's")]
pub enum Op {
    Add,
    Remove,
    Replace,
    Move,
    Copy,
    Test,
}

impl Op {
    pub(super) const ALL: [Self; 6] = [Self::Add, Self::Remove, Self::Replace, Self::Move, Self::Copy, Self::Test];

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Replace => "replace",
            Self::Move => "move",
            Self::Copy => "copy",
            Self::Test => "test",
        }
    }

    /// Whether it carries a value.
    pub(super) fn has_value(self) -> bool {
        matches!(self, Self::Add | Self::Replace | Self::Test)
    }

    /// Whether it carries a second path.
    pub(super) fn has_from(self) -> bool {
        matches!(self, Self::Move | Self::Copy)
    }
}

/// One operation. `from` and `value` stand where the operation needs them, and only there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// What to do.
    pub op: Op,
    /// Where.
    pub path: String,
    /// Where from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<String>,
    /// With what. `Some(null)` is the value null.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    pub value: Option<Value>,
}

/// A member that is there is `Some`, whatever it holds.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Operation {
    pub(super) fn with_value(op: Op, path: impl Into<String>, value: Value) -> Self {
        Self { op, path: path.into(), from: None, value: Some(value) }
    }

    pub(super) fn remove(path: impl Into<String>) -> Self {
        Self { op: Op::Remove, path: path.into(), from: None, value: None }
    }

    pub(super) fn relocate(from: impl Into<String>, path: impl Into<String>) -> Self {
        Self { op: Op::Move, path: path.into(), from: Some(from.into()), value: None }
    }

    /// `add /nodes/-`, for messages.
    pub(super) fn title(&self) -> String {
        format!("{} {}", self.op.as_str(), self.path.chars().take(200).collect::<String>())
    }
}

/// A patch as it was asked for: `id:` segments are not resolved yet.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PatchSpec {
    /// In the order they are carried out.
    pub operations: Vec<Operation>,
    /// What it is for, in words.
    pub description: String,
    /// What its author took for granted; shown as warnings.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub notes: Vec<String>,
}

impl PatchSpec {
    /// Reads a patch, in the shape `{operations, description}` or in one of the shapes that models make of it
    /// and that can mean nothing else: the list alone or as text, under a neighbouring name, with words after it.
    /// Stops after `max_operations`, so that a flood costs no more than a patch.
    ///
    /// # Errors
    /// A reason for each operation that cannot be read.
    pub fn read(raw: &RawJson, max_operations: usize) -> Result<Self, Refusal> {
        reading::spec(raw.as_str(), max_operations)
    }
}
