//! Loans of names to holders, for one process. `lua/borrow.lua` is the same for a fleet, on the clock of Redis.

use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

/// Who holds what, and until when.
#[derive(Debug, Default)]
pub(super) struct Loans(FxHashMap<String, (String, Instant)>);

impl Loans {
    /// Lends one of `among`: what `holder` has already, else the one with the fewest loans, the first of equals.
    pub(super) fn borrow(&mut self, among: &[&str], holder: &str, ttl: Duration, now: Instant) -> usize {
        self.0.retain(|_, (_, until)| *until > now);
        let held = self.0.get(holder).and_then(|(name, _)| among.iter().position(|one| one == name));
        let loans = |name: &str| self.0.values().filter(|(lent, _)| lent == name).count();
        let best = held.or_else(|| (0..among.len()).min_by_key(|i| loans(among[*i]))).unwrap_or_default();
        if let Some(name) = among.get(best) {
            self.0.insert(holder.to_owned(), ((*name).to_owned(), now + ttl));
        }
        best
    }

    /// Ends a loan.
    pub(super) fn give_back(&mut self, holder: &str) {
        self.0.remove(holder);
    }
}
