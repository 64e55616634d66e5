//! What ends a run that does not end by itself. Each bound has its own reason.

use serde::{Deserialize, Serialize};

use super::Handoff;
use crate::job::{ErrorCode, JobError};

/// Transfers between two agents, one after the other and with nothing new between them, that are a loop.
const PING_PONG: usize = 6;

/// Whose settings the bounds are: an error names the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// One agent: `llm.max_turns`.
    Agent,
    /// A network of agents: `network.*`.
    Network,
}

/// Bounds of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunBounds {
    /// Whose settings they are.
    pub scope: Scope,
    /// Model calls, at most. In the last one no tool is offered, so that the model concludes.
    pub max_turns: u32,
    /// The same with the model calls of everything that is delegated, at any depth: `network.max_turns`.
    pub max_in_all: u32,
    /// Transfers, at most; 0: none is offered.
    pub max_handoffs: u32,
    /// The same tool with the same arguments, asked for so many times, is a loop.
    pub max_repeats: u32,
}

impl RunBounds {
    /// Bounds of one agent by itself.
    #[must_use]
    pub fn of_agent(max_turns: u32, max_in_all: u32, max_repeats: u32) -> Self {
        // An agent that delegates nothing has all of its own.
        Self { scope: Scope::Agent, max_turns, max_in_all: max_in_all.max(max_turns), max_handoffs: 0, max_repeats }
    }

    /// The error of a run that has made `turns` model calls, and `elsewhere` those of what it delegated.
    pub(super) fn too_many_turns(&self, turns: u32, elsewhere: u32) -> JobError {
        let key = match self.scope {
            Scope::Agent if turns >= self.max_turns => "llm.max_turns",
            Scope::Agent | Scope::Network => "network.max_turns",
        };
        let all = turns.saturating_add(elsewhere);
        let message = format!("the agents came to no end within {all} model calls: raise {key} or ask for less");
        looped("max_turns", message)
    }

    /// The bound that one more transfer breaks, if any. `made` are all transfers with the new one, `lately` those
    /// since the last user message or tool result.
    pub(super) fn transfer_fault(&self, made: &[Handoff], lately: &[(String, String)]) -> Option<JobError> {
        let times = made.iter().filter(|handoff| !handoff.fallback).count();
        if u32::try_from(times).unwrap_or(u32::MAX) > self.max_handoffs {
            let message = format!(
                "control was to be passed on {times} times, at most {} are allowed: raise network.max_handoffs or sharpen \
                 who does what",
                self.max_handoffs
            );
            return Some(looped("max_handoffs", message));
        }
        let last = lately.len().checked_sub(PING_PONG).map(|from| &lately[from..])?;
        let alternate = last.windows(2).all(|pair| pair[0].0 == pair[1].1 && pair[0].1 == pair[1].0);
        alternate.then(|| {
            let (a, b) = &last[0];
            let message =
                format!("{a} and {b} passed control to each other {PING_PONG} times with nothing new between");
            looped("ping_pong", message)
        })
    }
}

pub(super) fn looped(reason: &str, message: String) -> JobError {
    JobError::new(ErrorCode::LoopDetected, message).with_detail("reason", reason)
}
