//! Parts of an allowance held for requests under way, for one process. `lua/hold.lua` and `lua/settle.lua` are the same
//! for a fleet, on the clock of Redis.

use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

/// A request that wants to use a part of an allowance, or has used it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold<'a> {
    /// Whose allowance.
    pub owner: &'a str,
    /// The time it is for: each has its own sums.
    pub period: &'a str,
    /// Which request.
    pub holder: &'a str,
    /// Tokens and millionths of a dollar.
    pub amounts: [u64; 2],
}

/// How asking for a hold went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// It is held.
    Yes,
    /// Others hold what is left, and may give some of it back.
    Later,
    /// So much is used, and that is all.
    UsedUp([u64; 2]),
}

/// Whether one of `sums` has come to its limit; 0 is none.
pub(super) fn reached(sums: [u64; 2], limits: [u64; 2]) -> bool {
    sums.iter().zip(limits).any(|(sum, limit)| limit > 0 && *sum >= limit)
}

/// What is used of an allowance, and what is held of it.
#[derive(Debug, Default)]
pub(super) struct Book {
    used: FxHashMap<String, [u64; 2]>,
    held: FxHashMap<String, (Instant, [u64; 2])>,
}

impl Book {
    pub(super) fn hold(&mut self, hold: &Hold<'_>, limits: [u64; 2], ttl: Duration, now: Instant) -> Held {
        let used = self.used.get(hold.period).copied().unwrap_or_default();
        if reached(used, limits) {
            return Held::UsedUp(used);
        }
        self.held.retain(|_, (until, _)| *until > now);
        let others: Vec<[u64; 2]> =
            self.held.iter().filter(|(holder, _)| *holder != hold.holder).map(|(_, (_, amounts))| *amounts).collect();
        let sum = |i: usize| others.iter().fold(used[i], |sum, amounts| sum.saturating_add(amounts[i]));
        // The first request always goes: an allowance smaller than one prompt would never be used.
        if !others.is_empty() && reached([sum(0), sum(1)], limits) {
            return Held::Later;
        }
        self.held.insert(hold.holder.to_owned(), (now + ttl, hold.amounts));
        Held::Yes
    }

    /// Whether it says anything about `period`.
    pub(super) fn is_of(&self, period: &str) -> bool {
        !self.held.is_empty() || self.used.contains_key(period)
    }

    pub(super) fn settle(&mut self, hold: &Hold<'_>) {
        self.held.remove(hold.holder);
        let used = self.used.entry(hold.period.to_owned()).or_default();
        for (sum, amount) in used.iter_mut().zip(hold.amounts) {
            *sum = sum.saturating_add(amount);
        }
        // Sums of two periods: a request may end in another than it began in.
        if self.used.len() > 2
            && let Some(oldest) = self.used.keys().min().cloned()
        {
            self.used.remove(&oldest);
        }
    }
}
