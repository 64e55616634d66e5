//! The workflow document and changes to it: read, patched on a copy, checked, undone, shown.
//!
//! Everything here is pure except [`orchestrator`], which fetches workflows and sends patches. One function,
//! [`prepare`], carries a patch from words on the wire to something that may be sent; a dry run and a real run
//! both end there, so they cannot disagree.

mod check;
mod condition;
mod diff;
mod document;
mod edit;
mod fold;
mod graph;
mod mermaid;
pub mod orchestrator;
mod patch;
mod places;
mod pointer;
mod prepare;
mod reading;
mod refusal;
mod schema;
mod spec;
#[cfg(test)]
mod tests;
mod value;
mod warnings;

pub use diff::{Diff, Effect, Effects, Part, State};
pub use document::Workflow;
pub use patch::{Applied, Limits, apply};
pub use prepare::{Mode, Prepared, Rules, prepare};
pub use refusal::{Reason, Refusal};
pub use schema::{NodeType, Schema};
pub use spec::{Op, Operation, PatchSpec};
pub use value::same;

/// The workflow format for a model's instructions, with the configured node types. The same bytes every time.
/// Empty where a configured type is none, which [`Rules::new`] refuses at the start.
#[must_use]
pub fn prompt_text(settings: &crate::settings::Patch) -> String {
    Schema::new(&settings.node_types).map(|schema| schema.prompt_text().to_owned()).unwrap_or_default()
}
