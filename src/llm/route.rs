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
    /// The models there that are left alone for now.
    cool: Mutex<HashMap<String, Cooling>>,
}

/// Why a model is left alone.
#[derive(Debug)]
struct Cooling {
    since: Instant,
    until: Instant,
    fault: Fault,
}

/// Calls that wait for the same end of a cool-down come back over a tenth of it, and this at most.
const APART: Duration = Duration::from_secs(5);

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

    /// Whether one model may stand in for another.
    pub(super) fn stand_in(&self) -> bool {
        self.routes.len() > 1
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
    /// Leaves the model alone for as long as `fault`, an answer of its server, asks for, so that no other call runs into
    /// the same. Where another model is there to be asked, one without a stated time is left alone for `cooldown` as
    /// well. Faults that say nothing about the next call change nothing.
    pub(super) fn cool(&self, fault: &Fault, cooldown: Option<Duration>) {
        let now = Instant::now();
        let wait = match (fault.kind, fault.wait) {
            (Kind::RateLimited | Kind::Unavailable, Some(wait)) => Some(wait),
            (Kind::RateLimited | Kind::Quota, _) => cooldown,
            _ => None,
        };
        let Some(until) = wait.map(|wait| now + wait) else { return };
        let mut cool = self.route.cool.lock();
        cool.retain(|_, known| known.until > now);
        if cool.get(self.model).is_none_or(|known| known.until < until) {
            cool.insert(self.model.to_owned(), Cooling { since: now, until, fault: fault.clone() });
        }
    }

    /// Why the model is left alone, and for how long. Calls that come later are told to come back later, by a little:
    /// they come in their order, and not all at once.
    pub(super) fn cooling(&self, now: Instant) -> Option<Fault> {
        let cool = self.route.cool.lock();
        let Cooling { since, until, fault } = cool.get(self.model)?;
        let left = until.checked_duration_since(now).filter(|left| !left.is_zero())?;
        let total = until.saturating_duration_since(*since);
        let late = 1.0 - left.as_secs_f64() / total.as_secs_f64();
        let wait = left + (total / 10).min(APART).mul_f64(late.clamp(0.0, 1.0));
        let message = format!("{} is left alone for now: {}", self.model, fault.message);
        Some(Fault { wait: Some(wait), message, ..fault.clone() })
    }

    /// The name of its rate limits: one model at two servers has two.
    pub(super) fn rate_key(&self) -> String {
        format!("{}@{}", self.model, self.route.endpoint.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stated_wait_is_for_all_calls_and_the_longest_counts() {
        let routes = Routes::new(&Llm::default(), |name| Breaker::new(name, 5, Duration::from_secs(1))).unwrap();
        let legs = routes.legs(None);
        let (leg, now) = (legs[0], Instant::now());
        let told = |kind, secs: Option<u64>| Fault { wait: secs.map(Duration::from_secs), ..Fault::new(kind, "x") };
        for fault in [told(Kind::RateLimited, None), told(Kind::Quota, None), told(Kind::Refused, Some(9))] {
            leg.cool(&fault, None);
            assert_eq!(leg.cooling(now), None, "{fault:?}");
        }
        leg.cool(&told(Kind::RateLimited, Some(100)), None);
        leg.cool(&told(Kind::Unavailable, Some(5)), None);
        let wait =
            |secs| leg.cooling(now + Duration::from_secs(secs)).and_then(|fault| fault.wait).map(|w| w.as_secs());
        assert_eq!([wait(1), wait(50), wait(99), wait(101)], [Some(99), Some(52), Some(5), None]);
        leg.cool(&told(Kind::RateLimited, Some(500)), None);
        assert!(wait(101) > Some(390));
        assert_eq!(Leg { model: "other", ..leg }.cooling(now), None);
        let (first, later) = (leg.cooling(now).unwrap(), leg.cooling(now + Duration::from_secs(100)).unwrap());
        assert!(
            first.wait.unwrap() < later.wait.unwrap() + Duration::from_secs(100),
            "who came first comes back first"
        );
    }
}
