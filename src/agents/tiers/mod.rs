//! Escalation: a task begins at the lowest tier, which does it or says that it cannot.

mod escalation;
mod play;
mod read;
mod words;

pub use play::{TierPlay, TiersResult, ladder};

use serde::{Deserialize, Serialize};

use super::analytics::{TierFigures, mean};

/// What one execution came to: the `analytics` of its result.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the protocol's; docs/agents.md explains each")]
pub struct TierReport {
    /// Levels that evaluated or executed, in order.
    pub tiers_involved: Vec<u32>,
    pub escalations: u32,
    /// Of the evaluations that could be read.
    pub avg_complexity: Option<f64>,
    pub final_tier: u32,
}

impl TierReport {
    fn of(figures: &[TierFigures], final_tier: u32) -> Self {
        let escalated = figures.iter().filter(|figures| figures.escalated).count();
        Self {
            tiers_involved: figures.iter().map(|figures| figures.tier_level).collect(),
            escalations: u32::try_from(escalated).unwrap_or(u32::MAX),
            avg_complexity: mean(figures.iter().filter_map(|figures| figures.complexity_score)),
            final_tier,
        }
    }
}
