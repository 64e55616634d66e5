//! What executions came to, one by one and over many.

use serde::{Deserialize, Serialize};

/// One execution in short: a line of `GET /v1/handoffs`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the protocol's; docs/agents.md explains each")]
pub struct Execution {
    pub execution_id: String,
    pub mode: String,
    pub job_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow_owner: Option<String>,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// `ok`, or the code of the error.
    pub outcome: String,
    /// Who answered.
    pub agent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    pub model_calls: u32,
    pub handoffs: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub final_tier: Option<u32>,
    pub escalations: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<TierFigures>,
    pub cost_usd: f64,
}

/// What one tier did in one execution.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub struct TierFigures {
    pub tier_level: u32,
    pub complexity_score: Option<f64>,
    pub resolved: bool,
    pub escalated: bool,
    pub tokens: u64,
    pub cost_usd: f64,
}

/// Many executions of one mode, or of all.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names are the protocol's; docs/agents.md explains each")]
pub struct Analytics {
    pub executions: usize,
    pub ok: usize,
    pub failed: usize,
    pub model_calls: u64,
    pub handoffs: u64,
    pub escalations: u64,
    /// Over every evaluation that could be read; none where there was none.
    pub mean_complexity: Option<f64>,
    pub cost_usd: f64,
    /// By ascending level.
    pub tiers: Vec<TierAnalytics>,
}

/// One tier over many executions.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names are the protocol's; docs/agents.md explains each")]
pub struct TierAnalytics {
    pub tier_level: u32,
    pub executions: usize,
    pub resolved: usize,
    /// Of all executions that some tier resolved, 0 to 1.
    pub resolved_share: f64,
    pub escalations: usize,
    pub mean_complexity: Option<f64>,
    pub tokens: u64,
    pub cost_usd: f64,
}

/// Sums up `executions`.
#[must_use]
pub fn analytics(executions: &[Execution]) -> Analytics {
    let ok = executions.iter().filter(|execution| execution.outcome == "ok").count();
    let figures = || executions.iter().flat_map(|execution| &execution.tiers);
    let mut levels: Vec<u32> = figures().map(|figures| figures.tier_level).collect();
    levels.sort_unstable();
    levels.dedup();
    let resolved = figures().filter(|figures| figures.resolved).count();
    let tier = |level: u32| {
        let of: Vec<&TierFigures> = figures().filter(|figures| figures.tier_level == level).collect();
        let mine = of.iter().filter(|figures| figures.resolved).count();
        TierAnalytics {
            tier_level: level,
            executions: of.len(),
            resolved: mine,
            resolved_share: if resolved == 0 { 0.0 } else { ratio(mine, resolved) },
            escalations: of.iter().filter(|figures| figures.escalated).count(),
            mean_complexity: mean(of.iter().filter_map(|figures| figures.complexity_score)),
            tokens: of.iter().map(|figures| figures.tokens).sum(),
            cost_usd: dollars(of.iter().map(|figures| figures.cost_usd)),
        }
    };
    Analytics {
        executions: executions.len(),
        ok,
        failed: executions.len() - ok,
        model_calls: executions.iter().map(|execution| u64::from(execution.model_calls)).sum(),
        handoffs: executions.iter().map(|execution| u64::from(execution.handoffs)).sum(),
        escalations: executions.iter().map(|execution| u64::from(execution.escalations)).sum(),
        mean_complexity: mean(figures().filter_map(|figures| figures.complexity_score)),
        cost_usd: dollars(executions.iter().map(|execution| execution.cost_usd)),
        tiers: levels.into_iter().map(tier).collect(),
    }
}

/// The sum, where nothing costs 0 (the standard library's sum of nothing is -0).
fn dollars(costs: impl Iterator<Item = f64>) -> f64 {
    costs.fold(0.0, |sum, cost| sum + cost)
}

/// The mean; none of nothing.
#[must_use]
pub(super) fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    // Scores have few digits; what summing adds behind them is noise.
    (count > 0).then(|| (sum / ratio(count, 1) * 1e9).round() / 1e9)
}

#[expect(clippy::cast_precision_loss, reason = "counts of executions lie far below 2^53")]
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_executions_are_summed_up_by_tier() {
        let tier = |tier_level, complexity_score, resolved, escalated| TierFigures {
            tier_level,
            complexity_score,
            resolved,
            escalated,
            tokens: 10,
            cost_usd: 0.5,
        };
        let run = |outcome: &str, tiers: Vec<TierFigures>| Execution {
            outcome: outcome.into(),
            escalations: u32::try_from(tiers.iter().filter(|tier| tier.escalated).count()).unwrap(),
            tiers,
            ..Execution::default()
        };
        let sums = analytics(&[
            run("ok", vec![tier(1, Some(0.2), true, false)]),
            run("ok", vec![tier(1, Some(0.8), false, true), tier(3, Some(0.5), true, false)]),
            run("llm_unavailable", vec![tier(1, None, false, false)]),
        ]);
        assert_eq!((sums.executions, sums.ok, sums.failed, sums.escalations), (3, 2, 1, 1));
        assert_eq!(sums.mean_complexity, Some(0.5));
        let tier = |tier_level, executions, escalations, cost_usd| TierAnalytics {
            tier_level,
            executions,
            resolved: 1,
            resolved_share: 0.5,
            escalations,
            mean_complexity: Some(0.5),
            tokens: 10 * executions as u64,
            cost_usd,
        };
        assert_eq!(sums.tiers, [tier(1, 3, 1, 1.5), tier(3, 1, 0, 0.5)]);
        assert_eq!(analytics(&[]), Analytics::default());
        assert!(analytics(&[]).cost_usd.is_sign_positive(), "not -0");
    }
}
