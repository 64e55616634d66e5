//! What a pipeline may use, and how a running one is stopped.

use std::time::Instant;

use super::{StepStat, TableError};
use crate::{job::ErrorCode, settings::Pipeline};

/// Bounds of one pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Steps in a plan, those of nested pipelines counted in.
    pub max_steps: usize,
    /// Rows that a step may take or give.
    pub max_rows: usize,
    /// Bytes of one fetched body, all its pages together.
    pub max_response_bytes: usize,
    /// Bytes that one step may write.
    pub max_table_bytes: usize,
}

impl Limits {
    /// How much larger than a response a table may grow: joins and derived columns add to what came in.
    const TABLE_FACTOR: usize = 2;
}

impl From<&Pipeline> for Limits {
    fn from(settings: &Pipeline) -> Self {
        Self {
            max_steps: settings.max_steps,
            max_rows: settings.max_rows,
            max_response_bytes: settings.max_response_bytes,
            max_table_bytes: settings.max_response_bytes.saturating_mul(Self::TABLE_FACTOR),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::from(&Pipeline::default())
    }
}

/// How a run is watched and stopped.
#[derive(Clone, Copy)]
pub struct Control<'a> {
    /// Asked every few thousand rows; true ends the run with `cancelled`.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
    /// Past this moment the run ends with `timeout`.
    pub deadline: Option<Instant>,
    /// Told about the steps of the outer pipeline that were done before one failed.
    pub on_failure: Option<&'a (dyn Fn(Vec<StepStat>) + Sync)>,
    /// Most threads for one pass over large data; small data never leaves the calling thread.
    pub threads: usize,
}

impl Default for Control<'_> {
    fn default() -> Self {
        Self { cancelled: &|| false, deadline: None, on_failure: None, threads: 1 }
    }
}

impl Control<'_> {
    /// Ends the run when it is cancelled or late.
    pub(super) fn check(&self) -> Result<(), TableError> {
        if (self.cancelled)() {
            return Err(TableError::new(ErrorCode::Cancelled, "cancelled while the pipeline was running"));
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(TableError::new(
                ErrorCode::Timeout,
                "the time limit was reached while the pipeline was running: ask for less data, or raise the job's \
                 timeout_sec or pipeline.timeout_secs",
            ));
        }
        Ok(())
    }
}

/// Counts work and looks at the [`Control`] once in a while.
pub(super) struct Ticker<'a> {
    control: &'a Control<'a>,
    left: u32,
}

impl<'a> Ticker<'a> {
    /// Rows between two looks: a look costs a clock reading.
    const EVERY: u32 = 4096;

    pub(super) fn new(control: &'a Control<'a>) -> Self {
        Self { control, left: Self::EVERY }
    }

    /// Looks now.
    pub(super) fn check(&mut self) -> Result<(), TableError> {
        self.left = Self::EVERY;
        self.control.check()
    }

    #[inline]
    pub(super) fn tick(&mut self) -> Result<(), TableError> {
        self.left -= 1;
        if self.left == 0 {
            return self.check();
        }
        Ok(())
    }
}
