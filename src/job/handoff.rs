//! The `handoff` block of a job.

use serde::{Deserialize, Serialize};

use super::whole;

/// The handoff systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandoffMode {
    /// One agent, chosen by tags and meaning.
    Route,
    /// Levels of one agent, from the cheapest up.
    Tiers,
    /// Agents that pass on to each other.
    Network,
    /// One of a group of equals.
    Pool,
}

impl HandoffMode {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Tiers => "tiers",
            Self::Network => "network",
            Self::Pool => "pool",
        }
    }
}

/// Which of the handoff systems runs, and its options. Each mode reads its own fields.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Handoff {
    /// Absent: the one whose own options are given, else `route`.
    pub mode: Option<HandoffMode>,
    /// Route: least score an agent must reach, -1 to 1.
    pub threshold: Option<f64>,
    /// Route: how many scored agents are shown.
    #[serde(deserialize_with = "whole")]
    pub show_top_n: Option<usize>,
    /// Route: choose only, do not let the agent answer.
    pub dry_run: bool,
    /// Network: the agent that starts.
    pub agent: Option<String>,
    /// Network: forget the session and start over.
    pub reset: bool,
    /// Tiers: name of a tier set.
    pub tiers: Option<String>,
    /// Tiers: words handed to every tier.
    pub context: Option<String>,
    /// Tiers: highest level that may be used.
    #[serde(deserialize_with = "whole")]
    pub max_tier: Option<u32>,
    /// Tiers: how many, without a named set.
    #[serde(deserialize_with = "whole")]
    pub num_tiers: Option<u32>,
    /// Pool: its name.
    pub pool: Option<String>,
    /// Pool: capability needed.
    pub capability: Option<String>,
}
