//! Chat Completions over HTTP: any number of servers, asked in order.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use tracing::Instrument;

use super::{
    Breaker, CallContext, ChatModel, ChatReply, ChatRequest, Circuit, Permit, RateGate, StoreGate,
    allowance::Allowance,
    body,
    exchange::{Bounds, Exchange},
    fault::{Fault, Kind},
    meters, price,
    quirks::Quirks,
    retry::{Policy, Situation},
    route::{Leg, Routes},
    stream::Assembled,
    tab::Tab,
    trace,
    turn::{self, IN_SLOT, pause},
    usage::{self, Heard},
};
use crate::{
    job::{Ask, ErrorCode, JobError},
    net,
    settings::{Llm, Price, Settings, SettingsError},
    store::{MemoryStore, SharedStore},
    telemetry::spans,
};

/// A client for the configured model servers.
pub struct OpenAi {
    client: net::Client,
    routes: Routes,
    prices: BTreeMap<String, Price>,
    policy: Policy,
    bounds: Bounds,
    cooldown: Duration,
    gate: Arc<dyn RateGate>,
    allowance: Option<Arc<Allowance>>,
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
        self.allowance = Allowance::new(llm, store.clone()).map(Arc::new);
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
                Err(Attempt::Refused(fault)) => return Err(fault),
                Err(Attempt::Failed(fault)) => fault,
            };
            let left = context.deadline.saturating_duration_since(Instant::now());
            // A limit passes with time; another model answers now.
            let elsewhere = has_fallback && fault.kind == Kind::RateLimited;
            if elsewhere || fault.wait.is_some_and(|wait| wait > IN_SLOT) {
                return Err(fault.put_off(left));
            }
            let situation = Situation { retries, left, random: rand::random() };
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

    /// One request with everything that it needs leave of: the job's budget, the server, its circuit, its rate limit and
    /// the owner's allowance, in this order.
    async fn attempt(
        &self,
        leg: Leg<'_>,
        request: &ChatRequest,
        context: &CallContext<'_>,
        has_fallback: bool,
    ) -> Result<ChatReply, Attempt> {
        let Leg { route, model } = leg;
        let quirks = route.endpoint.memory.of(model);
        let wanted = route.defaults.answer(request);
        let price = self.price(leg, context)?;
        let body = body::write(request, model, route.defaults, wanted, quirks);
        let ask =
            Ask { prompt: usage::estimate(body.len()), answer: wanted.into(), rates: price::rates(price.as_ref()) };
        let grant = turn::granted(ask, context).await?;
        let granted = Ask { answer: grant.answer().min(ask.answer), ..ask };
        let most = granted.prompt + granted.answer;
        let permit = turn::admitted(&*self.gate, leg, most, context, has_fallback).await?;
        let mut tab = Tab::open(&self.gate, leg, price.as_ref(), ask, most);
        let afforded = match (&self.allowance, context.meter.owner()) {
            (Some(allowance), Some(owner)) => tab.afford(allowance, owner, &granted).await,
            _ => Ok(granted.answer),
        };
        let answer = match afforded {
            Ok(answer) => answer,
            Err(refused) => {
                tab.settle().await;
                return Err(Attempt::Refused(refused.into()));
            }
        };
        let cut = match answer < ask.answer {
            true if answer < granted.answer => Some("the workflow_owner's day has"),
            true => Some("the job's budget has"),
            false => None,
        };
        let bound = u32::try_from(answer).unwrap_or(wanted);
        let body = if cut.is_some() { body::write(request, model, route.defaults, bound, quirks) } else { body };
        tab.send(grant);
        let answer = self.exchange(leg, request, body, quirks, context, &mut tab.heard).await;
        let used = tab.settle().await;
        match answer {
            Ok(answer) => {
                permit.end(false, Instant::now());
                trace::answered(&tracing::Span::current(), &answer, self.capture_content);
                let Assembled { text, calls, .. } = answer;
                Ok(ChatReply { text, calls, tokens: used.tokens, model: model.to_owned() })
            }
            Err(fault) => Err(self.failed(Sent { leg, quirks, permit, cut }, fault, context).await),
        }
    }

    /// Sends the request; `heard` is told what was heard of its answer.
    async fn exchange(
        &self,
        leg: Leg<'_>,
        request: &ChatRequest,
        body: Bytes,
        quirks: Quirks,
        context: &CallContext<'_>,
        heard: &mut Heard,
    ) -> Result<Assembled, Fault> {
        let offered: Vec<&str> = request.tools.iter().map(|tool| tool.name.as_str()).collect();
        let exchange = Exchange {
            client: &self.client,
            endpoint: &leg.route.endpoint,
            model: leg.model,
            body,
            stream: quirks.stream,
            offered: &offered,
            mends: request.mends,
            bounds: self.bounds,
        };
        let underway = meters::Underway::begin(leg, context.deadline);
        let answer = exchange.run(context, heard).await;
        underway.end(answer.as_ref().err().map(Fault::code));
        answer
    }

    /// What follows from a request that failed, for this call and for those of others.
    async fn failed(&self, sent: Sent<'_>, fault: Fault, context: &CallContext<'_>) -> Attempt {
        let Sent { leg, quirks, permit, cut } = sent;
        let endpoint = &leg.route.endpoint;
        if let Kind::FieldRefused(field) = fault.kind
            && endpoint.memory.learn(leg.model, quirks, field)
        {
            permit.end(false, Instant::now());
            tracing::info!(
                model = leg.model,
                field = field.as_str(),
                "the server refuses a field; it is left out from now on"
            );
            return Attempt::Adapted;
        }
        if let Some(call) = &fault.unreadable {
            context.meter.note_unreadable((**call).clone());
        }
        // A job that gave up says nothing about the server.
        if !matches!(fault.kind, Kind::Cancelled | Kind::Timeout) {
            permit.end(fault.trips_breaker(), Instant::now());
        }
        leg.cool(&fault, self.routes.stand_in().then_some(self.cooldown));
        if let (Kind::RateLimited, Some(wait)) = (fault.kind, fault.wait) {
            self.gate.shut(&leg.rate_key(), leg.route.limits, wait).await;
        }
        if let (Some(whose), Kind::OutOfTokens) = (cut, fault.kind) {
            let message = format!("the answer needs more tokens than {whose} left: raise it or ask for less");
            return Attempt::Refused(Fault::new(Kind::OverBudget, message));
        }
        Attempt::Failed(fault)
    }

    /// What the model costs. Where dollars are bounded, one that nobody priced is not asked.
    fn price(&self, Leg { route, model }: Leg<'_>, context: &CallContext<'_>) -> Result<Option<Price>, Fault> {
        let price = if model == route.model { route.price.clone() } else { price::of(model, &self.prices) };
        let owner_bounds =
            || context.meter.owner().is_some() && self.allowance.as_ref().is_some_and(|day| day.bounds_cost());
        if price.is_some() || !(context.meter.bounds_cost() || owner_bounds()) {
            return Ok(price);
        }
        Err(Fault::new(
            Kind::Unpriced,
            format!(
                "dollars are bounded (budget.max_cost_usd or llm.owner_daily_cost_usd), and {model} has no price: set llm.prices for it, 0 where it is free"
            ),
        ))
    }
}

/// A request that was sent.
struct Sent<'a> {
    leg: Leg<'a>,
    quirks: Quirks,
    permit: Permit,
    /// What allowed less of an answer than was wanted, in words.
    cut: Option<&'static str>,
}

/// How one request failed.
enum Attempt {
    /// A field was dropped: the same again without it.
    Adapted,
    /// It may be sent again, if the policy says so.
    Failed(Fault),
    /// It may not: it was not sent, or would end in the same way.
    Refused(Fault),
}

impl From<Fault> for Attempt {
    fn from(fault: Fault) -> Self {
        Self::Refused(fault)
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
    // Where any model is only waited for, the first to have room decides: no attempt is lost by that.
    let waits = errors.iter().filter(|error| error.deferred).min_by_key(|error| error.retry_after);
    if let Some(soonest) = waits {
        return if many { soonest.clone().with_detail("models", tried) } else { soonest.clone() };
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
