//! The wire types: what a producer sends, what it gets back, and the stable error codes.
//!
//! Pure: no clock, no I/O, no async. Everything else in the crate may use this room.

mod budget;
mod envelope;
mod error;
mod event;
mod handoff;
mod id;
mod mask;
mod outcome;
mod owner;
mod preview;
mod raw;
mod signal;
mod words;

pub use budget::{Ask, Bill, Budget, Grant, Meter, Spend, Tokens};
pub use envelope::{Context, Job, JobLimits, LaneChoice, PatchTarget, PreviousResult, Priority, Token};
pub use error::{ErrorCode, JobError, Rejected};
pub use event::{Event, EventKind};
pub use handoff::{Handoff, HandoffMode};
pub use id::JobId;
pub use mask::mask_secrets;
pub use outcome::{
    Intent, IntentKind, IntentSource, JobResult, Lane, Metadata, PlanOrigin, PlanSource, Status, ToolCallRecord,
    ToolStatus,
};
pub use owner::Owner;
pub use preview::{PatchPreview, Preview};
pub use raw::RawJson;
pub use signal::completion_signal;
pub use words::in_plain_words;
