//! When a request may go out: what it waits for before it does, and where it waits.
//!
//! Whoever tells a wait, it goes one way. A short one is sat out here, a longer one puts the job back into the queue for
//! that time, and one that the job's time does not reach ends the call at once.

use std::{
    future::{Future, poll_fn},
    time::{Duration, Instant},
};

use super::{
    CallContext, Permit, RateGate,
    fault::{Fault, Kind},
    rate::Line,
    route::Leg,
};
use crate::{
    job::{Ask, Grant},
    settings::limits::MAX_WAIT_IN_SLOT_SECS,
};

/// Longest wait that is sat out in a worker's slot.
pub(super) const IN_SLOT: Duration = Duration::from_secs(MAX_WAIT_IN_SLOT_SECS);

/// Requests that wait for a circuit come back a little apart, up to a tenth of the wait and this.
const APART: Duration = Duration::from_secs(1);

/// Leave of the model's server, of its circuit and of its rate limit for a request of about `tokens` tokens.
///
/// # Errors
/// The reason of a wait that is not sat out here; deferred, where the job's time reaches to its end.
pub(super) async fn admitted(
    gate: &dyn RateGate,
    leg: Leg<'_>,
    tokens: u64,
    context: &CallContext<'_>,
    has_fallback: bool,
) -> Result<Permit, Fault> {
    loop {
        let left = context.deadline.saturating_duration_since(Instant::now());
        // Who may go elsewhere does not stand in line.
        let line = context.meter.job().filter(|_| !has_fallback).map(|holder| Line { holder, left });
        let fault = match try_now(gate, leg, tokens, line).await {
            Ok(permit) => return Ok(permit),
            Err(fault) => fault,
        };
        match fault.wait {
            // Another model answers now.
            Some(wait) if !has_fallback && wait <= IN_SLOT && wait < left => pause(wait, context).await?,
            _ => return Err(fault.put_off(left)),
        }
    }
}

async fn try_now(gate: &dyn RateGate, leg: Leg<'_>, tokens: u64, line: Option<Line<'_>>) -> Result<Permit, Fault> {
    let Leg { route, model } = leg;
    let now = Instant::now();
    if let Some(fault) = leg.cooling(now) {
        return Err(fault);
    }
    let permit = route.endpoint.breaker.admit(now).map_err(|wait| {
        let wait = wait + (wait / 10).min(APART).mul_f64(rand::random());
        let message = format!("{} failed too often and is left alone for now", route.endpoint.host);
        Fault { wait: Some(wait), ..Fault::new(Kind::Unavailable, message) }
    })?;
    // Last, since it takes something. Dropped, the permit says nothing about the server.
    match gate.reserve(&leg.rate_key(), route.limits, tokens, line).await {
        Ok(()) => Ok(permit),
        Err(wait) => {
            let message = format!("{model} is at its rate limit (llm.requests_per_minute, llm.tokens_per_minute)");
            Err(Fault { wait: Some(wait), ..Fault::new(Kind::RateLimited, message) })
        }
    }
}

/// What the job's budget allows a request, once other requests of the job leave room for it.
pub(super) async fn granted<'a>(ask: Ask, context: &CallContext<'a>) -> Result<Grant<'a>, Fault> {
    let meter = context.meter;
    let granted = poll_fn(|cx| meter.poll_reserve(&ask, cx.waker()));
    Ok(unless_over(granted, context).await??)
}

/// Waits, unless the job ends first.
pub(super) async fn pause(wait: Duration, context: &CallContext<'_>) -> Result<(), Fault> {
    unless_over(tokio::time::sleep(wait), context).await
}

async fn unless_over<T>(future: impl Future<Output = T>, context: &CallContext<'_>) -> Result<T, Fault> {
    tokio::select! {
        biased;
        () = context.cancel.cancelled() => Err(Fault::new(Kind::Cancelled, "the job was cancelled while it waited for the model")),
        done = future => Ok(done),
        () = tokio::time::sleep_until(context.deadline.into()) => {
            Err(Fault::new(Kind::Timeout, "the job's time ran out while it waited for the model"))
        }
    }
}
