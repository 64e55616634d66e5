//! The `handoff` block of a job.

use serde::{Deserialize, Serialize};

/// Which of the handoff systems runs, and its options. Each mode reads its own fields.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Handoff {
    /// Which system; see [`Handoff::mode`] for a block that names none.
    pub mode: Option<HandoffMode>,
    /// Route: least score an agent must reach, -1 to 1.
    pub threshold: Option<f64>,
    /// Route: how many scored agents are shown.
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
    pub max_tier: Option<u32>,
    /// Tiers: how many, without a named set.
    pub num_tiers: Option<u32>,
    /// Pool: its name.
    pub pool: Option<String>,
    /// Pool: capability needed.
    pub capability: Option<String>,
}

/// The handoff systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandoffMode {
    /// The agent whose work it is.
    Route,
    /// The lowest level that can do it.
    Tiers,
    /// Agents that pass control to each other.
    Network,
    /// One agent of a group.
    Pool,
}

impl HandoffMode {
    /// All, in the order of the manual.
    pub const ALL: [Self; 4] = [Self::Route, Self::Tiers, Self::Network, Self::Pool];

    /// The word on the wire and in metrics.
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

impl Handoff {
    /// Most tiers that `num_tiers` may ask for.
    pub const MAX_TIERS: u32 = 100;
    /// What is said where nobody is named with whom a network begins.
    pub const NO_AGENT: &str = "handoff.agent is missing: name the agent that a network begins with";

    /// The mode that is named, else the one whose own options are given.
    #[must_use]
    pub fn mode(&self) -> HandoffMode {
        match self.mode {
            Some(mode) => mode,
            None if self.pool.is_some() => HandoffMode::Pool,
            None if self.agent.is_some() => HandoffMode::Network,
            None if self.tiers.is_some() || self.max_tier.is_some() || self.num_tiers.is_some() => HandoffMode::Tiers,
            None => HandoffMode::Route,
        }
    }

    /// Whether scores can be compared with `threshold`.
    ///
    /// # Errors
    /// Why not.
    pub fn check_threshold(threshold: f64) -> Result<(), String> {
        match (-1.0..=1.0).contains(&threshold) {
            true => Ok(()),
            false => Err(format!("the threshold must lie between -1 and 1, found {threshold}")),
        }
    }

    /// Whether `number` tiers can be made.
    ///
    /// # Errors
    /// Why not.
    pub fn check_num_tiers(number: u32) -> Result<(), String> {
        match (1..=Self::MAX_TIERS).contains(&number) {
            true => Ok(()),
            false => Err(format!("handoff.num_tiers must be from 1 to {}, found {number}", Self::MAX_TIERS)),
        }
    }
}
