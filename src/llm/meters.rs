//! The metrics of this room. Labels are configured names: never a job, a prompt or an address.

use std::time::Duration;

use super::Circuit;
use crate::job::Tokens;

/// One request: how it ended (`ok` or the error's code) and how long it took.
pub(super) fn request(model: &str, outcome: &'static str, took: Duration) {
    metrics::counter!("agent_runner_llm_requests_total", "model" => model.to_owned(), "outcome" => outcome)
        .increment(1);
    metrics::histogram!("agent_runner_llm_duration_seconds", "model" => model.to_owned()).record(took);
}

/// What one answer cost.
pub(super) fn cost(model: &str, tokens: Tokens, dollars: f64) {
    for (kind, count) in [("prompt", tokens.prompt), ("completion", tokens.completion), ("cached", tokens.cached)] {
        metrics::counter!("agent_runner_llm_tokens_total", "model" => model.to_owned(), "kind" => kind)
            .increment(count);
    }
    // Counters here count whole numbers; dollars need a gauge that only grows.
    metrics::gauge!("agent_runner_llm_cost_usd_total", "model" => model.to_owned()).increment(dollars);
}

/// How a circuit stands: 0 closed, 1 half-open, 2 open.
pub(super) fn circuit(target: &str, circuit: Circuit) {
    let value = match circuit {
        Circuit::Closed => 0.0,
        Circuit::HalfOpen => 1.0,
        Circuit::Open => 2.0,
    };
    metrics::gauge!("agent_runner_circuit_state", "target" => target.to_owned()).set(value);
}
