//! Requests and tokens per minute: reserved before a request, settled after it.

use std::time::Duration;

use async_trait::async_trait;

use crate::store::{Draw, SharedStore, key_part};

/// Limits of one model; 0 means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimits {
    /// Requests per minute.
    pub requests: u32,
    /// Tokens per minute, prompt and completion together.
    pub tokens: u32,
}

impl RateLimits {
    /// Whether there is nothing to hold.
    #[must_use]
    pub fn is_none(self) -> bool {
        self.requests == 0 && self.tokens == 0
    }

    fn draws(self, requests: i64, tokens: i64) -> [Draw; 2] {
        [Draw { per_minute: self.requests, amount: requests }, Draw { per_minute: self.tokens, amount: tokens }]
    }
}

/// Holds rate limits, for this process or for a fleet. A key names a model at a server.
#[async_trait]
pub trait RateGate: Send + Sync {
    /// Asks for one request of about `tokens` tokens. Refused with the time after which to ask again; nothing
    /// is reserved then. More tokens than a whole minute has count as a whole minute.
    ///
    /// A gate that cannot be reached lets requests pass: limits protect the budget, not the truth.
    async fn reserve(&self, key: &str, limits: RateLimits, tokens: u64) -> Result<(), Duration>;

    /// Corrects a reservation: `actual` tokens were used where `reserved` had been asked for.
    async fn settle(&self, key: &str, limits: RateLimits, reserved: u64, actual: u64);
}

/// Limits held in a store: everyone who shares the store shares the limits.
pub struct StoreGate(SharedStore);

impl StoreGate {
    /// A gate over `store`.
    #[must_use]
    pub fn new(store: SharedStore) -> Self {
        Self(store)
    }

    async fn draw(&self, key: &str, draws: &[Draw], forced: bool) -> Duration {
        self.0.draw(&format!("rate:{}", key_part(key)), draws, forced).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "rate limits cannot be held now; the request passes");
            Duration::ZERO
        })
    }
}

#[async_trait]
impl RateGate for StoreGate {
    async fn reserve(&self, key: &str, limits: RateLimits, tokens: u64) -> Result<(), Duration> {
        if limits.is_none() {
            return Ok(());
        }
        let wait = self.draw(key, &limits.draws(1, signed(tokens)), false).await;
        if wait.is_zero() { Ok(()) } else { Err(wait) }
    }

    async fn settle(&self, key: &str, limits: RateLimits, reserved: u64, actual: u64) {
        // What was reserved had been counted as a whole minute at most.
        let owed = signed(actual) - signed(reserved.min(limits.tokens.into()));
        if limits.tokens > 0 && owed != 0 {
            self.draw(key, &limits.draws(0, owed), true).await;
        }
    }
}

fn signed(tokens: u64) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn each_model_has_its_own_limit_and_a_settled_reservation_comes_back() {
        let gate = StoreGate::new(MemoryStore::new(0));
        let limits = RateLimits { requests: 0, tokens: 1000 };
        assert_eq!(gate.reserve("m", limits, 5000).await, Ok(()), "counts as a whole minute");
        assert!(gate.reserve("m", limits, 500).await.is_err());
        assert_eq!(gate.reserve("other", limits, 500).await, Ok(()));
        gate.settle("m", limits, 5000, 100).await;
        assert_eq!(gate.reserve("m", limits, 500).await, Ok(()));
        gate.settle("m", limits, 500, 1500).await;
        assert!(gate.reserve("m", limits, 1).await.unwrap_err() > Duration::from_secs(30));
        assert_eq!(gate.reserve("m", RateLimits::default(), 1).await, Ok(()), "no limit, nothing to hold");
    }
}
