//! What a delegation takes from the run that it belongs to, and what it leaves there: its share of the model calls that
//! are left, and its part of the trail.
//!
//! The tool `delegate_to_agent` and the run that calls it know each other by nothing but a tool's arguments and result.
//! Both look at one desk: the run lays an order there before each call, the delegation a report when it ends, also when
//! it is dropped in the middle of its work.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{
    stage::Made,
    trail::{Trail, TrailEntry, TrailKind},
};
use crate::{
    job::{ErrorCode, JobError, ToolCallRecord},
    settings::limits::MAX_DELEGATION_DEPTH,
};

/// The desk of one handoff. Its runs make one call at a time, so that one order lies there at most.
#[derive(Debug, Clone, Default)]
pub struct Errands(Arc<Mutex<Desk>>);

#[derive(Debug, Default)]
struct Desk {
    order: Order,
    report: Option<Report>,
}

/// Under what a delegation begins.
#[derive(Debug, Clone, Default)]
pub(super) struct Order {
    pub(super) execution_id: String,
    /// The moment of the last step before it.
    pub(super) at: String,
    /// Who delegates.
    pub(super) from: String,
    /// Model calls that it may make, with all that it delegates itself.
    pub(super) calls: u32,
    /// How many delegations deep it is, itself included.
    pub(super) depth: u32,
}

/// What came of delegated work, beside its answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) entries: Vec<TrailEntry>,
    pub(super) tool_calls: Vec<ToolCallRecord>,
    pub(super) model_calls: u32,
    /// Tokens of all its model calls.
    pub(super) tokens: u64,
    pub(super) cost_usd: f64,
}

impl Errands {
    /// Lays an order down and clears away what an earlier one has left.
    pub(super) fn lay(&self, order: Order) {
        *self.0.lock() = Desk { order, report: None };
    }

    /// The report of the delegation that ended, if the call was one.
    pub(super) fn report(&self) -> Option<Report> {
        self.0.lock().report.take()
    }

    fn order(&self) -> Order {
        self.0.lock().order.clone()
    }
}

/// One delegation on its way. Dropped, it leaves its report.
pub(super) struct Errand {
    errands: Errands,
    pub(super) order: Order,
    pub(super) trail: Trail,
    pub(super) made: Made,
}

impl Errand {
    /// Takes the order: `agent` begins.
    ///
    /// # Errors
    /// `loop_detected` where tasks were delegated too deep already, or no model call is left.
    pub(super) fn begin(errands: &Errands, agent: &str) -> Result<Self, JobError> {
        let order = errands.order();
        let refused = |reason: &str, message: String| {
            let error = JobError::new(ErrorCode::LoopDetected, message).with_detail("reason", reason);
            Err(error.with_tool("delegate_to_agent"))
        };
        if order.depth > MAX_DELEGATION_DEPTH {
            let message =
                format!("a task was handed on {MAX_DELEGATION_DEPTH} times already: do it, or answer without it");
            return refused("max_depth", message);
        }
        if order.calls == 0 {
            return refused("max_turns", "no model call is left to hand a task on (network.max_turns): answer".into());
        }
        let mut trail = Trail::new(&order.execution_id, &order.at);
        let entry = trail.add(TrailKind::Select);
        entry.agent_id = Some(agent.to_owned());
        entry.from = Some(order.from.clone());
        entry.to = Some(agent.to_owned());
        entry.handoff_decision = Some("delegated".into());
        let made = Made { errands: errands.clone(), depth: order.depth, ..Made::default() };
        Ok(Self { errands: errands.clone(), order, trail, made })
    }

    /// Notes how it ended.
    pub(super) fn ended(&mut self, agent: &str, outcome: &Result<String, JobError>) {
        if let Some(error) = outcome.as_ref().err().filter(|error| !error.deferred) {
            self.trail.stop(Some(agent), error);
        }
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        // Of a delegation that was dropped in the middle of its own.
        if let Some(deeper) = self.errands.report() {
            self.made.take_in(deeper, &mut self.trail);
        }
        let made = std::mem::take(&mut self.made);
        let report = Report {
            entries: self.trail.entries(),
            tool_calls: made.tool_calls,
            model_calls: made.model_calls,
            tokens: made.tokens,
            cost_usd: made.cost_usd,
        };
        self.errands.0.lock().report = Some(report);
    }
}
