//! Which models a call may go to, and in which order.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{
    Breaker, RateLimits,
    body::Defaults,
    endpoint::{DEFAULT_BASE_URL, Endpoint},
    fault::{Fault, Kind},
    price,
};
use crate::settings::{Llm, LlmModel, Price, SettingsError};

/// One model at one server.
pub(super) struct Route {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) model: String,
    pub(super) defaults: Defaults,
    pub(super) limits: RateLimits,
    pub(super) price: Option<Price>,
    /// Until when each model there is left alone, and why.
    cool: Mutex<HashMap<String, (Instant, Fault)>>,
}

/// A route as one call uses it: the model may be another than the configured one.
#[derive(Clone, Copy)]
pub(super) struct Leg<'a> {
    pub(super) route: &'a Route,
    pub(super) model: &'a str,
}

/// All routes, in the order of the configuration.
pub(super) struct Routes {
    routes: Vec<Route>,
    /// They come from `llm.models`, so that one may stand in for another.
    listed: bool,
}

impl Routes {
    /// The routes of `llm.models`, or the one that `llm.*` describes.
    pub(super) fn new(llm: &Llm, breaker: impl Fn(String) -> Arc<Breaker>) -> Result<Self, SettingsError> {
        let listed = !llm.models.is_empty();
        let single = [LlmModel { model: llm.model.clone(), ..LlmModel::default() }];
        let entries = if listed { &llm.models } else { &single[..] };
        let mut faults = Vec::new();
        let mut routes = Vec::new();
        for (i, entry) in entries.iter().enumerate() {
            match Route::new(llm, entry, &routes, &breaker) {
                Ok(route) => routes.push(route),
                Err(fault) if listed => faults.push(format!("llm.models[{i}].{fault}")),
                Err(fault) => faults.push(format!("llm.{fault}")),
            }
        }
        if faults.is_empty() { Ok(Self { routes, listed }) } else { Err(SettingsError(faults)) }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }

    /// The legs of one call, in the order they are asked. A model that is wanted by name is asked at its own
    /// servers first, or at the first server where none is configured for it; what is left alone for now comes
    /// last. Without a list of models nothing stands in for the one that is wanted.
    pub(super) fn legs<'a>(&'a self, wanted: Option<&'a str>) -> Vec<Leg<'a>> {
        let all = || self.routes.iter().map(|route| Leg { route, model: &route.model });
        let mut legs: Vec<Leg<'_>> = match wanted {
            None => all().collect(),
            Some(wanted) if all().any(|leg| leg.model == wanted) => {
                all().filter(|leg| leg.model == wanted).chain(all().filter(|leg| leg.model != wanted)).collect()
            }
            Some(wanted) => {
                let first = self.routes.first().map(|route| Leg { route, model: wanted });
                first.into_iter().chain(all().filter(|_| self.listed)).collect()
            }
        };
        let now = Instant::now();
        legs.sort_by_key(|leg| leg.cooling(now).is_some());
        legs
    }
}

impl Route {
    /// Routes to one address with one key share its breaker and what is known of it.
    fn new(
        llm: &Llm,
        entry: &LlmModel,
        others: &[Self],
        breaker: &impl Fn(String) -> Arc<Breaker>,
    ) -> Result<Self, String> {
        let default = llm.base_url.as_deref().unwrap_or(DEFAULT_BASE_URL);
        let base_url = entry.base_url.as_deref().unwrap_or(default);
        // A key never goes to another server than the one it was given for.
        let inherited = llm.api_key.as_ref().filter(|_| base_url == default);
        let endpoint = Endpoint::new(base_url, entry.api_key.as_ref().or(inherited), llm.stream, breaker)?;
        let same = |other: &&Self| other.endpoint.url == endpoint.url && other.endpoint.headers == endpoint.headers;
        let endpoint = others.iter().find(same).map_or_else(|| Arc::new(endpoint), |other| other.endpoint.clone());
        Ok(Self {
            endpoint,
            defaults: Defaults { temperature: llm.temperature, max_tokens: entry.max_tokens.unwrap_or(llm.max_tokens) },
            limits: RateLimits {
                requests: entry.requests_per_minute.unwrap_or(llm.requests_per_minute),
                tokens: entry.tokens_per_minute.unwrap_or(llm.tokens_per_minute),
            },
            price: entry.prices.clone().or_else(|| price::of(&entry.model, &llm.prices)),
            model: entry.model.clone(),
            cool: Mutex::default(),
        })
    }
}

impl Leg<'_> {
    /// Leaves the model alone for as long as `fault` asks, or for `cooldown`, so that other calls go elsewhere.
    /// Faults that say nothing about the next call change nothing.
    pub(super) fn cool(&self, fault: &Fault, cooldown: Duration) {
        let now = Instant::now();
        let wait = match (fault.kind, fault.wait) {
            _ if self.cooling(now).is_some() => return,
            (Kind::RateLimited, Some(wait)) => wait,
            (Kind::RateLimited | Kind::Quota, _) => cooldown,
            _ => return,
        };
        let mut cool = self.route.cool.lock();
        cool.retain(|_, (until, _)| *until > now);
        cool.insert(self.model.to_owned(), (now + wait, Fault { wait: None, ..fault.clone() }));
    }

    /// How long the model is still left alone, and why.
    pub(super) fn cooling(&self, now: Instant) -> Option<(Duration, Fault)> {
        let cool = self.route.cool.lock();
        let (until, fault) = cool.get(self.model)?;
        let wait = until.checked_duration_since(now).filter(|wait| !wait.is_zero())?;
        Some((wait, fault.clone()))
    }

    /// The name of its rate limits: one model at two servers has two.
    pub(super) fn rate_key(&self) -> String {
        format!("{}@{}", self.model, self.route.endpoint.host)
    }
}
