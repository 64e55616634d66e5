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
    /// Tokens and millionths of a dollar: the most that is wanted, or what was used.
    pub amounts: [u64; 2],
    /// Less than this is of no use.
    pub least: [u64; 2],
}

/// How asking for a hold went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// So much is held: what was wanted, or all that is left.
    Yes([u64; 2]),
    /// Others hold what it would get if it were alone, and may give some of it back.
    Later,
    /// So much is used, and what is left is of no use.
    UsedUp([u64; 2]),
}

/// What `hold` gets where `sums` are taken; nothing where that would be of no use. A limit of 0 is none.
fn part(hold: &Hold<'_>, sums: [u64; 2], limits: [u64; 2]) -> Option<[u64; 2]> {
    let mut part = hold.amounts;
    for i in (0..2).filter(|i| limits[*i] > 0) {
        let left = limits[i].saturating_sub(sums[i]);
        if left < hold.least[i] {
            return None;
        }
        part[i] = part[i].min(left);
    }
    Some(part)
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
        let Some(alone) = part(hold, used, limits) else { return Held::UsedUp(used) };
        self.held.retain(|_, (until, _)| *until > now);
        let others = self.held.iter().filter(|(holder, _)| *holder != hold.holder);
        let taken = others.fold(used, |sums, (_, (_, held))| [0, 1].map(|i| sums[i].saturating_add(held[i])));
        // An answer that is cut off is paid for nothing.
        if part(hold, taken, limits) != Some(alone) {
            return Held::Later;
        }
        self.held.insert(hold.holder.to_owned(), (now + ttl, alone));
        Held::Yes(alone)
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
