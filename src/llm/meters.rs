//! The metrics of this room. Labels are configured names: never a job, a prompt or an address.

use std::time::{Duration, Instant};

use super::{Circuit, route::Leg};
use crate::{
    job::{ErrorCode, Tokens},
    telemetry::names,
};

/// A request on its way. Dropped before its end, it is one that its job gave up: cancelled, or out of time.
pub(super) struct Underway<'a> {
    leg: Leg<'a>,
    started: Instant,
    deadline: Instant,
    open: bool,
}

impl<'a> Underway<'a> {
    /// It goes out now, for a job whose time ends at `deadline`.
    pub(super) fn begin(leg: Leg<'a>, deadline: Instant) -> Self {
        Self { leg, started: Instant::now(), deadline, open: true }
    }

    /// It has ended, with what it failed with.
    pub(super) fn end(mut self, error: Option<ErrorCode>) {
        self.open = false;
        request(self.leg, error, self.started.elapsed());
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        if self.open {
            let late = Instant::now() >= self.deadline;
            let why = if late { ErrorCode::Timeout } else { ErrorCode::Cancelled };
            request(self.leg, Some(why), self.started.elapsed());
        }
    }
}

/// One request: what it failed with, and how long it took. Twice: under our own name, and under the one that the
/// conventions for generative AI have.
fn request(leg: Leg<'_>, error: Option<ErrorCode>, took: Duration) {
    let model = || leg.model.to_owned();
    let outcome = error.map_or("ok", ErrorCode::as_str);
    metrics::counter!(names::LLM_REQUESTS_TOTAL, "model" => model(), "outcome" => outcome).increment(1);
    metrics::histogram!(names::LLM_DURATION_SECONDS, "model" => model()).record(took);
    metrics::histogram!(
        names::GEN_AI_OPERATION_DURATION,
        "gen_ai_operation_name" => "chat",
        "gen_ai_provider_name" => leg.route.endpoint.provider,
        "gen_ai_request_model" => model(),
        "error_type" => error.map_or("", ErrorCode::as_str),
    )
    .record(took);
}

/// What one answer cost.
pub(super) fn cost(leg: Leg<'_>, tokens: Tokens, dollars: f64) {
    let model = leg.model;
    for (kind, count) in [("prompt", tokens.prompt), ("completion", tokens.completion), ("cached", tokens.cached)] {
        metrics::counter!(names::LLM_TOKENS_TOTAL, "model" => model.to_owned(), "kind" => kind).increment(count);
    }
    for (kind, count) in [("input", tokens.prompt), ("output", tokens.completion)] {
        // A server that counts nothing has no part in how many tokens a call takes.
        if count > 0 {
            metrics::histogram!(
                names::GEN_AI_TOKEN_USAGE,
                "gen_ai_operation_name" => "chat",
                "gen_ai_provider_name" => leg.route.endpoint.provider,
                "gen_ai_request_model" => model.to_owned(),
                "gen_ai_token_type" => kind,
            )
            .record(count as f64);
        }
    }
    metrics::gauge!(names::LLM_COST_USD_TOTAL, "model" => model.to_owned()).increment(dollars);
}

/// How a circuit stands: 0 closed, 1 half-open, 2 open.
pub(super) fn circuit(target: &str, circuit: Circuit) {
    let value = match circuit {
        Circuit::Closed => 0.0,
        Circuit::HalfOpen => 1.0,
        Circuit::Open => 2.0,
    };
    metrics::gauge!(names::CIRCUIT_STATE, "target" => target.to_owned()).set(value);
}
