//! Measures routing over a labelled file: how often the right agent wins, and where the threshold belongs.

mod page;
mod report;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Deserialize;
use tokio_util::sync::CancellationToken;

pub use page::page;
pub use report::{Confusion, CurvePoint, Mistake, RoutingReport};

use super::{
    registry::Registry,
    route::{Decision, RouteRequest, Router},
};
use crate::{
    job::{JobError, Meter, in_plain_words},
    llm::CallContext,
};

/// Longest time for one query.
const QUERY_TIMEOUT: Duration = Duration::from_secs(120);

/// One labelled query.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Case {
    /// What somebody asked.
    pub query: String,
    /// Id of the agent whose work it is; null: nobody's.
    pub expected: Option<String>,
    /// Ids that are right as well.
    #[serde(default)]
    pub acceptable: Vec<String>,
}

impl Case {
    /// Whether `agent` is a right answer.
    fn accepts(&self, agent: &str) -> bool {
        self.expected.as_deref() == Some(agent) || self.acceptable.iter().any(|id| id == agent)
    }
}

/// Reads lines `{"query", "expected", "acceptable"?}`.
///
/// # Errors
/// One line each: what is no such object, and what names an agent that the registry does not have.
pub fn cases(text: &str, registry: &Registry) -> Result<Vec<Case>, Vec<String>> {
    let (mut cases, mut faults) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        match serde_json::from_str::<Case>(line) {
            Ok(case) => {
                let named = case.expected.iter().chain(&case.acceptable);
                let unknown = named.filter(|id| registry.agent(id).is_none());
                faults.extend(unknown.map(|id| format!("line {number}: there is no agent {id:?}")));
                cases.push(case);
            }
            Err(error) => faults.push(format!("line {number}: {}", in_plain_words(&error.to_string()))),
        }
    }
    if cases.is_empty() && faults.is_empty() {
        faults.push("there is no query in it".into());
    }
    if faults.is_empty() { Ok(cases) } else { Err(faults) }
}

/// Routes every query, one after the other, calls `routed_one` after each, and sums up. Nobody answers.
///
/// # Errors
/// Those of [`Router::route`].
pub async fn evaluate(
    router: &Router,
    registry: &Arc<Registry>,
    cases: &[Case],
    routed_one: &(dyn Fn() + Sync),
) -> Result<RoutingReport, JobError> {
    router.prepare(registry).await?;
    let (meter, cancel) = (Meter::default(), CancellationToken::new());
    let mut routed: Vec<(Decision, Duration)> = Vec::with_capacity(cases.len());
    for case in cases {
        let context =
            CallContext { meter: &meter, deadline: Instant::now() + QUERY_TIMEOUT, cancel: &cancel, on_text: None };
        let started = Instant::now();
        let decision = router.route(registry, &case.query, &RouteRequest::default(), &context, None).await?;
        routed.push((decision, started.elapsed()));
        routed_one();
    }
    Ok(report::sum_up(router.embedder(), registry, cases, &routed))
}
