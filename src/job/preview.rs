//! The short form of a result, for lists and logs of the producer.

use serde::{Deserialize, Serialize};

use super::RawJson;

/// `result_preview`: what kind of thing the result is and a bounded look at it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Preview {
    /// Rows.
    Dataset {
        /// How many rows there are.
        row_count: usize,
        /// Columns in order of first appearance in the sample.
        columns: Vec<String>,
        /// The first five rows, as they are in the result.
        sample: Vec<RawJson>,
    },
    /// One object that is no table.
    Object {
        /// Its keys.
        keys: Vec<String>,
    },
    /// A workflow change.
    Patch(PatchPreview),
    /// What the agents did.
    Handoff {
        /// `route`, `tiers`, `network` or `pool`.
        mode: String,
        /// The agent that answered.
        agent: Option<String>,
        /// First 500 characters of the answer.
        text: String,
    },
    /// Words.
    Text {
        /// First 500 characters.
        text: String,
    },
}

/// Counts of what a patch does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct PatchPreview {
    pub op_count: usize,
    pub nodes_added: usize,
    pub nodes_removed: usize,
    pub nodes_changed: usize,
}

impl Preview {
    /// Rows shown in a dataset's sample.
    pub const SAMPLE_ROWS: usize = 5;
    /// Characters shown of a text.
    pub const TEXT_CHARS: usize = 500;

    /// The preview of words.
    #[must_use]
    pub fn text(message: &str) -> Self {
        Self::Text { text: message.chars().take(Self::TEXT_CHARS).collect() }
    }
}
