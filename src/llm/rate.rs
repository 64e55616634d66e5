//! Requests and tokens per minute: reserved before a request, settled after it.

use std::time::Duration;

use async_trait::async_trait;

use crate::store::{Draw, Place, SharedStore, Visit, key_part};

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

/// Longest that a job in line for tokens is told to wait: reservations are larger than what is used, and what is given
/// back moves the whole line forward.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// How long a place in line is kept for a job that does not come back when it was told to: workers may be busy.
const KEEP: Duration = Duration::from_secs(60);

/// Who may stand in line for a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Whose place it is.
    pub holder: &'a str,
    /// Who would have to wait for as long does not stand in line.
    pub left: Duration,
}

/// Holds rate limits, for this process or for a fleet. A key names a model at a server.
#[async_trait]
pub trait RateGate: Send + Sync {
    /// Asks for one request of about `tokens` tokens. Refused with the time after which to come back; nothing is
    /// reserved then, but for who stands in line: it comes in when its turn is, and nobody overtakes it. More tokens
    /// than a whole minute has count as a whole minute.
    ///
    /// A gate that cannot be reached lets requests pass: limits protect the budget, not the truth.
    async fn reserve(&self, key: &str, limits: RateLimits, tokens: u64, line: Option<Line<'_>>)
    -> Result<(), Duration>;

    /// Corrects a reservation: `actual` tokens were used where `reserved` had been asked for.
    async fn settle(&self, key: &str, limits: RateLimits, reserved: u64, actual: u64);

    /// Takes back a reservation of `reserved` tokens: the request was not sent.
    async fn give_back(&self, key: &str, limits: RateLimits, reserved: u64);

    /// Lets nobody in for `time`: the server said so.
    async fn shut(&self, key: &str, limits: RateLimits, time: Duration);
}

/// Limits held in a store: everyone who shares the store shares the limits.
pub struct StoreGate(SharedStore);

impl StoreGate {
    /// A gate over `store`.
    #[must_use]
    pub fn new(store: SharedStore) -> Self {
        Self(store)
    }

    async fn draw(&self, key: &str, draws: &[Draw], visit: Visit<'_>) -> Duration {
        self.0.draw(&format!("rate:{}", key_part(key)), draws, visit).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "rate limits cannot be held now; the request passes");
            Duration::ZERO
        })
    }
}

#[async_trait]
impl RateGate for StoreGate {
    async fn reserve(
        &self,
        key: &str,
        limits: RateLimits,
        tokens: u64,
        line: Option<Line<'_>>,
    ) -> Result<(), Duration> {
        if limits.is_none() {
            return Ok(());
        }
        let look_again = if limits.tokens > 0 { LOOK_AGAIN } else { Duration::ZERO };
        let visit = line.map_or(Visit::Now, |Line { holder, left }| {
            Visit::Line(Place { holder, at_most: left, look_again, keep: KEEP })
        });
        let wait = self.draw(key, &limits.draws(1, signed(tokens)), visit).await;
        if wait.is_zero() { Ok(()) } else { Err(wait) }
    }

    async fn settle(&self, key: &str, limits: RateLimits, reserved: u64, actual: u64) {
        // What was reserved had been counted as a whole minute at most.
        let owed = signed(actual) - signed(reserved.min(limits.tokens.into()));
        if limits.tokens > 0 && owed != 0 {
            self.draw(key, &limits.draws(0, owed), Visit::Settle).await;
        }
    }

    async fn give_back(&self, key: &str, limits: RateLimits, reserved: u64) {
        if !limits.is_none() {
            let tokens = signed(reserved.min(limits.tokens.into()));
            self.draw(key, &limits.draws(-1, -tokens), Visit::Settle).await;
        }
    }

    async fn shut(&self, key: &str, limits: RateLimits, time: Duration) {
        if !limits.is_none() && !time.is_zero() {
            self.draw(key, &limits.draws(0, 0), Visit::Shut(time)).await;
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
        assert_eq!(gate.reserve("m", limits, 5000, None).await, Ok(()), "counts as a whole minute");
        assert!(gate.reserve("m", limits, 500, None).await.is_err());
        assert_eq!(gate.reserve("other", limits, 500, None).await, Ok(()));
        gate.settle("m", limits, 5000, 100).await;
        assert_eq!(gate.reserve("m", limits, 500, None).await, Ok(()));
        gate.settle("m", limits, 500, 1500).await;
        assert!(gate.reserve("m", limits, 1, None).await.unwrap_err() > Duration::from_secs(30));
        assert_eq!(gate.reserve("m", RateLimits::default(), 1, None).await, Ok(()), "no limit, nothing to hold");
        let both = RateLimits { requests: 1, tokens: 1000 };
        for _ in 0..3 {
            assert_eq!(gate.reserve("unsent", both, 5000, None).await, Ok(()));
            gate.give_back("unsent", both, 5000).await;
        }
    }

    #[tokio::test]
    async fn a_job_looks_again_only_where_something_may_come_back() {
        let gate = StoreGate::new(MemoryStore::new(0));
        let line = Some(Line { holder: "j", left: Duration::from_secs(500) });
        for (key, limits, longest) in [
            ("exact", RateLimits { requests: 1, tokens: 0 }, Duration::from_secs(60)),
            ("guessed", RateLimits { requests: 0, tokens: 1000 }, LOOK_AGAIN),
        ] {
            gate.reserve(key, limits, 1000, None).await.unwrap();
            let told = gate.reserve(key, limits, 1000, line).await.unwrap_err();
            assert!(told <= longest && told > longest / 2, "{told:?}");
        }
    }
}
