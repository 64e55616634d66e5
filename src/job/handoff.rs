//! The `handoff` block of a job.

use serde::{Deserialize, Serialize};

/// Which of the handoff systems runs, and its options. Each mode reads its own fields.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Handoff {
    /// `route` (default), `tiers`, `network` or `pool`.
    pub mode: Option<String>,
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
