//! What each lane offers a planner, and how its plan is carried out.

mod drive;
pub mod handoff;
mod observe;
mod turns;

pub use drive::{Drive, ReadyPlan, ready_plan};
pub use handoff::{HandoffOptions, Handoffs};
pub use observe::{Observed, Record};
pub use turns::{Action, Bounds, Event, Turns};

use crate::job::{Lane, Preview, RawJson};

/// How a lane ended, when it did not fail.
#[derive(Debug)]
pub enum LaneEnd {
    /// With a result.
    Done {
        /// The lane that ran.
        lane: Lane,
        /// `result` of the job's result document.
        result: RawJson,
        /// `result_preview` of it.
        preview: Preview,
    },
    /// It waits for approval.
    Parked(RawJson),
}
