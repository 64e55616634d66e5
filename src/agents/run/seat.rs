//! Who speaks in a run, and where control may go from there.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    agents::registry::{History, TRANSFER_PREFIX},
    job::RawJson,
    llm::{ResponseFormat, ToolSpec},
};

/// Everything about the agent that speaks. Data only, so that a run can be kept and resumed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Seat {
    /// Its id; of a tier without an agent `tier-<level>`.
    pub agent: String,
    /// Its system message; none where empty.
    pub instructions: String,
    /// The configured default where absent.
    pub model: Option<String>,
    /// The configured default where absent.
    pub temperature: Option<f64>,
    /// The configured default where absent.
    pub max_tokens: Option<u32>,
    /// Names of its own tools, in the order they are offered.
    pub tools: Vec<String>,
    /// Where it may pass control to.
    pub doors: Vec<Door>,
    /// Agents that take over, one after the other, if this one fails.
    pub reserves: Vec<String>,
    /// The shape of its answer, where one is wanted and no tool is offered.
    pub format: Option<ResponseFormat>,
}

/// One transfer that is offered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Door {
    /// Id of the agent, or name of the pool.
    pub to: String,
    /// Whether `to` is a pool.
    pub pool: bool,
    /// When to pass control there.
    pub description: String,
    /// What goes along.
    pub history: History,
}

impl Door {
    /// The name of its tool.
    #[must_use]
    pub fn tool(&self) -> String {
        format!("{TRANSFER_PREFIX}{}", self.to)
    }

    /// How it is offered.
    #[must_use]
    pub fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: self.tool(),
            description: format!("Passes control of the conversation to {}. {}", self.to, self.description)
                .trim_end()
                .to_owned(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "reason": {"type": "string", "description": "Why control goes there"},
                    "message": {"type": "string", "description": "What the next one must know"},
                },
                "required": ["reason", "message"],
                "additionalProperties": false,
            }),
            strict: true,
        }
    }
}

/// The arguments of a transfer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferWords {
    /// Why.
    pub reason: Option<String>,
    /// What the next agent must know.
    pub message: Option<String>,
}

impl TransferWords {
    /// Reads arguments leniently: nothing at all is a transfer without reason.
    pub(super) fn read(arguments: &RawJson) -> Result<Self, String> {
        let value = arguments.to_value().map_err(|e| format!("the arguments are no JSON: {e}"))?;
        Self::of(value, true)
    }

    fn of(value: Value, may_be_text: bool) -> Result<Self, String> {
        match value {
            Value::Null => Ok(Self::default()),
            Value::Object(members) => {
                Ok(Self { reason: words(members.get("reason"))?, message: words(members.get("message"))? })
            }
            // Some models write the object as text.
            Value::String(text) if text.trim().is_empty() => Ok(Self::default()),
            Value::String(text) if may_be_text => match serde_json::from_str(&text) {
                Ok(inner @ (Value::Object(_) | Value::Null)) => Self::of(inner, false),
                _ => Err(SHAPE.into()),
            },
            _ => Err(SHAPE.into()),
        }
    }
}

const SHAPE: &str = "the arguments must be {\"reason\": \"…\", \"message\": \"…\"}";

fn words(value: Option<&Value>) -> Result<Option<String>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Some(scalar @ (Value::Bool(_) | Value::Number(_))) => Ok(Some(scalar.to_string())),
        Some(_) => Err(SHAPE.into()),
    }
}

/// A tool's name as models blur it: case does not count but where it parts words (`transferToBilling`), and whatever
/// stands between the words or around them is one `_` or nothing.
pub(super) fn blurred(name: &str) -> String {
    let mut blurred = String::with_capacity(name.len());
    let mut before = '_';
    for c in name.chars() {
        let parted = !before.is_alphanumeric() || (before.is_lowercase() && c.is_uppercase());
        if c.is_alphanumeric() {
            if parted && !blurred.is_empty() {
                blurred.push('_');
            }
            blurred.extend(c.to_lowercase());
        }
        before = c;
    }
    blurred
}
