//! The figures of an evaluation.

use std::{collections::BTreeMap, time::Duration};

use rustc_hash::FxHashMap;
use serde::Serialize;

use super::Case;
use crate::agents::{
    registry::Registry,
    route::{Decision, ranking},
};

/// Points of the threshold curve.
const CURVE_POINTS: i32 = 100;

/// One cell of the confusion table that is not on its diagonal, or is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// Who should have got it; null: nobody.
    pub expected: Option<String>,
    /// Who got it at the threshold in force; null: nobody.
    pub got: Option<String>,
    /// How often.
    pub count: usize,
}

/// What one threshold would give.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CurvePoint {
    /// The threshold.
    pub threshold: f64,
    /// Share of queries with an agent that would reach a right one.
    pub right: f64,
    /// Share of queries with an agent that would reach any.
    pub accepted: f64,
    /// Share of queries for nobody that would be refused; null without any.
    pub refused: Option<f64>,
}

/// A query that went wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "plain words")]
pub struct Mistake {
    pub query: String,
    pub expected: Option<String>,
    pub got: Option<String>,
    pub best: Option<String>,
    pub score: f64,
}

/// All figures. Shares go from 0 to 1.
#[derive(Debug, Clone, Serialize)]
pub struct RoutingReport {
    /// Who scored.
    pub embedder: String,
    /// Agents in the registry.
    pub agents: usize,
    /// Queries in all.
    pub queries: usize,
    /// Those with an agent.
    pub in_scope: usize,
    /// Those for nobody.
    pub out_of_scope: usize,
    /// Share of queries with an agent whose best score belongs to a right one, whatever the threshold.
    pub accuracy: f64,
    /// The same for the best five.
    pub accuracy_at_5: f64,
    /// Share of all queries decided rightly at the threshold in force, refusals included.
    pub decided_right: f64,
    /// Queries for nobody that were refused, and those that somebody got.
    pub refused_right: usize,
    #[expect(missing_docs, reason = "see above")]
    pub accepted_wrong: usize,
    /// Queries with an agent that were refused.
    pub refused_wrong: usize,
    /// The default threshold in force for agents without their own.
    pub threshold: Option<f64>,
    /// The threshold at which right answers and right refusals are in balance; without queries for nobody, the
    /// one that 95 of 100 right answers reach.
    pub calibrated_threshold: f64,
    /// Share of the queries for nobody that are refused by the threshold which 95 of 100 of the others reach; null
    /// without any.
    pub refused_at_95: Option<f64>,
    /// What thresholds would give.
    pub curve: Vec<CurvePoint>,
    /// Who got what.
    pub confusion: Vec<Confusion>,
    /// What went wrong at the threshold in force.
    pub mistakes: Vec<Mistake>,
    /// Time of one query, in microseconds.
    pub median_us: f64,
    #[expect(missing_docs, reason = "see above")]
    pub p95_us: f64,
}

/// What counts of one routed query.
struct Seen<'a> {
    case: &'a Case,
    best: Option<&'a str>,
    score: f64,
    got: Option<&'a str>,
    in_five: bool,
}

impl Seen<'_> {
    fn best_is_right(&self) -> bool {
        self.best.is_some_and(|best| self.case.accepts(best))
    }

    fn decided_right(&self) -> bool {
        match self.got {
            Some(got) => self.case.accepts(got),
            None => self.case.expected.is_none(),
        }
    }
}

pub(super) fn sum_up(
    embedder: &str,
    registry: &Registry,
    cases: &[Case],
    routed: &[(Decision, Duration)],
) -> RoutingReport {
    let seen: Vec<Seen<'_>> = cases.iter().zip(routed).map(|(case, (decision, _))| look(case, decision)).collect();
    let (inside, outside): (Vec<&Seen<'_>>, Vec<&Seen<'_>>) = seen.iter().partition(|s| s.case.expected.is_some());
    let curve = curve(&inside, &outside);
    let mut times: Vec<f64> = routed.iter().map(|(_, took)| took.as_secs_f64() * 1e6).collect();
    times.sort_by(f64::total_cmp);
    let mistakes = seen.iter().filter(|s| !s.decided_right()).map(|s| Mistake {
        query: s.case.query.clone(),
        expected: s.case.expected.clone(),
        got: s.got.map(str::to_owned),
        best: s.best.map(str::to_owned),
        score: s.score,
    });
    RoutingReport {
        embedder: embedder.to_owned(),
        agents: registry.agents.len(),
        queries: cases.len(),
        in_scope: inside.len(),
        out_of_scope: outside.len(),
        accuracy: share(inside.iter().filter(|s| s.best_is_right()).count(), inside.len()),
        accuracy_at_5: share(inside.iter().filter(|s| s.in_five).count(), inside.len()),
        decided_right: share(seen.iter().filter(|s| s.decided_right()).count(), seen.len()),
        refused_right: outside.iter().filter(|s| s.got.is_none()).count(),
        accepted_wrong: outside.iter().filter(|s| s.got.is_some()).count(),
        refused_wrong: inside.iter().filter(|s| s.got.is_none()).count(),
        threshold: in_force(routed),
        calibrated_threshold: calibrated(&curve, &inside, outside.is_empty()),
        refused_at_95: refused_at_95(&inside, &outside),
        curve,
        confusion: confusion(registry, &seen),
        mistakes: mistakes.collect(),
        median_us: quantile(&times, 0.5),
        p95_us: quantile(&times, 0.95),
    }
}

fn look<'a>(case: &'a Case, decision: &'a Decision) -> Seen<'a> {
    let candidates = &decision.record.candidates;
    let order = ranking(candidates);
    let best = order.first().map(|i| &candidates[*i]);
    Seen {
        case,
        best: best.map(|c| &*c.agent_id),
        score: best.map_or(-1.0, |c| c.score),
        got: decision.winner(),
        in_five: order.iter().take(5).any(|i| case.accepts(&candidates[*i].agent_id)),
    }
}

/// The threshold that most candidates were measured against.
fn in_force(routed: &[(Decision, Duration)]) -> Option<f64> {
    use crate::agents::route::ThresholdFrom;
    let candidates = routed.iter().flat_map(|(decision, _)| &decision.record.candidates);
    candidates.filter(|c| c.threshold_from != ThresholdFrom::Agent).map(|c| c.threshold).next()
}

fn curve(inside: &[&Seen<'_>], outside: &[&Seen<'_>]) -> Vec<CurvePoint> {
    let points = (0..=CURVE_POINTS).map(|i| f64::from(i) / f64::from(CURVE_POINTS));
    let point = |threshold: f64| CurvePoint {
        threshold,
        right: share(inside.iter().filter(|s| s.best_is_right() && s.score >= threshold).count(), inside.len()),
        accepted: share(inside.iter().filter(|s| s.score >= threshold).count(), inside.len()),
        refused: (!outside.is_empty())
            .then(|| share(outside.iter().filter(|s| s.score < threshold).count(), outside.len())),
    };
    points.map(point).collect()
}

fn calibrated(curve: &[CurvePoint], inside: &[&Seen<'_>], nobody_to_refuse: bool) -> f64 {
    if nobody_to_refuse {
        let mut right: Vec<f64> = inside.iter().filter(|s| s.best_is_right()).map(|s| s.score).collect();
        right.sort_by(f64::total_cmp);
        return quantile(&right, 0.05);
    }
    let balance = |point: &CurvePoint| point.right + point.refused.unwrap_or_default();
    let best = curve.iter().map(balance).fold(f64::MIN, f64::max);
    // A plateau of equally good thresholds: its middle is the safest.
    let good: Vec<f64> = curve.iter().filter(|p| balance(p) >= best - 1e-9).map(|p| p.threshold).collect();
    good.get(good.len() / 2).copied().unwrap_or_default()
}

/// The share of `outside` below the score that 95 of 100 of `inside` reach.
fn refused_at_95(inside: &[&Seen<'_>], outside: &[&Seen<'_>]) -> Option<f64> {
    let mut scores: Vec<f64> = inside.iter().map(|s| s.score).collect();
    scores.sort_by(f64::total_cmp);
    let least = *scores.get(scores.len() / 20)?;
    (!outside.is_empty()).then(|| share(outside.iter().filter(|s| s.score < least).count(), outside.len()))
}

/// Who got what, in the order of the registry; agents that live elsewhere behind it, nobody last.
fn confusion(registry: &Registry, seen: &[Seen<'_>]) -> Vec<Confusion> {
    let places: FxHashMap<&str, usize> = registry.agents.iter().map(|agent| agent.id.as_str()).zip(0..).collect();
    let key = |id: Option<&'_ str>| (id.is_none(), id.and_then(|id| places.get(id).copied()).unwrap_or(usize::MAX));
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    for one in seen {
        let (expected, got) = (one.case.expected.as_deref(), one.got);
        *counts.entry((key(expected), expected, key(got), got)).or_default() += 1;
    }
    let cell = |((_, expected, _, got), count): ((_, Option<&str>, _, Option<&str>), usize)| Confusion {
        expected: expected.map(str::to_owned),
        got: got.map(str::to_owned),
        count,
    };
    counts.into_iter().map(cell).collect()
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The value below which `share` of the sorted `values` lie; 0 of none.
fn quantile(values: &[f64], share: f64) -> f64 {
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
}
