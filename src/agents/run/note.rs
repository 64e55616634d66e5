//! What a run tells of itself, beside what it asks for.

use serde::{Deserialize, Serialize};

use crate::job::JobError;

/// Control that was passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handoff {
    /// Who passed control.
    pub from: String,
    /// Who has it now.
    pub to: String,
    /// Why, where the model said so.
    pub reason: Option<String>,
    /// Nobody passed it on: the one failed, and the other stood behind it in a pool.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub fallback: bool,
}

/// Something that the audit trail wants to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Note {
    /// Control was passed.
    Transfer {
        /// From whom, to whom, why.
        handoff: Handoff,
        /// The pool it went through.
        pool: Option<String>,
    },
    /// A transfer was asked for that cannot be made.
    Refused {
        /// Who asked.
        agent: String,
        /// What the model is told.
        why: String,
    },
    /// An agent of a fallback pool failed.
    Fallback {
        /// Who failed.
        from: String,
        /// Who goes on; nobody behind the last one.
        to: Option<String>,
        /// With what.
        error: JobError,
    },
    /// An agent answered with nothing and was asked once more.
    Nudged {
        /// Who.
        agent: String,
    },
    /// An agent asked for more calls at once than are made.
    TooMany {
        /// Who.
        agent: String,
        /// How many.
        asked: usize,
    },
    /// The conversation went along without its tools, because no summary came.
    NoSummary {
        /// Why not.
        why: String,
    },
}
