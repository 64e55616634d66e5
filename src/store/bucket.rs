//! Buckets that fill continuously: the arithmetic of rate limits, for one process. `lua/draw.lua` is the same for
//! a fleet, on the clock of Redis.

use std::time::{Duration, Instant};

/// What is taken from one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// What the bucket holds, and gains in a minute; 0: there is no such bucket.
    pub per_minute: u32,
    /// How much is taken; negative gives back.
    pub amount: i64,
}

/// The buckets of one limit.
#[derive(Debug, Clone)]
pub(super) struct Levels {
    levels: Vec<f64>,
    at: Instant,
}

impl Levels {
    /// Full buckets.
    pub(super) fn full(draws: &[Draw], now: Instant) -> Self {
        Self { levels: draws.iter().map(|draw| f64::from(draw.per_minute)).collect(), at: now }
    }

    /// Takes from all buckets or from none; says after which time to ask again where it was none. `forced` takes
    /// in any case. Without force more than a whole minute has counts as a whole minute.
    #[expect(clippy::cast_precision_loss, reason = "tokens of a minute lie far below 2^53")]
    pub(super) fn draw(&mut self, draws: &[Draw], forced: bool, now: Instant) -> Duration {
        let minutes = now.saturating_duration_since(self.at).as_secs_f64() / 60.0;
        self.levels.resize(draws.len(), 0.0);
        let (mut next, mut wait) = (Vec::with_capacity(draws.len()), Duration::ZERO);
        for (level, draw) in self.levels.iter_mut().zip(draws) {
            let holds = f64::from(draw.per_minute);
            let level = (*level + minutes * holds).min(holds);
            let amount = if forced { draw.amount as f64 } else { (draw.amount as f64).min(holds) };
            if draw.per_minute > 0 && level + 1e-6 < amount {
                wait = wait.max(Duration::from_secs_f64((amount - level) / holds * 60.0));
            }
            next.push((level - amount).min(holds));
        }
        if !forced && wait > Duration::ZERO {
            return wait;
        }
        (self.levels, self.at) = (next, now);
        Duration::ZERO
    }

    /// Whether all buckets are full again, so that nothing is lost by forgetting them.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) > Duration::from_secs(60)
            && self.levels.iter().all(|level| *level >= 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(requests: i64, tokens: i64) -> [Draw; 2] {
        [Draw { per_minute: 2, amount: requests }, Draw { per_minute: 1000, amount: tokens }]
    }

    #[test]
    fn a_minute_holds_what_it_holds_and_fills_up_again() {
        let now = Instant::now();
        let mut levels = Levels::full(&draws(0, 0), now);
        let mut ask = |tokens, at| levels.draw(&draws(1, tokens), false, at).as_secs();
        assert_eq!((ask(100, now), ask(800, now)), (0, 0));
        assert_eq!(ask(1, now), 30, "no request is left");
        let later = now + Duration::from_secs(30);
        assert_eq!(ask(900, later), 18, "100 + 500 tokens are there");
        assert_eq!(ask(600, later), 0);
        assert_eq!(ask(5000, now + Duration::from_secs(120)), 0, "more than a minute has is a whole minute");
    }

    #[test]
    fn what_was_not_used_comes_back_and_what_was_used_too_much_is_owed() {
        let now = Instant::now();
        let mut levels = Levels::full(&draws(0, 0), now);
        assert!(levels.draw(&draws(0, 1000), false, now).is_zero());
        assert!(!levels.draw(&draws(0, 500), false, now).is_zero());
        levels.draw(&draws(0, -900), true, now);
        assert!(levels.draw(&draws(0, 500), false, now).is_zero());
        levels.draw(&draws(0, 1000), true, now);
        assert_eq!(levels.draw(&draws(0, 100), false, now).as_secs(), 42, "600 owed, 100 wanted");
        assert!(!levels.is_full(now + Duration::from_secs(61)), "what is owed is not forgotten");
    }
}
