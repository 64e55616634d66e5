//! What a tier said, read leniently: models write "Yes", true, fenced JSON, prose around it, and numbers as text.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::llm::structured::{self, Answer};

/// A level's judgement of a task.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Evaluation {
    /// Whether it can do it.
    pub(super) can_handle: bool,
    /// 0 to 1, where it said so.
    pub(super) complexity_score: Option<f64>,
    /// Why.
    pub(super) reasoning: Option<String>,
    /// The level it thinks is needed.
    pub(super) requires_tier: Option<u32>,
}

impl Evaluation {
    /// Reads an evaluation. The error says why it is none: that counts as no.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let Some(answer) = structured::read(text) else {
            let can_handle = structured::yes_or_no(text).ok_or_else(|| unreadable(text))?;
            return Ok(Self { can_handle, reasoning: Some(shortened(text)), ..Self::default() });
        };
        let answer = unwrapped(answer);
        let can_handle = answer.flag("can_handle").ok_or_else(|| {
            let found = answer.get("can_handle").map_or_else(|| "nothing".to_owned(), Value::to_string);
            format!("can_handle must be yes or no, found {}", shortened(&found))
        })?;
        Ok(Self {
            can_handle,
            complexity_score: answer.number("complexity_score").map(|score| score.clamp(0.0, 1.0)),
            reasoning: answer.text("reasoning").map(|text| shortened(&text)),
            requires_tier: answer.number("requires_tier").and_then(level),
        })
    }

    /// For the next level.
    pub(super) fn finding(&self) -> String {
        let mut text = "it cannot handle the task".to_owned();
        if let Some(score) = self.complexity_score {
            text.push_str(&format!(" (complexity {score:.2})"));
        }
        match &self.reasoning {
            Some(reasoning) => format!("{text}: {reasoning}"),
            None => text,
        }
    }
}

/// What a level made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Product {
    /// Words, or what the JSON held.
    pub(super) result: Value,
    /// 0 to 1; none where it is missing or cannot be read.
    pub(super) confidence: Option<f64>,
    /// What it says about how it did it.
    pub(super) execution_metadata: Option<Value>,
}

/// Why an answer is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// It says nothing.
    Empty,
    /// It is an object without `result`: an evaluation, or something else that was not asked for.
    NoResult,
}

impl Product {
    /// Reads an answer. Prose is a result, also where it holds JSON; what is JSON must have one.
    pub(super) fn read(text: &str) -> Result<Self, Missing> {
        let prose = || match text.trim() {
            "" => Err(Missing::Empty),
            _ if structured::is_object(text) => Err(Missing::NoResult),
            text => Ok(Self { result: Value::String(text.to_owned()), confidence: None, execution_metadata: None }),
        };
        let Some(answer) = structured::read(text).map(unwrapped) else { return prose() };
        let Some(result) = answer.get("result").cloned() else { return prose() };
        let is_nothing = match &result {
            Value::Null => true,
            Value::String(text) => text.trim().is_empty(),
            _ => false,
        };
        if is_nothing {
            return Err(Missing::Empty);
        }
        Ok(Self {
            result,
            confidence: answer.number("confidence").map(|confidence| confidence.clamp(0.0, 1.0)),
            execution_metadata: answer.get("execution_metadata").filter(|value| !value.is_null()).cloned(),
        })
    }
}

/// The answer itself where it stands inside a single member: `{"evaluation": {…}}`.
fn unwrapped(answer: Answer) -> Answer {
    let known = ["can_handle", "result"].iter().any(|name| answer.get(name).is_some());
    let mut members = answer.clone().into_members();
    match members.values_mut().next() {
        Some(Value::Object(inner)) if !known => {
            let inner = Value::Object(std::mem::take(inner));
            if members.len() == 1 { structured::read(&inner.to_string()).unwrap_or(answer) } else { answer }
        }
        _ => answer,
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the bounds checked before")]
fn level(number: f64) -> Option<u32> {
    (1.0..=1e6).contains(&number).then_some(number.round() as u32)
}

fn unreadable(text: &str) -> String {
    match text.trim().is_empty() {
        true => "it said nothing".to_owned(),
        false => format!("it is neither JSON nor yes or no: {:?}", shortened(text)),
    }
}

/// Longest reasoning kept, in characters.
const MAX_CHARS: usize = 1000;

fn shortened(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
