//! Why a patch is not carried out.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::job::{ErrorCode, JobError};

/// Reasons repeated in the message; all of them are in the details.
const SHOWN: usize = 5;
/// Reasons kept at all: a model mends a few at a time.
const KEPT: usize = 50;

/// One thing that is wrong, with the operation that brought it in where there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Which operation, counted from 0.
    pub operation: Option<usize>,
    /// `op path` as it was given.
    pub what: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl Reason {
    /// Something that no single operation is to blame for.
    pub(super) fn general(message: impl Into<String>) -> Self {
        Self { operation: None, what: String::new(), message: message.into() }
    }

    fn text(&self) -> String {
        match self.operation {
            Some(index) if self.what.is_empty() => format!("operation {}: {}", index + 1, self.message),
            Some(index) => format!("operation {} ({}): {}", index + 1, self.what, self.message),
            None => self.message.clone(),
        }
    }

    fn detail(&self) -> Value {
        json!({ "operation": self.operation.map(|index| index + 1), "what": self.what, "reason": self.message })
    }
}

/// A patch that is refused as a whole. Nothing was changed and nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A `test` did not hold: the workflow is not what the author of the patch thought.
    pub conflict: bool,
    /// At least one.
    pub reasons: Vec<Reason>,
}

impl Refusal {
    /// A refusal with one reason.
    pub(super) fn one(reason: Reason) -> Self {
        Self { conflict: false, reasons: vec![reason] }
    }

    /// A refusal for a reason that no single operation is to blame for.
    #[must_use]
    pub fn general(message: impl Into<String>) -> Self {
        Self::one(Reason::general(message))
    }

    /// Everything in one text, for a person or a model.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines: Vec<String> = self.reasons.iter().take(SHOWN).map(Reason::text).collect();
        if self.reasons.len() > SHOWN {
            lines.push(format!("and {} more", self.reasons.len() - SHOWN));
        }
        lines.join("; ")
    }
}

impl From<Refusal> for JobError {
    fn from(refusal: Refusal) -> Self {
        let code = if refusal.conflict { ErrorCode::PatchConflict } else { ErrorCode::InvalidPatch };
        let reasons: Vec<Value> = refusal.reasons.iter().take(KEPT).map(Reason::detail).collect();
        Self::new(code, refusal.text()).with_detail("reasons", reasons)
    }
}
