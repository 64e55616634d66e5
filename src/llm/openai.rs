//! Chat Completions over HTTP: any number of servers, asked in order.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tracing::Instrument;

use super::{
    Breaker, CallContext, ChatModel, ChatReply, ChatRequest, Circuit, Permit, RateGate, StoreGate,
    allowance::{Allowance, Reserved},
    body,
    endpoint::Endpoint,
    exchange::{Bounds, Exchange},
    fault::{Fault, Kind},
    meters, price,
    retry::{Policy, Situation},
    route::{Leg, Routes},
    stream::Assembled,
    trace,
};
use crate::{
    job::{ErrorCode, JobError, Tokens},
    net,
    settings::{Llm, Price, Settings, SettingsError, limits::MAX_WAIT_IN_SLOT_SECS},
    store::{MemoryStore, SharedStore},
    telemetry::spans,
};

/// Bytes of a request per token, for reservations.
const BYTES_PER_TOKEN: u64 = 4;

/// A client for the configured model servers.
pub struct OpenAi {
    client: net::Client,
    routes: Routes,
    prices: BTreeMap<String, Price>,
    policy: Policy,
    bounds: Bounds,
    cooldown: Duration,
    gate: Arc<dyn RateGate>,
    allowance: Option<Allowance>,
    capture_content: bool,
}

impl OpenAi {
    /// A client for `llm.models`, or for the one server that `llm.*` describes.
    ///
    /// # Errors
    /// One line per faulty key; none shows a secret.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let llm = &settings.llm;
        let cooldown = Duration::from_secs(settings.breaker.cooldown_secs);
        let client = net::operator_client(Duration::from_secs(llm.connect_timeout_secs))
            .map_err(|fault| SettingsError(vec![fault]))?;
        let routes = Routes::new(llm, |target| Breaker::new(target, settings.breaker.failures, cooldown))?;
        Ok(Self {
            client,
            routes,
            prices: llm.prices.clone(),
            policy: Policy { max_retries: llm.max_retries, base: Duration::from_millis(llm.retry_base_ms) },
            bounds: Bounds {
                first_token: Duration::from_secs(llm.first_token_timeout_secs),
                idle: Duration::from_secs(llm.idle_timeout_secs),
                total: Duration::from_secs(llm.timeout_secs),
                max_bytes: llm.max_response_bytes,
            },
            cooldown,
            gate: Arc::new(StoreGate::new(MemoryStore::new(0))),
            allowance: None,
            capture_content: settings.telemetry.capture_content,
        })
    }

    /// The same client with its limits held in `store`, so that all processes that share the store share them.
    #[must_use]
    pub fn with_store(mut self, store: SharedStore, llm: &Llm) -> Self {
        self.allowance = Allowance::new(llm, store.clone());
        self.gate = Arc::new(StoreGate::new(store));
        self
    }

    /// The same client with rate limits held by `gate`.
    #[must_use]
    pub fn with_gate(mut self, gate: Arc<dyn RateGate>) -> Self {
        self.gate = gate;
        self
    }

    /// The worst that can be said of the servers together: closed while any of them takes requests.
    #[must_use]
    pub fn circuit(&self) -> Circuit {
        let circuits = || self.routes.iter().map(|route| route.endpoint.breaker.circuit());
        [Circuit::Closed, Circuit::HalfOpen]
            .into_iter()
            .find(|wanted| circuits().any(|circuit| circuit == *wanted))
            .unwrap_or(Circuit::Open)
    }

    /// Asks one model, as often as the policy allows.
    async fn ask(
        &self,
        leg: Leg<'_>,
        request: &ChatRequest,
        context: &CallContext<'_>,
        has_fallback: bool,
    ) -> Result<ChatReply, Fault> {
        let mut retries = 0;
        loop {
            let fault = match self.attempt(leg, request, context, has_fallback).await {
                Ok(reply) => return Ok(reply),
                Err(Attempt::Adapted) => continue,
                Err(Attempt::Failed(fault)) => fault,
            };
            let left = context.deadline.saturating_duration_since(Instant::now());
            let situation = Situation { retries, left, has_fallback, random: rand::random() };
            let Some(wait) = self.policy.wait(&fault, situation) else { return Err(fault) };
            tracing::warn!(
                model = leg.model,
                error = fault.code().as_str(),
                reason = %fault.message,
                wait_ms = wait.as_millis() as u64,
                "model request failed; trying again"
            );
            pause(wait, context).await?;
            retries += 1;
        }
    }

    /// One request with all its permits: circuit, rate, budget.
    async fn attempt(
        &self,
        leg: Leg<'_>,
        request: &ChatRequest,
        context: &CallContext<'_>,
        has_fallback: bool,
    ) -> Result<ChatReply, Attempt> {
        let Leg { route, model } = leg;
        let endpoint = &route.endpoint;
        let quirks = endpoint.memory.of(model);
        let body = body::write(request, model, route.defaults, quirks);
        let max_tokens = request.max_tokens.unwrap_or(route.defaults.max_tokens);
        let prompt = body.len() as u64 / BYTES_PER_TOKEN;
        let reserved = prompt + u64::from(max_tokens);
        self.wait_for_turn(leg, reserved, context, has_fallback).await?;
        let permits = async { Ok((Self::permit(endpoint)?, self.afford(leg, prompt, context).await?)) };
        let (permit, afforded) = match permits.await {
            Ok(permits) => permits,
            Err(fault) => {
                self.gate.settle(&leg.rate_key(), route.limits, reserved, 0).await;
                return Err(Attempt::Failed(fault));
            }
        };

        let offered: Vec<&str> = request.tools.iter().map(|tool| tool.name.as_str()).collect();
        let exchange = Exchange {
            client: &self.client,
            endpoint,
            model,
            body,
            stream: quirks.stream,
            offered: &offered,
            bounds: self.bounds,
        };
        let started = Instant::now();
        let mut counted = None;
        let answer = exchange.run(context, &mut counted).await;
        meters::request(leg, answer.as_ref().err().map(Fault::code), started.elapsed());
        self.settle(leg, reserved, afforded, counted, context).await;
        match answer {
            Ok(answer) => {
                permit.end(false, Instant::now());
                trace::answered(&tracing::Span::current(), &answer, self.capture_content);
                let Assembled { text, calls, usage, .. } = answer;
                Ok(ChatReply { text, calls, tokens: usage.unwrap_or_default(), model: model.to_owned() })
            }
            Err(Fault { kind: Kind::FieldRefused(field), .. }) if endpoint.memory.learn(model, quirks, field) => {
                permit.end(false, Instant::now());
                tracing::info!(model, field = field.as_str(), "the server refuses a field; it is left out from now on");
                Err(Attempt::Adapted)
            }
            Err(fault) => {
                if let Some(call) = &fault.unreadable {
                    context.meter.note_unreadable((**call).clone());
                }
                // A job that gave up says nothing about the server.
                if !matches!(fault.kind, Kind::Cancelled | Kind::Timeout) {
                    permit.end(fault.trips_breaker(), Instant::now());
                }
                Err(Attempt::Failed(fault))
            }
        }
    }

    /// Leave of the circuit.
    fn permit(endpoint: &Endpoint) -> Result<Permit, Fault> {
        endpoint.breaker.admit(Instant::now()).map_err(|wait| Fault {
            wait: Some(wait),
            should_retry: Some(false),
            ..Fault::new(Kind::Unavailable, format!("{} failed too often and is left alone for now", endpoint.host))
        })
    }

    /// Leave of the job's budget and of its owner's allowance for a prompt of about `prompt` tokens.
    async fn afford(&self, leg: Leg<'_>, prompt: u64, context: &CallContext<'_>) -> Result<Reserved, Fault> {
        let afforded = match (&self.allowance, context.meter.owner()) {
            (Some(allowance), Some(owner)) => {
                let dollars = self.cost(leg, Tokens { prompt, ..Tokens::default() });
                allowance.reserve(owner, prompt, dollars).await?
            }
            _ => Reserved::default(),
        };
        if let Err(over) = context.meter.begin_request() {
            self.spent(afforded, Tokens::default(), 0.0, context).await;
            return Err(over.into());
        }
        Ok(afforded)
    }

    /// Counts what a request cost.
    async fn settle(
        &self,
        leg: Leg<'_>,
        reserved: u64,
        afforded: Reserved,
        counted: Option<Tokens>,
        context: &CallContext<'_>,
    ) {
        // A server that counts nothing is taken to have used what was reserved.
        let used = counted.map_or(reserved, |tokens| tokens.total());
        self.gate.settle(&leg.rate_key(), leg.route.limits, reserved, used).await;
        let tokens = counted.unwrap_or_default();
        let dollars = self.cost(leg, tokens);
        self.spent(afforded, tokens, dollars, context).await;
        context.meter.add(leg.model, tokens, dollars);
        meters::cost(leg, tokens, dollars);
    }

    /// Corrects what the owner's allowance was charged with.
    async fn spent(&self, afforded: Reserved, tokens: Tokens, dollars: f64, context: &CallContext<'_>) {
        if let (Some(allowance), Some(owner)) = (&self.allowance, context.meter.owner()) {
            allowance.settle(owner, afforded, tokens, dollars).await;
        }
    }

    /// Dollars for `tokens`.
    fn cost(&self, Leg { route, model }: Leg<'_>, tokens: Tokens) -> f64 {
        let price = if model == route.model { route.price.clone() } else { price::of(model, &self.prices) };
        price::cost(price.as_ref(), tokens)
    }

    /// Waits until the server wants to hear from us again and the rate limits have room. A long wait is not sat out
    /// here, where it would hold a worker's slot: the job is put back for that time.
    async fn wait_for_turn(
        &self,
        leg: Leg<'_>,
        tokens: u64,
        context: &CallContext<'_>,
        has_fallback: bool,
    ) -> Result<(), Fault> {
        loop {
            let Leg { route, model } = leg;
            let wait = match leg.cooling(Instant::now()) {
                // Money does not come back by waiting.
                Some((_, fault)) if fault.kind == Kind::Quota => return Err(fault),
                Some((wait, _)) => wait,
                None => match self.gate.reserve(&leg.rate_key(), route.limits, tokens).await {
                    Ok(()) => return Ok(()),
                    Err(wait) => wait,
                },
            };
            let left = context.deadline.saturating_duration_since(Instant::now());
            if has_fallback || wait >= left || wait > Duration::from_secs(MAX_WAIT_IN_SLOT_SECS) {
                let limited = format!("{model} is at its rate limit for {:.1} s more", wait.as_secs_f64());
                return Err(Fault {
                    wait: Some(wait),
                    should_retry: Some(false),
                    defers: wait < left,
                    ..Fault::new(Kind::RateLimited, limited)
                });
            }
            pause(wait, context).await?;
        }
    }
}

/// How one request failed.
enum Attempt {
    /// A field was dropped: the same again without it.
    Adapted,
    Failed(Fault),
}

impl From<Fault> for Attempt {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

/// Waits, unless the job ends first.
async fn pause(wait: Duration, context: &CallContext<'_>) -> Result<(), Fault> {
    tokio::select! {
        biased;
        () = context.cancel.cancelled() => Err(Fault::new(Kind::Cancelled, "the job was cancelled while it waited for the model")),
        () = tokio::time::sleep_until(context.deadline.into()) => {
            Err(Fault::new(Kind::Timeout, "the job's time ran out while it waited for the model"))
        }
        () = tokio::time::sleep(wait) => Ok(()),
    }
}

#[async_trait]
impl ChatModel for OpenAi {
    async fn chat(&self, request: &ChatRequest, context: &CallContext<'_>) -> Result<ChatReply, JobError> {
        let legs = self.routes.legs(request.model.as_deref());
        let mut faults: Vec<(&str, Fault)> = Vec::new();
        for (i, leg) in legs.iter().enumerate() {
            let has_fallback = i + 1 < legs.len();
            let span = trace::chat(*leg, request, self.capture_content);
            let fault = match self.ask(*leg, request, context, has_fallback).instrument(span.clone()).await {
                Ok(reply) => return Ok(reply),
                Err(fault) => fault,
            };
            spans::failed(&span, fault.code().as_str());
            if legs.len() > 1 {
                leg.cool(&fault, self.cooldown);
            }
            let last = !has_fallback || !fault.falls_back();
            if !last {
                tracing::warn!(model = leg.model, error = fault.code().as_str(), reason = %fault.message, "asking the next model");
            }
            faults.push((leg.model, fault));
            if last {
                break;
            }
        }
        Err(summary(faults))
    }
}

/// The error of a call that failed at every model it was sent to: one that may pass, where there is one, else
/// the one that ended it. The others stand in `details.models`.
fn summary(faults: Vec<(&str, Fault)>) -> JobError {
    let tried: Vec<serde_json::Value> = faults
        .iter()
        .map(|(model, fault)| serde_json::json!({"model": model, "type": fault.code().as_str(), "message": fault.message}))
        .collect();
    let errors: Vec<JobError> = faults.into_iter().map(|(_, fault)| fault.into_job_error()).collect();
    let many = errors.len() > 1;
    // Where every model is only waited for, the first to have room decides.
    if errors.iter().all(|error| error.deferred)
        && let Some(soonest) = errors.iter().min_by_key(|error| error.retry_after)
    {
        return soonest.clone();
    }
    let ends =
        |error: &JobError| matches!(error.code, ErrorCode::Cancelled | ErrorCode::Timeout | ErrorCode::BudgetExceeded);
    let chosen = errors
        .iter()
        .find(|error| ends(error))
        .or_else(|| errors.iter().find(|error| error.retryable))
        .or_else(|| errors.last())
        .cloned();
    let error = chosen.unwrap_or_else(|| JobError::new(ErrorCode::Internal, "no model is configured"));
    if many { error.with_detail("models", tried) } else { error }
}
